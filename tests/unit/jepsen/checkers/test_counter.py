"""Counters: always the sum of what was added."""

import random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jepsen.checkers.counter import check
from jepsen.history import Operation
from tests.unit.jepsen.checkers.histories import FAILED, UNKNOWN, history, kinds, op


def add(addend: int, began: int, ended: int, got: int | None = None, **more: Any) -> Operation:
    return op("add", began, ended, addend, got, workload="counter", **more)


def read(total: Any, began: int, ended: int, **more: Any) -> Operation:
    return op("read", began, ended, None, total, workload="counter", **more)


def final(total: int, began: int = 10_000, **more: Any) -> Operation:
    return read(total, began, began + 5, phase="final", **more)


GOOD = {
    "the sum": [add(3, 0, 1, 3), read(3, 2, 3), add(4, 4, 5, 7), final(7)],
    "totals not told": [add(3, 0, 1), add(4, 2, 3), final(7)],
    "concurrent": [add(3, 0, 9, 7), add(4, 0, 9, 4), read(0, 0, 5), read(4, 2, 8), read(7, 6, 9), final(7)],
    "an unknown add was counted": [add(3, 0, 1, outcome=UNKNOWN), add(4, 2, 3, 7), final(7)],
    "an unknown add was counted late": [add(3, 0, 1, outcome=UNKNOWN), add(4, 2, 3, 4), final(7)],
    "an unknown add was not counted": [add(3, 0, 1, outcome=UNKNOWN), add(4, 2, 3, 4), final(4)],
    "a failed add": [add(3, 0, 1, outcome=FAILED), final(0)],
    "a stale read may be old": [add(3, 0, 1, 3), read(0, 2, 3, mode="stale"), final(3)],
    "counters are apart": [add(3, 0, 1, 3, key="a"), add(4, 0, 1, 4, key="b"), final(3, key="a"), final(4, key="b")],
}
BAD = {
    "lost": [add(3, 0, 1), add(4, 2, 3), final(4)],
    "lost: two on the same total": [add(3, 0, 9, 3), add(4, 0, 9, 4), final(4)],
    "lost: added to an old total": [add(3, 0, 1, 3), add(4, 2, 3, 4), final(7)],
    "lost, seen before": [add(3, 0, 1, outcome=UNKNOWN), read(3, 2, 3), final(0)],
    "stale read": [add(3, 0, 1, 3), read(0, 2, 3), final(3)],
    "stale read after a newer one": [add(3, 0, 90, 3), read(3, 2, 3), read(0, 4, 5), final(3)],
    "phantom: a failed add was counted": [add(3, 0, 1, outcome=FAILED), final(3)],
    "phantom: twice": [add(3, 0, 1, outcome=UNKNOWN), final(6)],
    "phantom: before its time": [read(3, 0, 1), add(3, 2, 3, 3), final(3)],
    "phantom: in the middle of an add": [add(9, 0, 9, 9), add(1, 0, 9, outcome=UNKNOWN), read(5, 2, 3), final(9)],
    "phantom: no number": [read("what", 2, 3), final(0)],
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
    assert not check(history(add(1, 0, 1), read(1, 2, 3))).decided


def simulated(seed: int, *, count: int) -> list[Operation]:
    """What clients of a right counter see."""
    rng = random.Random(seed)
    total = 0
    made = []
    for number in range(count):
        moment = 10 * number + 5
        began, ended = moment - rng.randint(0, 40), moment + rng.randint(0, 40)
        addend, fate = rng.randint(1, 9), rng.random()
        if fate < 0.5:
            total += addend
            made.append(add(addend, began, ended, total if rng.random() < 0.7 else None))
        elif fate < 0.6:
            total += addend * (rng.random() < 0.5)
            made.append(add(addend, began, moment, outcome=UNKNOWN))
        else:
            made.append(read(total, began, ended))
    return [*made, final(total)]


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_what_a_right_counter_answers_passes(seed: int, count: int) -> None:
    verdict = check(history(*simulated(seed, count=count)))
    assert verdict.passed, verdict.anomalies


@given(st.integers(0, 2**32))
def test_an_acknowledged_add_that_is_not_in_the_final_total_is_always_found(seed: int) -> None:
    operations = [each for each in simulated(seed, count=20) if each.outcome is not UNKNOWN]
    adds = [each for each in operations if each.function == "add"]
    assume(adds)
    total = sum(each.input for each in adds) - random.Random(seed).choice(adds).input
    assert not check(history(*operations[:-1], final(total))).valid
