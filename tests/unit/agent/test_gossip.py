"""The pools of a process on real sockets: made as configured, joined as it asks, and what ends them."""

import socket
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace

from agent.config.runtime import HostPort, Join, RuntimeConfig
from agent.gossip import lan_pool, timing_of, wan_pool
from base.chance import Chance
from base.errors import ConfigInvalid, InvalidRequest, NotFound
from base.network import RealNetwork
from gossip.config import LAN, WAN
from gossip.instructions import Stop, UserEventArrived
from structs.cluster import Member, MemberStatus
from tests.fakes.agent_pools import address, configured, discard, near, statuses, tags_of, wide
from tests.fakes.gossip_member import TIMEOUT_S, running, until

ALIVE, LEFT, FAILED = MemberStatus.ALIVE, MemberStatus.LEFT, MemberStatus.FAILED
KEY, OTHER_KEY = "AQEBAQEBAQEBAQEBAQEBAQ==", "AgICAgICAgICAgICAgICAg=="


def joining(config: RuntimeConfig, **join: object) -> RuntimeConfig:
    """The same configuration with other joins of the LAN."""
    gossip = config.gossip
    wanted = replace(gossip.lan.join, **join)
    return replace(config, gossip=replace(gossip, lan=replace(gossip.lan, join=wanted)))


def nowhere() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


# Making


def test_a_pool_is_as_configured_before_it_runs() -> None:
    config = configured("n1", "-datacenter=dc7")
    pool = near(config, rack="a")
    assert pool.own_name == "n1"
    assert pool.members() == []
    mine = pool.self_member()
    assert mine.name == "n1"
    assert mine.address == "127.0.0.1"
    assert mine.port > 0
    assert (mine.tags["rack"], mine.tags["dc"], mine.status) == ("a", "dc7", ALIVE)
    assert not pool.encrypted
    assert pool.coordinate() is None
    assert pool.coordinates() == {}
    assert pool.statistics() == {"encrypted": "false"}
    discard(pool)


def test_only_servers_have_a_pool_for_the_wan_where_they_are_named_with_their_datacenter() -> None:
    chance, network = Chance(1), RealNetwork()
    agent = configured("n1")
    assert wan_pool(agent, tags=tags_of(agent), folder=None, network=network, chance=chance) is None
    off = configured("s1", "-serf-wan-port=-1", role="server")
    assert wan_pool(off, tags=tags_of(off), folder=None, network=network, chance=chance) is None
    pool = wide(configured("s1", "-datacenter=dc7", role="server"))
    assert pool.own_name == "s1.dc7"
    discard(pool)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = configured("n1")
        there = replace(config.gossip.lan, listen=HostPort("127.0.0.1", port))
        config = replace(config, gossip=replace(config.gossip, lan=there))
        with pytest.raises(
            ConfigInvalid, match=rf"cannot listen for gossip on 127\.0\.0\.1:{port}: Address already in"
        ):
            lan_pool(config, tags=tags_of(config), folder=None, network=RealNetwork(), chance=Chance(1))


def test_the_pace_is_that_of_the_configuration_on_top_of_what_is_usual_near_and_far() -> None:
    config = configured("s1", role="server")
    assert config.gossip.wan is not None
    lan, wan = timing_of(config.gossip.lan, LAN), timing_of(config.gossip.wan, WAN)
    assert (lan.probe_interval_s, lan.probe_timeout_s, lan.suspicion_multiplier) == (0.1, 0.05, 2)
    assert (lan.push_pull_interval_s, wan.push_pull_interval_s) == (30.0, 60.0)
    assert (lan.tcp_timeout_s, wan.tcp_timeout_s) == (10.0, 30.0)


def test_a_damaged_keyring_refuses_the_start(tmp_path: Path) -> None:
    (tmp_path / "serf").mkdir()
    (tmp_path / "serf" / "local.keyring").write_text("{")
    with pytest.raises(ConfigInvalid, match=r"local\.keyring: a keyring file must be a JSON list"):
        near(configured("n1", f"-encrypt={KEY}"), folder=tmp_path)
    pool = near(configured("n1", f"-encrypt={KEY}", "-disable-keyring-file"), folder=tmp_path)
    assert pool.encrypted
    discard(pool)


# Members


async def test_members_events_and_changes_are_told_in_this_loop(tmp_path: Path) -> None:
    one, two = near(configured("n1"), folder=tmp_path / "n1"), near(configured("n2"), folder=tmp_path / "n2")
    told: list[tuple[str, list[str]]] = []
    events: list[UserEventArrived] = []
    one.subscribe(lambda kind, members: told.append((kind, [member.name for member in members])))
    one.subscribe_events(events.append)
    async with running(one, two):
        assert await two.join([address(one)]) == (1, {})
        await until(lambda: statuses(one) == statuses(two) == {"n1": ALIVE, "n2": ALIVE})
        assert one.self_member() in one.members()
        one.members().clear()
        assert len(one.members()) == 2, "what is returned is the caller's own"
        two.set_tags(two.self_member().tags | {"rack": "b"})
        await until(lambda: ("update", ["n2"]) in told)
        assert {member.name: member.tags.get("rack") for member in one.members()} == {"n1": None, "n2": "b"}
        await two.fire("deploy", b"v2")
        two.fire_soon("soon", b"v3")
        await until(lambda: sorted(event.name for event in events) == ["deploy", "soon"])
        with pytest.raises(InvalidRequest, match="user event exceeds limit of 512 bytes"):
            two.fire_soon("large", bytes(512))
        await until(lambda: one.statistics().get("members") == "2")
        assert one.statistics()["encrypted"] == "false"
        assert one.coordinate() is not None
        await until(lambda: "n2" in one.coordinates())
        await two.leave()
        await until(lambda: statuses(one) == {"n1": ALIVE, "n2": LEFT})
    assert told[0] == ("join", ["n1"])
    assert told[-1] == ("leave", ["n2"])


async def test_a_failed_member_is_forced_out() -> None:
    one, two = near(configured("n1")), near(configured("n2"))
    async with running(one):
        async with running(two):
            await two.join([address(one)])
            await until(lambda: statuses(one) == {"n1": ALIVE, "n2": ALIVE})
        await until(lambda: statuses(one) == {"n1": ALIVE, "n2": FAILED})
        with pytest.raises(NotFound):
            await one.force_leave("n3")
        one.force_leave_soon("n3")
        one.force_leave_soon("n2")
        await until(lambda: statuses(one) == {"n1": ALIVE, "n2": LEFT})
        await one.force_leave("n2", prune=True)
        await until(lambda: statuses(one) == {"n1": ALIVE})


# Who may come in


async def test_a_join_with_another_datacenters_members_is_refused_by_both() -> None:
    one, two = near(configured("n1")), near(configured("n2", "-datacenter=dc2"))
    async with running(one, two):
        for joiner, there, text in ((one, two, "dc2"), (two, one, "dc1")):
            count, errors = await joiner.join([address(there)])
            name = there.own_name
            assert (count, errors) == (0, {address(there): f"Member '{name}' part of wrong datacenter '{text}'"})
        assert statuses(one) == {"n1": ALIVE}


async def test_a_copied_node_id_is_refused() -> None:
    one = near(configured("n1"), id="11111111-1111-4111-8111-111111111111")
    two = near(configured("n2"), id="11111111-1111-4111-8111-111111111111")
    async with running(one, two):
        count, errors = await two.join([address(one)])
        assert count == 0
        assert "Member 'n1' has conflicting node ID" in errors[address(one)]


async def test_only_servers_come_into_the_wan() -> None:
    server = wide(configured("s1", role="server"))
    agent = near(configured("n1"))
    async with running(server, agent):
        count, errors = await server.join([address(agent)])
        assert (count, errors) == (0, {address(agent): "Member 'n1' is not a server"})


async def test_networks_that_are_not_allowed_stay_outside() -> None:
    one = near(configured("n1", "-serf-lan-allowed-cidrs=10.0.0.0/8"))
    two = near(configured("n2", "-serf-lan-allowed-cidrs=127.0.0.0/8"))
    async with running(one, two):
        assert (await two.join([address(one)]))[0] == 0
        assert statuses(one) == {"n1": ALIVE}


async def test_another_key_keeps_out() -> None:
    one, two = near(configured("n1", f"-encrypt={KEY}")), near(configured("n2", f"-encrypt={OTHER_KEY}"))
    async with running(one, two):
        count, errors = await two.join([address(one)])
        assert count == 0
        assert errors
        assert one.statistics()["encrypted"] == "true"


# Joining


async def test_addresses_that_are_none_are_errors_of_their_own() -> None:
    one, two = near(configured("n1")), near(configured("n2"))
    where, named = nowhere(), f"localhost:{address(one).rpartition(':')[2]}"
    async with running(one, two):
        count, errors = await two.join([named, where, "a:b:c:d", "no.such.host.invalid", "127.0.0.1:99999"])
        assert count == 1
        assert errors.keys() >= {where, "no.such.host.invalid", "127.0.0.1:99999"}
        assert "refused" in errors[where]
        assert await two.join([]) == (0, {})
        assert (await two.join(["..", "x" * 300]))[0] == 0


async def test_a_start_join_that_reaches_nobody_fails_the_start() -> None:
    where = nowhere()
    pool = near(joining(configured("n1"), start=(where,)))
    text = rf"cannot join the LAN: {where}: .*refused"
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigInvalid, match=text), flatten_subgroups=True):
        async with running(pool):
            pass


async def test_a_start_join_that_reaches_one_is_enough() -> None:
    one = near(configured("n1"))
    two = near(joining(configured("n2"), start=(nowhere(), address(one))))
    async with running(one, two):
        await until(lambda: statuses(one) == {"n1": ALIVE, "n2": ALIVE})


async def test_retries_end_with_an_error_after_their_number_and_success_otherwise(
    capfd: pytest.CaptureFixture[str],
) -> None:
    where = nowhere()
    pool = near(joining(configured("n1"), retry=(where,), retry_attempts_max=2, retry_interval_s=0.01))
    text = rf"agent: max join LAN retry exhausted, exiting: {where}: .*refused"
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigInvalid, match=text), flatten_subgroups=True):
        async with running(pool):
            await trio.sleep_forever()
    assert capfd.readouterr().out.count("join failed, trying again") == 1

    one = near(configured("n1"))
    late = near(joining(configured("n2"), retry=(address(one),), retry_interval_s=0.05))
    async with running(late):
        await until(lambda: "join failed, trying again" in capfd.readouterr().out)
        async with running(one):
            await until(lambda: statuses(one) == {"n1": ALIVE, "n2": ALIVE})


async def test_nobody_joins_himself() -> None:
    pool = near(configured("n1"))
    with trio.fail_after(TIMEOUT_S):  # it does not even begin, or it would wait for the pool
        await pool._retry_join(Join(start=(), retry=(address(pool),), retry_interval_s=0.01, retry_attempts_max=1))
    discard(pool)


# Ends


async def test_another_with_our_name_ends_the_process() -> None:
    pool = near(configured("n1"))
    with pytest.RaisesGroup(
        pytest.RaisesExc(ConfigInvalid, match="another member has the name"), flatten_subgroups=True
    ):
        async with running(pool):
            pool._delivered(Stop(text="another member has the name 'n1', and the others side with it"))
            await trio.sleep_forever()


async def test_leaving_twice_is_leaving_once() -> None:
    one, two = near(configured("n1")), near(configured("n2"))
    told: list[Member] = []
    async with running(one, two):
        await two.join([address(one)])
        one.subscribe(lambda kind, members: told.extend(members if kind == "leave" else []))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(two.leave)
            nursery.start_soon(two.leave)
        await two.leave()
        await until(lambda: bool(told))
        assert [member.name for member in told] == ["n2"]
        count, errors = await two.join([address(one)])
        assert (count, errors) == (0, {address(one): "this member is leaving"})
