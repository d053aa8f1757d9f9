"""Every RPC method over real sockets, asked at a follower, so that what only a leader can answer is forwarded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from base.codec import Record, decode, encode
from base.errors import InvalidRequest, MeshError, OutcomeUnknown, Refused
from jepsen.cluster import Cluster, Node
from jepsen.digests import rpc_pool, wait_equal_digests
from rpc.pool import RPCPool
from structs.autopilot import ServerHealthReply, ServerHealthRequest
from structs.cluster import (
    AddPeerRequest,
    BootstrapHello,
    Empty,
    LeaderReply,
    Peer,
    PeersReply,
    RaftConfigurationReply,
    RaftConfigurationRequest,
    RaftStatsReply,
    RemovePeerRequest,
    TransferLeaderReply,
    TransferLeaderRequest,
)
from structs.kv import (
    KVApplyReply,
    KVApplyRequest,
    KVCommand,
    KVGetReply,
    KVGetRequest,
    KVKeysReply,
    KVKeysRequest,
    KVListReply,
    KVListRequest,
    KVVerb,
)
from structs.query import Consistency, QueryOptions
from structs.snapshot import FetchSnapshotRequest, SnapshotRestoreRequest, SnapshotSaveRequest
from structs.txn import TxnOp, TxnReply, TxnRequest

CALL_TIMEOUT_S = 20.0
CONVERGE_S = 20.0
Reply = TypeVar("Reply", bound=Record)


class Caller:
    """Calls one server as an agent would."""

    def __init__(self, pool: RPCPool, server: Node) -> None:
        self._pool = pool
        self._server = server

    async def call(self, method: str, request: Record, reply: type[Reply]) -> Reply:
        body = await self._pool.call(self._server.rpc_address, method, encode(request), timeout_s=CALL_TIMEOUT_S)
        return decode(reply, body)

    async def receive_all(self, method: str, request: Record) -> bytes:
        """Everything a stream answers with."""
        found = bytearray()
        async with self._pool.stream(self._server.rpc_address, method, encode(request)) as stream:
            await stream.finish()
            while chunk := await stream.receive_chunk():
                found += chunk
        return bytes(found)


@asynccontextmanager
async def follower_of(folder: Path) -> AsyncIterator[tuple[Cluster, Caller]]:
    async with Cluster(folder, servers=3, agents=0) as cluster, rpc_pool() as pool:
        leader = await cluster.wait_ready()
        yield cluster, Caller(pool, next(server for server in cluster.servers if server is not leader))


async def test_keys_and_transactions_are_written_and_read_through_a_follower(tmp_path: Path) -> None:
    async with follower_of(tmp_path) as (_cluster, caller):
        command = KVCommand(verb=KVVerb.SET, key="a/b", value=b"1")
        assert (await caller.call("KVS.Apply", KVApplyRequest(command=command), KVApplyReply)).ok
        got = await caller.call("KVS.Get", KVGetRequest(key="a/b"), KVGetReply)
        assert got.entry is not None
        assert got.entry.value == b"1"
        assert got.meta.known_leader
        consistent = QueryOptions(consistency=Consistency.CONSISTENT)
        listed = await caller.call("KVS.List", KVListRequest(prefix="a/", options=consistent), KVListReply)
        assert [entry.key for entry in listed.entries] == ["a/b"]
        keys = await caller.call("KVS.ListKeys", KVKeysRequest(prefix="", separator="/"), KVKeysReply)
        assert keys.keys == ["a/"]
        operations = [TxnOp(verb=KVVerb.SET, key="c", value=b"2"), TxnOp(verb=KVVerb.GET, key="a/b")]
        applied = await caller.call("Txn.Apply", TxnRequest(operations=operations), TxnReply)
        assert not applied.outcome.errors
        read = await caller.call("Txn.Read", TxnRequest(operations=[TxnOp(verb=KVVerb.GET, key="c")]), TxnReply)
        assert [result.entry.value for result in read.outcome.results if result.entry] == [b"2"]


async def test_status_hellos_and_health_are_answered_by_whoever_is_asked(tmp_path: Path) -> None:
    async with follower_of(tmp_path) as (cluster, caller):
        assert await caller.call("Status.Ping", Empty(), Empty) == Empty()
        leader = await cluster.leader()
        assert (await caller.call("Status.Leader", Empty(), LeaderReply)).address == leader.rpc_address
        peers = await caller.call("Status.Peers", Empty(), PeersReply)
        assert sorted(peers.addresses) == sorted(server.rpc_address for server in cluster.servers)
        stats = await caller.call("Status.RaftStats", Empty(), RaftStatsReply)
        assert not stats.leader
        assert stats.applied_index <= stats.commit_index <= stats.last_index
        assert stats.leader_id
        visitor = Peer(server_id="0" * 36, name="visitor", address="127.0.0.1:1")
        answer = await caller.call("Cluster.Hello", BootstrapHello(peer=visitor, datacenter="dc1"), BootstrapHello)
        assert answer.bootstrapped
        assert answer.peer.server_id == stats.server_id
        assert len(answer.configuration) == 3
        health = await caller.call("Operator.ServerHealth", ServerHealthRequest(), ServerHealthReply)
        assert health.servers is None or len(health.servers) == 3


async def test_the_operator_moves_leadership_and_removes_and_adds_a_server(tmp_path: Path) -> None:
    async with follower_of(tmp_path) as (cluster, caller):
        before = await caller.call("Operator.RaftGetConfiguration", RaftConfigurationRequest(), RaftConfigurationReply)
        assert len(before.servers) == 3
        moved = await caller.call("Operator.RaftTransferLeader", TransferLeaderRequest(), TransferLeaderReply)
        assert moved.server_id in {row.peer.server_id for row in before.servers if not row.leader}
        leader = await cluster.wait_ready()
        gone = next(row.peer for row in before.servers if row.peer.server_id != moved.server_id)
        stopped = cluster.server_at(gone.address)
        assert stopped is not None
        assert stopped is not leader
        stopped.kill()
        async with rpc_pool() as pool:
            asked = Caller(pool, leader)
            await asked.call("Operator.RaftRemovePeer", RemovePeerRequest(server_id=gone.server_id), Empty)
            after = await asked.call(
                "Operator.RaftGetConfiguration", RaftConfigurationRequest(), RaftConfigurationReply
            )
            assert gone.server_id not in {row.peer.server_id for row in after.servers}
            with pytest.raises(MeshError):
                await asked.call("Operator.RaftRemovePeer", RemovePeerRequest(server_id=gone.server_id), Empty)
            await asked.call("Operator.RaftAddPeer", AddPeerRequest(peer=gone), Empty)
        stopped.start()
        await cluster.wait_ready()
        await wait_equal_digests(cluster.servers, timeout_s=CONVERGE_S)


async def test_whether_a_server_that_stands_still_will_take_over_is_not_known(tmp_path: Path) -> None:
    async with follower_of(tmp_path) as (cluster, _caller), rpc_pool() as pool:
        leader = await cluster.leader()
        followers = [server for server in cluster.servers if server is not leader]
        asked = Caller(pool, leader)
        before = await asked.call("Operator.RaftGetConfiguration", RaftConfigurationRequest(), RaftConfigurationReply)
        target = next(row.peer for row in before.servers if not row.leader)
        for follower in followers:
            follower.pause()
        with pytest.raises(OutcomeUnknown, match="did not take over in time"):
            await asked.call(
                "Operator.RaftTransferLeader", TransferLeaderRequest(server_id=target.server_id), TransferLeaderReply
            )
        for follower in followers:
            follower.resume()


async def test_an_address_of_another_server_cannot_be_added(tmp_path: Path) -> None:
    async with follower_of(tmp_path) as (cluster, caller):
        thief = Peer(server_id="12345678-1234-4234-8234-123456789abc", name="x", address=cluster.servers[0].rpc_address)
        with pytest.raises((Refused, InvalidRequest)):
            await caller.call("Operator.RaftAddPeer", AddPeerRequest(peer=thief), Empty)


async def test_snapshots_are_saved_and_restored_as_streams(tmp_path: Path) -> None:
    async with follower_of(tmp_path) as (cluster, caller):
        command = KVCommand(verb=KVVerb.SET, key="kept", value=b"1")
        await caller.call("KVS.Apply", KVApplyRequest(command=command), KVApplyReply)
        leader = await cluster.wait_ready()
        archive = (await leader.request("GET", "/v1/snapshot")).body
        through_follower = await caller.receive_all("Snapshot.Save", SnapshotSaveRequest())
        assert len(through_follower) >= len(archive) // 2
        command = KVCommand(verb=KVVerb.DELETE, key="kept")
        await caller.call("KVS.Apply", KVApplyRequest(command=command), KVApplyReply)
        assert (await leader.request("PUT", "/v1/snapshot", archive)).status == 200
        got = await caller.call("KVS.Get", KVGetRequest(key="kept"), KVGetReply)
        assert got.entry is not None
        await wait_equal_digests(cluster.servers, timeout_s=CONVERGE_S)


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("Snapshot.Restore", SnapshotRestoreRequest()),
        ("Raft.FetchSnapshot", FetchSnapshotRequest(index=1, term=1)),
    ],
)
async def test_a_stream_that_makes_no_sense_is_refused_and_harms_nobody(
    tmp_path: Path, method: str, request_: Record
) -> None:
    async with follower_of(tmp_path) as (cluster, caller):
        with trio.fail_after(CALL_TIMEOUT_S), pytest.raises(MeshError):
            await caller.receive_all(method, request_)
        assert (await cluster.servers[0].request("PUT", "/v1/kv/a", b"x")).status == 200
