"""A client agent asks servers of both kinds by the same calls."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from agent.delegate import RemoteDelegate
from agent.servers import ServerList
from agent.wires import Wires
from base.codec import encode
from base.errors import NoLeader, OutcomeUnknown, Refused
from base.network import RealNetwork
from rpc.foreign_pool import ForeignPool
from structs.cluster import Empty, LeaderReply, Member, PeersReply
from structs.kv import KVApplyReply, KVApplyRequest, KVCommand, KVEntry, KVGetReply, KVGetRequest, KVVerb
from structs.query import Consistency, QueryOptions
from tests.fakes.foreign_wire import Answer, ForeignServerDouble

TIMEOUT_S = 20.0


class OwnPoolDouble:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.doubted: list[str] = []

    async def call(self, address: str, method: str, body: bytes, *, timeout_s: float) -> bytes:
        self.calls.append((address, method))
        return encode(Empty())

    @asynccontextmanager
    async def stream(self, address: str, method: str, body: bytes) -> AsyncGenerator[str, None]:
        yield address

    def doubt(self, address: str) -> None:
        self.doubted.append(address)


def server(address: str, build: str) -> Member:
    host, _, port = address.rpartition(":")
    return Member(name="s", address=host, port=1, tags={"role": "consul", "port": port, "build": build})


@asynccontextmanager
async def delegate_of(double: ForeignServerDouble) -> AsyncGenerator[tuple[RemoteDelegate, OwnPoolDouble], None]:
    own = OwnPoolDouble()
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            pool = ForeignPool(RealNetwork())
            await nursery.start(pool.run)
            wires = Wires(ours=own, foreign=pool, datacenter="dc1")
            wires.learn([server(double.address, "1.2.1:39f93f01")])
            servers = ServerList(random.Random(1))
            servers.update([double.address])
            delegate = RemoteDelegate(pool=wires, servers=servers, rng=random.Random(1), hold_s=0.3, rate=None)
            await nursery.start(delegate.run)
            yield delegate, own
            nursery.cancel_scope.cancel()


def consul(method: str, argument: Any) -> Answer | None:
    """A few answers as a real server gives them."""
    assert method.startswith("Status.") or argument["Datacenter"] == "dc1"
    meta = {"Index": 7, "KnownLeader": True, "LastContact": 0, "ConsistencyLevel": ""}
    if method == "KVS.Get" and argument["Key"] == "a":
        entry = {
            "Key": "a",
            "Value": b"v",
            "Flags": 0,
            "LockIndex": 0,
            "Session": "",
            "CreateIndex": 5,
            "ModifyIndex": 7,
        }
        return "", {"Entries": [entry], **meta}
    answers: dict[str, Answer] = {
        "KVS.Get": ("", {"Entries": None, **meta}),
        "KVS.Apply": ("", False),
        "Status.Leader": ("", "10.0.0.1:8300"),
        "Status.Peers": ("", ["10.0.0.1:8300"]),
    }
    return answers[method]


async def test_keys_are_written_and_read_at_a_foreign_server() -> None:
    with ForeignServerDouble(consul) as double:
        async with delegate_of(double) as (delegate, own):
            write = KVApplyRequest(command=KVCommand(verb=KVVerb.SET, key="a", value=b"v"))
            assert (await delegate.call("KVS.Apply", write, KVApplyReply)).ok, "false there means nothing for a set"
            options = QueryOptions(consistency=Consistency.STALE)
            got = await delegate.call("KVS.Get", KVGetRequest(key="a", options=options), KVGetReply)
            assert got.entry == KVEntry(key="a", value=b"v", create_index=5, modify_index=7)
            assert (got.meta.index, got.meta.consistency) == (7, Consistency.STALE)
            assert (await delegate.call("KVS.Get", KVGetRequest(key="b"), KVGetReply)).entry is None
            leader = await delegate.call("Status.Leader", Empty(), LeaderReply)
            assert leader.address == "10.0.0.1:8300"
            assert (await delegate.call("Status.Peers", Empty(), PeersReply)).addresses == ["10.0.0.1:8300"]
            assert own.calls == []
        assert double.asked[1][1]["AllowStale"] is True


async def test_a_call_without_a_leader_is_tried_again_until_the_hold_is_over() -> None:
    with ForeignServerDouble(lambda method, argument: ("No cluster leader", {})) as double:
        async with delegate_of(double) as (delegate, _):
            with pytest.raises(NoLeader):
                await delegate.call("KVS.Get", KVGetRequest(key="a"), KVGetReply)
        assert len(double.asked) > 1


async def test_what_foreign_servers_do_not_have_is_refused_without_asking() -> None:
    with ForeignServerDouble(consul) as double:
        async with delegate_of(double) as (delegate, _):
            with pytest.raises(Refused, match="can't find method Cluster"):
                await delegate.call("Cluster.Hello", Empty(), Empty)
        assert double.asked == []


async def test_an_answer_of_another_shape_leaves_a_writes_outcome_unknown() -> None:
    with ForeignServerDouble(lambda method, argument: ("", "yes")) as double:
        async with delegate_of(double) as (delegate, _):
            write = KVApplyRequest(command=KVCommand(verb=KVVerb.SET, key="a", value=b"v"))
            with pytest.raises(OutcomeUnknown, match="something else"):
                await delegate.call("KVS.Apply", write, KVApplyReply)


async def test_our_own_servers_are_asked_on_our_wire() -> None:
    own = OwnPoolDouble()
    wires = Wires(ours=own, foreign=ForeignPool(RealNetwork()), datacenter="dc1")
    members = [server("127.0.0.1:1", "1.9.0:mesh-0.1.0"), server("127.0.0.1:2", "1.2.1:39f93f01")]
    wires.learn(members)
    assert [wires.is_foreign(member.rpc_address) for member in members] == [False, True]
    await wires.call("127.0.0.1:1", "Status.Ping", encode(Empty()), timeout_s=1.0)
    await wires.call("127.0.0.1:3", "Status.Ping", encode(Empty()), timeout_s=1.0)
    assert [address for address, _ in own.calls] == ["127.0.0.1:1", "127.0.0.1:3"], "who is unknown counts as ours"
    async with wires.stream("127.0.0.1:1", "Snapshot.Save", b"") as stream:
        assert stream == "127.0.0.1:1"
    with pytest.raises(Refused):
        wires.stream("127.0.0.1:2", "Snapshot.Save", b"")
    for member in members:
        wires.doubt(member.rpc_address)
    assert own.doubted == ["127.0.0.1:1"]
