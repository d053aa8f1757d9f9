"""Which key a worker uses now, which keys are read in the end, and what all workloads do with single keys."""

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence

import trio

from jepsen.client import HTTP, TIMEOUT_S, Action, Answer, CallFailed, CallUnclear, Client, Entry
from jepsen.history import Operation, Outcome
from jepsen.workloads.workload import Worker

UNKNOWN_MAX = 8
"""A key with so many unknown operations is left: each may have happened at any time, and the search for a legal order
doubles with it."""
RECENT_KEYS = 8
"""So many of the newest keys are read from every node in the end; older ones from one node each, by turns."""
PATIENCE_S = (1.0, 2.5)
"""Bounds of a hurried call's time: above any pause of a loaded but healthy machine, below what faults last."""
SILENCES_MAX = 2
"""Final reads in a row that a node may leave without an answer."""
MODES = ("default", "default", "consistent", "stale")
"""How reads are shared out."""


class SharedKeys:
    """One key for each group of neighbouring workers, who use it at once, then move on to a fresh one.

    Neighbours are at different nodes, since workers are dealt out to nodes one by one.
    """

    def __init__(self, prefix: str, *, workers_per_key: int, operations_max: int) -> None:
        self._prefix = prefix
        self._workers_per_key = workers_per_key
        self._operations_max = operations_max
        self._current: dict[int, str] = {}
        self._used: dict[str, int] = {}
        self._unknown: dict[str, int] = {}

    def of(self, worker: Worker) -> str:
        """Return the key that this worker's next operation is for."""
        return self.of_group(worker.position // self._workers_per_key)

    def of_group(self, group: int) -> str:
        """Return the key that the group's next operation is for."""
        key = self._current.get(group, "")
        if not key or self._used[key] >= self._operations_max or self._unknown[key] >= UNKNOWN_MAX:
            key = f"{self._prefix}{len(self._used)}"
            self._current[group] = key
            self._used[key] = self._unknown[key] = 0
        return key

    def count(self, operation: Operation) -> None:
        """Note an operation's end. Those that did not happen cost a checker next to nothing and do not count."""
        self._used[operation.key] += operation.outcome is not Outcome.FAILED
        self._unknown[operation.key] += operation.outcome is Outcome.UNKNOWN

    def all(self) -> list[str]:
        """Every key that was ever used, oldest first."""
        return list(self._used)


async def read_finally(
    clients: Sequence[Client], keys: Sequence[str], read: Callable[[Client, str], Awaitable[Operation]]
) -> None:
    """Read the newest keys from every node, and each older one from the first node that answers, by turns.

    A node that leaves SILENCES_MAX reads in a row without an answer is not asked again: it would cost the run minutes.
    """
    silences = [0] * len(clients)

    async def read_from(position: int, key: str) -> bool:
        if silences[position] >= SILENCES_MAX:
            return False
        operation = await read(clients[position], key)
        silences[position] = 0 if operation.outcome is Outcome.OK else silences[position] + 1
        return operation.outcome is Outcome.OK

    for number_of_key, key in enumerate(keys[:-RECENT_KEYS]):
        for turn in range(len(clients)):
            if await read_from((number_of_key + turn) % len(clients), key):
                break
    for key in recent(keys):
        for position in range(len(clients)):
            await read_from(position, key)


def recent(keys: Sequence[str]) -> Sequence[str]:
    """Return the keys that everybody reads in the end."""
    return keys[-RECENT_KEYS:]


def choose_mode(rng: random.Random, *, stale: bool = True) -> str:
    """Return a consistency mode for a read."""
    mode = rng.choice(MODES)
    return "default" if mode == "stale" and not stale else mode


def number(text: str) -> int | str:
    """Return the number a value is, or the text itself: nobody wrote that, and the checkers will say so."""
    return int(text) if text.isascii() and text.isdigit() else text


def numbers(text: str) -> list[int | str]:
    """Return the numbers in a value, which are separated by spaces."""
    return [number(word) for word in text.split()]


def text_of(elements: Iterable[int | str]) -> str:
    """Return the value that `numbers` understands."""
    return " ".join(map(str, elements))


def number_in(entry: Entry | None) -> int | str | None:
    """Return the number in a key, None if there is no such key."""
    return None if entry is None else number(entry.value)


def cas_index(entry: Entry | None) -> int:
    """Return what a compare-and-set on top of this read must say: 0 wants the key to be absent."""
    return 0 if entry is None else entry.modify_index


def within(patience_s: float, action: Action, *, is_write: bool = False) -> Action:
    """Return `action` as it is done by somebody who does not wait longer than this.

    A server that stood still, or was cut off, while the others went on shows what it believes only to reads that began
    after the others' writes. Clients who wait for it until it is back have begun theirs before.
    """

    async def hurried(http: HTTP) -> Answer:
        with trio.move_on_after(patience_s):
            return await action(http)
        text = f"no answer within {patience_s:.1f} s"
        raise CallUnclear(text) if is_write else CallFailed(text)

    return hurried


def choose_patience_s(rng: random.Random) -> float:
    """Return how long a client waits."""
    return rng.uniform(*PATIENCE_S)


async def read_number(
    client: Client, key: str, mode: str, *, patience_s: float = TIMEOUT_S
) -> tuple[Operation, Entry | None]:
    """Record a `read` of a number (None: no such key), and return the entry as well."""
    found: Entry | None = None

    async def action(http: HTTP) -> Answer:
        nonlocal found
        found, index = await http.get(key, mode=mode)
        return Answer(output=number_in(found), index=index)

    return await client.call("read", within(patience_s, action), key=key, mode=mode), found
