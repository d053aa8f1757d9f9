"""Cache: carries out what `agent/cache/entry.py` decides, for many entries, within bounds on their number and size.

An entry belongs to one method, one request and one token, so nobody is given what another may see. Where no room can be
made, because callers wait on every entry, calls go past the cache. Source: agent specification, section 8.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import msgspec
import trio
from msgspec.structs import replace

from agent.cache.entry import ANYTHING, Answer, Control, Entry, Fetch, Forget, Instruction, Outcome, RetryAt
from agent.cache.kinds import Kind
from base import codec
from base.codec import Record
from base.errors import (
    Internal,
    InvalidRequest,
    InvariantBroken,
    MeshError,
    NotFound,
    NotReady,
    PermissionDenied,
    Unreachable,
)
from base.log import get_logger, trace_of
from base.tasks import started_in
from structs.query import Consistency, QueryOptions

T = TypeVar("T")
SWEEP_S = 5.0
"""Pause between two looks for entries that nobody uses."""
WAIT_S_DEFAULT = 600.0
"""The longest that a caller waits who does not say."""
DERIVED_MAX = 8
"""Things made of one value that are kept; HTTP and DNS make one each."""
OUT_OF_TIME_TEXT = "agent cache: no answer in time"
ENDED_TEXT = "agent: shutting down"
_REFUSALS = (PermissionDenied, NotFound, InvalidRequest)
"""With these the servers say no, rather than nothing."""

_log = get_logger("cache")


class Delegate(Protocol):
    """Whoever is asked for what is not there; see `agent.http.registry.Delegate`."""

    def call(self, method: str, request: Any, reply: type[Any]) -> Any:
        """Return the reply or an awaitable of it; raises MeshErrors."""


class CacheLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one cache (CVE-2020-13250 was one without)."""

    entries_max: int = 4096
    """Each keeps a blocking query under way: some 10 KiB here, less at the servers."""
    bytes_max: int = 64 * 1024 * 1024
    """Of all values together, as they travel; in memory they take about four times as much."""


class Cached(msgspec.Struct, frozen=True):
    """An answer of the cache. `is_hit`: given without waiting. `age_s` as in the header `Age`."""

    value: Any
    is_hit: bool
    age_s: float
    slot: "Slot | None"
    """Where it is kept; None where the call went past the cache."""


class _Waiting:
    """One caller that waits."""

    __slots__ = ("age_s", "done", "outcome")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.outcome = Outcome.FAILED
        self.age_s = 0.0


class Slot:
    """An entry, what it is asked for with, and what was made of its value."""

    __slots__ = ("_derived", "_scopes", "bytes_count", "entry", "key", "kind", "request")

    def __init__(self, key: bytes, kind: Kind, request: Any, *, at_s: float) -> None:
        self.key = key
        self.kind = kind
        self.request = request
        self.entry = Entry(kind.policy, at_s=at_s)
        self.bytes_count = 0
        self._derived: dict[Any, tuple[Any, Any]] = {}
        self._scopes: set[trio.CancelScope] = set()

    @contextmanager
    def scope_of_task(self) -> Generator[None, None, None]:
        """Run a task of this entry: it ends when the entry is dropped."""
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            if self.entry.forgotten:
                scope.cancel()
            try:
                yield
            finally:
                self._scopes.discard(scope)

    def cancel_tasks(self) -> None:
        """End whatever is under way for this entry."""
        for scope in list(self._scopes):
            scope.cancel()

    def derived(self, name: Any, make: Callable[[Any], T]) -> T:
        """Return `make(value)`, made once for each value. `name` tells apart what several users make of it."""
        value = self.entry.value
        known = self._derived.get(name)
        if known is not None and known[0] is value:
            return known[1]  # type: ignore[no-any-return]
        made = make(value)
        if known is None and len(self._derived) >= DERIVED_MAX:
            del self._derived[next(iter(self._derived))]
        self._derived[name] = (value, made)
        return made


class CacheStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Gauges, and counts since the start."""

    entries_count: int
    bytes_count: int
    waiters_count: int
    fetches_count: int
    """Under way."""
    hits_count: int
    misses_count: int
    bypasses_count: int
    evictions_count: int
    """For lack of room."""
    expirations_count: int
    """For lack of use."""
    failures_count: int


class Cache:
    """Keeps replies of the servers. `run` must be under way; before and after, calls go past it."""

    def __init__(
        self,
        delegate: Delegate,
        *,
        limits: CacheLimits | None = None,
        monotonic_s: Callable[[], float] = trio.current_time,
    ) -> None:
        self._delegate = delegate
        self._limits = limits or CacheLimits()
        self._now = monotonic_s
        self._slots: OrderedDict[bytes, Slot] = OrderedDict()
        """The least recently used first."""
        self._bytes_count = 0
        self._waiting: dict[int, _Waiting] = {}
        self._waiter_number = 0
        self._fetches_count = 0
        self._nursery: trio.Nursery | None = None
        self._hits_count = 0
        self._misses_count = 0
        self._bypasses_count = 0
        self._evictions_count = 0
        self._expirations_count = 0
        self._failures_count = 0

    def statistics(self) -> CacheStatistics:
        """Return gauges and counts."""
        return CacheStatistics(
            entries_count=len(self._slots),
            bytes_count=self._bytes_count,
            waiters_count=len(self._waiting),
            fetches_count=self._fetches_count,
            hits_count=self._hits_count,
            misses_count=self._misses_count,
            bypasses_count=self._bypasses_count,
            evictions_count=self._evictions_count,
            expirations_count=self._expirations_count,
            failures_count=self._failures_count,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own all background queries until cancelled; then whoever waits is sent away."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                while True:
                    await trio.sleep(SWEEP_S)
                    self._sweep()
        finally:
            self._nursery = None
            for slot in list(self._slots.values()):
                self._carry_out(slot, slot.entry.end())

    def get(self, kind: Kind, request: Any, *, control: Control = ANYTHING) -> Cached | Awaitable[Cached]:
        """Return the reply to `request`, at once if there is one; its index and wait say how long to wait for another.

        Raises (now or when awaited): what the servers answer; NotReady where there is no value when the time is over.
        """
        options: QueryOptions = request.options
        asked = replace(request, options=_plain(options))
        key = b"%b\0%b" % (kind.method.encode(), codec.encode(asked))
        at_s = self._now()
        slot = self._slots.get(key)
        if slot is not None:
            self._slots.move_to_end(key)
            if slot.entry.use(at_s, index_min=options.index_min, control=control):
                self._hits_count += 1
                return Cached(slot.entry.value, True, slot.entry.age_s(at_s), slot)
        elif self._nursery is not None and self._make_room():
            slot = self._slots[key] = Slot(key, kind, asked, at_s=at_s)
        if slot is None:
            self._bypasses_count += 1
            return self._past(kind, request)
        self._misses_count += 1
        return self._wait(slot, options, control)

    async def _past(self, kind: Kind, request: Record) -> Cached:
        answer = self._delegate.call(kind.method, request, kind.reply)
        return Cached(answer if isinstance(answer, kind.reply) else await answer, False, 0.0, None)

    async def _wait(self, slot: Slot, options: QueryOptions, control: Control) -> Cached:
        entry = slot.entry
        if entry.forgotten:  # between `get` and the first await of its caller
            return await self._past(slot.kind, replace(slot.request, options=options))
        self._waiter_number += 1
        number, waiting = self._waiter_number, _Waiting()
        self._waiting[number] = waiting
        timed_out = False
        try:
            self._carry_out(slot, entry.wait(number, index_min=options.index_min, control=control))
            with trio.move_on_after(options.wait_s or WAIT_S_DEFAULT):
                await waiting.done.wait()
            timed_out = not waiting.done.is_set()
        finally:
            self._carry_out(slot, entry.leave(self._now(), number, timed_out=timed_out))
            self._waiting.pop(number, None)
        if waiting.outcome is Outcome.FAILED:
            if self._nursery is None:
                raise Unreachable(ENDED_TEXT)
            if timed_out or entry.error is None:
                raise NotReady(OUT_OF_TIME_TEXT)
            if isinstance(entry.error, MeshError):
                raise type(entry.error)(str(entry.error))
            raise Internal(str(entry.error))
        return Cached(entry.value, waiting.outcome is Outcome.OLD and not timed_out, waiting.age_s, slot)

    # Carrying out

    def _carry_out(self, slot: Slot, instructions: list[Instruction]) -> None:
        for instruction in instructions:
            match instruction:
                case Answer(waiter, outcome, age_s):
                    waiting = self._waiting.get(waiter)
                    if waiting is not None:
                        waiting.outcome, waiting.age_s = outcome, age_s
                        waiting.done.set()
                case Fetch():
                    if not started_in(self._nursery, self._fetch, slot, instruction):
                        self._carry_out(slot, slot.entry.end())
                        return
                case RetryAt(at_s):
                    started_in(self._nursery, self._retry, slot, at_s)
                case Forget():
                    self._drop(slot)

    def _drop(self, slot: Slot) -> None:
        slot.cancel_tasks()
        if self._slots.get(slot.key) is slot:
            del self._slots[slot.key]
            self._bytes_count -= slot.bytes_count

    async def _fetch(self, slot: Slot, fetch: Fetch) -> None:
        options = replace(slot.request.options, index_min=fetch.index_min, wait_s=fetch.wait_s)
        self._fetches_count += 1
        try:
            with slot.scope_of_task():
                reply = self._delegate.call(slot.kind.method, replace(slot.request, options=options), slot.kind.reply)
                if not isinstance(reply, slot.kind.reply):
                    reply = await reply
                self._take(slot, fetch, reply)
        except MeshError as error:
            self._fail(slot, fetch, error)
        except InvariantBroken:
            raise
        except Exception as error:  # the border: a defect in one answer must not end the agent
            _log.error("a cached query failed", method=slot.kind.method, error=repr(error), trace=trace_of(error))
            self._fail(slot, fetch, Internal("Internal server error"))
        finally:
            self._fetches_count -= 1

    def _take(self, slot: Slot, fetch: Fetch, reply: Any) -> None:
        entry, before = slot.entry, slot.entry.version
        is_empty = slot.kind.is_empty(reply)
        out = entry.fetched(self._now(), fetch.number, reply, index=reply.meta.index, is_empty=is_empty)
        if entry.version != before and self._slots.get(slot.key) is slot:
            size = len(codec.encode(reply))
            self._bytes_count += size - slot.bytes_count
            slot.bytes_count = size
        self._carry_out(slot, out)
        self._make_room_for_bytes(slot)

    def _fail(self, slot: Slot, fetch: Fetch, error: MeshError) -> None:
        self._failures_count += 1
        _log.debug("a cached query failed", method=slot.kind.method, error=str(error))
        is_refusal = isinstance(error, _REFUSALS)
        self._carry_out(slot, slot.entry.failed(self._now(), fetch.number, error, is_refusal=is_refusal))

    async def _retry(self, slot: Slot, at_s: float) -> None:
        with slot.scope_of_task():
            await trio.sleep(max(0.0, at_s - self._now()))
        self._carry_out(slot, slot.entry.retry())

    # Bounds

    def _make_room(self) -> bool:
        """Whether there is room for one more entry, if need be in the place of the one used longest ago."""
        return len(self._slots) < self._limits.entries_max or self._evict_one(None)

    def _make_room_for_bytes(self, slot: Slot) -> None:
        while self._bytes_count > self._limits.bytes_max and self._evict_one(slot):
            continue
        if self._bytes_count > self._limits.bytes_max and not slot.entry.is_busy and not slot.entry.forgotten:
            self._evictions_count += 1
            self._carry_out(slot, slot.entry.evict())

    def _evict_one(self, spared: Slot | None) -> bool:
        for slot in self._slots.values():
            if slot is not spared and not slot.entry.is_busy:
                self._evictions_count += 1
                self._carry_out(slot, slot.entry.evict())
                return True
        return False

    def _sweep(self) -> None:
        at_s = self._now()
        for slot in list(self._slots.values()):
            out = slot.entry.look(at_s)
            if out:
                self._expirations_count += 1
                self._carry_out(slot, out)


def _plain(options: QueryOptions) -> QueryOptions:
    """What of the options tells requests apart. Servers are asked for what they have: the cache is stale anyway."""
    return QueryOptions(consistency=Consistency.STALE, token=options.token, datacenter=options.datacenter)
