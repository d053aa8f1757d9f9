"""Each workload passes on a right store and is convicted on each store whose fault it is there to see."""

import importlib
import pkgutil
import random
from collections.abc import MutableSequence
from typing import Any

import pytest
from trio._core import _run
from trio.testing import MockClock

import jepsen.workloads
from jepsen.history import History, Outcome
from jepsen.workloads.registry import WORKLOADS
from jepsen.workloads.workload import Workload
from tests.fakes.store import Defect
from tests.fakes.workload_run import run_in_memory

SEEN_BY: dict[str, tuple[Defect, ...]] = {
    "register": (Defect.LOSES_WRITES, Defect.STALE_READS, Defect.WRITES_TWICE, Defect.LATE_WRITES),
    "set": (Defect.LOSES_WRITES, Defect.STALE_READS, Defect.WRITES_TWICE, Defect.LATE_WRITES),
    "append": (Defect.LOSES_WRITES, Defect.STALE_READS, Defect.WRITES_TWICE),
    "counter": (Defect.LOSES_WRITES, Defect.STALE_READS, Defect.WRITES_TWICE),
    "txn": (
        Defect.LOSES_WRITES,
        Defect.STALE_READS,
        Defect.WRITES_TWICE,
        Defect.LATE_WRITES,
        Defect.TORN_TXNS,
        Defect.TORN_READS,
    ),
    "watch": (Defect.LOSES_WRITES, Defect.STALE_READS, Defect.LOST_WAKE_UPS, Defect.INDEX_BACK),
    "lock": (
        Defect.LOSES_WRITES,
        Defect.STALE_READS,
        Defect.ENDS_EARLY,
        Defect.KEEPS_KEYS,
        Defect.TWO_HOLDERS,
        Defect.NO_LOCK_DELAY,
        Defect.LOCK_INDEX_KEPT,
        Defect.ANYBODY_RELEASES,
    ),
    "session": (
        Defect.LOSES_WRITES,
        Defect.STALE_READS,
        Defect.ENDS_EARLY,
        Defect.NEVER_ENDS,
        Defect.COMES_BACK,
        Defect.KEEPS_KEYS,
        Defect.LET_GO_LATER,
    ),
    "catalog": (
        Defect.LOSES_WRITES,
        Defect.STALE_READS,
        Defect.INDEX_BACK,
        Defect.INDEX_KEPT,
        Defect.NOT_SYNCED,
    ),
    "health-watch": (
        Defect.LOSES_WRITES,
        Defect.STALE_READS,
        Defect.LOST_WAKE_UPS,
        Defect.INDEX_BACK,
        Defect.INDEX_KEPT,
    ),
}
DURATION_S = 15.0
PATIENT_S = {"watch": 120.0, "health-watch": 120.0, "lock": 120.0, "session": 120.0, "catalog": 60.0}
"""Most changes and wake-ups that are lost are covered by the next ones; sessions take their time."""
RARELY = 0.02
"""Share of the calls that a defect strikes: a broken system is right most of the time, too."""


class _NoChance(random.Random):
    """Draws nothing."""

    def shuffle(self, x: MutableSequence[Any]) -> None:
        pass

    def random(self) -> float:
        return 0.75


@pytest.fixture(autouse=True)
def same_order_of_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trio draws in which order tasks run that are ready at once; here it is always the order of their beginnings."""
    monkeypatch.setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    monkeypatch.setattr(_run, "_r", _NoChance())


def complaints(history: History) -> list[str]:
    verdicts = [check(history) for name in history.workloads() for check in WORKLOADS[name].checkers()]
    assert verdicts
    assert all(verdict.checked_count > 0 for verdict in verdicts)
    assert all(verdict.decided for verdict in verdicts), verdicts
    return [verdict.summary for verdict in verdicts if not verdict.valid]


def test_every_file_of_the_room_that_has_a_workload_is_registered() -> None:
    found: set[type[Workload]] = set()
    for module in pkgutil.iter_modules(jepsen.workloads.__path__):
        namespace = vars(importlib.import_module(f"jepsen.workloads.{module.name}"))
        found |= {each for each in namespace.values() if isinstance(each, type) and issubclass(each, Workload)}

    assert found - {Workload} == set(WORKLOADS.values())
    assert set(SEEN_BY) == set(WORKLOADS)
    assert set.union(*(set(defects) for defects in SEEN_BY.values())) == set(Defect)


@pytest.mark.parametrize("trouble", [0.0, 0.01], ids=["calm", "with errors"])
@pytest.mark.parametrize("name", WORKLOADS)
async def test_a_right_store_passes(name: str, trouble: float, autojump_clock: MockClock) -> None:
    history = await run_in_memory(WORKLOADS[name], seed=1, duration_s=DURATION_S, trouble=trouble)

    assert complaints(history) == []
    outcomes = {operation.outcome for operation in history.operations if operation.error}
    assert outcomes == ({Outcome.FAILED, Outcome.UNKNOWN} if trouble else set())


@pytest.mark.parametrize(
    ("name", "defect"), [(name, defect) for name, defects in SEEN_BY.items() for defect in defects]
)
async def test_a_broken_store_is_convicted(name: str, defect: Defect, autojump_clock: MockClock) -> None:
    duration_s = PATIENT_S.get(name, DURATION_S)
    history = await run_in_memory(WORKLOADS[name], seed=2, duration_s=duration_s, defect=defect, defect_share=RARELY)

    assert complaints(history)


@pytest.mark.parametrize("name", WORKLOADS)
async def test_the_same_seed_asks_for_the_same_things(name: str, autojump_clock: MockClock) -> None:
    first = await run_in_memory(WORKLOADS[name], seed=3, duration_s=2.0)
    again = await run_in_memory(WORKLOADS[name], seed=3, duration_s=2.0)

    assert [each.input for each in first.operations] == [each.input for each in again.operations]
    assert [each.key for each in first.operations] == [each.key for each in again.operations]


@pytest.mark.parametrize("name", WORKLOADS)
async def test_in_the_end_every_node_is_read(name: str, autojump_clock: MockClock) -> None:
    history = await run_in_memory(WORKLOADS[name], seed=4, duration_s=2.0)

    final = [operation for operation in history.operations if operation.phase == "final"]
    assert {operation.node for operation in final} == {"server-1", "server-2", "server-3"}
    assert {operation.key for operation in final} == {operation.key for operation in history.operations}
