"""Reads, writes, deletions and compare-and-sets of a few keys at a time: each key must be linearizable.

Operations, all with `key`; every value is a number that is written once in a run:

| function | input           | output      |                                                                        |
| -------- | --------------- | ----------- | ---------------------------------------------------------------------- |
| `read`   |                 | value, null | `mode` is default, consistent or stale, which shows an earlier state    |
| `write`  | value, null     |             | null deletes the key: a register begins as null and is null again then |
| `cas`    | [expected, new] |             | failed: `expected` was not there any more, or nobody was reached       |

A compare-and-set is made by index: a read (an operation of its own) finds the value and its index, and the set names
that index. As no value is written twice, that is a compare-and-set by value, but for null: a key that was deleted,
written and deleted again in between is absent as before, and index 0 asks for nothing else. One that failed without an
error was declined: then something else than `expected` must have been there at some moment while it was made.
"""

import itertools
import random
from collections.abc import Sequence
from typing import ClassVar

from jepsen.checkers.linear import check_registers
from jepsen.checkers.verdict import Checker
from jepsen.client import HTTP, Answer, Client, Entry
from jepsen.history import Operation, Outcome
from jepsen.workloads.keys import (
    SharedKeys,
    cas_index,
    choose_mode,
    choose_patience_s,
    number_in,
    read_finally,
    read_number,
    within,
)
from jepsen.workloads.workload import Worker, Workload

WORKERS_PER_KEY = 3
KEYS_COUNT = 2
"""In use at a time."""
READERS_COUNT = 6
"""Beside those who also write, one for each node: somebody who writes at a leader that was cut off waits for that, and
does not ask what the leader still believes."""
READER_SHARE = 0.5
"""Of the others' pace."""
OPERATIONS_MAX = 150
"""Operations on one key. With final reads it stays below 200: the search for a legal order is quick then."""

READ_SHARE_IN_TROUBLE = 0.7
"""A node that does not answer is read from more often than else: what it believes when it is back is what counts, and
unknown writes wear a key out."""


class Register(Workload):
    """See the module."""

    name: ClassVar[str] = "register"
    description: ClassVar[str] = "reads, writes, deletions and compare-and-sets of few keys: linearizable"
    workers_count: ClassVar[int] = KEYS_COUNT * WORKERS_PER_KEY + READERS_COUNT
    rate_hz: ClassVar[float] = 20.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._keys = SharedKeys(self.prefix, workers_per_key=WORKERS_PER_KEY, operations_max=OPERATIONS_MAX)
        self._values = itertools.count(1)
        self._unanswered: set[int] = set()
        """Positions of the workers whose last call had no answer, or an error."""

    async def step(self, worker: Worker) -> None:
        """Read, write, delete, or read and compare-and-set the group's key; a reader only reads, any of them."""
        if worker.position >= KEYS_COUNT * WORKERS_PER_KEY:
            await self._read_any(worker)
            return
        key = self._keys.of(worker)
        chance = worker.rng.random()
        if worker.position in self._unanswered and worker.rng.random() < READ_SHARE_IN_TROUBLE:
            chance = 0.0
        if chance < 0.40:
            operation, _ = await _read(worker, key, choose_mode(worker.rng))
        elif chance < 0.70:
            operation = await _write(worker, key, next(self._values))
        elif chance < 0.75:
            operation = await _write(worker, key, None)
        else:
            operation = await self._compare_and_set(worker, key)
        self._keys.count(operation)
        if operation.outcome is Outcome.OK:
            self._unanswered.discard(worker.position)
        elif operation.error:
            self._unanswered.add(worker.position)

    async def finish(self, clients: Sequence[Client]) -> None:
        """Read the newest keys from every node, each older one from some node."""

        async def read(client: Client, key: str) -> Operation:
            operation, _ = await read_number(client, key, "default")
            return operation

        await read_finally(clients, self._keys.all(), read)

    @staticmethod
    def checkers() -> list[Checker]:
        """Linearizability, key by key."""
        return [check_registers]

    async def _read_any(self, worker: Worker) -> None:
        if worker.rng.random() < READER_SHARE:
            key = self._keys.of_group(worker.rng.randrange(KEYS_COUNT))
            operation, _ = await _read(worker, key, choose_mode(worker.rng))
            self._keys.count(operation)

    async def _compare_and_set(self, worker: Worker, key: str) -> Operation:
        mode = choose_mode(worker.rng, stale=False)
        read, entry = await _read(worker, key, mode)
        if read.outcome is not Outcome.OK:
            return read
        self._keys.count(read)
        expected, new, index = number_in(entry), next(self._values), cas_index(entry)

        async def action(http: HTTP) -> Answer:
            return Answer(happened=await http.put(key, str(new), cas=index))

        hurried = within(choose_patience_s(worker.rng), action, is_write=True)
        return await worker.client.call("cas", hurried, key=key, value=[expected, new])


async def _read(worker: Worker, key: str, mode: str) -> tuple[Operation, Entry | None]:
    return await read_number(worker.client, key, mode, patience_s=choose_patience_s(worker.rng))


async def _write(worker: Worker, key: str, value: int | None) -> Operation:
    async def action(http: HTTP) -> Answer:
        return Answer(happened=await (http.delete(key) if value is None else http.put(key, str(value))))

    hurried = within(choose_patience_s(worker.rng), action, is_write=True)
    return await worker.client.call("write", hurried, key=key, value=value)
