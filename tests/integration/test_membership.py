"""Servers come and go as gossip tells, with everything but gossip real."""

from pathlib import Path

import pytest
import trio

from fsm.store import checks, nodes
from rpc.tls import TLSContexts
from server.leader.reconciling import WRITES_MAX
from structs.cluster import MemberStatus, RaftConfigurationReply, RaftConfigurationRequest
from tests.fakes.certificates_of_test import client_files, server_files, tls_config
from tests.fakes.members import client
from tests.integration.server_group import RunningServer, server_group, wait_until

AGENTS_JOIN_S_MAX = 2.0
"""For a hundred agents at once on a busy machine; one is there within a round of the log."""


def serf_status(server: RunningServer, name: str) -> str | None:
    """What this server has in its catalog; None where the node is not known."""
    with server.server.machine.read() as view:
        if nodes.get(view, name) is None:
            return None
        check = checks.get(view, name, "serfHealth")
        return check.status if check is not None else ""


def mutual(*, agent: bool = False) -> TLSContexts:
    files = client_files() if agent else server_files()
    return TLSContexts(tls_config(files, verify_incoming=True, verify_outgoing=True))


async def test_three_servers_that_gossip_shows_to_each_other_become_a_cluster(tmp_path: Path) -> None:
    async with server_group(tmp_path, 3) as group:
        await group.wait_voters("s1", "s2", "s3")
        for server in group.servers:
            await group.put(server, f"k/{server.name}")
            await wait_until(
                lambda server=server: [serf_status(server, name) for name in ("s1", "s2", "s3")] == ["passing"] * 3,  # type: ignore[misc]
                "not everybody is registered",
            )


async def test_one_server_grows_to_three_and_each_stands_by_first(tmp_path: Path) -> None:
    async with server_group(tmp_path, 1) as group:
        await group.wait_voters("s1")
        await group.put(group.servers[0], "k")
        await group.add(2)
        one = group.servers[0].server
        await wait_until(lambda: bool(one.duties.autopilot.standing_by()), "it does not stand by")
        reply = await one.dispatcher.call("Operator.RaftGetConfiguration", RaftConfigurationRequest())
        assert isinstance(reply, RaftConfigurationReply)
        assert [(row.peer.name, row.voter) for row in reply.servers] == [("s1", True), ("s2", False)]
        await group.wait_voters("s1", "s2")
        await group.add(3)
        await group.wait_voters("s1", "s2", "s3")
        await group.put(group.servers[2], "k")


async def test_a_leader_that_leaves_hands_over_is_taken_out_and_comes_back(tmp_path: Path) -> None:
    async with server_group(tmp_path, 3) as group:
        await group.wait_voters("s1", "s2", "s3")
        leader = await group.wait_leader()
        others = [server for server in group.servers if server is not leader]
        await group.put(others[0], "before")
        await leader.server.leave()
        await leader.stop()
        await group.wait_voters(*(server.name for server in others))
        await wait_until(lambda: serf_status(others[0], leader.name) is None, "it is still in the catalog")
        await group.put(others[1], "without")
        await group.start(leader)
        await group.wait_voters("s1", "s2", "s3")
        await wait_until(lambda: serf_status(leader, leader.name) == "passing", "it is not back in the catalog")
        await group.put(leader, "after")


async def test_a_follower_that_leaves_is_taken_out(tmp_path: Path) -> None:
    async with server_group(tmp_path, 3) as group:
        await group.wait_voters("s1", "s2", "s3")
        leader = await group.wait_leader()
        follower = next(server for server in group.servers if server is not leader)
        await follower.server.leave()
        assert follower.name not in group.voters(), "leaving ends when it is out"
        await follower.stop()
        await group.put(leader, "without")


async def test_a_dead_server_is_critical_and_once_it_is_forced_out_it_is_gone(tmp_path: Path) -> None:
    async with server_group(tmp_path, 3) as group:
        await group.wait_voters("s1", "s2", "s3")
        leader = await group.wait_leader()
        await group.put(leader, "k")
        dead = next(server for server in group.servers if server is not leader)
        await dead.kill()
        await wait_until(lambda: serf_status(leader, dead.name) == "critical", "its check is not critical")
        assert group.voters() == ["s1", "s2", "s3"]
        leader.server.gossip.force_leave(dead.name)
        await group.wait_voters(*(server.name for server in group.servers if server is not dead))
        await wait_until(lambda: serf_status(leader, dead.name) is None, "it is still in the catalog")


async def test_a_server_that_moved_is_found_at_its_new_address(tmp_path: Path) -> None:
    async with server_group(tmp_path, 3) as group:
        await group.wait_voters("s1", "s2", "s3")
        leader = await group.wait_leader()
        mover = next(server for server in group.servers if server is not leader)
        await mover.stop()
        moved = RunningServer(mover.number, group, expect=3)
        group.servers[group.servers.index(mover)] = moved
        await group.start(moved)
        await wait_until(
            lambda: any(peer.address.endswith(f":{moved.port}") for peer in leader.server.raft.configuration()),
            "it still has its old address",
        )
        await group.put(moved, "k")


async def test_a_server_that_lost_its_disk_takes_its_old_place_under_a_new_id(tmp_path: Path) -> None:
    async with server_group(tmp_path, 3) as group:
        await group.wait_voters("s1", "s2", "s3")
        leader = await group.wait_leader()
        await group.put(leader, "k")
        loser = next(server for server in group.servers if server is not leader)
        await loser.stop()
        loser.folder = tmp_path / "new-disk"
        old_id, loser.node_id = loser.node_id, f"9000000{loser.number}-0000-4000-8000-000000000000"
        await group.start(loser)

        def ids() -> set[str]:
            return {peer.server_id for peer in leader.server.raft.configuration()}

        await wait_until(lambda: loser.node_id in ids() and old_id not in ids(), "it has not taken its place")
        assert len(ids()) == 3
        await group.put(loser, "k2")


async def test_a_replacement_votes_and_then_the_dead_one_goes(tmp_path: Path) -> None:
    async with server_group(tmp_path, 3) as group:
        await group.wait_voters("s1", "s2", "s3")
        leader = await group.wait_leader()
        dead = next(server for server in group.servers if server is not leader)
        await dead.kill()
        await group.add(4)
        alive = [server.name for server in group.servers if server is not dead]
        await group.wait_voters(*alive)
        await group.put(leader, "k")


async def test_a_server_removed_while_it_runs_is_back_after_the_stabilization_time(tmp_path: Path) -> None:
    async with server_group(tmp_path, 3) as group:
        await group.wait_voters("s1", "s2", "s3")
        leader = await group.wait_leader()
        follower = next(server for server in group.servers if server is not leader)
        await leader.server.raft.remove_peer(follower.node_id)
        assert follower.name not in group.voters()
        await group.wait_voters("s1", "s2", "s3")


async def test_a_server_without_a_servers_certificate_is_a_node_and_never_a_voter(tmp_path: Path) -> None:
    async with server_group(tmp_path, 1, tls=mutual()) as group:
        await group.wait_voters("s1")
        leader = await group.wait_leader()
        impostor = await group.add(2, tls=mutual(agent=True))
        honest = await group.add(3)
        await group.wait_voters("s1", "s3")
        await wait_until(lambda: serf_status(honest, impostor.name) == "passing", "it is not there as a node")
        health = leader.server.duties.autopilot.health()
        assert health.servers is not None
        assert impostor.name not in [row.name for row in health.servers]
        assert health.healthy
        assert "s2" not in group.voters()
        assert impostor.node_id not in leader.server.duties.autopilot.proven()


async def test_calls_to_a_server_that_failed_do_not_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server_group(tmp_path, 1) as group:
        await group.wait_voters("s1")
        one = group.servers[0]
        other = await group.add(2)
        await group.wait_voters("s1", "s2")
        doubted: list[str] = []
        hurried: list[str] = []
        monkeypatch.setattr(one.server._pool, "doubt", doubted.append)
        monkeypatch.setattr(one.server._pool, "hurry", lambda address, _within_s: hurried.append(address))
        group.network.set_status("s2", MemberStatus.FAILED)
        assert doubted == [f"127.0.0.1:{other.port}"]
        group.network.set_status("s2", MemberStatus.LEFT)
        assert hurried == [f"127.0.0.1:{other.port}"]


async def test_a_hundred_agents_that_join_at_once_are_usable_within_a_moment(tmp_path: Path) -> None:
    async with server_group(tmp_path, 3) as group:
        await group.wait_voters("s1", "s2", "s3")
        leader = await group.wait_leader()
        await wait_until(lambda: serf_status(leader, "s3") == "passing", "not everybody is registered")
        names = [f"agent{number}" for number in range(1000, 1100)]
        begun_s = trio.current_time()
        for name in names:
            group.network.show(client(name, address="127.0.0.1"))
        await wait_until(lambda: all(serf_status(leader, name) == "passing" for name in names), "some are missing")
        took_s = trio.current_time() - begun_s
        reconciliation = leader.server.duties.reconciliation
        print(f"100 agents registered in {took_s * 1000:.0f} ms, {reconciliation.in_flight_max} writes at a time")
        assert reconciliation.in_flight_max <= WRITES_MAX
        assert reconciliation.passes_total <= 4
        assert took_s < AGENTS_JOIN_S_MAX
