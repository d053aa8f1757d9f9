"""Increments of one number by compare-and-set: it is the sum of what was added, always.

Operations on the one `key`:

| function | input | output        |                                                                                   |
| -------- | ----- | ------------- | --------------------------------------------------------------------------------- |
| `add`    | n > 0 | the new total | failed: it must not be counted; totals of two adds are never equal                |
| `read`   |       | the total     | 0 if the key is absent; `mode` is default, consistent or stale: of an earlier one |

An add reads the total and sets the higher one if the key's index is still that of the read. It is one operation. It is
tried again only where the server said that the set was not done; if that is not known, the add is unknown.
"""

import random
from collections.abc import Sequence
from typing import ClassVar

from jepsen.checkers.counter import check
from jepsen.checkers.verdict import Checker
from jepsen.client import HTTP, Answer, Client, Entry
from jepsen.workloads.keys import cas_index, choose_mode, number_in
from jepsen.workloads.workload import Worker, Workload

ATTEMPTS_MAX = 5
"""Lost races of one add; all workers run for the same key."""
ADDEND_MAX = 9


class Counter(Workload):
    """See the module."""

    name: ClassVar[str] = "counter"
    description: ClassVar[str] = "one number incremented by compare-and-set: the sum of what was added"
    workers_count: ClassVar[int] = 3
    rate_hz: ClassVar[float] = 12.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._key = f"{self.prefix}total"

    async def step(self, worker: Worker) -> None:
        """Add something, or read the total."""
        mode = choose_mode(worker.rng)
        if worker.rng.random() < 0.4:
            await _read(worker.client, self._key, mode)
        else:
            await _add(worker.client, self._key, worker.rng.randint(1, ADDEND_MAX), mode)

    async def finish(self, clients: Sequence[Client]) -> None:
        """Read the total from every node."""
        for client in clients:
            await _read(client, self._key, "default")

    @staticmethod
    def checkers() -> list[Checker]:
        """Totals within what was added."""
        return [check]


async def _add(client: Client, key: str, addend: int, mode: str) -> None:
    """A stale read is as good as another one to begin with: the set is refused if it was too old."""

    async def action(http: HTTP) -> Answer:
        wanted = mode
        for _ in range(ATTEMPTS_MAX):
            entry, _ = await http.get(key, mode=wanted)
            before = _total(entry)
            if not isinstance(before, int):
                return Answer(happened=False)  # nothing can be added to it; the next read shows it to the checker
            if await http.put(key, str(before + addend), cas=cas_index(entry)):
                return Answer(output=before + addend)
            wanted = "default"
        return Answer(happened=False)

    await client.call("add", action, key=key, value=addend)


async def _read(client: Client, key: str, mode: str) -> None:
    async def action(http: HTTP) -> Answer:
        entry, index = await http.get(key, mode=mode)
        return Answer(output=_total(entry), index=index)

    await client.call("read", action, key=key, mode=mode)


def _total(entry: Entry | None) -> int | str:
    found = number_in(entry)
    return 0 if found is None else found
