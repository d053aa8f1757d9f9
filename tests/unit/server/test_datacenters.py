"""server/endpoints/datacenter.py, internal.py: what a server says of all datacenters, and what it does in each."""

import random
from pathlib import Path

from base import codec
from server.elsewhere import Elsewhere
from server.router import Router
from structs.catalog import DatacentersReply
from structs.cluster import Empty, Member
from structs.coordinate import Coordinate, DatacenterMapsReply
from structs.event import EventFireReply, EventFireRequest
from structs.keyring import KeyringAnswer, KeyringOperation, KeyringReply, KeyringRequest
from tests.fakes.gossip import FakeGossip
from tests.fakes.members import server as server_member
from tests.fakes.server_parts import FakePool, ServerParts, server_parts

KEY = "MDEyMzQ1Njc4OWFiY2RlZg=="


def far(name: str, datacenter: str) -> Member:
    return server_member(f"{name}.{datacenter}", dc=datacenter, port="8300", address="10.9.0.1")


def at(seconds: float) -> Coordinate:
    return Coordinate(vec=[seconds] + [0.0] * 7)


def with_wan(server: ServerParts, *others: Member) -> FakeGossip:
    """Give the server a WAN pool, in which these are as well."""
    wan = FakeGossip(far("s1", "dc1"))
    for member in others:
        wan.network.show(member)
    server.services.wan = wan
    server.router.update(wan.members())
    return wan


async def test_datacenters_stand_by_their_distance_and_ours_first(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as server:
        alone = await server.ask("Catalog.ListDatacenters", Empty())
        assert alone == DatacentersReply(datacenters=["dc1"])
        wan = with_wan(server, far("a", "dc2"), far("b", "dc3"))
        wan.network.coordinates = {"s1.dc1": at(0.0), "a.dc2": at(0.9), "b.dc3": at(0.1)}
        assert (await server.ask("Catalog.ListDatacenters", Empty())).datacenters == ["dc1", "dc3", "dc2"]


async def test_the_map_of_a_datacenter_has_its_servers_without_its_name(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as server:
        wan = with_wan(server, far("a", "dc2"))
        wan.network.coordinates = {"s1.dc1": Coordinate(), "a.dc2": Coordinate(height=0.5)}
        reply = await server.ask("Coordinate.ListDatacenters", Empty())
        assert isinstance(reply, DatacenterMapsReply)
        found = {each.datacenter: [row.node for row in each.coordinates] for each in reply.maps}
        assert found == {"dc1": ["s1"], "dc2": ["a"]}


async def test_an_event_is_handed_to_gossip_under_its_prefix(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as server:
        assert await server.ask("Internal.EventFire", EventFireRequest(name="x", payload=b"p")) == EventFireReply()
        assert ("consul:event:x", b"p") in server.gossip.fired


async def test_keys_are_changed_in_both_pools_and_in_every_other_datacenter(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as server:
        with_wan(server, far("a", "dc2"), far("b", "dc3"))
        asked: list[KeyringRequest] = []

        async def in_dc2(name: str, body: bytes, _: object) -> bytes:
            asked.append(codec.decode(KeyringRequest, body))
            return codec.encode(KeyringReply(answers=[KeyringAnswer(wan=False, datacenter="dc2", nodes_count=5)]))

        pool = FakePool()
        pool.handlers["10.9.0.1:8300"] = in_dc2
        router = Router("dc1", random.Random(1))
        router.update([far("a", "dc2")])
        server.services.router = router
        server.services.elsewhere = Elsewhere(own="dc1", router=router, pool=pool, hold_s=1.0, write_timeout_s=1.0)
        request = KeyringRequest(operation=KeyringOperation.INSTALL, key=KEY)
        answers = (await server.ask("Internal.KeyringOperation", request)).answers
        assert [(answer.wan, answer.datacenter) for answer in answers] == [
            (True, "dc1"),
            (False, "dc1"),
            (False, "dc2"),
        ]
        assert [each.forwarded for each in asked] == [True]
        assert [each.options.datacenter for each in asked] == ["dc2"]
        listed = (
            await server.ask("Internal.KeyringOperation", KeyringRequest(operation=KeyringOperation.LIST))
        ).answers
        assert listed[1].keys == {KEY: 1}
