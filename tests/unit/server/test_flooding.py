"""The servers of one datacenter bring each other into the WAN pool."""

import trio
import trio.testing

from server.flooding import FLOOD_INTERVAL_S, Flooding, flood_targets
from structs.cluster import Member
from tests.fakes.gossip import FakeGossip, FakeNetwork
from tests.fakes.members import FOREIGN_BUILD, client, server


def lan(name: str, **changes: str) -> Member:
    return server(name, **({"wan_join_port": "8302"} | changes))


def test_servers_whose_name_the_wan_does_not_know_are_joined_at_their_wan_port() -> None:
    members = [lan("s1"), lan("s2"), lan("s3", wan_join_port="9302"), client("c4")]
    assert flood_targets(members, [server("s1.dc1")], "dc1") == ["10.0.0.2:8302", "10.0.0.3:9302"]


def test_a_name_of_another_datacenter_is_another_server() -> None:
    assert flood_targets([lan("s2")], [server("s2.dc2", dc="dc2")], "dc1") == ["10.0.0.2:8302"]


def test_who_is_not_there_or_not_on_the_wan_is_not_joined() -> None:
    members = [lan("s2", status="FAILED"), lan("s3", status="LEFT"), server("s4"), lan("s5", dc="dc2")]
    assert flood_targets(members, [], "dc1") == []


def test_a_failed_wan_member_is_left_to_its_pool() -> None:
    assert flood_targets([lan("s2")], [server("s2.dc1", status="FAILED")], "dc1") == []


def test_ipv6_addresses_are_bracketed() -> None:
    assert flood_targets([lan("s2", address="fe80::2")], [], "dc1") == ["[fe80::2]:8302"]


async def test_the_wan_is_flooded_when_a_server_joins_and_once_a_minute(
    autojump_clock: trio.testing.MockClock,
) -> None:
    near, wan = FakeGossip(lan("s1")), FakeGossip(server("s1.dc1"), FakeNetwork())
    flooding = Flooding(datacenter="dc1", lan=near, wan=wan)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flooding.run)
        await trio.sleep(1.0)
        assert wan.joined == []
        near.network.show(lan("s2"))
        flooding.heard([client("c9")])
        await trio.sleep(1.0)
        assert wan.joined == []
        flooding.heard([lan("s2")])
        await trio.sleep(1.0)
        assert wan.joined == ["10.0.0.2:8302"]
        await trio.sleep(FLOOD_INTERVAL_S)
        assert wan.joined == ["10.0.0.2:8302"] * 2, "until the pool knows it"
        wan.network.show(server("s2.dc1", build=FOREIGN_BUILD))
        await trio.sleep(FLOOD_INTERVAL_S * 3)
        assert wan.joined == ["10.0.0.2:8302"] * 2
        nursery.cancel_scope.cancel()
