"""Several keys in one transaction: all or nothing, and one order of all transactions.

There is one function, `txn`. Its `key` is the name of a group of four keys, a to d. Its input is a list of steps that
are carried out in order, each seeing the earlier ones; its output is the same list with what was read:

| step                  | output                                                      |
| --------------------- | ----------------------------------------------------------- |
| `["read", "a", null]` | the value instead of null; null: there is no such key       |
| `["write", "b", 17]`  | the same; every value is written once, null deletes the key |
| `["expect", "b", 16]` | the same; null: there is no such key                        |

failed: it was rolled back, or never asked for; its values must never be seen. A transaction that sets keys only if
their indexes are those of an earlier read (`cas`) has a step `expect` with the value of that read before each such
write: it can only happen where that is there. If it failed without an error it was declined: then something else must
have been there at some moment while it was made. (In older histories such a step is a `read`, whose value only the
output tells: they do not say what a declined one expected, and it is left out.)

Transactions that only read have a `mode` (default, consistent, stale). Some of them are listings of the group, which
show one state as well. Stale ones show an earlier state, but a whole one.
"""

import itertools
import random
from collections.abc import Sequence
from typing import Any, ClassVar

from jepsen.checkers.txn import check
from jepsen.checkers.verdict import Checker
from jepsen.client import HTTP, TIMEOUT_S, Answer, Client, Entry
from jepsen.history import Operation, Outcome
from jepsen.workloads.keys import (
    SharedKeys,
    cas_index,
    choose_mode,
    choose_patience_s,
    number,
    number_in,
    read_finally,
    within,
)
from jepsen.workloads.workload import Worker, Workload

NAMES = ("a", "b", "c", "d")
WORKERS_PER_GROUP = 3
OPERATIONS_MAX = 120
"""Transactions on one group of keys: they are searched for one order of all."""

Steps = list[list[Any]]
"""[what, name, value] each, as in the module's table."""


class Txn(Workload):
    """See the module."""

    name: ClassVar[str] = "txn"
    description: ClassVar[str] = "transactions over several keys: all or nothing, in one order"
    workers_count: ClassVar[int] = 6
    rate_hz: ClassVar[float] = 10.0

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng)
        self._groups = SharedKeys(self.prefix, workers_per_key=WORKERS_PER_GROUP, operations_max=OPERATIONS_MAX)
        self._values = itertools.count(1)
        self._seen: dict[int, tuple[str, dict[str, Entry | None]]] = {}
        """Worker's position -> the group and what it last read of it, on which it may build its next writes."""

    async def step(self, worker: Worker) -> None:
        """Read, read and write, or write what an earlier read allows."""
        group = self._groups.of(worker)
        chance = worker.rng.random()
        seen_group, seen = self._seen.get(worker.position, ("", {}))
        if chance < 0.35 or (chance < 0.65 and seen_group != group):
            operation = await self._read(worker, group)
        elif chance < 0.65:
            operation = await self._write_if_unchanged(worker, group, seen)
        else:
            operation = await self._read_and_write(worker, group)
        self._groups.count(operation)

    async def finish(self, clients: Sequence[Client]) -> None:
        """Read the newest groups from every node, each older one from some node."""

        async def read(client: Client, group: str) -> Operation:
            operation, _ = await _read_by_txn(client, group, list(NAMES), "default")
            return operation

        await read_finally(clients, self._groups.all(), read)

    @staticmethod
    def checkers() -> list[Checker]:
        """One order of all transactions of a group."""
        return [check]

    async def _read(self, worker: Worker, group: str) -> Operation:
        mode, patience_s = choose_mode(worker.rng), choose_patience_s(worker.rng)
        if worker.rng.random() < 0.3:
            operation, entries = await _read_by_listing(worker.client, group, mode, patience_s=patience_s)
        else:
            names = worker.rng.sample(NAMES, worker.rng.randint(2, len(NAMES)))
            operation, entries = await _read_by_txn(worker.client, group, names, mode, patience_s=patience_s)
        if operation.outcome is Outcome.OK:
            self._seen[worker.position] = group, entries
        return operation

    async def _read_and_write(self, worker: Worker, group: str) -> Operation:
        steps = self._steps(worker.rng)

        async def action(http: HTTP) -> Answer:
            results = await http.txn([_verb(group, step) for step in steps])
            if results is None:
                return Answer(happened=False)
            return Answer(output=_with_reads(steps, results))

        return await worker.client.call("txn", action, key=group, value=steps)

    def _steps(self, rng: random.Random) -> Steps:
        if rng.random() < 0.3:
            # Whoever sees but a part of this has seen something that never was.
            return [["write", name, next(self._values)] for name in NAMES]
        steps: Steps = [["write", rng.choice(NAMES), next(self._values)]]
        for _ in range(rng.randint(1, 3)):
            name, chance = rng.choice(NAMES), rng.random()
            if chance < 0.5:
                steps.append(["read", name, None])
            else:
                steps.append(["write", name, next(self._values) if chance < 0.9 else None])
        rng.shuffle(steps)
        return steps

    async def _write_if_unchanged(self, worker: Worker, group: str, seen: dict[str, Entry | None]) -> Operation:
        conditions: Steps = []
        operations: list[dict[str, Any]] = []
        conditional = worker.rng.sample(sorted(seen), worker.rng.randint(1, 2))
        others = [name for name in NAMES if name not in conditional]
        for name in conditional:
            value = next(self._values)
            conditions += [["expect", name, number_in(seen[name])], ["write", name, value]]
            set_if = {"Verb": "cas", "Index": cas_index(seen[name])}
            operations.append({**set_if, "Key": _key_of(group, name), "Value": str(value)})
        # An unconditional write in front of the condition: it must be undone if the condition does not hold.
        step = ["write", worker.rng.choice(others), next(self._values)]
        operations.insert(0, _verb(group, step))
        steps = [step, *conditions]

        async def action(http: HTTP) -> Answer:
            happened = await http.txn(operations) is not None
            return Answer(output=steps if happened else None, happened=happened)

        return await worker.client.call("txn", action, key=group, value=steps)


async def _read_by_txn(
    client: Client, group: str, names: list[str], mode: str, *, patience_s: float = TIMEOUT_S
) -> tuple[Operation, dict[str, Entry | None]]:
    steps: Steps = [["read", name, None] for name in names]
    found: dict[str, Entry | None] = {}

    async def action(http: HTTP) -> Answer:
        results = await http.txn([_verb(group, step) for step in steps], is_write=False, mode=mode)
        if results is None:
            return Answer(happened=False)
        found.update((name, _existing(entry)) for name, entry in zip(names, results, strict=True))
        return Answer(output=_with_reads(steps, results))

    return await client.call("txn", within(patience_s, action), key=group, value=steps, mode=mode), found


async def _read_by_listing(
    client: Client, group: str, mode: str, *, patience_s: float
) -> tuple[Operation, dict[str, Entry | None]]:
    found: dict[str, Entry | None] = dict.fromkeys(NAMES)

    async def action(http: HTTP) -> Answer:
        entries, index = await http.scan(f"{group}/", mode=mode)
        found.update((entry.key.rpartition("/")[2], entry) for entry in entries)
        return Answer(output=[["read", name, number_in(entry)] for name, entry in found.items()], index=index)

    value = [["read", name, None] for name in NAMES]
    return await client.call("txn", within(patience_s, action), key=group, value=value, mode=mode), found


def _key_of(group: str, name: str) -> str:
    return f"{group}/{name}"


def _verb(group: str, step: list[Any]) -> dict[str, Any]:
    what, name, value = step
    if what == "read":
        return {"Verb": "get-or-empty", "Key": _key_of(group, name)}
    if value is None:
        return {"Verb": "delete", "Key": _key_of(group, name)}
    return {"Verb": "set", "Key": _key_of(group, name), "Value": str(value)}


def _existing(entry: Entry) -> Entry | None:
    """A key that is absent is read as an entry that was never modified."""
    return entry if entry.modify_index else None


def _with_reads(steps: Steps, results: Sequence[Entry]) -> Steps:
    """Deletions have no result; every other step has one."""
    left = iter(results)
    output: Steps = []
    for what, name, value in steps:
        entry = None if what == "write" and value is None else next(left)
        if what == "read":
            assert entry is not None
            value = number(entry.value) if entry.modify_index else None
        output.append([what, name, value])
    return output
