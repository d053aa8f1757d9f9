"""Locks: one holder at a time, numbers that only rise, delays, and registers that old holders cannot write."""

from typing import Any

import pytest

from jepsen.checkers.lock import check
from jepsen.history import FaultWindow, Observation, Operation
from tests.unit.jepsen.checkers.histories import FAILED, SECOND, UNKNOWN, history, kinds, op, seen


def at(function: str, began_s: float, ended_s: float, *given: Any, **more: Any) -> Operation:
    return op(function, int(began_s * SECOND), int(ended_s * SECOND), *given, workload="lock", **more)


def create(session: str, began_s: float = 0.0, *, delay_s: float = 2) -> Operation:
    asked = {"ttl_s": 10, "delay_s": delay_s}
    return at("create", began_s, began_s + 0.1, asked, {"session": session}, key="sessions")


def renew(session: str, began_s: float, **more: Any) -> Operation:
    return at("renew", began_s, began_s + 0.1, {"session": session}, {"alive": True}, key="sessions", **more)


def destroy(session: str, began_s: float, **more: Any) -> Operation:
    return at("destroy", began_s, began_s + 0.1, {"session": session}, key="sessions", **more)


def acquire(session: str, began_s: float, ended_s: float | None = None, **more: Any) -> Operation:
    return at("acquire", began_s, ended_s or began_s + 0.1, {"session": session, "value": 1}, key="lock", **more)


def release(session: str, began_s: float, **more: Any) -> Operation:
    return at("release", began_s, began_s + 0.1, {"session": session, "value": 2}, key="lock", **more)


def declined(function: Any, session: str, began_s: float) -> Operation:
    operation: Operation = function(session, began_s, outcome=FAILED, error="")
    return operation


def read(session: str, lock_index: int, began_s: float, *, modify_index: int = 0, **more: Any) -> Operation:
    got = {"session": session, "lock_index": lock_index, "modify_index": modify_index or lock_index, "value": 1}
    return at("read", began_s, began_s + 0.1, None, got, key="lock", **more)


def final(session: str, lock_index: int, began_s: float = 90.0, **more: Any) -> Operation:
    return read(session, lock_index, began_s, phase="final", **more)


def guard(fence: int, began_s: float, *, number: int = 0, **more: Any) -> Operation:
    asked = {"fence": fence, "session": "a", "number": number or fence}
    return at("guard", began_s, began_s + 0.1, asked, key="guarded", **more)


def guarded(fence: int, began_s: float, *, number: int = 0, **more: Any) -> Operation:
    got = {"fence": fence, "number": number or fence} if fence else None
    return at("read", began_s, began_s + 0.1, None, got, key="guarded", **more)


TWO = [create("a"), create("b")]
GOOD: dict[str, list[Operation]] = {
    "taken, shown, given back, taken by another": [
        *[*TWO, acquire("a", 1), read("a", 1, 2), release("a", 3), acquire("b", 4)],
        final("b", 2),
    ],
    "taken again by its holder": [*TWO, acquire("a", 1), acquire("a", 2), final("a", 1)],
    "given back and taken again": [*TWO, acquire("a", 1), release("a", 2), acquire("a", 3), final("a", 2)],
    "declined while another holds it": [*TWO, acquire("a", 1), declined(acquire, "b", 2), final("a", 1)],
    "a release of what one does not hold": [*TWO, acquire("a", 1), declined(release, "b", 2), final("a", 1)],
    "taken while the release is under way": [*TWO, acquire("a", 1), release("a", 3), acquire("b", 2, 4), final("b", 2)],
    "an unknown release may have come late": [
        *[*TWO, acquire("a", 1), release("a", 2, outcome=UNKNOWN), read("a", 1, 5), acquire("b", 7)],
        final("b", 2),
    ],
    "an unknown acquisition": [*TWO, acquire("a", 1, outcome=UNKNOWN), read("a", 1, 5), final("a", 1)],
    "after the TTL": [*TWO, renew("b", 9), acquire("a", 1), acquire("b", 12), final("b", 2)],
    "after the delay of who was destroyed": [*TWO, acquire("a", 1), destroy("a", 2), acquire("b", 4.5), final("b", 2)],
    "who gave it back has no delay": [
        *[*TWO, acquire("a", 1), release("a", 1.5), destroy("a", 2), acquire("b", 2.5)],
        final("b", 2),
    ],
    "a stale read of an earlier holder": [
        *[*TWO, acquire("a", 1), release("a", 2), acquire("b", 3), read("a", 1, 4, mode="stale")],
        final("b", 2),
    ],
    "an older number is declined": [
        *[guard(1, 1), guard(2, 2), guard(1, 3, number=9, outcome=FAILED, error=""), guarded(2, 4)],
        guarded(2, 90, phase="final"),
    ],
    "an unknown write under guard": [
        *[guard(1, 1), guard(2, 2, outcome=UNKNOWN), guarded(1, 3), guarded(2, 4)],
        guarded(2, 90, phase="final"),
    ],
}
BAD: dict[str, list[Operation]] = {
    "two holders": [*TWO, acquire("a", 1), acquire("b", 2), final("b", 2)],
    "two holders, one of them read": [*TWO, acquire("a", 1), read("b", 2, 2), acquire("b", 1), final("b", 2)],
    "two holders, though the TTL is renewed": [
        *[*TWO, acquire("a", 1), renew("a", 9), acquire("b", 12), renew("b", 9)],
        final("b", 2),
    ],
    "two holders after a release that failed": [
        *[*TWO, acquire("a", 1), release("a", 2, outcome=FAILED), acquire("b", 3)],
        final("b", 2),
    ],
    "lost lock": [*TWO, acquire("a", 1), read("", 1, 2), final("", 1)],
    "release refused to the holder": [*TWO, acquire("a", 1), declined(release, "a", 2), final("a", 1)],
    "lock delay cut short": [*TWO, acquire("a", 1), destroy("a", 2), acquire("b", 3), final("b", 2)],
    "lock delay cut short after a TTL": [*TWO, acquire("a", 1), acquire("b", 9.5), renew("b", 9), final("b", 2)],
    "lock index back": [*TWO, acquire("a", 1), read("a", 2, 2, modify_index=5), final("a", 1)],
    "lock index miscounted": [*TWO, acquire("a", 1), final("a", 2)],
    "lock index miscounted, not at all": [*TWO, acquire("a", 1), release("a", 2), acquire("b", 3), final("b", 1)],
    "two holders of one number": [
        *[*TWO, acquire("a", 1), read("a", 1, 2), release("a", 3), acquire("b", 4), read("b", 1, 5, modify_index=7)],
        final("b", 2, modify_index=8),
    ],
    "changed under one index": [
        *[*TWO, acquire("a", 1), read("a", 1, 2), release("a", 3), read("", 1, 4)],
        final("", 1, modify_index=5),
    ],
    "phantom holder": [*TWO, acquire("a", 1, outcome=UNKNOWN), final("b", 1)],
    "released what it did not hold": [*TWO, acquire("a", 1), release("b", 2), final("a", 1)],
    "released what it did not hold any more": [*TWO, acquire("a", 1), release("a", 2), release("a", 3), final("", 1)],
    "held by a dead session": [*TWO, acquire("a", 1), destroy("a", 2), read("a", 1, 3), final("", 1, modify_index=9)],
    "acquire by a dead session": [*TWO, destroy("a", 1), acquire("a", 2), final("", 1)],
    "release by a dead session": [*TWO, acquire("a", 1), destroy("a", 2), release("a", 3), final("", 1)],
    "older number accepted": [guard(2, 1), guard(1, 3), guarded(1, 90, phase="final")],
    "lost": [guard(1, 1), guard(2, 3), guarded(1, 90, phase="final")],
    "phantom": [guard(1, 1), guarded(2, 3), guarded(2, 90, phase="final")],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories_pass(name: str) -> None:
    verdict = check(history(*GOOD[name]))
    assert verdict.passed, verdict.anomalies


@pytest.mark.parametrize("name", BAD)
def test_bad_histories_are_convicted_of_the_right_thing(name: str) -> None:
    verdict = check(history(*BAD[name]))
    assert not verdict.valid
    found = kinds(verdict)
    assert any(name == kind or name.startswith((f"{kind},", f"{kind} ")) for kind in found), found


def snapshot(at_s: float, index: int) -> Observation:
    return seen(at_s, "follower", 1, snapshot=index)


def test_a_delay_may_be_forgotten_by_who_starts_from_a_snapshot_and_a_holder_may_not() -> None:
    lines: list[Operation | Observation | FaultWindow] = [*BAD["lock delay cut short"]]
    assert check(history(*lines, snapshot(0, 5), snapshot(8, 7))).passed
    assert not check(history(*lines, snapshot(0, 5), snapshot(1.5, 7), snapshot(60, 7))).valid
    assert not check(history(*BAD["two holders"], snapshot(0, 5), snapshot(2, 7))).valid


def test_without_a_final_read_nothing_is_decided() -> None:
    verdict = check(history(*TWO, acquire("a", 1), read("a", 1, 2)))
    assert verdict.valid
    assert not verdict.decided
