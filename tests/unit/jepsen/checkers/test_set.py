"""Sets: what was acknowledged is there, and nothing else is."""

from typing import Any

import pytest

from jepsen.checkers.set import check
from jepsen.history import Operation
from tests.unit.jepsen.checkers.histories import FAILED, UNKNOWN, history, kinds, op


def add(element: int, began: int, ended: int, **more: Any) -> Operation:
    return op("add", began, ended, element, workload="set", **more)


def read(elements: list[Any], began: int, ended: int, **more: Any) -> Operation:
    return op("read", began, ended, None, elements, workload="set", **more)


def final(elements: list[Any], began: int = 100, **more: Any) -> Operation:
    return read(elements, began, began + 5, phase="final", **more)


GOOD = {
    "all there": [add(1, 0, 1), add(2, 0, 1), read([1, 2], 2, 3), final([1, 2])],
    "a concurrent add may be seen or not": [add(1, 0, 9), read([1], 1, 2), read([1], 5, 10), final([1])],
    "an add that ended while it was read": [add(1, 0, 5), read([], 3, 9), final([1])],
    "an unknown add happened": [add(1, 0, 1), add(2, 0, 1, outcome=UNKNOWN), final([1, 2])],
    "an unknown add did not happen": [add(1, 0, 1), add(2, 0, 1, outcome=UNKNOWN), final([1])],
    "an unknown add happened late": [add(1, 0, 1, outcome=UNKNOWN), final([]), final([1], 200)],
    "a failed add": [add(1, 0, 1), add(2, 0, 1, outcome=FAILED), final([1])],
    "a stale read may be old": [add(1, 0, 1), read([], 5, 6, mode="stale"), final([1])],
    "a final read without an answer beside one with": [
        add(1, 0, 1),
        op("read", 50, 60, workload="set", phase="final", outcome=FAILED),
        final([1]),
    ],
    "sets are apart": [add(1, 0, 1, key="a"), add(2, 0, 1, key="b"), final([1], key="a"), final([2], key="b")],
}
BAD = {
    "lost": [add(1, 0, 1), add(2, 0, 1), final([2])],
    "lost after it was seen": [add(1, 0, 1, outcome=UNKNOWN), read([1], 2, 3), final([])],
    "stale read": [add(1, 0, 1), read([], 2, 3), final([1])],
    "stale read after a newer one": [add(1, 0, 50), read([1], 2, 3), read([], 4, 5), final([1])],
    "final reads differ": [add(1, 0, 1), final([1], node="server-1"), final([], node="server-2")],
    "final reads differ in a replica": [add(1, 0, 1), final([1]), final([], 200, mode="stale", node="server-2")],
    "resurrected": [add(1, 0, 1), add(2, 0, 1, outcome=FAILED), final([1, 2])],
    "resurrected, which even a stale read tells": [
        add(2, 0, 1, outcome=FAILED),
        read([2], 5, 6, mode="stale"),
        final([]),
    ],
    "phantom": [add(1, 0, 1), final([1, 5])],
    "phantom before it was added": [read([1], 0, 1), add(1, 2, 3), final([1])],
    "duplicate": [add(1, 0, 1), final([1, 1])],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories_pass(name: str) -> None:
    verdict = check(history(*GOOD[name]))
    assert verdict.passed, verdict.anomalies


@pytest.mark.parametrize("name", BAD)
def test_bad_histories_are_convicted_of_the_right_thing(name: str) -> None:
    verdict = check(history(*BAD[name]))
    assert not verdict.valid
    assert name.startswith(tuple(kinds(verdict))), kinds(verdict)


def test_without_a_final_read_nothing_is_decided() -> None:
    verdict = check(history(add(1, 0, 1), read([1], 2, 3)))
    assert verdict.valid
    assert not verdict.decided


def test_elements_are_counted_and_a_few_of_them_named() -> None:
    adds = [add(element, 0, 1) for element in range(100)]
    verdict = check(history(*adds, final([])))
    assert verdict.anomalies_count == 100
    [anomaly] = verdict.anomalies
    assert "95 more" in anomaly.text
    assert len(anomaly.operations) < 10
