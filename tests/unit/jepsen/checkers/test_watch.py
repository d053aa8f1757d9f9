"""Blocking queries: no change missed, no index back, nobody woken late. Times are milliseconds."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jepsen.checkers.watch import check, check_health
from jepsen.history import FaultWindow, Operation
from tests.unit.jepsen.checkers.histories import FAILED, UNKNOWN, fault, history, kinds, op, seen

MS = 1_000_000


def write(value: int | None, began: int, ended: int, index: int | None, **more: Any) -> Operation:
    got = {"modify_index": index}
    return op("write", began * MS, ended * MS, value, got, workload="watch", process=1, **more)


def wait(asked: int, began: int, ended: int, value: int | None, index: int, **more: Any) -> Operation:
    """`modify_index` is that of the answer's index where there is a value."""
    modify_index = more.pop("modify_index", index if value is not None else 0)
    got = {"value": value, "modify_index": modify_index, "index": index}
    given_ = {"index": asked, "wait_s": 3.0}
    return op("wait", began * MS, ended * MS, given_, got, workload="watch", **{"process": 2, **more})


def final(value: int | None, index: int, began: int = 100_000, **more: Any) -> Operation:
    return wait(0, began, began + 5, value, index, phase="final", process=99, **more)


def wait_all(asked: int, began: int, ended: int, index: int, /, **values: tuple[int, int]) -> Operation:
    """Keys are k, k1, k2, ...: k is the prefix of them all."""
    got = {"values": {key: list(pair) for key, pair in values.items()}, "index": index}
    return op("wait_all", began * MS, ended * MS, {"index": asked, "wait_s": 3.0}, got, workload="watch", process=3)


def broken(began: int, ended: int, recovery: int = 0) -> FaultWindow:
    return fault(began / 1000, ended / 1000, recovery_s=recovery / 1000)


OTHER = write(5, 6, 8, 12, key="k2")
OTHER_LATER = write(5, 20, 22, 40, key="k2")
SERVER = seen(0.0, "follower", 1)
"""Tells that server-1 is a server, and no agent."""
FIRST = write(1, 0, 5, 10)
GOOD: dict[str, list[Any]] = {
    "woken by each change": [
        FIRST,
        wait(0, 10, 12, 1, 10),
        write(2, 500, 505, 20),
        wait(10, 13, 506, 2, 20),
        final(2, 20),
    ],
    "nothing changes": [FIRST, wait(10, 10, 3010, 1, 10), wait(10, 3011, 6000, 1, 10), final(1, 10)],
    "absent, then there": [wait(0, 0, 1, None, 1), wait(1, 2, 506, 1, 10), write(1, 500, 505, 10), final(1, 10)],
    "deleted": [
        FIRST,
        wait(0, 10, 12, 1, 10),
        write(None, 500, 505, None),
        wait(10, 13, 506, None, 20),
        final(None, 20),
    ],
    "other keys move the index of an absent one": [wait(0, 0, 1, None, 5), wait(5, 2, 10, None, 7), final(None, 9)],
    "an unknown write was seen late": [
        FIRST,
        write(2, 20, 30, None, outcome=UNKNOWN),
        wait(10, 10, 3010, 1, 10),
        wait(10, 3011, 4000, 2, 20),
        final(2, 20),
    ],
    "an unknown delete": [
        FIRST,
        write(None, 20, 30, None, outcome=UNKNOWN),
        wait(10, 10, 900, None, 20),
        final(None, 20),
    ],
    "late while a fault holds": [
        FIRST,
        write(2, 500, 505, 20),
        wait(10, 13, 3013, 2, 20),
        broken(1000, 1500),
        final(2, 20),
    ],
    "all keys": [
        FIRST,
        OTHER,
        wait_all(0, 10, 11, 12, k=(1, 10), k2=(5, 12)),
        write(None, 500, 505, None),
        wait_all(12, 12, 507, 20, k2=(5, 12)),
        final(None, 20),
        final(5, 12, key="k2"),
    ],
    "an absent key has the table's index alone, and the prefix's among all": [
        FIRST,
        wait(0, 10, 11, None, 35, key="k2"),
        wait_all(0, 12, 13, 10, k=(1, 10)),
        OTHER_LATER,
        final(1, 10),
        final(5, 40, key="k2"),
    ],
    "all keys, while one is written": [
        FIRST,
        write(5, 6, 40, 12, key="k2"),
        wait_all(0, 10, 11, 10, k=(1, 10)),
        final(1, 10),
        final(5, 12, key="k2"),
    ],
    "a stale watcher sees the past": [FIRST, write(2, 20, 30, 20), wait(0, 40, 41, 1, 10, mode="stale"), final(2, 20)],
    "a stale watcher of an agent goes back": [
        FIRST,
        write(2, 20, 30, 20),
        wait(0, 40, 41, 2, 20, mode="stale", node="agent-1"),
        wait(0, 50, 51, 1, 10, mode="stale", node="agent-1"),
        SERVER,
        final(2, 20),
    ],
    "a stale watcher of a restarted server goes back": [
        FIRST,
        write(2, 20, 30, 20),
        wait(0, 40, 41, 2, 20, mode="stale"),
        wait(0, 50, 51, 1, 10, mode="stale"),
        SERVER,
        broken(45, 48),
        final(2, 20),
    ],
}
BAD: dict[str, list[Any]] = {
    "lost wake-up": [FIRST, write(2, 500, 505, 20), wait(10, 13, 3013, 2, 20), final(2, 20)],
    "lost wake-up between read and wait": [FIRST, write(2, 20, 30, 20), wait(10, 40, 3040, 2, 20), final(2, 20)],
    "lost wake-up of a delete": [FIRST, write(None, 500, 505, None), wait(10, 13, 3013, None, 20), final(None, 20)],
    "lost wake-up of a stale watcher": [
        FIRST,
        write(2, 500, 505, 20),
        wait(10, 13, 3013, 2, 20, mode="stale"),
        final(2, 20),
    ],
    "lost wake-up long after a fault": [
        FIRST,
        broken(5, 10, 100),
        write(2, 500, 505, 20),
        wait(10, 200, 3200, 2, 20),
        final(2, 20),
    ],
    "missed change": [FIRST, write(2, 20, 30, 20), wait(0, 40, 41, 1, 10), final(2, 20)],
    "index back": [
        FIRST,
        write(2, 20, 900, 20),
        wait(0, 40, 41, 2, 20),
        wait(20, 42, 43, 1, 10),
        final(2, 20),
    ],
    "index back of a stale watcher": [
        FIRST,
        write(2, 20, 30, 20),
        wait(0, 40, 41, 2, 20, mode="stale"),
        wait(20, 50, 51, 1, 10, mode="stale"),
        SERVER,
        final(2, 20),
    ],
    "stale read": [
        FIRST,
        write(2, 20, 900, 20),
        wait(0, 40, 41, 2, 20, process=2),
        wait(0, 42, 43, 1, 10, process=3),
        final(2, 20),
    ],
    "stale read of what was deleted": [
        FIRST,
        write(None, 20, 30, None),
        wait(0, 40, 41, 1, 10),
        final(None, 20),
    ],
    "lost": [FIRST, write(2, 20, 30, 20), final(1, 10)],
    "lost, and absent": [FIRST, final(None, 50)],
    "lost: it was not that delete": [write(None, 0, 1, None), write(1, 5, 9, 10), final(None, 50)],
    "lost wake-up of all keys": [
        FIRST,
        OTHER,
        write(6, 500, 505, 20, key="k2"),
        wait_all(12, 10, 3010, 20, k=(1, 10), k2=(6, 20)),
        final(1, 10),
    ],
    "lost: one of all keys": [FIRST, OTHER, wait_all(0, 10, 11, 12, k=(1, 10)), final(1, 10)],
    "missed change of all keys": [FIRST, OTHER, wait_all(0, 10, 11, 10, k=(1, 10)), final(1, 10)],
    "missed change: one of all keys is old": [
        FIRST,
        write(2, 6, 8, 12),
        OTHER,
        wait_all(0, 10, 11, 12, k=(1, 10), k2=(5, 12)),
        final(2, 12),
    ],
    "index back of all keys": [
        FIRST,
        write(5, 6, 40, 12, key="k2"),
        wait_all(0, 10, 11, 12, k=(1, 10), k2=(5, 12)),
        wait_all(12, 12, 13, 10, k=(1, 10), k2=(5, 12)),
        final(1, 10),
    ],
    "changed under one index: all keys": [
        FIRST,
        write(5, 6, 40, 12, key="k2"),
        wait_all(0, 10, 11, 12, k=(1, 10), k2=(5, 12)),
        wait_all(0, 8, 13, 12, k2=(5, 12)),
        final(1, 10),
    ],
    "index too low for one of all keys": [FIRST, OTHER, wait_all(0, 10, 11, 10, k=(1, 10), k2=(5, 12)), final(1, 10)],
    "index too low": [wait(0, 0, 1, None, 0), final(None, 1)],
    "index too low for its value": [FIRST, wait(0, 10, 12, 1, 9, modify_index=10), final(1, 10)],
    "changed under one index": [
        FIRST,
        wait(0, 10, 12, None, 10),
        write(None, 8, 12, None),
        wait(0, 8, 13, 1, 10, process=3),
        final(None, 20),
    ],
    "two values under one index": [FIRST, wait(0, 10, 12, 7, 10), write(7, 0, 5, 12), final(7, 12)],
    "written twice": [FIRST, write(2, 20, 30, 20), wait(0, 40, 41, 1, 30), final(1, 30)],
    "phantom": [FIRST, wait(0, 10, 12, 7, 20), final(7, 20)],
    "phantom before its time": [FIRST, wait(0, 10, 12, 2, 20), write(2, 20, 30, 20), final(2, 20)],
    "resurrected": [FIRST, write(2, 20, 30, None, outcome=FAILED), wait(0, 40, 41, 2, 20), final(2, 20)],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories_pass(name: str) -> None:
    verdict = check(history(*GOOD[name]))
    assert verdict.passed, verdict.anomalies


@pytest.mark.parametrize("name", BAD)
def test_bad_histories_are_convicted_of_the_right_thing(name: str) -> None:
    verdict = check(history(*BAD[name]))
    assert not verdict.valid
    assert any(name.startswith(kind) for kind in kinds(verdict)), verdict.anomalies


def test_a_wake_up_is_late_by_the_bound_that_is_asked_for() -> None:
    lines = [FIRST, write(2, 500, 505, 20), wait(10, 13, 705, 2, 20), final(2, 20)]
    assert check(history(*lines)).valid
    assert not check(history(*lines), wake_within_ns=199 * MS).valid
    assert "200.000 ms" in check(history(*lines)).summary


def test_without_a_final_read_nothing_is_decided() -> None:
    assert not check(history(FIRST, wait(0, 10, 12, 1, 10))).decided


def simulated(seed: int, *, changes: int) -> list[Operation]:
    """What clients of a right store see: writers, who are slow to learn that they wrote, and three watchers."""
    rng = random.Random(seed)
    made: list[Operation] = []
    states: list[tuple[int, int | None, int]] = [(0, None, 1)]
    """(moment, value, index) one after the other"""
    moment, index = 0, 1
    for number in range(1, changes + 1):
        moment += rng.randint(1, 1200)
        index += rng.randint(1, 5)
        began, ended = moment - rng.randint(0, 300), moment + rng.randint(0, 300)
        value = None if rng.random() < 0.2 else number
        fate = rng.random()
        if fate < 0.8 or value is not None:
            is_known = fate < 0.9
            told = index if value is not None and is_known else None
            made.append(write(value, began, ended, told, **({} if is_known else {"outcome": UNKNOWN})))
        if fate >= 0.95 or (fate >= 0.8 and value is None) or (value is None and states[-1][1] is None):
            continue  # unknown, and it never happened; or there was nothing to delete
        states.append((moment, value, index))
    over = moment + 1000
    for process in (2, 3, 4):
        now, asked = rng.randint(0, 500), 0
        while now < over:
            held_until = now + rng.randint(2000, 5000)
            changed = [at for at, _, reached in states if reached > asked]
            answered = min(max(now, changed[0]) if changed else held_until, held_until)
            _, value, reached = [state for state in states if state[0] <= answered][-1]
            ended = answered + rng.randint(0, 100)
            mode = ("default", "consistent", "stale")[process - 2]
            made.append(wait(asked, now, ended, value, reached, process=process, mode=mode))
            now, asked = ended + rng.randint(1, 100), reached
    return [*made, final(states[-1][1], states[-1][2], over + 6000)]


@given(st.integers(0, 2**32), st.integers(1, 40))
def test_what_a_right_store_answers_passes(seed: int, changes: int) -> None:
    verdict = check(history(SERVER, *simulated(seed, changes=changes)))
    assert verdict.passed, verdict.anomalies


@given(st.integers(0, 2**32))
def test_an_answer_from_before_the_one_before_is_always_found(seed: int) -> None:
    lines = simulated(seed, changes=20)
    waits = [each for each in lines if each.function == "wait" and each.process == 2]
    older = [(one, other) for one, other in zip(waits, waits[2:], strict=False) if other.output != one.output]
    assume(older)
    one, other = random.Random(seed).choice(older)
    lines[lines.index(other)] = msgspec.structs.replace(other, output=one.output)
    assert not check(history(*lines)).valid


def test_windows_that_overlap_are_one() -> None:
    late = [FIRST, write(2, 500, 505, 20), wait(10, 13, 3013, 2, 20), final(2, 20)]
    assert check(history(broken(0, 100), broken(50, 60), broken(90, 505), *late)).valid
    assert not check(history(broken(0, 100), broken(90, 504), *late)).valid


def test_the_same_is_asked_of_health() -> None:
    lines = [msgspec.structs.replace(each, workload="health-watch") for each in BAD["missed change"]]
    verdict = check_health(history(*lines))
    assert (verdict.checker, verdict.workload, kinds(verdict)) == ("health-watch", "health-watch", ["missed change"])
    assert check(history(*lines)).checked_count == 0
