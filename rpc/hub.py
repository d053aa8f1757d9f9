"""The tasks that all connections of a pool or listener share, so that one connection costs one task.

* The flusher sends what gathered in one pass of the scheduler: many callers that run in the same pass cost one send.
* The ticker looks after deadlines, signs of life and stalled writers, instead of a cancel scope for each call.
* Workers run the calls that could not be answered at once. A worker that is done takes the next call: waking one costs
  less than half of what starting a task does. Cancelling a call ends its worker.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import outcome
import trio
import trio.lowlevel

from base.errors import Unreachable
from base.tasks import started_in
from rpc.large import Budget

TICK_S: Final = 0.1
"""Deadlines are seen this late at most: small against any hold or wait time, and rare enough to cost nothing."""

WORKERS_PARKED_MAX: Final = 64
"""Idle workers kept for the next calls (about 3 KiB each)."""


class Member(Protocol):
    """A connection as the hub sees it. None of its methods awaits."""

    tick_at_s: float
    """When `tick` is due (trio's clock)."""

    @property
    def calls_served_count(self) -> int:
        """Calls and streams of the other side that are under way."""

    def flush(self) -> None:
        """Send gathered output now."""

    def tick(self, now_s: float) -> None:
        """Look after deadlines and signs of life."""

    def close(self, reason: str) -> None:
        """End; may be called again."""


class Worker:
    """A task that runs one call after the other."""

    __slots__ = ("job", "scope", "task")

    def __init__(self, job: Callable[[], Awaitable[None]]) -> None:
        self.job: Callable[[], Awaitable[None]] | None = job
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None


class Hub:
    """Owner of the tasks behind connections; `run` is the only place where they live."""

    def __init__(self) -> None:
        self.connections: set[Member] = set()
        self.large = Budget()
        """For the large replies of all connections."""
        self._nursery: trio.Nursery | None = None
        self._dirty: list[Member] = []
        self._flusher: trio.lowlevel.Task | None = None
        self._parked: list[Worker] = []
        self._ticking: trio.Event | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run all tasks until cancelled; then every connection is closed and every call fails."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._flush)
                nursery.start_soon(self._tick)
                task_status.started()
        finally:
            self._nursery = None
            for connection in tuple(self.connections):
                connection.close("is closed: shutting down")

    def spawn(self, function: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Start a task that lives at most as long as `run`; only for the objects that own this hub.

        Raises Unreachable if `run` has ended, or has not begun.
        """
        if not started_in(self._nursery, function, *arguments):
            raise Unreachable("rpc: the pool is not running")

    def add(self, connection: Member) -> None:
        """Look after a connection from now on."""
        self.connections.add(connection)
        if self._ticking is not None:
            self._ticking.set()

    # Flushing ------------------------------------------------------------------------------------------------------

    def mark_dirty(self, connection: Member) -> None:
        """Have the connection's output sent once the tasks that are ready now have run."""
        self._dirty.append(connection)
        if self._flusher is not None:
            trio.lowlevel.reschedule(self._flusher)
            self._flusher = None

    @property
    def quiet(self) -> bool:
        """Whether no connection waits for the flusher."""
        return not self._dirty

    async def _flush(self) -> None:
        def abort(_: Any) -> trio.lowlevel.Abort:
            self._flusher = None
            return trio.lowlevel.Abort.SUCCEEDED

        while True:
            if not self._dirty:
                self._flusher = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(abort)
            dirty, self._dirty = self._dirty, []
            for connection in dirty:
                connection.flush()
            if self._dirty:
                await trio.lowlevel.checkpoint()

    # Ticking -------------------------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            if not self.connections:
                self._ticking = trio.Event()
                await self._ticking.wait()
                self._ticking = None
            await trio.sleep(TICK_S)
            now_s = trio.current_time()
            for connection in [connection for connection in self.connections if connection.tick_at_s <= now_s]:
                connection.tick(now_s)

    # Workers -------------------------------------------------------------------------------------------------------

    def start_job(self, job: Callable[[], Awaitable[None]]) -> Worker:
        """Run `job` in a worker; what it raises ends the hub, so it must answer its own errors."""
        if self._parked:
            worker = self._parked.pop()
            worker.job = job
            assert worker.task is not None
            trio.lowlevel.reschedule(worker.task)
            return worker
        worker = Worker(job)
        self.spawn(self._work, worker)
        return worker

    @staticmethod
    def cancel_job(worker: Worker) -> None:
        """Cancel the job of a worker that was returned by `start_job` and has not ended."""
        worker.scope.cancel()

    async def _work(self, worker: Worker) -> None:
        def abort(_: Any) -> trio.lowlevel.Abort:
            self._parked.remove(worker)
            return trio.lowlevel.Abort.SUCCEEDED

        worker.task = trio.lowlevel.current_task()
        with worker.scope:
            while worker.job is not None:
                await worker.job()
                worker.job = None
                if len(self._parked) < WORKERS_PARKED_MAX and not worker.scope.cancel_called:
                    self._parked.append(worker)
                    await trio.lowlevel.wait_task_rescheduled(abort)


def wake_with(task: trio.lowlevel.Task, value: object) -> None:
    """Resume a task parked in `wait_task_rescheduled` with a value."""
    trio.lowlevel.reschedule(task, outcome.Value(value))


def wake_with_error(task: trio.lowlevel.Task, error: BaseException) -> None:
    """Resume a task parked in `wait_task_rescheduled` with an error."""
    trio.lowlevel.reschedule(task, outcome.Error(error))
