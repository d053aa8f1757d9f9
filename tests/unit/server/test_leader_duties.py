"""The leader's part in membership, with a real state machine and log, and gossip that a test moves by hand."""

from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from base.errors import NoLeader, OutcomeUnknown, Refused
from fsm.commands.registry import DEREGISTER, REGISTER
from fsm.store import autopilot, checks, nodes, services
from server.leader.autopiloting import HEALTH_INTERVAL_S
from server.leader.reconciling import PASS_INTERVAL_S, QUEUE_MAX, READDRESS_ATTEMPTS_MAX, WRITES_MAX
from structs.autopilot import ServerHealthReply, ServerHealthRequest
from structs.catalog import DeregisterCommand, RegisterCommand
from structs.cluster import MemberStatus, Peer, RaftConfigurationReply, RaftConfigurationRequest
from tests.fakes.leading import SOON_S, add_voters, answering, leading, voters
from tests.fakes.members import client, server
from tests.fakes.server_parts import ServerParts, server_parts

Clock = trio.testing.MockClock


def serf_status(parts: ServerParts, name: str) -> str | None:
    """Status of the node's serfHealth; None where the node is not known."""
    with parts.machine.read() as view:
        if nodes.get(view, name) is None:
            return None
        check = checks.get(view, name, "serfHealth")
        return check.status if check is not None else ""


def has_service(parts: ServerParts, name: str) -> bool:
    with parts.machine.read() as view:
        return services.get(view, name, "consul") is not None


def written(parts: ServerParts, *numbers: int) -> int:
    return sum(command[0] in (numbers or (REGISTER, DEREGISTER)) for command in parts.raft.proposed)


# The catalog


async def test_a_leader_tells_of_itself_and_registers_itself_and_everybody(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with leading(tmp_path) as parts:
        assert parts.gossip.fired == [("consul:new-leader", b"s1")]
        assert serf_status(parts, "s1") == "passing"
        assert has_service(parts, "s1")
        with parts.machine.read() as view:
            config = autopilot.get(view)
        assert config is not None
        assert config.cleanup_dead_servers


async def test_a_member_is_followed_from_its_join_to_its_end(tmp_path: Path, autojump_clock: Clock) -> None:
    async with leading(tmp_path) as parts:
        network = parts.gossip.network
        network.show(client("c5"))
        await trio.sleep(SOON_S)
        assert serf_status(parts, "c5") == "passing"
        network.set_status("c5", MemberStatus.FAILED)
        await trio.sleep(SOON_S)
        assert serf_status(parts, "c5") == "critical"
        network.show(client("c5"))
        await trio.sleep(SOON_S)
        assert serf_status(parts, "c5") == "passing"
        network.set_status("c5", MemberStatus.LEFT)
        await trio.sleep(SOON_S)
        assert serf_status(parts, "c5") is None
        assert parts.duties.reconciliation.passes_total == 1, "single members need no look at everybody"


async def test_a_member_that_gossip_forgets_is_deregistered(tmp_path: Path, autojump_clock: Clock) -> None:
    async with leading(tmp_path) as parts:
        network = parts.gossip.network
        network.show(client("c5", status="FAILED"))
        await trio.sleep(SOON_S)
        network.reap("c5")
        await trio.sleep(SOON_S)
        assert serf_status(parts, "c5") is None


async def test_what_a_former_leader_left_undone_is_done_and_external_nodes_stay(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        encode = parts.duties.reconciliation._encode
        gone = client("gone")
        for command in (
            RegisterCommand(node="external", address="10.8.8.8"),
            RegisterCommand(node="gone", address=gone.address, checks=[]),
        ):
            await parts.raft.propose(encode(command), timeout_s=1.0)
        parts.gossip.network.show(gone)
        await nursery.start(parts.duties.leadership.run)
        await trio.sleep(SOON_S)
        assert serf_status(parts, "gone") == "passing"
        parts.raft.change_leader(None)
        await trio.sleep(SOON_S)
        parts.gossip.network.reap("gone")
        parts.raft.change_leader(parts.peer)
        await trio.sleep(SOON_S)
        assert serf_status(parts, "gone") is None
        assert serf_status(parts, "external") == ""
        nursery.cancel_scope.cancel()


async def test_what_somebody_else_deregistered_is_back_after_the_next_pass(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with leading(tmp_path) as parts:
        encode = parts.duties.reconciliation._encode
        await parts.raft.propose(encode(DeregisterCommand(node="s1")), timeout_s=1.0)
        assert serf_status(parts, "s1") is None
        await trio.sleep(PASS_INTERVAL_S + 1)
        assert serf_status(parts, "s1") == "passing"


async def test_nothing_is_written_while_nothing_happens(tmp_path: Path, autojump_clock: Clock) -> None:
    async with leading(tmp_path) as parts:
        answering(parts, 2)
        parts.gossip.network.show(server("s2"))
        await trio.sleep(60)
        count = len(parts.raft.proposed)
        await trio.sleep(600)
        assert len(parts.raft.proposed) == count


async def test_a_hundred_agents_that_join_at_once_are_registered_a_bounded_number_at_a_time(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with leading(tmp_path) as parts:
        before = written(parts)
        for number in range(100, 200):
            parts.gossip.network.show(client(f"c{number}"))
        await trio.sleep(2.0)
        assert all(serf_status(parts, f"c{number}") == "passing" for number in range(100, 200))
        reconciliation = parts.duties.reconciliation
        assert written(parts) - before == 100, "each is written once"
        assert reconciliation.in_flight_max == WRITES_MAX
        assert reconciliation.passes_total == 2, "more than the queue holds costs one look at everybody"


async def test_members_that_come_and_go_quickly_are_written_as_they_are_at_last(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with leading(tmp_path) as parts:
        before = written(parts)
        network = parts.gossip.network
        for _ in range(50):
            network.show(client("c5"))
            network.set_status("c5", MemberStatus.FAILED)
        await trio.sleep(SOON_S)
        assert serf_status(parts, "c5") == "critical"
        assert written(parts) - before == 1


async def test_more_news_than_the_queue_holds_are_not_lost(tmp_path: Path, autojump_clock: Clock) -> None:
    async with leading(tmp_path) as parts:
        network = parts.gossip.network
        names = [f"c{number}" for number in range(100, 100 + QUEUE_MAX + 8)]
        for name in names:
            network.show(client(name))
        await trio.sleep(2.0)
        assert {serf_status(parts, name) for name in names} == {"passing"}
        for name in names:
            network.reap(name)
        await trio.sleep(2.0)
        assert {serf_status(parts, name) for name in names} == {None}


@pytest.mark.parametrize("error", [NoLeader(), OutcomeUnknown("timed out")])
async def test_a_write_that_failed_is_made_up_for(tmp_path: Path, autojump_clock: Clock, error: Exception) -> None:
    async with leading(tmp_path) as parts:
        parts.raft.fail_next = error
        parts.gossip.network.show(client("c5"))
        await trio.sleep(SOON_S)
        assert serf_status(parts, "c5") is None
        await trio.sleep(2.0)
        assert serf_status(parts, "c5") == "passing"


async def test_who_does_not_lead_writes_nothing(tmp_path: Path, autojump_clock: Clock) -> None:
    async with leading(tmp_path) as parts:
        parts.raft.change_leader(None)
        await trio.sleep(SOON_S)
        count = len(parts.raft.proposed)
        parts.gossip.network.show(client("c5"))
        await trio.sleep(PASS_INTERVAL_S * 2)
        assert len(parts.raft.proposed) == count
        assert not parts.duties.reconciliation._queue


# Who votes


async def test_a_server_that_joins_stands_by_and_then_votes(tmp_path: Path, autojump_clock: Clock) -> None:
    async with leading(tmp_path) as parts:
        answering(parts, 2)
        parts.gossip.network.show(server("s2"))
        await trio.sleep(HEALTH_INTERVAL_S)
        assert voters(parts) == ["id-1"]
        reply = await parts.ask("Operator.RaftGetConfiguration", RaftConfigurationRequest())
        assert isinstance(reply, RaftConfigurationReply)
        assert [(row.peer.name, row.voter) for row in reply.servers] == [("s1", True), ("s2", False)]
        assert has_service(parts, "s2"), "it has proved to be a server"
        await trio.sleep(10.0)
        assert voters(parts) == ["id-1", "id-2"]
        health = await parts.ask("Operator.ServerHealth", ServerHealthRequest())
        assert isinstance(health, ServerHealthReply)
        assert health.servers is not None
        assert [(row.name, row.voter, row.healthy) for row in health.servers] == [
            ("s1", True, True),
            ("s2", True, True),
        ]
        assert health.healthy


async def test_the_stabilization_time_is_that_of_the_configuration(tmp_path: Path, autojump_clock: Clock) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        settings = replace(parts.config.autopilot, server_stabilization_time_ns=500_000_000)
        parts.duties._config = replace(parts.config, autopilot=settings)
        answering(parts, 2)
        parts.gossip.network.show(server("s2"))
        await nursery.start(parts.duties.leadership.run)
        await trio.sleep(1.0)
        assert voters(parts) == ["id-1", "id-2"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "flaw", ["no certificate", "no answer", "another server", "another leader", "foreign", "leads"]
)
async def test_who_does_not_prove_to_be_a_server_of_ours_never_votes(
    tmp_path: Path, autojump_clock: Clock, flaw: str
) -> None:
    async with leading(tmp_path) as parts:
        member = server("s2")
        match flaw:
            case "no certificate":
                parts.pool.unproven.add(answering(parts, 2).address)
            case "another server":
                answering(parts, 2, server_id="id-3")
            case "another leader":
                answering(parts, 2, leader_id="id-9")
            case "leads":
                answering(parts, 2, leader=True, leader_id="id-2")
            case "foreign":
                answering(parts, 2)
                member = server("s2", build="1.2.1:")
        parts.gossip.network.show(member)
        await trio.sleep(120.0)
        assert voters(parts) == ["id-1"]
        assert has_service(parts, "s2") == (flaw in ("another leader", "leads"))
        assert serf_status(parts, "s2") == "passing", "as a node it is there"


async def test_two_servers_in_bootstrap_mode_do_not_become_one_cluster(tmp_path: Path, autojump_clock: Clock) -> None:
    async with leading(tmp_path) as parts:
        parts.gossip.set_tags(parts.gossip.self_member().tags | {"bootstrap": "1"})
        answering(parts, 2)
        parts.gossip.network.show(server("s2", bootstrap="1"))
        await trio.sleep(60.0)
        assert voters(parts) == ["id-1"]


async def test_a_server_that_moved_is_found_at_once_if_it_proves_to_be_there(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with leading(tmp_path) as parts:
        answering(parts, 2)
        await parts.raft.add_peer(Peer(server_id="id-2", name="s2", address="10.0.0.2:8300"))
        parts.gossip.network.show(server("s2", port="9999"))
        await trio.sleep(SOON_S)
        assert {peer.address for peer in parts.raft.configuration()} == {"10.0.0.1:8300", "10.0.0.2:8300"}
        handler = parts.pool.handlers["10.0.0.2:8300"]
        parts.pool.handlers["10.0.0.2:9999"] = handler  # gossip was up before its listener
        await trio.sleep(2.0)
        assert {peer.address for peer in parts.raft.configuration()} == {"10.0.0.1:8300", "10.0.0.2:9999"}


async def test_who_is_not_where_he_says_is_looked_for_a_few_times_and_then_once_a_minute(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with leading(tmp_path) as parts:
        answering(parts, 2)
        await parts.raft.add_peer(Peer(server_id="id-2", name="s2", address="10.0.0.2:8300"))
        parts.gossip.network.show(server("s2", port="9999"))
        await trio.sleep(600.0)
        asked = parts.pool.calls.count(("10.0.0.2:9999", "Status.RaftStats"))
        assert READDRESS_ATTEMPTS_MAX <= asked <= READDRESS_ATTEMPTS_MAX + 11
        parts.pool.handlers["10.0.0.2:9999"] = parts.pool.handlers["10.0.0.2:8300"]
        parts.gossip.network.show(server("s2", port="9999", expect="1"))
        await trio.sleep(SOON_S)
        assert {peer.address for peer in parts.raft.configuration()} == {"10.0.0.1:8300", "10.0.0.2:9999"}


async def test_a_voter_that_gossip_forgets_is_out_however_full_the_queue_is(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with leading(tmp_path) as parts:
        network = parts.gossip.network
        await add_voters(parts, 2, 3)
        network.set_status("s3", MemberStatus.FAILED)
        del parts.pool.handlers["10.0.0.3:8300"]
        await trio.sleep(SOON_S)
        for number in range(100, 100 + QUEUE_MAX):
            network.show(client(f"c{number}"))
        network.reap("s3")
        await trio.sleep(2.0)
        assert voters(parts) == ["id-1", "id-2"]
        assert serf_status(parts, "s3") is None


async def test_a_voter_that_gossip_forgets_is_out_though_the_first_tries_fail(
    tmp_path: Path, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with leading(tmp_path) as parts:
        network = parts.gossip.network
        await add_voters(parts, 2, 3)
        network.set_status("s3", MemberStatus.FAILED)
        del parts.pool.handlers["10.0.0.3:8300"]
        await trio.sleep(SOON_S)
        remove, refusals = parts.raft.remove_peer, [Refused("another change is in progress")] * 2

        async def remove_peer(server_id: str) -> None:
            if refusals:
                raise refusals.pop()
            await remove(server_id)

        monkeypatch.setattr(parts.raft, "remove_peer", remove_peer)
        network.reap("s3")
        await trio.sleep(5.0)
        assert voters(parts) == ["id-1", "id-2"]


async def test_a_lost_disk_is_replaced_after_the_new_one_has_stood_by(tmp_path: Path, autojump_clock: Clock) -> None:
    async with leading(tmp_path) as parts:
        await add_voters(parts, 2, 3)
        answering(parts, 3, server_id="id-new")
        parts.gossip.network.show(server("s3", id="id-new"))
        await trio.sleep(8.0)
        assert voters(parts) == ["id-1", "id-2", "id-3"]
        await trio.sleep(8.0)
        assert voters(parts) == ["id-1", "id-2", "id-new"]


async def test_a_server_that_left_is_out_at_once_and_may_come_back(tmp_path: Path, autojump_clock: Clock) -> None:
    async with leading(tmp_path) as parts:
        await add_voters(parts, 2, 3)
        answering(parts, 3, leaving=True)
        parts.gossip.network.set_status("s3", MemberStatus.LEFT)
        await trio.sleep(SOON_S)
        assert voters(parts) == ["id-1", "id-2"]
        assert serf_status(parts, "s3") is None
        answering(parts, 3)
        parts.gossip.network.show(server("s3"))
        await trio.sleep(15.0)
        assert voters(parts) == ["id-1", "id-2", "id-3"]
        assert serf_status(parts, "s3") == "passing"


async def test_a_failed_server_that_is_forced_out_leaves_catalog_and_configuration(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with leading(tmp_path) as parts:
        await add_voters(parts, 2, 3)
        del parts.pool.handlers["10.0.0.3:8300"]
        parts.gossip.network.set_status("s3", MemberStatus.FAILED)
        await trio.sleep(60.0)
        assert voters(parts) == ["id-1", "id-2", "id-3"], "of three none is cleared away"
        assert serf_status(parts, "s3") == "critical"
        parts.gossip.force_leave("s3")
        await trio.sleep(SOON_S)
        assert voters(parts) == ["id-1", "id-2"]
        assert serf_status(parts, "s3") is None


async def test_one_dead_server_of_five_is_cleared_away(tmp_path: Path, autojump_clock: Clock) -> None:
    async with leading(tmp_path) as parts:
        await add_voters(parts, 2, 3, 4, 5)
        del parts.pool.handlers["10.0.0.5:8300"]
        parts.gossip.network.set_status("s5", MemberStatus.FAILED)
        await trio.sleep(20.0)
        assert voters(parts) == ["id-1", "id-2", "id-3", "id-4"]
        assert serf_status(parts, "s5") is None


async def test_a_dead_server_goes_as_soon_as_its_replacement_votes(tmp_path: Path, autojump_clock: Clock) -> None:
    async with leading(tmp_path) as parts:
        for number in (2, 3):
            await parts.raft.add_peer(answering(parts, number))
            parts.gossip.network.show(server(f"s{number}"))
        del parts.pool.handlers["10.0.0.3:8300"]
        parts.gossip.network.set_status("s3", MemberStatus.FAILED)
        answering(parts, 4)
        parts.gossip.network.show(server("s4"))
        await trio.sleep(9.0)
        assert voters(parts) == ["id-1", "id-2", "id-3"]
        await trio.sleep(5.0)
        assert voters(parts) == ["id-1", "id-2", "id-4"]


async def test_a_round_asks_each_server_once_and_waits_for_nobody(tmp_path: Path, autojump_clock: Clock) -> None:
    async with leading(tmp_path) as parts:

        async def silent() -> bytes:
            await trio.sleep_forever()
            raise AssertionError

        for number in (2, 3):
            peer = answering(parts, number)
            parts.pool.handlers[peer.address] = lambda *_: silent()
            await parts.raft.add_peer(peer)
        parts.pool.calls.clear()
        await trio.sleep(10 * HEALTH_INTERVAL_S)
        asked = parts.pool.calls.count(("10.0.0.2:8300", "Status.RaftStats"))
        assert 8 <= asked <= 11
        assert not parts.duties.autopilot.health().healthy


async def test_before_its_first_round_a_leader_knows_nothing_of_health(tmp_path: Path, autojump_clock: Clock) -> None:
    async with server_parts(tmp_path) as parts:
        health = await parts.ask("Operator.ServerHealth", ServerHealthRequest())
        assert health.servers is None


async def test_health_is_only_told_by_who_leads(tmp_path: Path, autojump_clock: Clock) -> None:
    async with server_parts(tmp_path, hold_s=1.0) as parts:
        parts.raft.change_leader(None)
        with pytest.raises(NoLeader):
            await parts.ask("Operator.ServerHealth", ServerHealthRequest())
