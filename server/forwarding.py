"""Am I the leader, who is, and may this call be sent again.

The rule for every READ, LEADER and WRITE call:

1. A stale read is answered here.
2. Here leads: answer. Another is known to lead: send it there, one hop at most; a call that has been forwarded
   once and meets a server that does not lead fails with NoLeader, so that its origin looks again.
3. Nobody is known to lead, or the attempt failed in a way that may be repeated: wait for a change of leadership, but
   at most a random part of `hold / 16`, and try again, until `hold` has passed since the first failure. Then the
   client gets `No cluster leader`.

4. Another has begun to lead while the call was under way: the old leader, if it lives, has a moment to answer. One that
   is frozen or cut off would keep the caller waiting until its connection is given up, so the call is: a read is
   asked anew, the outcome of a write is unknown.

What may be repeated: anything that is *definite* about not having happened for lack of a leader or of a
connection; for reads also a connection that broke in the middle. A write whose outcome is unknown is
reported, never repeated.

Source: servers specification, section 7.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio
from msgspec.structs import replace

from base import codec
from base.errors import MeshError, NoLeader, NotReady, OutcomeUnknown, Unreachable
from base.telemetry import TELEMETRY
from server.consensus import Consensus
from server.endpoints.registry import Kind, Method
from server.reads import JITTER_FRACTION, WAIT_S_DEFAULT, WAIT_S_MAX, Reads
from structs.cluster import Peer
from structs.query import Consistency

FORWARDED_MARK = ">"
"""First character of the method name of a call that a server passes on: it is not passed on again."""
HOLD_PARTS = 16
CALL_SLACK_S = 3.0
"""What a forwarded call may take on top of everything the other side may wait for."""
OLD_LEADER_GRACE_S = 0.5
"""A leader that hands over still answers what it has committed, or that it leads no more, within a round or two."""


class Pool(Protocol):
    """What forwarding needs of rpc.pool.RPCPool."""

    async def call(self, address: str, method: str, body: bytes, *, timeout_s: float) -> bytes:
        """Return the reply of one call; raises Unreachable where it never left, OutcomeUnknown where it may have."""
        ...

    def stream(self, address: str, method: str, body: bytes) -> Any:
        """Open a stream as an async context manager."""
        ...

    def hurry(self, address: str, within_s: float) -> None:
        """End the calls under way there within `within_s`, and the connection soon if it gives no sign of life."""
        ...

    def doubt(self, address: str) -> None:
        """Close the connection there soon if it gives no sign of life."""
        ...

    def proves_server(self, address: str) -> bool:
        """Whether who answers there has proved to be a server, or nobody has to."""
        ...


class Hold:
    """How long one call is still tried again: from its first failure on, `hold_s` seconds."""

    __slots__ = ("_failed_last_s", "_failed_s", "_hold_s", "_rng")

    def __init__(self, hold_s: float, rng: random.Random) -> None:
        self._hold_s = hold_s
        self._rng = rng
        self._failed_s: float | None = None
        self._failed_last_s = 0.0

    def pause_s(self, now_s: float) -> float | None:
        """Take a failure at `now_s`; return how long to wait before the next attempt, None to give up."""
        if self._failed_s is None or now_s - self._failed_last_s > self._hold_s:
            self._failed_s = now_s  # a blocking query that had waited quietly since its last failure starts afresh
        self._failed_last_s = now_s
        left_s = self._failed_s + self._hold_s - now_s
        if left_s <= 0:
            return None
        return min(left_s, self._rng.random() * self._hold_s / HOLD_PARTS)


def may_repeat(error: MeshError, kind: Kind) -> bool:
    """Whether a call of `kind` that failed with `error` may be sent again on the caller's behalf."""
    if isinstance(error, NoLeader | Unreachable):
        return True
    return kind in (Kind.READ, Kind.LEADER) and isinstance(error, NotReady | OutcomeUnknown)


class Forwarding:
    """Runs a call here or on the leader. Every wait ends with the caller's cancellation; `run_watch` needs an owner."""

    def __init__(
        self, *, raft: Consensus, reads: Reads, pool: Pool, rng: random.Random, hold_s: float, write_timeout_s: float
    ) -> None:
        self._raft = raft
        self._reads = reads
        self._pool = pool
        self._rng = rng
        self._hold_s = hold_s
        self._write_timeout_s = write_timeout_s
        self.leaving = False
        """Set when this server begins to leave or stop: calls that need a leader are refused at once."""
        self._asked: set[str] = set()
        """Addresses of leaders that may still have calls under way."""

    async def run(
        self,
        method: Method,
        request: Any,
        body: bytes | None,
        *,
        here: Callable[[Method, Any], Awaitable[Any]],
        forwarded: bool,
    ) -> Any:
        """Return the reply: a record where it was made here, `bytes` where the leader sent it.

        `here` runs LEADER and WRITE methods on this server. `body` is the encoded request if there is one already.
        Raises NoLeader after the hold, and whatever the call itself raises.
        """
        reads = method.kind is Kind.READ
        options = request.options
        stale = method.kind is not Kind.WRITE and options.consistency is Consistency.STALE
        blocking = reads and options.index_min > 0
        deadline_s = self._reads.deadline_s(options.wait_s) if blocking else 0.0
        hold = Hold(self._hold_s, self._rng)
        while True:
            try:
                if stale or self._raft.is_leader():
                    if reads:
                        return await self._reads.answer(method, request, deadline_s=deadline_s)
                    begun_s = TELEMETRY.now_s()
                    reply = await here(method, request)
                    method.took_ms.since(begun_s)
                    return reply
                leader = self._leader_elsewhere(forwarded)
                if blocking:
                    request, body = _with_wait(request, deadline_s - trio.current_time()), None
                return await self._send(method, request, body, leader)
            except MeshError as error:
                if not may_repeat(error, method.kind):
                    raise
                await self._pause(hold, forwarded, error)

    def _leader_elsewhere(self, forwarded: bool) -> Peer:
        leader = None if forwarded or self.leaving else self._raft.leader()
        if leader is None:
            raise NoLeader
        return leader

    async def _send(self, method: Method, request: Any, body: bytes | None, leader: Peer) -> bytes:
        timeout_s = call_timeout_s(method, request, hold_s=self._hold_s, write_timeout_s=self._write_timeout_s)
        if body is None:
            body = codec.encode(request)
        self._asked.add(leader.address)
        return await self._pool.call(leader.address, FORWARDED_MARK + method.name, body, timeout_s=timeout_s)

    async def run_watch(self) -> None:
        """Give up calls to a server that leads no more, soon after another does. Runs until cancelled."""
        while True:
            await self._raft.wait_leadership_change()
            leader = self._raft.leader()
            if leader is None:
                continue  # the one that was asked may win again, and nobody else could answer yet
            for address in self._asked - {leader.address}:
                self._asked.discard(address)
                self._pool.hurry(address, OLD_LEADER_GRACE_S)

    async def _pause(self, hold: Hold, forwarded: bool, error: MeshError) -> None:
        pause_s = None if forwarded or self.leaving else hold.pause_s(trio.current_time())
        if pause_s is None:
            if isinstance(error, Unreachable):
                raise NoLeader from error
            raise error
        with trio.move_on_after(pause_s):
            await self._raft.wait_leadership_change()


def call_timeout_s(method: Method, request: Any, *, hold_s: float, write_timeout_s: float) -> float:
    """How long the sender of a call waits for its reply: more than anything the other side may wait for itself."""
    timeout_s = hold_s + CALL_SLACK_S
    if method.kind is Kind.WRITE:
        return timeout_s + write_timeout_s
    if method.kind is Kind.READ and request.options.index_min:
        wait_s = request.options.wait_s
        wait_s = min(wait_s, WAIT_S_MAX) if wait_s > 0 else WAIT_S_DEFAULT
        return timeout_s + wait_s * (1 + JITTER_FRACTION)
    return timeout_s


def _with_wait(request: Any, left_s: float) -> Any:
    """The request as it stands after part of its wait is over; too little left: it blocks no more."""
    options = request.options
    if left_s <= 0:
        return replace(request, options=replace(options, index_min=0, wait_s=0.0))
    return replace(request, options=replace(options, wait_s=left_s / (1 + JITTER_FRACTION)))
