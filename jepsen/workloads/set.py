"""Unique elements, each a key of its own under a prefix: none that was acknowledged is lost, none appears from nowhere.

Operations; `key` is the prefix, and each prefix is a set of its own (a run goes on to a fresh one when one is full):

| function | input   | output          |                                                                           |
| -------- | ------- | --------------- | ------------------------------------------------------------------------- |
| `add`    | element |                 | an element is added once in a run; failed: it must never be seen          |
| `read`   |         | sorted elements | `mode` is default, consistent or stale                                    |

A default or consistent read shows every element whose add had been acknowledged before it began; a stale one may show
an earlier state. In the end (`phase` final) every node is asked in mode default, then in mode stale, which is repeated
until its index has reached the one the default read came with, or SETTLE_S are over since the final reads began. Such a
final stale read is what that node's own replica holds, and must be complete as well.

Half of the adds are `?cas=0`: they are answered false if the key exists, which can only be if the same add was
carried out twice.
"""

import itertools
import random
from collections.abc import Sequence
from typing import ClassVar

import trio

from jepsen.checkers.set import check
from jepsen.checkers.verdict import Checker
from jepsen.client import HTTP, Answer, Client, Entry
from jepsen.history import Operation, Outcome
from jepsen.workloads.keys import SharedKeys, choose_mode, number, read_finally, recent
from jepsen.workloads.workload import Worker, Workload

EVERYBODY = 1_000
"""Workers that share one prefix: all."""
OPERATIONS_MAX = 400
"""Adds and reads of one prefix: each read carries all elements, so that a larger set costs the run its rate."""
SETTLE_S = 10.0
"""Healed replicas have caught up by then."""
SETTLE_POLL_S = 0.1


class Set(Workload):
    """See the module."""

    name: ClassVar[str] = "set"
    description: ClassVar[str] = "unique keys added under a prefix, then listed: nothing lost, nothing invented"
    workers_count: ClassVar[int] = 4
    rate_hz: ClassVar[float] = 20.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._prefixes = SharedKeys(self.prefix, workers_per_key=EVERYBODY, operations_max=OPERATIONS_MAX)
        self._elements = itertools.count(1)

    async def step(self, worker: Worker) -> None:
        """Add an element, or list them all now and then."""
        prefix = self._prefixes.of(worker)
        if worker.rng.random() < 0.1:
            operation = await _read(worker.client, prefix, choose_mode(worker.rng))
        else:
            operation = await _add(worker.client, prefix, next(self._elements), by_cas=worker.rng.random() < 0.5)
        self._prefixes.count(operation)

    async def finish(self, clients: Sequence[Client]) -> None:
        """List the newest prefixes from every node and its replica, each older one from some node."""
        everything = self._prefixes.all()
        newest = set(recent(everything))
        deadline_s = trio.current_time() + SETTLE_S

        async def read(client: Client, prefix: str) -> Operation:
            operation = await _read(client, prefix, "default")
            if prefix in newest and operation.outcome is Outcome.OK:
                await _read_settled(client, prefix, index=operation.index, deadline_s=deadline_s)
            return operation

        await read_finally(clients, everything, read)

    @staticmethod
    def checkers() -> list[Checker]:
        """Nothing lost, nothing invented."""
        return [check]


async def _add(client: Client, prefix: str, element: int, *, by_cas: bool) -> Operation:
    async def action(http: HTTP) -> Answer:
        return Answer(happened=await http.put(_key_of(prefix, element), str(element), cas=0 if by_cas else None))

    return await client.call("add", action, key=prefix, value=element)


async def _read(client: Client, prefix: str, mode: str) -> Operation:
    async def action(http: HTTP) -> Answer:
        entries, index = await http.scan(f"{prefix}/", mode=mode)
        return Answer(output=_elements(entries), index=index)

    return await client.call("read", action, key=prefix, mode=mode)


async def _read_settled(client: Client, prefix: str, *, index: int, deadline_s: float) -> Operation:
    async def action(http: HTTP) -> Answer:
        while True:
            entries, reached = await http.scan(f"{prefix}/", mode="stale")
            if reached >= index or trio.current_time() > deadline_s:
                return Answer(output=_elements(entries), index=reached)
            await trio.sleep(SETTLE_POLL_S)

    return await client.call("read", action, key=prefix, mode="stale")


def _key_of(prefix: str, element: int) -> str:
    return f"{prefix}/{element}"


def _elements(entries: Sequence[Entry]) -> list[int | str]:
    """An entry whose key and value disagree is shown as a text: nobody added that."""
    found = [number(entry.value) for entry in entries if entry.key.endswith(f"/{entry.value}")]
    odd: list[int | str] = [
        f"{entry.key}={entry.value}" for entry in entries if not entry.key.endswith(f"/{entry.value}")
    ]
    return sorted(found, key=lambda each: (isinstance(each, str), each)) + odd
