"""A store in memory with indexes, and the way to it: delays, unclear ends, and defects on request."""

import random
from collections.abc import Callable, Hashable
from enum import StrEnum
from typing import Any

import msgspec
import trio

from jepsen.client import CallFailed, CallUnclear, Entry


class Defect(StrEnum):
    """What is wrong with the store."""

    LOSES_WRITES = "loses writes"
    """Some that were acknowledged are not there."""
    STALE_READS = "stale reads"
    """Some default and consistent reads show an earlier state."""
    WRITES_TWICE = "writes twice"
    """Some writes are sent again though the first one was carried out, and the second answer counts."""
    LATE_WRITES = "late writes"
    """Some writes that were refused are carried out later all the same."""
    LOST_WAKE_UPS = "lost wake-ups"
    """Some changes wake nobody who waits for them."""
    INDEX_BACK = "index back"
    """Some answers come with an index that is lower than an earlier one."""
    TORN_TXNS = "torn transactions"
    """What was done before the step that failed stays done."""
    TORN_READS = "torn reads"
    """A transaction's reads are of different states."""
    ENDS_EARLY = "ends early"
    """Some sessions end before their TTL has passed."""
    NEVER_ENDS = "never ends"
    """Some sessions that nobody renews stay."""
    COMES_BACK = "comes back"
    """Some sessions that ended are there again, later."""
    KEEPS_KEYS = "keeps keys"
    """Some sessions that ended still hold their keys."""
    LET_GO_LATER = "let go later"
    """Some sessions' keys are released at another index than that of their end."""
    TWO_HOLDERS = "two holders"
    """Some locks are given though another session holds them."""
    NO_LOCK_DELAY = "no lock delay"
    """Some locks are given before the delay is over."""
    LOCK_INDEX_KEPT = "lock index kept"
    """Some new holders do not raise the lock index."""
    ANYBODY_RELEASES = "anybody releases"
    """Some locks are given back by who does not hold them."""
    NOT_SYNCED = "not synced"
    """Some changes at an agent never come to the catalog."""
    INDEX_KEPT = "index kept"
    """Some changes of a service do not raise its index."""


class Row(msgspec.Struct, frozen=True):
    """One key."""

    value: str
    create_index: int
    modify_index: int
    lock_index: int = 0
    session: str = ""


class SessionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One session."""

    node: str
    ttl_s: float
    delay_s: float
    behavior: str
    checks: list[str]


class Check(msgspec.Struct, frozen=True):
    """One check."""

    check_id: str
    status: str


class Instance(msgspec.Struct, frozen=True):
    """One instance of a service; its check's status, "" where it has none."""

    name: str
    service_id: str
    version: int
    status: str
    modify_index: int = 0


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What the store was at one moment."""

    rows: dict[str, Row] = {}
    sessions: dict[str, SessionRow] = {}
    sessions_index: int = 0
    services: dict[tuple[str, str], Instance] = {}
    services_index: int = 0
    service_indexes: dict[str, int] = {}


class Store:
    """The state, which changes at once and whole. `index` goes up by one with each command."""

    def __init__(self) -> None:
        self.index = 9  # a real one has elected a leader before
        self.table_index = 0
        self.rows: dict[str, Row] = {}
        self.tombstones: dict[str, int] = {}
        self.sessions: dict[str, SessionRow] = {}
        self.sessions_index = 0
        self.delays: dict[str, float] = {}
        """Key -> until when nobody may lock it."""
        self.checks: dict[str, str] = {}
        self.services: dict[tuple[str, str], Instance] = {}
        """(node, id) -> instance."""
        self.services_index = 0
        self.service_indexes: dict[str, int] = {}
        self.waiting: dict[trio.Event, Callable[[Hashable], bool]] = {}
        """Event -> whether a changed key, or ("service", name), matters to who waits for it."""
        self.past: list[Past] = [Past()]
        """Earlier states, newest last."""

    def now(self) -> Past:
        """A copy of what can be read."""
        return Past(
            rows=dict(self.rows),
            sessions=dict(self.sessions),
            sessions_index=self.sessions_index,
            services=dict(self.services),
            services_index=self.services_index,
            service_indexes=dict(self.service_indexes),
        )

    def back_to(self, past: Past, tombstones: dict[str, int], table_index: int) -> None:
        """Undo what was done since."""
        self.rows, self.sessions, self.services = dict(past.rows), dict(past.sessions), dict(past.services)
        self.sessions_index, self.service_indexes = past.sessions_index, dict(past.service_indexes)
        self.services_index = past.services_index
        self.tombstones, self.table_index = tombstones, table_index

    def set(self, key: str, value: str, *, cas: int | None = None) -> bool:
        self.index += 1
        old = self.rows.get(key)
        if cas is not None and cas != (old.modify_index if old else 0):
            return False
        if old is None or old.value != value:
            made = old or Row("", self.index, self.index)
            self.rows[key] = msgspec.structs.replace(made, value=value, modify_index=self.index)
            self.table_index = self.index
        return True

    def delete(self, key: str, *, cas: int | None = None) -> bool:
        self.index += 1
        old = self.rows.get(key)
        if old is None:
            return True
        if cas is not None and cas != old.modify_index:
            return False
        del self.rows[key]
        self.table_index = self.tombstones[key] = self.index
        return True

    def txn(self, operations: list[dict[str, Any]], *, torn: bool) -> list[Entry] | None:
        before = dict(self.rows), dict(self.tombstones), self.table_index
        index = self.index + 1
        results: list[Entry] = []
        for operation in operations:
            self.index = index - 1  # all of them are one command
            verb, key = operation["Verb"], operation["Key"]
            row = self.rows.get(key)
            if verb == "get-or-empty":
                results.append(entry_of(key, row) if row else entry_of(key, Row("", 0, 0)))
            elif verb == "delete":
                self.delete(key)
            elif self.set(key, operation["Value"], cas=operation.get("Index") if verb == "cas" else None):
                results.append(entry_of(key, msgspec.structs.replace(self.rows[key], value="")))
            else:
                if not torn:
                    self.rows, self.tombstones, self.table_index = before
                return None
        self.index = index
        return results

    def key_index(self, key: str) -> int:
        row = self.rows.get(key)
        return row.modify_index if row else max(1, self.table_index)

    def prefix_index(self, prefix: str) -> int:
        found = [row.modify_index for key, row in self.rows.items() if key.startswith(prefix)]
        found += [index for key, index in self.tombstones.items() if key.startswith(prefix)]
        return max(found, default=0) or max(1, self.table_index)


def entry_of(key: str, row: Row) -> Entry:
    """Return a row as the API shows it."""
    return Entry(
        key=key,
        value=row.value,
        modify_index=row.modify_index,
        create_index=row.create_index,
        flags=0,
        lock_index=row.lock_index,
        session=row.session,
    )


class World:
    """A store, the way to it, and what goes wrong."""

    def __init__(
        self,
        rng: random.Random,
        *,
        nursery: trio.Nursery | None = None,
        delay_s_max: float = 0.0,
        trouble: float = 0.0,
        defect: Defect | None = None,
        defect_share: float = 0.05,
        lag_max: int = 20,
    ) -> None:
        self.store = Store()
        self.rng = rng
        self.nursery = nursery
        """For what happens after its caller was answered."""
        self.delay_s_max = delay_s_max
        self.trouble = trouble
        """Share of calls that fail, and as many again that end unclear, though nothing is wrong with the store."""
        self.defect = defect
        self.defect_share = defect_share
        self.lag_max = lag_max
        """Stale reads may be so many writes behind."""
        self.deadlines: dict[str, float] = {}
        """Session -> when its time is over."""
        self.returning: dict[str, tuple[float, SessionRow]] = {}
        """Session -> when it comes back, though it has ended."""
        self.agents: dict[str, dict[str, Instance]] = {}
        """Node -> what its agent claims: id -> instance."""

    def goes_wrong(self, defect: Defect) -> bool:
        """Whether this defect strikes now."""
        return self.defect is defect and self.rng.random() < self.defect_share

    async def travel(self) -> None:
        """A message is on its way."""
        await trio.sleep(self.rng.uniform(0.0, self.delay_s_max))

    def changing(self, change: Callable[[], Any]) -> Any:
        """Make a change and wake those who wait for it."""
        before = self.store.now()
        result = change()
        rows, services = self.store.rows, self.store.services
        changed: set[Hashable] = {key for key in {*before.rows, *rows} if before.rows.get(key) != rows.get(key)}
        touched = [at for at in {*before.services, *services} if before.services.get(at) != services.get(at)]
        changed |= {("service", each.name) for at in touched for each in [services.get(at) or before.services[at]]}
        self.store.past = [*self.store.past, self.store.now()][-self.lag_max - 1 :]
        if changed and not self.goes_wrong(Defect.LOST_WAKE_UPS):
            for event, matters in self.store.waiting.items():
                if any(map(matters, changed)):
                    event.set()
        return result

    async def ask(self) -> None:
        """A question is on its way."""
        await self.travel()
        if self.rng.random() < self.trouble:
            raise CallFailed("no answer")

    async def read(self, mode: str) -> Past:
        """What a read of this mode shows."""
        await self.ask()
        if mode == "stale" or self.goes_wrong(Defect.STALE_READS):
            return self.rng.choice(self.store.past)
        return self.store.now()

    async def until_above(
        self, index: int, now: Callable[[], int], matters: Callable[[Hashable], bool], *, wait_s: float
    ) -> None:
        """Wait until what is watched is above this index, or time is over."""
        with trio.move_on_after(wait_s):
            while now() <= index:
                event = trio.Event()
                self.store.waiting[event] = matters
                try:
                    await event.wait()
                finally:
                    del self.store.waiting[event]

    async def write(self, change: Callable[[], Any]) -> Any:
        """Carry out a write."""
        await self.travel()
        dice = self.rng.random()
        if dice < self.trouble:
            raise CallFailed("refused")
        if dice < 2 * self.trouble:
            self._later(change)
            raise CallUnclear("no answer")
        if self.goes_wrong(Defect.LATE_WRITES):
            self._later(change)
            raise CallFailed("refused")
        if self.goes_wrong(Defect.LOSES_WRITES):
            return self._pretend(change)
        result = self.changing(change)
        if self.goes_wrong(Defect.WRITES_TWICE):
            await trio.sleep(self.delay_s_max * 10)
            result = self.changing(change)
        await self.travel()
        return result

    def _pretend(self, change: Callable[[], Any]) -> Any:
        store = self.store
        before = store.now(), dict(store.tombstones), store.table_index
        result = change()
        store.back_to(*before)
        return result

    def settle(self) -> None:
        """All replicas have caught up: from now on a stale read shows the present, until the next write."""
        self.store.past = [self.store.now()]

    def _later(self, change: Callable[[], Any]) -> None:
        if self.nursery is not None and self.rng.random() < 0.7:
            self.nursery.start_soon(self._change_later, change)

    async def _change_later(self, change: Callable[[], Any]) -> None:
        await trio.sleep(self.rng.uniform(0.0, 2.0))
        self.changing(change)
