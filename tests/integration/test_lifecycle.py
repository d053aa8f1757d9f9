"""Servers and agents that start, leave, come back, move and are told to stop: processes, signals, exit codes."""

import signal
from pathlib import Path
from typing import Any

import pytest
import trio

from jepsen.cluster import Cluster, Node

LEAVES = ("-hcl", "leave_on_terminate = true")
LONG_STAND_BY = ("-hcl", 'autopilot { server_stabilization_time = "1h" }')
PATIENCE_S = 20.0


async def configuration_of(node: Node) -> dict[str, str]:
    """Who votes, as the leader has it: name -> address. Who only stands by is listed beside them."""
    reply = await node.request("GET", "/v1/operator/raft/configuration")
    rows = reply.json()["Servers"] if reply.status == 200 else []
    return {row["Node"]: row["Address"] for row in rows if row["Voter"]}


async def wait_configuration(node: Node, wanted: dict[str, str]) -> None:
    seen: dict[str, str] = {}
    with trio.move_on_after(PATIENCE_S):
        while seen != wanted:
            seen = await configuration_of(node)
            await trio.sleep(0.05)
    assert seen == wanted


async def statuses_of(node: Node) -> dict[str, Any]:
    reply = await node.request("GET", "/v1/agent/members")
    return {row["Name"]: row["Status"] for row in reply.json()}


async def test_a_leader_that_leaves_hands_over_and_is_taken_out_and_comes_back(tmp_path: Path) -> None:
    async with Cluster(tmp_path, options=("-log-level", "info", *LEAVES)) as cluster:
        everybody = {server.name: server.rpc_address for server in cluster.servers}
        leader = await cluster.leader()
        other = next(server for server in cluster.servers if server is not leader)
        assert (await other.request("PUT", "/v1/kv/before", b"1")).status == 200
        assert await leader.stop() == 0
        rest = {name: address for name, address in everybody.items() if name != leader.name}
        await wait_configuration(other, rest)
        assert (await other.request("PUT", "/v1/kv/without", b"1")).status == 200
        leader.start()
        await wait_configuration(other, everybody)
        await cluster.wait_ready()
        assert (await leader.request("GET", "/v1/kv/without")).status == 200


@pytest.mark.parametrize("leaves", [True, False])
async def test_a_server_that_moved_is_found_at_its_new_address(tmp_path: Path, leaves: bool) -> None:
    """One that left may come back from anywhere; the name of one that died stays at its gossip address for a while."""
    async with Cluster(tmp_path, agents=0) as cluster:
        leader = await cluster.leader()
        mover = next(server for server in cluster.servers if server is not leader)
        options = [*mover.options]
        if leaves:
            assert (await mover.request("PUT", "/v1/agent/leave")).status == 200
            assert await mover.wait_exit() == 0
        else:
            mover.kill()
            options += ["-serf-lan-port", str(mover.gossip_port)]
        moved = Node(program="mesh-server", name=mover.name, folder=mover.folder, options=options)
        try:
            moved.start()
            await wait_configuration(
                leader,
                {server.name: (moved if server is mover else server).rpc_address for server in cluster.servers},
            )
        finally:
            moved.close()


async def test_an_agent_that_is_interrupted_leaves_and_the_servers_know(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=1) as cluster:
        server, agent = cluster.servers[0], cluster.agents[0]
        with trio.fail_after(PATIENCE_S):
            while (await statuses_of(server)).get(agent.name) != 1:  # until the agent's first hello
                await trio.sleep(0.02)
        assert await agent.stop(signal.SIGINT) == 0
        assert (await statuses_of(server))[agent.name] in (2, 3)


async def test_who_is_told_over_the_api_to_leave_answers_first_and_then_ends(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        leader = await cluster.leader()
        follower = next(server for server in cluster.servers if server is not leader)
        agent = cluster.agents[0]
        for node in (agent, follower):
            reply = await node.request("PUT", "/v1/agent/leave")
            assert (reply.status, reply.body) == (200, b"")
            assert await node.wait_exit() == 0
        left = {server.name: server.rpc_address for server in cluster.servers if server is not follower}
        await wait_configuration(leader, left)
        assert (await statuses_of(leader))[agent.name] in (2, 3)


@pytest.mark.parametrize("asked", ["leader", "follower", "agent"])
async def test_a_leader_that_is_to_be_removed_hands_over_first(tmp_path: Path, asked: str) -> None:
    async with Cluster(tmp_path, options=LONG_STAND_BY) as cluster:
        everybody = {server.name: server.rpc_address for server in cluster.servers}
        leader = await cluster.leader()
        other = next(server for server in cluster.servers if server is not leader)
        node = {"leader": leader, "follower": other, "agent": cluster.agents[0]}[asked]
        reply = await node.request("DELETE", f"/v1/operator/raft/peer?address={leader.rpc_address}")
        assert (reply.status, reply.body) == (200, b"")
        del everybody[leader.name]
        await wait_configuration(other, everybody)
        assert (await other.request("PUT", "/v1/kv/after", b"1")).status == 200


async def test_a_server_that_is_removed_while_it_runs_stands_by_and_votes_again(tmp_path: Path) -> None:
    """Who is alive in gossip is wanted: it has to be stopped, or to leave, to stay away."""
    async with Cluster(tmp_path, agents=0) as cluster:
        everybody = {server.name: server.rpc_address for server in cluster.servers}
        leader = await cluster.leader()
        other = next(server for server in cluster.servers if server is not leader)
        reply = await leader.request("DELETE", f"/v1/operator/raft/peer?address={other.rpc_address}")
        assert (reply.status, reply.body) == (200, b"")
        await leader.wait_log(f"server stands by server={other.name}")
        await leader.wait_log(f"server added server={other.name}")
        await wait_configuration(leader, everybody)


async def test_the_only_server_cannot_be_removed(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=1, agents=0) as cluster:
        server = cluster.servers[0]
        reply = await server.request("DELETE", f"/v1/operator/raft/peer?address={server.rpc_address}")
        assert reply.status == 500
        assert (await server.request("PUT", "/v1/kv/after", b"1")).status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_server_that_is_told_to_stop_does_not_leave(tmp_path: Path, number: signal.Signals) -> None:
    async with Cluster(tmp_path, servers=1, agents=0) as cluster:
        server = cluster.servers[0]
        assert (await server.request("PUT", "/v1/kv/kept", b"1")).status == 200
        assert await server.stop(number) == 1, "as specified: it did not leave"
        server.start()
        await cluster.wait_ready()
        assert (await server.request("GET", "/v1/kv/kept?consistent")).status == 200


async def test_hup_reads_the_configuration_again(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=1, agents=0) as cluster:
        server = cluster.servers[0]
        server.send_signal(signal.SIGHUP)
        await server.wait_log("configuration reloaded")
        assert (await server.request("PUT", "/v1/kv/after", b"1")).status == 200


async def test_development_mode_needs_nothing_and_keeps_nothing(tmp_path: Path) -> None:
    server = Node(program="mesh-server", name="dev", folder=tmp_path / "dev", options=["-dev"])
    command = server.command()
    position = command.index("-data-dir")
    del command[position : position + 2]
    server.command = lambda: command  # type: ignore[method-assign]
    try:
        server.start()
        await server.wait_answering()
        with trio.fail_after(PATIENCE_S):
            while (await server.request("PUT", "/v1/kv/a", b"1")).status != 200:
                await trio.sleep(0.05)
        await server.stop()
        assert not server.data_dir.exists()
    finally:
        server.close()


async def test_nobody_else_may_read_what_a_server_keeps(tmp_path: Path) -> None:
    eager = ("-hcl", 'raft_snapshot_threshold = 8 raft_snapshot_interval = "100ms"')
    async with Cluster(tmp_path, servers=1, options=eager) as cluster:
        server = cluster.servers[0]
        snapshots = server.data_dir / "raft" / "snapshots"
        with trio.fail_after(PATIENCE_S):
            while not list(snapshots.glob("*-*/state.mdb")):
                assert (await server.request("PUT", "/v1/kv/a", b"1")).status == 200
                assert (await server.request("PUT", "/v1/kv/a", b"2")).status == 200
        open_to_others = [path for path in server.data_dir.rglob("*") if path.stat().st_mode & 0o077]
        assert open_to_others == []
