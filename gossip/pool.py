"""One gossip pool as the rest of the process sees it, with its driver in a trio loop and a thread of its own.

Why a thread: an answer to a probe is due within half a second, and a loop that encodes a large listing or installs a
snapshot may be busy for longer (the measurement is in docs/internals/gossip.md). What is asked here is handed over and
waited for; what is only read (members, coordinate, statistics) was published by the other side, whole and immutable.

Deliveries come in the loop that called `run`, in order, as soon as it has time for them: one batch is under way at a
time, and what happens meanwhile gathers for the next one.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import outcome
import trio

from base.errors import InvalidRequest, NotFound, Refused, Unreachable
from base.limits import Seldom
from base.log import get_logger
from base.tasks import started_in
from gossip import instructions as ins
from gossip.deliveries import Deliveries
from gossip.driver import Deliver, GossipDriver
from gossip.instructions import Address, JoinResult, KeyringResult, Member, QueryResult

STATISTICS_S: Final = 1.0
"""How old published statistics may be."""

PUBLISHING_SHARE: Final = 5
"""At most one part in so many of the time goes into lists of members while these keep changing."""
PUBLISH_PAUSE_S_MAX: Final = 0.2
DROPPED_TOLD_S: Final = 10.0
"""How often the log says that events had to be dropped."""

THREAD_NAME: Final = "gossip"
"""What tools that look at threads show (on Linux)."""

MakeDriver = Callable[[Deliver], GossipDriver]

_log = get_logger("gossip")


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What may be read at any time."""

    members: tuple[Member, ...]
    statistics: dict[str, int]
    coordinate: Any
    coordinates: dict[str, Any]
    """Positions of others by name, as far as probes have brought them."""


class GossipPool:
    """See the module's docstring. What is awaited waits for the pool to begin; it raises Unreachable once it has ended.

    `run` may be called once.
    """

    def __init__(self, make_driver: MakeDriver, *, leave_propagate_s: float, own_thread: bool = True) -> None:
        """`make_driver` is called in the pool's own loop; without `own_thread` that is the caller's, for comparison."""
        self._make_driver = make_driver
        self._leave_propagate_s = leave_propagate_s
        self._own_thread = own_thread
        self._handlers: list[Deliver] = []
        self._main: trio.lowlevel.TrioToken | None = None
        self._own: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        self._begun = trio.Event()
        self._ended = False
        self._driver: GossipDriver | None = None
        self._published = Published(members=(), statistics={}, coordinate=None, coordinates={})
        self._deliveries = Deliveries()
        self._news = trio.Event()
        self._dropping = Seldom(DROPPED_TOLD_S)
        self._dropped_count = 0

    def subscribe(self, handler: Deliver) -> None:
        """Call `handler` with each MembersChanged, UserEventArrived, QueryArrived and Stop from now on."""
        self._handlers.append(handler)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part until cancelled; whatever ends the driver ends this, too."""
        self._main = trio.lowlevel.current_trio_token()
        started = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_thread if self._own_thread else self._run_here, started.set)
                await started.wait()
                self._begun.set()
                task_status.started()
        finally:
            self._ended = True
            self._begun.set()

    async def _run_thread(self, started: Callable[[], None]) -> None:
        limiter = trio.CapacityLimiter(1)
        async with trio.open_nursery() as nursery:

            async def end_when_cancelled() -> None:
                try:
                    await trio.sleep_forever()
                finally:
                    self._ended = True
                    self._in_own_loop(self._cancel)

            nursery.start_soon(end_when_cancelled)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(trio.run, self._run_here, started, limiter=limiter)
            nursery.cancel_scope.cancel()

    # In the pool's own loop

    async def _run_here(self, started: Callable[[], None]) -> None:
        if self._own_thread:
            _name_thread()
        self._own = trio.lowlevel.current_trio_token()
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self._ended:  # cancelled before this loop could be told
                    return
                driver = self._make_driver(self._delivered)
                await nursery.start(driver.run)
                self._driver = driver
                self._publish()
                nursery.start_soon(self._keep_published)
                nursery.start_soon(self._hand_over)
                self._in_main_loop(started)
        finally:
            self._nursery = None

    def _cancel(self) -> None:
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def _delivered(self, instruction: ins.Instruction) -> None:
        self._deliveries.put(instruction)
        self._news.set()

    async def _hand_over(self) -> None:
        """Give the other loop what has gathered, once it has taken what came before."""
        while True:
            await self._news.wait()
            self._news = trio.Event()
            began_s = trio.current_time()
            taken = trio.Event()
            self._flush(taken)
            await taken.wait()
            await trio.sleep(min((trio.current_time() - began_s) * (PUBLISHING_SHARE - 1), PUBLISH_PAUSE_S_MAX))

    def _flush(self, taken: trio.Event | None = None) -> None:
        """Hand over now; members are published before anybody hears of them."""
        if self._deliveries.members_changed:
            self._publish()
        self._dropped_count += self._deliveries.dropped_count
        if self._dropped_count and self._dropping.count(trio.current_time()):
            _log.warn("too many events of gossip at once", dropped=self._dropped_count)
            self._dropped_count = 0
        self._in_main_loop(self._deliver, self._deliveries.take(), taken)

    def _publish(self) -> None:
        if self._driver is not None:
            machine = self._driver.machine
            self._published = Published(
                members=tuple(machine.members()),
                statistics=machine.statistics(),
                coordinate=machine.coordinate(),
                coordinates=machine.coordinates(),
            )

    async def _keep_published(self) -> None:
        while True:
            await trio.sleep(STATISTICS_S)
            self._publish()

    # Between the loops

    def _in_main_loop(self, function: Callable[..., Any], *arguments: Any) -> None:
        if self._main is not None:
            with suppress(trio.RunFinishedError):
                self._main.run_sync_soon(function, *arguments)

    def _in_own_loop(self, function: Callable[..., Any], *arguments: Any) -> None:
        if self._own is not None:
            with suppress(trio.RunFinishedError):
                self._own.run_sync_soon(function, *arguments)

    def _deliver(self, batch: list[ins.Instruction], taken: trio.Event | None) -> None:
        for instruction in batch:
            for handler in self._handlers:
                handler(instruction)
        if taken is not None:
            self._in_own_loop(taken.set)

    async def _ask(self, event: Callable[..., ins.Event], **fields: Any) -> Any:
        """Carry out an operation in the other loop and return its result here."""
        done = trio.Event()
        results: list[outcome.Outcome[Any]] = []

        def finish(result: outcome.Outcome[Any]) -> None:
            results.append(result)
            done.set()

        async def work() -> None:
            assert self._driver is not None
            result: outcome.Outcome[Any] = outcome.Error(Unreachable("gossip has ended"))
            try:
                result = outcome.Value(await self._driver.ask(event, **fields))
            except Exception as error:  # the border between the loops; a Cancelled belongs to this one
                result = outcome.Error(error)
            finally:
                self._flush()  # who joined by this is known before it is over
                self._in_main_loop(finish, result)

        def begin() -> None:
            if not started_in(self._nursery, work):
                self._in_main_loop(finish, outcome.Error(Unreachable("gossip has ended")))

        await self._begun.wait()
        if self._ended or self._own is None:
            raise Unreachable("gossip has ended")
        try:
            self._own.run_sync_soon(begin)
        except trio.RunFinishedError as error:
            raise Unreachable("gossip has ended") from error
        await done.wait()
        return results[0].unwrap()

    def tell(self, event: Callable[..., ins.Event], **fields: Any) -> None:
        """Hand in an event and go on; what comes of it is not reported."""
        self._in_own_loop(partial(self._tell, event, **fields))

    def _tell(self, event: Callable[..., ins.Event], **fields: Any) -> None:
        if self._driver is not None and self._nursery is not None:
            self._driver.tell(event, **fields)

    # What the process reads

    def members(self) -> tuple[Member, ...]:
        """Everybody known, ourselves included, by name."""
        return self._published.members

    def statistics(self) -> dict[str, int]:
        """Counts and clocks by their names in the HTTP API; a second old at most."""
        return self._published.statistics

    def coordinate(self) -> Any:
        """Where we are in the network, as `gossip.coordinate.Coordinate`; a second old at most."""
        return self._published.coordinate

    def coordinates(self) -> dict[str, Any]:
        """Where others are, by name, as far as known."""
        return self._published.coordinates

    # What the process asks for

    async def join(self, addresses: Sequence[Address]) -> JoinResult:
        """Join through each of the addresses; it has worked if one of them was contacted."""
        result: JoinResult = await self._ask(ins.JoinWanted, addresses=list(addresses))
        return result

    async def leave(self) -> None:
        """Leave gracefully: farewells first, then a while in which probes are still answered."""
        await self._ask(ins.LeaveWanted)
        await trio.sleep(self._leave_propagate_s)

    async def force_leave(self, name: str, *, prune: bool = False) -> None:
        """Turn a failed member into one that left; raises NotFound for a name that nobody has."""
        if not await self._ask(ins.ForceLeaveWanted, name=name, prune=prune):
            raise NotFound(f"agent: No node found with name '{name}'")

    async def fire(self, name: str, payload: bytes, *, coalesce: bool = False) -> None:
        """Send a user event; raises InvalidRequest if it is too large."""
        complaint = await self._ask(ins.UserEventWanted, name=name, payload=payload, coalesce=coalesce)
        if complaint:
            raise InvalidRequest(complaint)

    async def query(self, name: str, payload: bytes, **options: Any) -> QueryResult:
        """Ask everybody; `options` are fields of QueryWanted. Raises Refused if it cannot be asked."""
        result = await self._ask(ins.QueryWanted, name=name, payload=payload, **options)
        if isinstance(result, str):
            raise Refused(result)
        assert isinstance(result, QueryResult)
        return result

    async def keyring(self, verb: str, key: bytes = b"", *, relay_factor: int = 0) -> KeyringResult:
        """Install, use, remove or list keys everywhere."""
        result: KeyringResult = await self._ask(ins.KeyringWanted, verb=verb, key=key, relay_factor=relay_factor)
        return result

    def answer(self, query_id: int, payload: bytes | None) -> None:
        """Answer a QueryArrived."""
        self.tell(ins.QueryAnswered, query_id=query_id, payload=payload)

    def set_tags(self, tags: dict[str, str]) -> None:
        """Tell everybody that our tags are these from now on."""
        self.tell(ins.TagsChanged, tags=tags)


def _name_thread() -> None:
    with suppress(OSError):
        Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(THREAD_NAME, encoding="ascii")
