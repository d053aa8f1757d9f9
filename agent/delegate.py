"""Who answers an agent's calls: here, a server that is asked over RPC.

The rule of a client agent, the same as between servers: a call that certainly did not happen for lack of a leader or
of a connection is sent again, to the next server, until `hold` has passed since it first failed; a read also when
the connection broke in the middle; a write whose outcome is unknown, never. A server that finds no leader has held the
call itself: that time counts, so that a caller waits for one hold, not for two.

Identical blocking queries that begin within a short time of one another share one call: thousands of watchers of one
key cost the servers one waiter. Who joins a call that has run for a moment gets its answer that moment early;
so the shared call is asked to wait a little longer than its first caller wanted, by what late-comers may lack.
"""

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

import trio
from msgspec.structs import replace

from agent.remembered import Remembered
from agent.servers import ServerList
from base import codec
from base.codec import Record
from base.errors import MeshError, NoLeader, NoServers, NotReady, OutcomeUnknown, RateLimited, Unreachable
from base.limits import TokenBucket
from base.tasks import started_in
from base.telemetry import counter
from structs.query import Consistency, QueryOptions

Reply = TypeVar("Reply", bound=Record)

WRITES_WITH_QUERY_OPTIONS = frozenset({"Txn.Apply", "Internal.EventFire"})
STREAMS_FOR_LEADER = frozenset({"Snapshot.Save", "Snapshot.Restore"})
HOLD_PARTS = 16
JITTER_FRACTION = 1 / 16
"""What a server may add to a wait; see HTTP conventions, section 5."""
SHARED_WAIT_S_MIN = 10.0
SHARED_JOIN_FRACTION = 1 / 32
"""Blocking queries that wait at least so long are shared with those that come within this part of their wait."""
WAIT_S_DEFAULT = 300.0
CALL_S_READ = 15.0
CALL_S_WRITE = 25.0
"""Above all that a server may wait for itself: its hold time and, for writes, the time a proposal may take."""

_calls = counter("client.rpc")
_exceeded = counter("client.rpc.exceeded")


class Stream(Protocol):
    """One stream of chunks both ways; b"" is the end."""

    async def receive_chunk(self) -> bytes:
        """Return the next chunk, b"" at the end."""
        ...

    async def send_chunk(self, chunk: bytes) -> None:
        """Send one chunk; waits while the other side does not keep up."""
        ...

    async def finish(self) -> None:
        """Say that nothing more will be sent."""
        ...


class Pool(Protocol):
    """What is needed of rpc.pool.RPCPool."""

    async def call(self, address: str, method: str, body: bytes, *, timeout_s: float) -> bytes:
        """Return the reply of one call."""
        ...

    def stream(self, address: str, method: str, body: bytes) -> Any:
        """Open a stream as an async context manager."""
        ...


class _Shared:
    """One blocking call and all who wait for it."""

    __slots__ = ("done", "error", "join_until_s", "reply", "scope", "waiting_count")

    def __init__(self, join_until_s: float) -> None:
        self.join_until_s = join_until_s
        self.waiting_count = 0
        self.done = trio.Event()
        self.reply: Any = None
        self.error: MeshError | None = None
        self.scope = trio.CancelScope()


class RemoteDelegate:
    """Asks servers. `run` must be under way before blocking queries come."""

    def __init__(
        self,
        *,
        pool: Pool,
        servers: ServerList,
        rng: random.Random,
        hold_s: float,
        rate: TokenBucket | None,
        monotonic_s: Callable[[], float] = trio.current_time,
    ) -> None:
        """`rate` None: as many calls as come."""
        self._pool = pool
        self._servers = servers
        self._rng = rng
        self._hold_s = hold_s
        self._rate = rate
        self._now = monotonic_s
        self._shared: dict[bytes, _Shared] = {}
        self._nursery: trio.Nursery | None = None
        self._remembered = Remembered()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the shared calls until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    def call(self, method: str, request: Any, reply: type[Reply]) -> Any:
        """Return a coroutine of the reply; raises NoServers, NoLeader and whatever the server answers."""
        _calls.increment()
        if self._rate is not None and not self._rate.take(self._now()):
            _exceeded.increment()
            raise RateLimited("RPC rate limit exceeded")
        options = getattr(request, "options", None)
        reads = options is None or (type(options) is QueryOptions and method not in WRITES_WITH_QUERY_OPTIONS)
        if reads and options is not None and options.index_min > 0:
            if (options.wait_s or WAIT_S_DEFAULT) >= SHARED_WAIT_S_MIN and self._nursery is not None:
                return self._call_shared(method, request, reply)
            wait_s = (options.wait_s or WAIT_S_DEFAULT) * (1 + JITTER_FRACTION)
            return self._call(method, request, reply, reads=True, timeout_s=CALL_S_READ + wait_s)
        return self._call(method, request, reply, reads=reads, timeout_s=CALL_S_READ if reads else CALL_S_WRITE)

    async def _call(self, method: str, request: Any, reply: type[Reply], *, reads: bool, timeout_s: float) -> Reply:
        options = getattr(request, "options", None)
        leader_wanted = not (reads and (options is None or options.consistency is Consistency.STALE))
        blocking = type(options) is QueryOptions and options.index_min > 0
        body = codec.encode(request)
        held_since_s: float | None = None
        while True:
            address = self._servers.pick(leader_wanted=leader_wanted)
            asked_s = self._now()
            try:
                if address is None:
                    raise NoServers
                data = await self._pool.call(address, method, body, timeout_s=timeout_s)
            except MeshError as error:
                if address is not None:
                    self._servers.failed(address)
                if not _may_repeat(error, reads=reads):
                    raise
                now_s = self._now()
                if held_since_s is None or (reads and now_s - held_since_s > timeout_s):
                    # What a blocking query spent before was its own wait, not a hold.
                    held_since_s = asked_s if isinstance(error, NoLeader) and not blocking else now_s
                left_s = held_since_s + self._hold_s - now_s
                if left_s <= 0:
                    if isinstance(error, Unreachable):
                        raise (NoLeader if self._servers.heard else NoServers) from error
                    raise
                await trio.sleep(min(left_s, self._rng.random() * self._hold_s / HOLD_PARTS))
            else:
                if not reads or blocking:
                    return codec.decode(reply, data)
                return self._remembered.decode(reply, method.encode() + b"\0" + body, data)  # type: ignore[no-any-return]

    async def _call_shared(self, method: str, request: Any, reply: type[Reply]) -> Reply:
        options = request.options
        wait_s = options.wait_s or WAIT_S_DEFAULT
        key = method.encode() + b"\0" + codec.encode(request)
        now_s = self._now()
        shared = self._shared.get(key)
        if shared is None or now_s > shared.join_until_s:
            shared = _Shared(now_s + wait_s * SHARED_JOIN_FRACTION)
            longer = replace(request, options=replace(options, wait_s=wait_s * (1 + SHARED_JOIN_FRACTION)))
            if not started_in(self._nursery, self._run_shared, key, shared, method, longer, reply):
                raise Unreachable("agent: shutting down")
            self._shared[key] = shared
        shared.waiting_count += 1
        try:
            await shared.done.wait()
        finally:
            shared.waiting_count -= 1
            if shared.waiting_count == 0 and not shared.done.is_set():
                shared.scope.cancel()
                self._forget(key, shared)
        if shared.error is not None:
            raise type(shared.error)(str(shared.error))
        return shared.reply  # type: ignore[no-any-return]

    async def _run_shared(self, key: bytes, shared: _Shared, method: str, request: Any, reply: type[Reply]) -> None:
        shared.error = Unreachable("agent: shutting down")  # unless something else comes of it
        try:
            with shared.scope:
                timeout_s = CALL_S_READ + request.options.wait_s * (1 + JITTER_FRACTION)
                try:
                    shared.reply = await self._call(method, request, reply, reads=True, timeout_s=timeout_s)
                    shared.error = None
                except MeshError as error:
                    shared.error = error
        finally:
            self._forget(key, shared)
            shared.done.set()

    def _forget(self, key: bytes, shared: _Shared) -> None:
        if self._shared.get(key) is shared:
            del self._shared[key]

    @asynccontextmanager
    async def stream(self, method: str, request: Any) -> AsyncGenerator[Stream, None]:
        """Open a stream to a server; it is not repeated when it breaks. Raises NoServers, Unreachable."""
        body = codec.encode(request)
        options = getattr(request, "options", None)
        stale = type(options) is QueryOptions and options.consistency is Consistency.STALE
        address = self._servers.pick(leader_wanted=method in STREAMS_FOR_LEADER and not stale)
        if address is None:
            raise NoServers
        async with self._pool.stream(address, method, body) as stream:
            yield stream


def _may_repeat(error: MeshError, *, reads: bool) -> bool:
    """Whether a call that failed so may be sent again on its caller's behalf."""
    if isinstance(error, NoLeader | Unreachable | NoServers):
        return True
    return reads and isinstance(error, NotReady | OutcomeUnknown)
