"""Appends and adds are tried again only after a certain no, and are one operation each."""

import random
from collections.abc import Sequence

import pytest

from jepsen.client import HTTP, CallFailed, CallUnclear, Client, Entry
from jepsen.history import Operation, Outcome
from jepsen.workloads.append import ATTEMPTS_MAX, Append
from jepsen.workloads.counter import Counter
from jepsen.workloads.workload import Worker, Workload
from tests.fakes.store import Row, entry_of


class Scripted(HTTP):
    """A key whose value is always "5"; sets are answered as the script says."""

    def __init__(self, script: Sequence[bool | Exception]) -> None:
        super().__init__("127.0.0.1:1")
        self._script = iter(script)
        self.sets: list[tuple[str, int | None]] = []

    async def get(self, key: str, *, mode: str = "default") -> tuple[Entry | None, int]:
        return entry_of(key, Row("5", 1, 3)), 3

    async def put(self, key: str, value: str, *, cas: int | None = None) -> bool:
        self.sets.append((value, cas))
        answer = next(self._script)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def first_change(workload: Workload, *script: bool | Exception) -> tuple[Operation, Scripted]:
    """The first operation that is no read, and what was sent."""
    lines: list[Operation] = []
    client = Client(
        address="127.0.0.1:1", node="n", workload=workload.name, process=1, record=lines.append, now_ns=lambda: 0
    )
    http = client.http = Scripted(script)
    worker = Worker(process=1, position=0, rng=random.Random(1), client=client)
    while not http.sets:
        await workload.step(worker)
    return lines[-1], http


async def test_a_lost_race_is_run_again() -> None:
    operation, http = await first_change(Append(random.Random(1)), False, False, True)

    assert operation.outcome is Outcome.OK
    assert operation.output == [5, operation.input]
    assert http.sets == [(f"5 {operation.input}", 3)] * 3


@pytest.mark.parametrize(
    ("end", "outcome"), [(CallUnclear("?"), Outcome.UNKNOWN), (CallFailed("refused"), Outcome.FAILED)]
)
@pytest.mark.parametrize("kind", [Append, Counter])
async def test_whatever_is_no_certain_no_is_never_sent_again(
    kind: type[Workload], end: Exception, outcome: Outcome
) -> None:
    operation, http = await first_change(kind(random.Random(1)), False, end)

    assert operation.outcome is outcome
    assert operation.output is None
    assert len(http.sets) == 2


async def test_who_loses_every_race_has_failed() -> None:
    operation, http = await first_change(Append(random.Random(1)), *[False] * ATTEMPTS_MAX)

    assert operation.outcome is Outcome.FAILED
    assert len(http.sets) == ATTEMPTS_MAX


async def test_an_add_tells_the_new_total() -> None:
    operation, http = await first_change(Counter(random.Random(1)), True)

    assert operation.output == 5 + operation.input
    assert http.sets == [(str(operation.output), 3)]
