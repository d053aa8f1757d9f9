"""Lists: nothing lost, nothing twice, one order; the quick way agrees with the definition."""

import random
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepsen.checkers.append import check
from jepsen.history import Operation
from tests.unit.jepsen.checkers.histories import FAILED, OK, UNKNOWN, history, kinds, op


def append(element: int, began: int, ended: int, got: list[int] | None = None, **more: Any) -> Operation:
    return op("append", began, ended, element, got, workload="append", **more)


def read(elements: list[Any], began: int, ended: int, **more: Any) -> Operation:
    return op("read", began, ended, None, elements, workload="append", **more)


def final(elements: list[Any], began: int = 1000, **more: Any) -> Operation:
    return read(elements, began, began + 5, phase="final", **more)


GOOD = {
    "one after the other": [append(1, 0, 1, [1]), append(2, 2, 3, [1, 2]), read([1, 2], 4, 5), final([1, 2])],
    "without telling the list": [append(1, 0, 1), append(2, 2, 3), final([1, 2])],
    "concurrent ones in any order": [append(1, 0, 9), append(2, 0, 9), final([2, 1])],
    "an unknown one happened": [append(1, 0, 1, outcome=UNKNOWN), append(2, 2, 3), final([1, 2])],
    "an unknown one happened late": [append(1, 0, 1, outcome=UNKNOWN), append(2, 2, 3), final([2, 1])],
    "an unknown one did not happen": [append(1, 0, 1, outcome=UNKNOWN), append(2, 2, 3, [2]), final([2])],
    "a failed one": [append(1, 0, 1, outcome=FAILED), final([])],
    "a stale read may be old": [append(1, 0, 1), read([], 2, 3, mode="stale"), final([1])],
    "times that are equal count as concurrent": [append(1, 0, 5), read([], 5, 9), final([1])],
    "a concurrent read": [append(1, 0, 9), read([1], 2, 3), read([], 0, 4), final([1])],
}
BAD = {
    "lost": [append(1, 0, 1), append(2, 2, 3), final([1])],
    "lost after it was seen": [append(1, 0, 1, outcome=UNKNOWN), read([1], 2, 3), final([])],
    "stale read": [append(1, 0, 1), read([], 2, 3), final([1])],
    "stale read after a newer one": [append(1, 0, 90), read([1], 2, 3), read([], 4, 5), final([1])],
    "stale read, as a stale one told": [append(1, 0, 90), read([1], 2, 3, mode="stale"), read([], 4, 5), final([1])],
    "wrong order": [append(1, 0, 1), append(2, 2, 3), final([2, 1])],
    "wrong order: not at the end": [append(1, 0, 1, [1]), append(2, 2, 3, [2, 1]), final([2, 1])],
    "fork": [append(1, 0, 9), append(2, 0, 9), read([1], 5, 6), final([2, 1])],
    "fork: both on top of the same": [append(1, 0, 9, [1]), append(2, 0, 9, [2]), final([2])],
    "duplicate": [append(1, 0, 1, outcome=UNKNOWN), final([1, 1])],
    "resurrected": [append(1, 0, 1, outcome=FAILED), final([1])],
    "resurrected: a stale read saw it": [append(1, 0, 1, outcome=FAILED), read([1], 2, 3, mode="stale"), final([])],
    "phantom": [append(1, 0, 1), final([1, 9])],
    "phantom before its time": [read([1], 0, 1), append(1, 2, 3), final([1])],
    "phantom before its time, and unknown": [read([1], 0, 1), append(1, 2, 3, outcome=UNKNOWN), final([1])],
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
    assert not check(history(append(1, 0, 1), read([1], 2, 3))).decided


def simulated(seed: int, *, count: int) -> list[Operation]:
    """What clients of a right list see. Times overlap; some appends are unknown, and happen or not."""
    rng = random.Random(seed)
    state: list[int] = []
    made = []
    for number in range(count):
        moment = 10 * number + 5
        began, ended = moment - rng.randint(0, 40), moment + rng.randint(0, 40)
        fate = rng.random()
        if fate < 0.5:
            state.append(number)
            got = list(state) if rng.random() < 0.7 else None
            made.append(append(number, began, ended, got))
        elif fate < 0.6:
            state.extend([number] * (rng.random() < 0.5))
            made.append(append(number, began, moment, outcome=UNKNOWN))
        else:
            made.append(read(list(state), began, ended))
    return [*made, final(list(state), 10_000)]


def has_legal_order(operations: list[Operation]) -> bool:
    """The definition: some order of the certain ones and of some of the others is legal."""
    certain = [each for each in operations if each.outcome is OK]
    unknown = [each for each in operations if each.outcome is UNKNOWN]
    for bits in range(1 << len(unknown)):
        chosen = certain + [each for at, each in enumerate(unknown) if bits >> at & 1]
        if any(_is_legal(order) for order in permutations(chosen)):
            return True
    return False


def _is_legal(order: tuple[Operation, ...]) -> bool:
    state: list[Any] = []
    for at, each in enumerate(order):
        if any(later.outcome is OK and later.ended_ns < each.began_ns for later in order[at + 1 :]):
            return False
        if each.function == "append":
            state = [*state, each.input]
        if each.output is not None and each.output != state:
            return False
    return True


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_what_a_right_list_answers_passes(seed: int, count: int) -> None:
    verdict = check(history(*simulated(seed, count=count)))
    assert verdict.passed, verdict.anomalies


def spoilt(rng: random.Random, elements: list[int]) -> list[int]:
    """Another list: turned round, shorter, or longer."""
    match rng.randrange(3):
        case 0:
            return elements[::-1]
        case 1:
            return elements[:-1]
    return [*elements, rng.randint(0, 5)]


@given(st.integers(0, 2**32))
def test_after_one_wrong_answer_the_checker_says_what_the_definition_says(seed: int) -> None:
    operations = simulated(seed, count=5)
    rng = random.Random(seed)
    at = rng.choice([at for at, each in enumerate(operations) if each.output is not None])
    wrong = spoilt(rng, spoilt(rng, operations[at].output))
    operations[at] = msgspec.structs.replace(operations[at], output=wrong)
    assert check(history(*operations)).valid == has_legal_order(operations)
