"""Blocking queries: many waiters on one query share one watch, one re-run and one reply.

The contract for callers:

1. Evaluate the query with a watch set, and compare its index with the one asked about.
2. Without any await since that evaluation, enter `wait`. The watch is registered there; if the state machine has
   moved on since the evaluation (`raft_index` says so), the wait ends at once and the caller evaluates again.
3. `Waited.reply` is an answer that is newer than what the waiter knows, ready to be sent. None means: evaluate
   again, after proving again whatever the consistency mode asks for. That happens when the deadline passes, when
   the state was replaced by a restore, and when this server may not answer any more.
4. Cancelling a waiter frees it at once; the last waiter of a group takes the watch with it.

A fired watch costs nothing inside the commit that fires it beyond an append to a list: the re-runs happen in the
task `run`. A re-run that brings no higher index parks the group again without waking anybody.

Source: HTTP conventions, section 5.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import trio
from msgspec.structs import replace

from base import codec
from base.codec import Record
from base.errors import MeshError, RateLimited
from fsm.watch import WatchSet
from server.endpoints.registry import Method
from structs.query import Consistency

Evaluated = tuple[Any, WatchSet, int]
"""A reply, what it read, and a raft index at which it was what would be answered."""
RERUNS_PER_PASS = 64
"""Groups that are run again before other tasks get a turn."""


class BlockingStatistics(Record, frozen=True, kw_only=True):
    """How the waiters of one server are."""

    waiting_count: int
    groups_count: int
    woken_total: int
    woken_without_change_total: int
    refused_total: int


class Group:
    """All waiters on one query at one index. Registered with the state machine as one waiter."""

    __slots__ = (
        "_owner", "consistency", "done", "fired", "handle", "index_min", "key", "method", "reply",
        "request", "waiting_count",
    )  # fmt: skip

    def __init__(self, owner: "BlockingQueries", key: bytes, method: Method, request: Any) -> None:
        self._owner = owner
        self.key = key
        self.method = method
        self.request = request
        self.index_min: int = request.options.index_min
        self.consistency: Consistency = request.options.consistency
        self.waiting_count = 0
        self.done = trio.Event()
        self.reply: Any = None
        self.fired = False
        self.handle: Any = None

    def fire(self) -> None:
        """Called by the watch registry once, inside a commit: something that was read has changed."""
        if not self.fired:
            self.fired = True
            self._owner.take_fired(self)


class BlockingQueries:
    """Every parked query of this server."""

    def __init__(
        self,
        *,
        register: Callable[[WatchSet, Group], Any],
        unregister: Callable[[Any], None],
        evaluate: Callable[[Method, Any, Consistency], Evaluated | None],
        evaluate_apart: Callable[[Method, Any, Consistency], Awaitable[Evaluated]],
        unchanged: Callable[[Method, Any], tuple[WatchSet, int] | None],
        prove: Callable[[Consistency], Awaitable[None]],
        prove_nowait: Callable[[Consistency], bool],
        raft_index_visible: Callable[[], int],
        waiting_max: int,
    ) -> None:
        """`evaluate` returns None where only `evaluate_apart` may do it; `prove` raises a MeshError. `unchanged` says
        what to watch, at which raft index, where it is known without evaluating that there is no newer answer."""
        self._register = register
        self._unregister = unregister
        self._evaluate = evaluate
        self._evaluate_apart = evaluate_apart
        self._unchanged = unchanged
        self._apart: list[Group] = []
        """Fired groups whose answers take long, of one pass."""
        self._prove = prove
        self._prove_nowait = prove_nowait
        self._raft_index_visible = raft_index_visible
        self._waiting_max = waiting_max
        self._groups: dict[bytes, Group] = {}
        self._fired: list[Group] = []
        self._kick = trio.Event()
        self._waiting_count = 0
        self._woken_total = 0
        self._unchanged_total = 0
        self._refused_total = 0

    async def wait(
        self, method: Method, request: Any, watch_set: WatchSet, raft_index: int, *, deadline_s: float
    ) -> Any:
        """Park until the query has a newer answer or `deadline_s` (trio's clock); rules 2 to 4 of this module.

        Raises RateLimited where this server already holds as many waiters as it may.
        """
        if self._waiting_count >= self._waiting_max:
            self._refused_total += 1
            raise RateLimited(f"too many blocking queries ({self._waiting_count}) on this server")
        options = request.options
        key = _group_key(method, request)
        group = self._groups.get(key)
        if group is None:
            group = Group(self, key, method, request)
            group.handle = self._register(watch_set, group)
            if self._raft_index_visible() != raft_index:
                self._unregister(group.handle)
                return None
            self._groups[key] = group
        group.waiting_count += 1
        self._waiting_count += 1
        try:
            with trio.move_on_at(deadline_s):
                await group.done.wait()
        finally:
            self._waiting_count -= 1
            group.waiting_count -= 1
            if group.waiting_count == 0 and not group.done.is_set():
                self._close(group)
        assert options.index_min == group.index_min
        return group.reply

    def take_fired(self, group: Group) -> None:
        """A group's watch has fired; it will be run again soon."""
        self._fired.append(group)
        self._kick.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run fired groups again until cancelled."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                await self._kick.wait()
                self._kick = trio.Event()
                fired, self._fired = self._fired, []
                consistent = []
                for position, group in enumerate(fired):
                    if self._groups.get(group.key) is not group:
                        continue
                    if group.consistency is Consistency.CONSISTENT:
                        consistent.append(group)
                    elif self._prove_nowait(group.consistency):
                        self._run_again(group)
                    else:
                        self._finish(group, None)
                    if position % RERUNS_PER_PASS == RERUNS_PER_PASS - 1:
                        await trio.lowlevel.checkpoint()
                if consistent:
                    nursery.start_soon(self._run_consistent, consistent, nursery)
                self._start_apart(nursery)

    def statistics(self) -> BlockingStatistics:
        """How many wait, and how many were woken for nothing."""
        return BlockingStatistics(
            waiting_count=self._waiting_count,
            groups_count=len(self._groups),
            woken_total=self._woken_total,
            woken_without_change_total=self._unchanged_total,
            refused_total=self._refused_total,
        )

    async def _run_consistent(self, groups: list[Group], nursery: trio.Nursery) -> None:
        try:
            await self._prove(Consistency.CONSISTENT)
        except MeshError:
            # Each waiter meets the reason itself when it tries again, where it may be held or forwarded.
            for group in groups:
                self._finish(group, None)
            return
        for group in groups:
            if self._groups.get(group.key) is group:
                self._run_again(group)
        self._start_apart(nursery)

    def _start_apart(self, nursery: trio.Nursery) -> None:
        groups, self._apart = self._apart, []
        for group in groups:
            nursery.start_soon(self._run_again_apart, group)

    def _run_again(self, group: Group) -> None:
        try:
            found = self._evaluate(group.method, group.request, group.consistency)
        except MeshError:
            self._finish(group, None)
            return
        if found is None:
            unchanged = self._unchanged(group.method, group.request)
            if unchanged is None or not group.handle.active:
                self._apart.append(group)
            else:
                self._park(group, unchanged[0])
            return
        reply, watch_set, _ = found
        abandoned = not group.handle.active
        if abandoned or reply.meta.index > group.index_min:
            self._finish(group, reply)
            return
        self._park(group, watch_set)

    async def _run_again_apart(self, group: Group) -> None:
        """Run again what takes long. A group that may not be evaluated any more, or not in time, evaluates itself."""
        try:
            reply, watch_set, raft_index = await self._evaluate_apart(group.method, group.request, group.consistency)
        except MeshError:
            reply = None
        if self._groups.get(group.key) is not group:
            return
        if reply is None or not group.handle.active or reply.meta.index > group.index_min:
            self._finish(group, reply)
        elif raft_index == self._raft_index_visible():
            self._park(group, watch_set)
        else:
            self._finish(group, None)

    def _park(self, group: Group, watch_set: WatchSet) -> None:
        self._unchanged_total += 1
        self._unregister(group.handle)
        group.fired = False
        # Commits happen on this same thread, and nothing is awaited between evaluating and registering.
        group.handle = self._register(watch_set, group)

    def _finish(self, group: Group, reply: Any) -> None:
        self._woken_total += group.waiting_count
        group.reply = reply
        group.done.set()
        self._close(group)

    def _close(self, group: Group) -> None:
        if self._groups.get(group.key) is group:
            del self._groups[group.key]
            self._unregister(group.handle)


def _group_key(method: Method, request: Any) -> bytes:
    """Everything that decides the answer: all of the request but how long its sender is ready to wait."""
    waitless = replace(request, options=replace(request.options, wait_s=0.0))
    return method.name.encode() + b"\0" + codec.encode(waitless)
