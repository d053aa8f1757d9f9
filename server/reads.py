"""Reads on this server: what each consistency mode must prove first, then the query, then perhaps a wait.

- `default` answers under the leader's lease. Without a valid lease it asks for one round, as `consistent` does, so
  a leader that cannot renew its lease refuses rather than answers stale.
- `consistent` proves leadership by a round that begins after the read arrived; waiting readers share rounds.
- `stale` proves nothing and says how old the answer may be (`last_contact_ms`).

A read that need not wait is answered without a single await: that is the fast path of the whole system.

Source: HTTP conventions, sections 4 and 5.
"""

import random
from typing import Any

import trio

from base.errors import NoLeader
from base.telemetry import TELEMETRY, samples
from fsm.machine import Machine
from fsm.store.store import ReadView
from fsm.watch import WatchSet
from server.blocking import BlockingQueries
from server.consensus import Consensus
from server.endpoints.registry import Keeping, Method, Query
from server.replies import Replies, with_meta
from structs.query import Consistency

WAIT_S_DEFAULT = 300.0
WAIT_S_MAX = 600.0
ROWS_INLINE_MAX = 4000
"""A read of more rows than this takes over twenty milliseconds, so a thread does it."""
THREADS_MAX = 2
"""Long reads at a time; they share the interpreter with everything else."""
JITTER_FRACTION = 1 / 16
"""Spreads the waiters that were started together, so that they do not come back together."""

_consistent_ms = samples("rpc.consistentRead")


class Reads:
    """Answers READ methods from the local state machine, or raises NoLeader where another server must."""

    def __init__(
        self, *, raft: Consensus, machine: Machine, rng: random.Random, hold_s: float, waiting_max: int
    ) -> None:
        self._raft = raft
        self._machine = machine
        self._rng = rng
        self._hold_s = hold_s
        self.replies = Replies()
        self._turns = trio.Semaphore(THREADS_MAX)
        self._threads = trio.CapacityLimiter(THREADS_MAX)
        watches = machine.watches
        self.blocking = BlockingQueries(
            register=watches.register,
            unregister=watches.unregister,
            evaluate=self._evaluate,
            prove=self._prove,
            prove_nowait=self._prove_nowait,
            raft_index_visible=lambda: machine.raft_index_visible,
            waiting_max=waiting_max,
        )

    def answer_nowait(self, method: Method, request: Any) -> Any:
        """Return the reply if nothing has to be awaited for it, else None."""
        options = request.options
        if options.index_min:
            return None
        consistency = options.consistency
        if method.rows_in and self._is_long(method):
            return None
        if consistency is Consistency.DEFAULT:
            if not self._raft.lease_valid():
                return None
            if method.keeping is None:
                with self._machine.read() as view:
                    return method.handler(Query(view, None, True, 0, consistency), request)
            return self._run(method, request, consistency)
        if consistency is Consistency.STALE:
            return self._run(method, request, consistency)
        return None

    async def answer(self, method: Method, request: Any, *, deadline_s: float) -> Any:
        """Return the reply, blocking as the request asks but not beyond `deadline_s` (trio's clock).

        Raises NoLeader where this server does not lead (any more), NotReady, RateLimited.
        """
        options = request.options
        while True:
            if not self._prove_nowait(options.consistency):
                await self._prove(options.consistency)
            if not options.index_min and method.rows_in and self._is_long(method):
                return await self._run_apart(method, request, options.consistency)
            if not options.index_min:
                return self._run(method, request, options.consistency)
            reply, watch_set, raft_index = self._evaluate(method, request, options.consistency)
            if reply.meta.index > options.index_min or trio.current_time() >= deadline_s:
                return reply
            waited = await self.blocking.wait(method, request, watch_set, raft_index, deadline_s=deadline_s)
            if waited is not None:
                return waited

    def deadline_s(self, wait_s: float) -> float:
        """When a query that asked to wait `wait_s` (0: the default) is answered whatever happened."""
        wait_s = min(wait_s, WAIT_S_MAX) if wait_s > 0 else WAIT_S_DEFAULT
        return trio.current_time() + wait_s * (1 + self._rng.random() * JITTER_FRACTION)

    def _prove_nowait(self, consistency: Consistency) -> bool:
        if consistency is Consistency.STALE:
            return True
        return consistency is Consistency.DEFAULT and self._raft.lease_valid()

    async def _prove(self, consistency: Consistency) -> None:
        if consistency is Consistency.STALE:
            return
        if not self._raft.is_leader():
            raise NoLeader
        begun_s = TELEMETRY.now_s()
        await self._raft.confirm_leadership(timeout_s=self._hold_s)
        _consistent_ms.since(begun_s)

    def _evaluate(self, method: Method, request: Any, consistency: Consistency) -> tuple[Any, WatchSet, int]:
        watch_set = WatchSet()
        with self._machine.read() as view:
            query = self._query(view, watch_set, consistency)
            if method.keeping is not None:
                reply, watch_set = self._kept(method, method.keeping, query, request, watch_set)
            else:
                reply = method.handler(query, request)
            return reply, watch_set, view.raft_index

    def _run(self, method: Method, request: Any, consistency: Consistency) -> Any:
        with self._machine.read() as view:
            if method.keeping is not None:
                watch_set = WatchSet()
                query = self._query(view, watch_set, consistency)
                return self._kept(method, method.keeping, query, request, watch_set)[0]
            return method.handler(self._query(view, None, consistency), request)

    def _is_long(self, method: Method) -> bool:
        """Whether a read goes through so many rows that nobody else should wait for it."""
        with self._machine.read() as view:
            return sum(view.rows_count(table) for table in method.rows_in) > ROWS_INLINE_MAX

    async def _run_apart(self, method: Method, request: Any, consistency: Consistency) -> Any:
        # A view is opened when a thread is free, not before: there are only so many, and commits need them too.
        # What was proven before the wait still holds: it was proven after the read arrived, and the view is newer.
        async with self._turns:
            with self._machine.read() as view:
                query = self._query(view, None, consistency)
                return await trio.to_thread.run_sync(method.handler, query, request, limiter=self._threads)

    def _kept(
        self, method: Method, keeping: Keeping, query: Query, request: Any, watch_set: WatchSet
    ) -> tuple[Any, WatchSet]:
        """Return a reply and what it read: the last one to the same request, if it is still what would be made."""
        index = keeping.index_of(query.view, request)
        if not index:
            return method.handler(query, request), watch_set
        key = self.replies.key_of(method, request)
        entry = self.replies.find(query.view, key, index)
        if entry is not None:
            return with_meta(entry.reply, query.meta(index)), entry.watch_set
        reply = method.handler(query, request)
        assert reply.meta.index == index, method.name
        self.replies.keep(key, index, reply, keeping.part, watch_set)
        return reply, watch_set

    def _query(self, view: ReadView, watch_set: WatchSet | None, consistency: Consistency) -> Query:
        raft = self._raft
        if consistency is not Consistency.STALE or raft.is_leader():
            return Query(view, watch_set, True, 0, consistency)
        contact_ms = max(0, int(raft.last_contact_s() * 1000.0))  # below 0: never heard one
        return Query(view, watch_set, raft.leader() is not None, contact_ms, consistency)
