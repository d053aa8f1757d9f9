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
from server.blocking import BlockingQueries, Evaluated
from server.consensus import Consensus
from server.endpoints.registry import Keeping, Method, Query
from server.replies import Replies, epoch_of, head_of, with_meta
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
        self._threads = trio.CapacityLimiter(THREADS_MAX)
        self._long_reads = trio.Semaphore(THREADS_MAX)
        watches = machine.watches
        self.blocking = BlockingQueries(
            register=watches.register,
            unregister=watches.unregister,
            evaluate=self._evaluate,
            evaluate_apart=self._evaluate_apart,
            unchanged=self._unchanged,
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
        if consistency is Consistency.DEFAULT:
            if not self._raft.lease_valid():
                return None
        elif consistency is not Consistency.STALE:
            return None
        return self._run(method, request, consistency)

    async def answer(self, method: Method, request: Any, *, deadline_s: float) -> Any:
        """Return the reply, blocking as the request asks but not beyond `deadline_s` (trio's clock).

        Raises NoLeader where this server does not lead (any more), NotReady, RateLimited.
        """
        options = request.options
        consistency = options.consistency
        while True:
            if not self._prove_nowait(consistency):
                await self._prove(consistency)
            if not options.index_min:
                reply = self._run(method, request, consistency)
                return (await self._evaluate_apart(method, request, consistency))[0] if reply is None else reply
            found = self._evaluate(method, request, consistency)
            if found is None and trio.current_time() < deadline_s:
                unchanged = self._unchanged(method, request)
                if unchanged is not None:
                    waited = await self.blocking.wait(method, request, *unchanged, deadline_s=deadline_s)
                    if waited is not None:
                        return waited
                    continue
            reply, watch_set, raft_index = found or await self._evaluate_apart(method, request, consistency)
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

    def _evaluate(self, method: Method, request: Any, consistency: Consistency) -> Evaluated | None:
        """Return the reply, what it read and the view's raft index; None if that takes too long to do it here."""
        watch_set = WatchSet()
        with self._machine.read() as view:
            query = self._query(view, watch_set, consistency)
            if method.keeping is not None:
                kept = self._kept(method, method.keeping, query, request, watch_set)
                return kept and (*kept, view.raft_index)
            if _is_long(method, view, request):
                return None
            return method.handler(query, request), watch_set, view.raft_index

    def _run(self, method: Method, request: Any, consistency: Consistency) -> Any:
        """Return the reply; None as `_evaluate`."""
        with self._machine.read() as view:
            if method.keeping is not None:
                watch_set = WatchSet()
                query = self._query(view, watch_set, consistency)
                kept = self._kept(method, method.keeping, query, request, watch_set)
                return kept and kept[0]
            if _is_long(method, view, request):
                return None
            return method.handler(self._query(view, None, consistency), request)

    async def _evaluate_apart(self, method: Method, request: Any, consistency: Consistency) -> Evaluated:
        """Do the same in a thread; whoever had to wait for one finds what was made meanwhile.

        The raft index is one at which the reply was still what would be made, if possible the present one.
        """
        async with self._long_reads:
            found = self._evaluate(method, request, consistency)
            if found is not None:
                return found
            watch_set = WatchSet()
            # The view is opened here, after it was proven that it may be; the thread only reads in it.
            with self._machine.read() as view:
                query = self._query(view, watch_set, consistency)
                reply, head = await trio.to_thread.run_sync(_made, method, query, request, limiter=self._threads)
                raft_index, epoch = view.raft_index, epoch_of(view)
                keeping = method.keeping
                if keeping is not None and (index := keeping.index_of(view, request)):
                    key = self.replies.key_of(method, request)
                    if key:
                        self.replies.keep(view, key, index, reply, keeping, watch_set, head)
                    with self._machine.read() as now:
                        if epoch_of(now) == epoch and keeping.index_of(now, request) == index:
                            raft_index = now.raft_index
            return reply, watch_set, raft_index

    def _unchanged(self, method: Method, request: Any) -> tuple[WatchSet, int] | None:
        """Return what a blocking query has to watch and the raft index, if that can be told without its answer."""
        keeping = method.keeping
        if keeping is None or keeping.watch is None:
            return None
        with self._machine.read() as view:
            if not 0 < keeping.index_of(view, request) <= request.options.index_min:
                return None
            watch_set = WatchSet()
            keeping.watch(watch_set, request)
            return watch_set, view.raft_index

    def _kept(
        self, method: Method, keeping: Keeping, query: Query, request: Any, watch_set: WatchSet
    ) -> tuple[Any, WatchSet] | None:
        """Return a reply and what it read: the last one to the same request, if it is still what would be made."""
        view = query.view
        index = keeping.index_of(view, request)
        key = self.replies.key_of(method, request) if index else b""
        if not key:
            return None if _is_long(method, view, request) else (method.handler(query, request), watch_set)
        entry = self.replies.find(view, key, index)
        if entry is not None:
            return with_meta(entry.reply, query.meta(index)), entry.watch_set
        if _is_long(method, view, request):
            return None
        reply = method.handler(query, request)
        assert reply.meta.index == index, method.name
        self.replies.keep(view, key, index, reply, keeping, watch_set, head_of(reply))
        return reply, watch_set

    def _query(self, view: ReadView, watch_set: WatchSet | None, consistency: Consistency) -> Query:
        raft = self._raft
        if consistency is not Consistency.STALE or raft.is_leader():
            return Query(view, watch_set, True, 0, consistency)
        contact_ms = max(0, int(raft.last_contact_s() * 1000.0))  # below 0: never heard one
        return Query(view, watch_set, raft.leader() is not None, contact_ms, consistency)


def _made(method: Method, query: Query, request: Any) -> tuple[Any, bytes]:
    """Return a reply, and what is kept of its bytes if it is kept."""
    reply = method.handler(query, request)
    return reply, head_of(reply) if method.keeping is not None else b""


def _is_long(method: Method, view: ReadView, request: Any) -> bool:
    """Whether a read goes through so many rows that nobody else should wait for it."""
    return method.rows_of is not None and method.rows_of(view, request) > ROWS_INLINE_MAX
