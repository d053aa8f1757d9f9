"""Elements appended to lists by compare-and-set: nothing lost, nothing twice, and one order for everybody.

Operations, all with `key`; every element is a number that is appended once in a run:

| function | input   | output                     |                                                                 |
| -------- | ------- | -------------------------- | --------------------------------------------------------------- |
| `append` | element | the list as it was written | failed: it must never be seen                                   |
| `read`   |         | the list, [] if absent     | `mode` is default, consistent or stale: those may be of earlier |

An append reads the list and sets the longer one if the key's index is still that of the read. It is one operation. It
is tried again only where the server said that the set was not done; if that is not known, the append is unknown.
"""

import itertools
import random
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from jepsen.checkers.append import check
from jepsen.checkers.verdict import Checker
from jepsen.client import HTTP, Answer, Client, Entry
from jepsen.history import Operation
from jepsen.workloads.keys import SharedKeys, cas_index, choose_mode, numbers, read_finally, text_of
from jepsen.workloads.workload import Worker, Workload

WORKERS_PER_KEY = 2
OPERATIONS_MAX = 100
"""Appends and reads of one list: its text stays well below a packet's size."""
ATTEMPTS_MAX = 4
"""Lost races of one append."""


class Append(Workload):
    """See the module."""

    name: ClassVar[str] = "append"
    description: ClassVar[str] = "elements appended to lists by compare-and-set: nothing lost, nothing twice, one order"
    workers_count: ClassVar[int] = 4
    rate_hz: ClassVar[float] = 15.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._keys = SharedKeys(self.prefix, workers_per_key=WORKERS_PER_KEY, operations_max=OPERATIONS_MAX)
        self._elements = itertools.count(1)

    async def step(self, worker: Worker) -> None:
        """Append to the group's list, or read it."""
        key = self._keys.of(worker)
        mode = choose_mode(worker.rng)
        if worker.rng.random() < 0.35:
            operation = await _read(worker.client, key, mode)
        else:
            operation = await _append(worker.client, key, next(self._elements), mode)
        self._keys.count(operation)

    async def finish(self, clients: Sequence[Client]) -> None:
        """Read the newest lists from every node, each older one from some node."""
        await read_finally(clients, self._keys.all(), partial(_read, mode="default"))

    @staticmethod
    def checkers() -> list[Checker]:
        """Nothing lost, nothing twice, one order."""
        return [check]


async def _append(client: Client, key: str, element: int, mode: str) -> Operation:
    """A stale read is as good as another one to begin with: the set is refused if it was too old."""

    async def action(http: HTTP) -> Answer:
        wanted = mode
        for _ in range(ATTEMPTS_MAX):
            entry, _ = await http.get(key, mode=wanted)
            elements = [*_elements(entry), element]
            if await http.put(key, text_of(elements), cas=cas_index(entry)):
                return Answer(output=elements)
            wanted = "default"
        return Answer(happened=False)

    return await client.call("append", action, key=key, value=element)


async def _read(client: Client, key: str, mode: str) -> Operation:
    async def action(http: HTTP) -> Answer:
        entry, index = await http.get(key, mode=mode)
        return Answer(output=_elements(entry), index=index)

    return await client.call("read", action, key=key, mode=mode)


def _elements(entry: Entry | None) -> list[int | str]:
    return [] if entry is None else numbers(entry.value)
