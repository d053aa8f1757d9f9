"""The KV API in memory: what `jepsen.client.HTTP` offers, with indexes, delays, unclear ends, and defects on request.

Held against real servers by `tests/integration/test_jepsen_workloads.py`, which runs one script on both.
"""

from collections.abc import Callable, Collection, Hashable
from typing import Any

import trio

from jepsen.client import HTTP, Entry
from jepsen.http_client import Reply
from tests.fakes.services_api import Paths
from tests.fakes.store import Defect, Row, Store, World, entry_of


class FakeHTTP(HTTP):
    """A client's connection into a World."""

    def __init__(self, world: World, node: str = "server-1") -> None:
        super().__init__("127.0.0.1:1")
        self._world = world
        self._paths = Paths(world, node)

    async def get(self, key: str, *, mode: str = "default") -> tuple[Entry | None, int]:
        entries, index = await self._read(mode, lambda known: known == key, lambda: self._store.key_index(key))
        return (entries[0] if entries else None), (entries[0].modify_index if entries else index)

    async def scan(self, prefix: str, *, mode: str = "default") -> tuple[list[Entry], int]:
        return await self._read(mode, lambda key: key.startswith(prefix), lambda: self._store.prefix_index(prefix))

    async def wait(
        self, key: str, *, index: int, wait_s: float, mode: str = "default", recurse: bool = False
    ) -> tuple[list[Entry], int]:
        def matters(changed: Hashable) -> bool:
            return isinstance(changed, str) and (changed.startswith(key) if recurse else changed == key)

        def now() -> int:
            return self._store.prefix_index(key) if recurse else self._store.key_index(key)

        await self._world.ask()
        waited_s = (wait_s or 300.0) * self._world.rng.uniform(1.0, 17 / 16) if index else 0.0
        await self._world.until_above(index, now, matters, wait_s=waited_s)
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
        return await self._paths.request(method, path, body)

    @property
    def _store(self) -> Store:
        return self._world.store

    async def _read(
        self, mode: str, matters: Callable[[str], bool], index: Callable[[], int]
    ) -> tuple[list[Entry], int]:
        await self._world.ask()
        rows, reached = dict(self._store.rows), index()
        if mode == "stale" or self._world.goes_wrong(Defect.STALE_READS):
            rows = self._world.rng.choice(self._store.past).rows
            reached = max([1, *(row.modify_index for key, row in rows.items() if matters(key))])
        if self._world.goes_wrong(Defect.INDEX_BACK):
            reached = max(1, reached - self._world.rng.randint(1, 5))
        entries = [entry_of(key, rows[key]) for key in sorted(rows) if matters(key)]
        await self._world.travel()
        return entries, reached

    async def _read_together(self, keys: list[str]) -> list[Entry]:
        await self._world.ask()
        rows = dict(self._store.rows)
        if self._world.goes_wrong(Defect.STALE_READS):
            rows = self._world.rng.choice(self._store.past).rows
        results: list[Entry] = []
        for position, key in enumerate(keys):
            if position and self._world.goes_wrong(Defect.TORN_READS):
                await trio.sleep(self._world.delay_s_max * 10)
                rows = dict(self._store.rows)
            row = rows.get(key, Row("", 0, 0))
            results.append(entry_of(key, row))
        await self._world.travel()
        return results
