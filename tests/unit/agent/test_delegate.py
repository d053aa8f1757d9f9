"""How a client agent asks servers: whom, how often, and what identical blocking queries share."""

import random
from typing import Any

import pytest
import trio
import trio.testing

from agent.delegate import RemoteDelegate
from agent.servers import ServerList
from base import codec
from base.errors import NoLeader, NoServers, OutcomeUnknown, RateLimited, Unreachable
from base.limits import TokenBucket
from structs.kv import KVApplyReply, KVApplyRequest, KVCommand, KVGetReply, KVGetRequest, KVVerb
from structs.query import Consistency, QueryMeta, QueryOptions

PUT = KVApplyRequest(command=KVCommand(verb=KVVerb.SET, key="a"))
GET = KVGetRequest(key="a")
MISSING = KVGetReply(entry=None, meta=QueryMeta(index=5))


class FakePool:
    """Answers what it was told to, in order; then the reply that fits the method, once `gate` is open."""

    def __init__(self) -> None:
        self.failures: list[Exception] = []
        self.calls: list[tuple[str, str]] = []
        self.gate = trio.Event()
        self.gate.set()
        self.cancelled_count = 0
        self.held_s = 0.0
        """How long a server takes to fail."""

    async def call(self, address: str, method: str, body: bytes, *, timeout_s: float) -> bytes:
        self.calls.append((address, method))
        await trio.lowlevel.checkpoint()
        if self.failures:
            await trio.sleep(self.held_s)
            raise self.failures.pop(0)
        try:
            await self.gate.wait()
        except trio.Cancelled:
            self.cancelled_count += 1
            raise
        return codec.encode(KVApplyReply(ok=True) if method == "KVS.Apply" else MISSING)

    def stream(self, address: str, method: str, body: bytes) -> Any:
        raise Unreachable("no streams here")


def delegate(pool: FakePool, *addresses: str, rate: TokenBucket | None = None) -> tuple[RemoteDelegate, ServerList]:
    servers = ServerList(random.Random(0))
    servers.update(list(addresses))
    return RemoteDelegate(pool=pool, servers=servers, rng=random.Random(1), hold_s=7.0, rate=rate), servers


async def test_what_needs_the_leader_goes_to_it_directly_while_it_is_known() -> None:
    pool = FakePool()
    remote, servers = delegate(pool, "a:1", "b:1", "c:1")
    servers.set_leader("c:1")
    await remote.call("KVS.Apply", PUT, KVApplyReply)
    await remote.call("KVS.Get", GET, KVGetReply)
    assert [address for address, _ in pool.calls] == ["c:1", "c:1"]


async def test_a_stale_read_goes_to_the_server_of_this_agent() -> None:
    pool = FakePool()
    remote, servers = delegate(pool, "a:1", "b:1", "c:1")
    servers.set_leader("c:1")
    mine = next(address for address in servers.addresses if address != "c:1")
    while servers.addresses[0] != mine:
        servers.failed(servers.addresses[0])
    stale = KVGetRequest(key="a", options=QueryOptions(consistency=Consistency.STALE))
    await remote.call("KVS.Get", stale, KVGetReply)
    assert pool.calls[0][0] == mine


async def test_a_server_that_cannot_be_reached_is_asked_last(autojump_clock: trio.testing.MockClock) -> None:
    pool = FakePool()
    remote, servers = delegate(pool, "a:1", "b:1")
    first = servers.addresses[0]
    pool.failures = [Unreachable("refused")]
    await remote.call("KVS.Apply", PUT, KVApplyReply)
    assert pool.calls[0][0] == first
    assert pool.calls[1][0] != first
    assert servers.addresses[-1] == first


async def test_a_write_with_an_unknown_outcome_is_not_repeated() -> None:
    pool = FakePool()
    remote, _ = delegate(pool, "a:1", "b:1")
    pool.failures = [OutcomeUnknown("broke")]
    with pytest.raises(OutcomeUnknown):
        await remote.call("KVS.Apply", PUT, KVApplyReply)
    assert len(pool.calls) == 1


async def test_a_read_whose_connection_broke_is_repeated(autojump_clock: trio.testing.MockClock) -> None:
    pool = FakePool()
    remote, _ = delegate(pool, "a:1", "b:1")
    pool.failures = [OutcomeUnknown("broke")]
    assert await remote.call("KVS.Get", GET, KVGetReply) == MISSING


async def test_without_servers_the_hold_time_passes_and_then_it_says_so(
    autojump_clock: trio.testing.MockClock,
) -> None:
    remote, _ = delegate(FakePool())
    began_s = trio.current_time()
    with pytest.raises(NoServers, match="No known Consul servers"):
        await remote.call("KVS.Get", GET, KVGetReply)
    assert 7.0 <= trio.current_time() - began_s < 7.5


async def test_what_a_server_has_held_already_is_not_held_again(autojump_clock: trio.testing.MockClock) -> None:
    pool = FakePool()
    remote, _ = delegate(pool, "a:1", "b:1")
    pool.held_s = 7.0
    pool.failures = [NoLeader(), NoLeader()]
    began_s = trio.current_time()
    with pytest.raises(NoLeader):
        await remote.call("KVS.Apply", PUT, KVApplyReply)
    assert trio.current_time() - began_s < 7.5
    assert len(pool.calls) == 1


async def test_a_blocking_query_is_held_whole_after_its_wait(autojump_clock: trio.testing.MockClock) -> None:
    pool = FakePool()
    remote, _ = delegate(pool, "a:1", "b:1")
    pool.held_s = 60.0
    pool.failures = [NoLeader()]
    blocking = KVGetRequest(key="a", options=QueryOptions(index_min=4, wait_s=5.0))
    assert await remote.call("KVS.Get", blocking, KVGetReply) == MISSING


async def test_servers_that_are_all_down_are_no_cluster_leader(autojump_clock: trio.testing.MockClock) -> None:
    pool = FakePool()
    remote, _ = delegate(pool, "a:1")
    pool.failures = [Unreachable("refused")] * 1000
    with pytest.raises(NoLeader, match="No cluster leader"):
        await remote.call("KVS.Apply", PUT, KVApplyReply)


async def test_calls_over_the_rate_are_refused_before_they_are_sent() -> None:
    pool = FakePool()
    bucket = TokenBucket(rate_per_s=0.0, burst=1, now_s=0.0)
    remote, _ = delegate(pool, "a:1", rate=bucket)
    await remote.call("KVS.Get", GET, KVGetReply)
    with pytest.raises(RateLimited, match="RPC rate limit exceeded"):
        remote.call("KVS.Get", GET, KVGetReply)


async def test_identical_blocking_queries_share_one_call() -> None:
    pool = FakePool()
    remote, _ = delegate(pool, "a:1")
    pool.gate = trio.Event()
    request = KVGetRequest(key="a", options=QueryOptions(index_min=4, wait_s=60))
    other = KVGetRequest(key="b", options=QueryOptions(index_min=4, wait_s=60))
    replies: list[KVGetReply] = []

    async def watch(one: KVGetRequest) -> None:
        replies.append(await remote.call("KVS.Get", one, KVGetReply))

    async with trio.open_nursery() as nursery:
        await nursery.start(remote.run)
        for _ in range(20):
            nursery.start_soon(watch, request)
        nursery.start_soon(watch, other)
        await trio.testing.wait_all_tasks_blocked()
        assert len(pool.calls) == 2
        pool.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(replies) == 21
        nursery.cancel_scope.cancel()


async def test_a_shared_call_lives_as_long_as_somebody_waits() -> None:
    pool = FakePool()
    remote, _ = delegate(pool, "a:1")
    pool.gate = trio.Event()
    request = KVGetRequest(key="a", options=QueryOptions(index_min=4, wait_s=60))
    scopes: list[trio.CancelScope] = []

    async def watch() -> None:
        with trio.CancelScope() as scope:
            scopes.append(scope)
            await remote.call("KVS.Get", request, KVGetReply)

    async with trio.open_nursery() as nursery:
        await nursery.start(remote.run)
        nursery.start_soon(watch)
        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        scopes[0].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert pool.cancelled_count == 0
        scopes[1].cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert pool.cancelled_count == 1
        nursery.cancel_scope.cancel()


async def test_a_failed_shared_call_fails_for_everybody(autojump_clock: trio.testing.MockClock) -> None:
    pool = FakePool()
    remote, _ = delegate(pool, "a:1")
    pool.failures = [RateLimited("too many blocking queries")]
    request = KVGetRequest(key="a", options=QueryOptions(index_min=4, wait_s=60))
    failed = 0

    async def watch() -> None:
        nonlocal failed
        with pytest.raises(RateLimited):
            await remote.call("KVS.Get", request, KVGetReply)
        failed += 1

    async with trio.open_nursery() as nursery:
        await nursery.start(remote.run)
        async with trio.open_nursery() as watchers:
            for _ in range(3):
                watchers.start_soon(watch)
        nursery.cancel_scope.cancel()
    assert failed == 3


async def test_who_waits_with_others_when_the_agent_ends_is_told_so() -> None:
    pool = FakePool()
    pool.gate = trio.Event()
    request = KVGetRequest(key="a", options=QueryOptions(index_min=4, wait_s=60))
    told: list[str] = []

    async def watch(remote: RemoteDelegate) -> None:
        try:
            await remote.call("KVS.Get", request, KVGetReply)
        except Unreachable as error:
            told.append(str(error))

    with trio.fail_after(10):
        async with trio.open_nursery() as watchers:
            for _ in range(20):  # which task of one moment runs first is a matter of chance
                remote, _ = delegate(pool, "a:1")
                async with trio.open_nursery() as nursery:
                    await nursery.start(remote.run)
                    watchers.start_soon(watch, remote)
                    await trio.testing.wait_all_tasks_blocked()
                    watchers.start_soon(watch, remote)
                    nursery.cancel_scope.cancel()
                watchers.start_soon(watch, remote)
    assert told == ["agent: shutting down"] * 60
