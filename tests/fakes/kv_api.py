"""The KV API in memory: what `jepsen.client.HTTP` offers, with indexes, delays, unclear ends, and defects on request.

Held against real servers by `tests/integration/test_jepsen_workloads.py`, which runs one script on both.
"""

import random
from collections.abc import Callable, Collection
from enum import StrEnum
from functools import partial
from typing import Any
from urllib.parse import unquote

import msgspec
import trio

from jepsen.client import HTTP, CallFailed, CallUnclear, Entry
from jepsen.http_client import Reply


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


class Row(msgspec.Struct, frozen=True):
    """One key."""

    value: str
    create_index: int
    modify_index: int


class Store:
    """The state, which changes at once and whole. `index` goes up by one with each command."""

    def __init__(self) -> None:
        self.index = 9  # a real one has elected a leader before
        self.table_index = 0
        self.rows: dict[str, Row] = {}
        self.tombstones: dict[str, int] = {}
        self.waiting: dict[trio.Event, Callable[[str], bool]] = {}
        """Event -> whether a changed key matters to who waits for it."""
        self.past: list[dict[str, Row]] = [{}]
        """Earlier states, newest last."""

    def set(self, key: str, value: str, *, cas: int | None = None) -> bool:
        self.index += 1
        old = self.rows.get(key)
        if cas is not None and cas != (old.modify_index if old else 0):
            return False
        if old is None or old.value != value:
            self.rows[key] = Row(value, old.create_index if old else self.index, self.index)
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
        lock_index=0,
        session="",
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

    def goes_wrong(self, defect: Defect) -> bool:
        """Whether this defect strikes now."""
        return self.defect is defect and self.rng.random() < self.defect_share

    async def travel(self) -> None:
        """A message is on its way."""
        await trio.sleep(self.rng.uniform(0.0, self.delay_s_max))

    def changing(self, change: Callable[[], Any]) -> Any:
        """Make a change and wake those who wait for it."""
        before = self.store.rows
        self.store.rows = dict(before)
        result = change()
        changed = [key for key in {*before, *self.store.rows} if before.get(key) != self.store.rows.get(key)]
        self.store.past = [*self.store.past, dict(self.store.rows)][-self.lag_max - 1 :]
        if changed and not self.goes_wrong(Defect.LOST_WAKE_UPS):
            for event, matters in self.store.waiting.items():
                if any(map(matters, changed)):
                    event.set()
        return result

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
        before = store.rows, dict(store.tombstones), store.table_index
        store.rows = dict(store.rows)
        result = change()
        store.rows, store.tombstones, store.table_index = before
        return result

    def settle(self) -> None:
        """All replicas have caught up: from now on a stale read shows the present, until the next write."""
        self.store.past = [dict(self.store.rows)]

    def _later(self, change: Callable[[], Any]) -> None:
        if self.nursery is not None and self.rng.random() < 0.7:
            self.nursery.start_soon(self._change_later, change)

    async def _change_later(self, change: Callable[[], Any]) -> None:
        await trio.sleep(self.rng.uniform(0.0, 2.0))
        self.changing(change)


class FakeHTTP(HTTP):
    """A client's connection into a World."""

    def __init__(self, world: World) -> None:
        super().__init__("127.0.0.1:1")
        self._world = world

    async def get(self, key: str, *, mode: str = "default") -> tuple[Entry | None, int]:
        entries, index = await self._read(mode, lambda known: known == key, lambda: self._store.key_index(key))
        return (entries[0] if entries else None), (entries[0].modify_index if entries else index)

    async def scan(self, prefix: str, *, mode: str = "default") -> tuple[list[Entry], int]:
        return await self._read(mode, lambda key: key.startswith(prefix), lambda: self._store.prefix_index(prefix))

    async def wait(
        self, key: str, *, index: int, wait_s: float, mode: str = "default", recurse: bool = False
    ) -> tuple[list[Entry], int]:
        def matters(changed: str) -> bool:
            return changed.startswith(key) if recurse else changed == key

        def now() -> int:
            return self._store.prefix_index(key) if recurse else self._store.key_index(key)

        event = trio.Event()
        await self._ask()
        with trio.move_on_after((wait_s or 300.0) * self._world.rng.uniform(1.0, 17 / 16) if index else 0.0):
            while now() <= index:
                event = trio.Event()
                self._store.waiting[event] = matters
                try:
                    await event.wait()
                finally:
                    del self._store.waiting[event]
        return await self._read(mode, matters, now)

    async def put(self, key: str, value: str, *, cas: int | None = None) -> bool:
        return bool(await self._world.write(lambda: self._store.set(key, value, cas=cas)))

    async def delete(self, key: str, *, cas: int | None = None) -> bool:
        return bool(await self._world.write(lambda: self._store.delete(key, cas=cas)))

    async def txn(
        self, operations: list[dict[str, Any]], *, is_write: bool = True, mode: str = ""
    ) -> list[Entry] | None:
        if not is_write:
            return await self._read_together([operation["Key"] for operation in operations])
        torn = self._world.defect is Defect.TORN_TXNS
        result: list[Entry] | None = await self._world.write(lambda: self._store.txn(operations, torn=torn))
        return result

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        is_write: bool,
        timeout_s: float | None = None,
        passing: Collection[int] = (404,),
    ) -> Reply:
        assert method == "DELETE", "the only call that has no method of its own"
        prefix = unquote(path.removeprefix("/v1/kv/").removesuffix("?recurse"))
        for key in [key for key in self._store.rows if key.startswith(prefix)]:
            self._world.changing(partial(self._store.delete, key))
        return Reply(200, {}, b"true")

    @property
    def _store(self) -> Store:
        return self._world.store

    async def _ask(self) -> None:
        await self._world.travel()
        if self._world.rng.random() < self._world.trouble:
            raise CallFailed("no answer")

    async def _read(
        self, mode: str, matters: Callable[[str], bool], index: Callable[[], int]
    ) -> tuple[list[Entry], int]:
        await self._ask()
        rows, reached = self._store.rows, index()
        if mode == "stale" or self._world.goes_wrong(Defect.STALE_READS):
            rows = self._world.rng.choice(self._store.past)
            reached = max([1, *(row.modify_index for key, row in rows.items() if matters(key))])
        if self._world.goes_wrong(Defect.INDEX_BACK):
            reached = max(1, reached - self._world.rng.randint(1, 5))
        entries = [entry_of(key, rows[key]) for key in sorted(rows) if matters(key)]
        await self._world.travel()
        return entries, reached

    async def _read_together(self, keys: list[str]) -> list[Entry]:
        await self._ask()
        rows = self._store.rows
        if self._world.goes_wrong(Defect.STALE_READS):
            rows = self._world.rng.choice(self._store.past)
        results: list[Entry] = []
        for position, key in enumerate(keys):
            if position and self._world.goes_wrong(Defect.TORN_READS):
                await trio.sleep(self._world.delay_s_max * 10)
                rows = self._store.rows
            row = rows.get(key, Row("", 0, 0))
            results.append(entry_of(key, row))
        await self._world.travel()
        return results
