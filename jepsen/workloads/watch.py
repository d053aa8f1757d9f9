"""Blocking queries on keys that change: no change is missed, no index goes back, nobody is woken late.

There are a few keys; one changes all the time, one every now and then, the others seldom. Two writers change any of
them; each other worker watches one key, or all of them, in one mode, asking again and again with the index that it was
given last.

| function   | input                     | output                                      |                         |
| ---------- | ------------------------- | ------------------------------------------- | ----------------------- |
| `write`    | value, null               | {"modify_index": m}                         | null deletes: m is null |
| `wait`     | {"index": i, "wait_s": w} | {"value": v, "modify_index": m, "index": x} | has a `mode`            |
| `wait_all` | {"index": i, "wait_s": w} | {"values": {key: [v, m]}, "index": x}       | has a `mode`            |

Watchers of a key record "wait": v is null and m is 0 where there is no such key. Watchers of all keys record
"wait_all", with the prefix as its `key`; a key that does not exist is not in `values`. Values are numbers, written once
in a run; the order of changes is that of their modify indexes, not of the values.

A wait is answered when the key's index is above i, else after w (the server adds up to w/16 at random) with the
present state. Where the key is absent its index is that of the whole table of keys, which writes of others move too:
such an answer may come early, and tells nothing but that the key was absent.

After an answer with index x a watcher's next wait has i = x, or i = 0 if x was less than its i. That is the server's
fault in modes default and consistent; in mode stale another server may have answered (through an agent), or the same
one after a restart, when it has not caught up yet. After an error the next wait has the same i, so that nothing may be
missed. A watcher whose node left the cluster goes on under another process number, from 0. In the end (`phase` final)
every node is asked for each key once, and for all keys, with i = 0, w = 0.
"""

import itertools
import random
from collections.abc import Sequence
from typing import Any, ClassVar

from jepsen.checkers.verdict import Checker
from jepsen.checkers.watch import check
from jepsen.client import HTTP, Answer, Client, Entry
from jepsen.history import Operation, Outcome
from jepsen.workloads.keys import number_in
from jepsen.workloads.workload import Worker, Workload

WRITERS_COUNT = 2
SELDOM = tuple(f"seldom-{number}" for number in range(1, 7))
SHARES = {"often": 0.65, "steadily": 0.15, **dict.fromkeys(SELDOM, 0.2 / len(SELDOM))}
"""Key -> its share of the writes. A lost wake-up is hidden by the next write to the key. If it counts as late after s
seconds, most lost ones are seen where a key changes every s seconds or so: 20 writes a second times 0.2 / 6 is that."""
DELETE_SHARE = 0.05
ALL = ""
"""What a watcher of all keys watches."""
WATCHERS = (
    ("seldom-1", "default"),
    ("seldom-2", "consistent"),
    ("seldom-3", "default"),
    ("often", "default"),
    ("seldom-4", "stale"),
    ("seldom-5", "default"),
    ("steadily", "stale"),
    ("seldom-6", "default"),
    (ALL, "default"),
    (ALL, "consistent"),
)
"""Key and mode of each watcher."""
WAIT_S = (2.0, 5.0)
"""Bounds of a wait's time: far above a wake-up's, and below what the end of a run waits for."""


class Watch(Workload):
    """See the module."""

    name: ClassVar[str] = "watch"
    description: ClassVar[str] = "blocking queries: no change missed, no index back, nobody woken late"
    workers_count: ClassVar[int] = WRITERS_COUNT + len(WATCHERS)
    rate_hz: ClassVar[float] = 10.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._values = itertools.count(1)
        self._indexes: dict[int, int] = {}
        """Process -> the index it asks with next."""

    async def step(self, worker: Worker) -> None:
        """Write something, or wait once."""
        if worker.position < WRITERS_COUNT:
            await self._write(worker)
        else:
            await self._wait(worker)

    async def finish(self, clients: Sequence[Client]) -> None:
        """Read every key from every node."""
        for client in clients:
            for name in (*SHARES, ALL):
                await _wait(client, self._key_of(name), index=0, wait_s=0.0, mode="default")

    @staticmethod
    def checkers() -> list[Checker]:
        """Nothing missed, nothing back, nothing late."""
        return [check]

    async def _write(self, worker: Worker) -> None:
        name = worker.rng.choices(list(SHARES), list(SHARES.values()))[0]
        key = self._key_of(name)
        value = None if worker.rng.random() < DELETE_SHARE else next(self._values)
        change = {"Verb": "delete", "Key": key} if value is None else {"Verb": "set", "Key": key, "Value": str(value)}

        async def action(http: HTTP) -> Answer:
            results = await http.txn([change])
            if results is None:
                return Answer(happened=False)
            return Answer(output={"modify_index": results[0].modify_index if results else None})

        await worker.client.call("write", action, key=key, value=value)

    async def _wait(self, worker: Worker) -> None:
        name, mode = WATCHERS[(worker.position - WRITERS_COUNT) % len(WATCHERS)]
        process = worker.client.process
        asked = self._indexes.get(process, 0)
        wait_s = round(worker.rng.uniform(*WAIT_S), 1)
        operation = await _wait(worker.client, self._key_of(name), index=asked, wait_s=wait_s, mode=mode)
        if operation.outcome is Outcome.OK:
            self._indexes[process] = operation.index if operation.index >= asked else 0

    def _key_of(self, name: str) -> str:
        return f"{self.prefix}{name}"


async def _wait(client: Client, key: str, *, index: int, wait_s: float, mode: str) -> Operation:
    is_prefix = key.endswith("/")

    async def action(http: HTTP) -> Answer:
        entries, reached = await http.wait(key, index=index, wait_s=wait_s, mode=mode, recurse=is_prefix)
        output = _shown_of_all(entries) if is_prefix else _shown_of_one(entries)
        return Answer(output={**output, "index": reached}, index=reached)

    value = {"index": index, "wait_s": wait_s}
    return await client.call("wait_all" if is_prefix else "wait", action, key=key, value=value, mode=mode)


def _shown_of_one(entries: Sequence[Entry]) -> dict[str, Any]:
    entry = entries[0] if entries else None
    return {"value": number_in(entry), "modify_index": 0 if entry is None else entry.modify_index}


def _shown_of_all(entries: Sequence[Entry]) -> dict[str, Any]:
    return {"values": {entry.key: [number_in(entry), entry.modify_index] for entry in entries}}
