"""Transactions: all or nothing, and one order of all."""

from typing import Any

import pytest

from jepsen.checkers.txn import check
from jepsen.history import Operation
from tests.unit.jepsen.checkers.histories import FAILED, UNKNOWN, history, kinds, op, with_final_reads

R, W, X = "read", "write", "expect"


def txn(began: int, ended: int, *steps: tuple[str, str, Any], **more: Any) -> Operation:
    """Steps as they were answered; what was asked for is the same with nothing read yet."""
    assert all(step[0] in (R, W, X) for step in steps)
    asked = [[kind, name, None if kind == R else value] for kind, name, value in steps]
    return op("txn", began, ended, asked, [list(step) for step in steps], workload="txn", key="g", **more)


WRITE_BOTH = txn(0, 1, (W, "a", 1), (W, "b", 2))
GOOD = {
    "whole": [WRITE_BOTH, txn(2, 3, (R, "a", 1), (R, "b", 2))],
    "nothing yet": [txn(0, 9, (W, "a", 1), (W, "b", 2)), txn(0, 5, (R, "a", None), (R, "b", None))],
    "sees its own writes": [txn(0, 1, (R, "a", None), (W, "a", 1), (R, "a", 1), (W, "a", None), (R, "a", None))],
    "sees only its own writes": [WRITE_BOTH, txn(2, 3, (W, "a", 3), (R, "a", 3)), txn(4, 5, (R, "a", 3))],
    "a swap": [WRITE_BOTH, txn(2, 3, (R, "a", 1), (W, "a", 3), (R, "b", 2), (W, "b", 4)), txn(4, 5, (R, "b", 4))],
    "rolled back": [WRITE_BOTH, txn(2, 3, (W, "a", 3), outcome=FAILED, error=""), txn(4, 5, (R, "a", 1))],
    "unknown and whole": [
        WRITE_BOTH,
        txn(2, 3, (W, "a", 3), (W, "b", 4), outcome=UNKNOWN),
        txn(4, 5, (R, "a", 1), (R, "b", 2)),
        txn(6, 7, (R, "a", 3), (R, "b", 4)),
    ],
    "expected and found": [WRITE_BOTH, txn(2, 3, (X, "a", 1), (W, "a", 3)), txn(4, 5, (R, "a", 3))],
    "declined, since something else was there": [
        WRITE_BOTH,
        txn(2, 3, (W, "b", 9), (X, "a", 7), (W, "a", 3), outcome=FAILED, error=""),
        txn(4, 5, (R, "a", 1), (R, "b", 2)),
    ],
    "declined, since one of two was not there": [
        WRITE_BOTH,
        txn(2, 3, (X, "a", 1), (W, "a", 3), (X, "b", 7), (W, "b", 4), outcome=FAILED, error=""),
    ],
    "declined, and an unknown one may be why": [
        WRITE_BOTH,
        txn(2, 3, (W, "c", 7), (W, "a", 8), outcome=UNKNOWN),
        txn(4, 5, (X, "a", 1), (W, "a", 3), outcome=FAILED, error=""),
        txn(6, 7, (W, "a", 9)),
    ],
    "declined as its own write was not what it expected": [
        txn(0, 1, (W, "a", 1), (X, "a", 2), outcome=FAILED, error=""),
    ],
    "declined, as old histories tell it": [WRITE_BOTH, txn(2, 3, (R, "a", 1), (W, "a", 3), outcome=FAILED, error="")],
    "refused with an error": [WRITE_BOTH, txn(2, 3, (X, "a", 1), (W, "a", 3), outcome=FAILED)],
    "unknown, and what it expected was there only later": [
        WRITE_BOTH,
        txn(2, 3, (X, "a", 3), (W, "a", 4), outcome=UNKNOWN),
        txn(4, 5, (W, "a", 3)),
        txn(6, 7, (R, "a", 4)),
    ],
    "stale, but whole": [
        WRITE_BOTH,
        txn(2, 3, (W, "a", 3), (W, "b", 4)),
        txn(4, 5, (R, "a", 1), (R, "b", 2), mode="stale"),
    ],
}
BAD = {
    "torn": [WRITE_BOTH, txn(2, 9, (W, "a", 3), (W, "b", 4)), txn(3, 5, (R, "a", 3), (R, "b", 2))],
    "torn, of an unknown one": [
        WRITE_BOTH,
        txn(2, 3, (W, "a", 3), (W, "b", 4), outcome=UNKNOWN),
        txn(4, 5, (R, "a", 3), (R, "b", 2)),
    ],
    "torn, as a stale one tells": [
        WRITE_BOTH,
        txn(2, 3, (W, "a", 3), (W, "b", 4)),
        txn(4, 5, (R, "a", 3), (R, "b", 2), mode="stale"),
    ],
    "write skew": [
        WRITE_BOTH,
        txn(2, 9, (R, "a", 1), (W, "b", 5)),
        txn(2, 9, (R, "b", 2), (W, "a", 6)),
        txn(10, 11, (R, "a", 6), (R, "b", 5)),
    ],
    "two orders for two readers": [
        txn(0, 9, (W, "a", 1)),
        txn(0, 9, (W, "b", 2)),
        txn(1, 5, (R, "a", 1), (R, "b", None)),
        txn(1, 5, (R, "a", None), (R, "b", 2)),
    ],
    "stale": [WRITE_BOTH, txn(2, 3, (W, "a", 3)), txn(4, 5, (R, "a", 1), (R, "b", 2))],
    "rolled back, but seen": [WRITE_BOTH, txn(2, 3, (W, "a", 3), outcome=FAILED), txn(4, 5, (R, "a", 3))],
    "half rolled back": [
        WRITE_BOTH,
        txn(2, 3, (W, "a", 3), (R, "b", None), (W, "b", 4), outcome=FAILED, error=""),
        txn(4, 5, (R, "a", 3), (R, "b", 2)),
    ],
    "declined, though all was there": [
        WRITE_BOTH,
        txn(2, 3, (X, "a", 1), (W, "a", 3), (X, "b", 2), (W, "b", 4), outcome=FAILED, error=""),
    ],
    "declined, though nothing was there, as expected": [
        txn(0, 1, (X, "a", None), (W, "a", 3), outcome=FAILED, error="")
    ],
    "done, though something else was there": [WRITE_BOTH, txn(2, 3, (X, "a", 7), (W, "a", 3))],
    "done, though nothing was there": [txn(0, 1, (W, "b", 7)), txn(2, 3, (X, "a", 7), (W, "a", 3))],
    "unknown and done, though what it expected was not there": [
        WRITE_BOTH,
        txn(2, 3, (W, "a", 8)),
        txn(4, 5, (X, "a", 1), (W, "a", 3), outcome=UNKNOWN),
        txn(6, 7, (R, "a", 3)),
    ],
    "does not see its own write": [txn(0, 1, (W, "a", 1), (R, "a", None))],
    "sees two states": [WRITE_BOTH, txn(2, 3, (R, "a", 1), (R, "a", None))],
}
KINDS = {
    "declined, though all was there": "wrongly declined",
    "declined, though nothing was there, as expected": "wrongly declined",
    "done, though something else was there": "never written",
    "done, though nothing was there": "never written",
    "stale": "stale read",
    "rolled back, but seen": "failed write seen",
    "half rolled back": "failed write seen",
    "does not see its own write": "contradiction",
    "sees two states": "contradiction",
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories_pass(name: str) -> None:
    verdict = check(history(*with_final_reads(GOOD[name])))
    assert verdict.passed, verdict.anomalies


def test_a_group_that_was_written_and_not_read_in_the_end_is_not_decided() -> None:
    assert not check(history(WRITE_BOTH)).decided
    assert check(history(WRITE_BOTH, txn(2, 3, (R, "a", 1), phase="final"))).passed


@pytest.mark.parametrize("name", BAD)
def test_bad_histories_are_convicted_of_the_right_thing(name: str) -> None:
    verdict = check(history(*BAD[name]))
    assert not verdict.valid
    assert kinds(verdict) == [KINDS.get(name, "not linearizable")], verdict.anomalies


def test_answers_that_do_not_belong_to_the_question_are_reported() -> None:
    crooked = op("txn", 0, 1, [["read", "a", None]], [["read", "b", 1]], workload="txn")
    assert kinds(check(history(crooked))) == ["contradiction"]
