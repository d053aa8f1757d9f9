"""Sessions: not too soon, not too late, not again, and their keys with them."""

from typing import Any

import pytest

from jepsen.checkers.session import check
from jepsen.history import Operation
from tests.unit.jepsen.checkers.histories import FAILED, SECOND, UNKNOWN, fault, history, kinds, op

FINAL_S = 90.0


def at(function: str, began_s: float, ended_s: float, *given: Any, **more: Any) -> Operation:
    more.setdefault("key", "sessions")
    return op(function, int(began_s * SECOND), int(ended_s * SECOND), *given, workload="session", **more)


def create(session: str = "a", began_s: float = 0.0, *, behavior: str = "release", check_id: str = "") -> Operation:
    asked = {"ttl_s": 10, "delay_s": 1, "behavior": behavior, "check": check_id}
    return at("create", began_s, began_s + 0.1, asked, {"session": session})


def renew(began_s: float, *, alive: bool = True, session: str = "a", **more: Any) -> Operation:
    return at("renew", began_s, began_s + 0.1, {"session": session}, {"alive": alive}, **more)


def info(began_s: float, *, alive: bool, **more: Any) -> Operation:
    return at("info", began_s, began_s + 0.1, {"session": "a"}, {"alive": alive}, **more)


def destroy(began_s: float, **more: Any) -> Operation:
    return at("destroy", began_s, began_s + 0.1, {"session": "a"}, **more)


def set_check(status: str, began_s: float, **more: Any) -> Operation:
    return at("set_check", began_s, began_s + 0.1, {"check": "c", "status": status}, **more)


def listed(sessions: list[str], began_s: float, index: int, **more: Any) -> Operation:
    return at("list", began_s, began_s + 0.1, None, {"sessions": sessions, "index": index}, **more)


def final(sessions: list[str] | None = None, index: int = 99) -> Operation:
    return listed(sessions or [], FINAL_S, index, phase="final")


def acquire(began_s: float, **more: Any) -> Operation:
    return at("acquire", began_s, began_s + 0.1, {"session": "a", "value": 7}, key="k", **more)


def read(session: str | None, began_s: float, *, modify_index: int = 20, value: int = 7, **more: Any) -> Operation:
    got = None if session is None else {"session": session, "lock_index": 1, "modify_index": modify_index}
    return at("read", began_s, began_s + 0.1, None, got and {**got, "value": value}, key="k", **more)


def left(session: str | None, **more: Any) -> Operation:
    return read(session, FINAL_S, phase="final", **more)


GOOD: dict[str, list[Operation]] = {
    "renewed, then left alone": [create(), renew(5), renew(14), info(20, alive=True), final()],
    "gone after its TTL": [create(), info(11, alive=False), final()],
    "gone while it is destroyed": [create(), info(2, alive=False), destroy(1.95), final()],
    "an unknown destruction": [create(), destroy(1, outcome=UNKNOWN), info(3, alive=False), final()],
    "ended by its check": [create(check_id="c"), set_check("critical", 2), info(3, alive=False), final()],
    "a check that fails is not everybody's": [create(), set_check("critical", 2), info(3, alive=True), final()],
    "a stale answer may be old": [create(), info(5, alive=False, mode="stale"), final()],
    "an unknown renewal": [create(), renew(9, outcome=UNKNOWN), info(12, alive=True), final()],
    "its key is released": [
        *[create(), listed(["a"], 1, 5), acquire(2), read("a", 3), destroy(4), listed([], 5, 20), read("", 6)],
        *[final(), left("")],
    ],
    "its key is deleted": [
        *[create(behavior="delete"), acquire(2), read("a", 3), destroy(4), read(None, 6), final()],
        left(None),
    ],
}
BAD: dict[str, list[Operation]] = {
    "ended too soon": [create(), renew(5), info(9, alive=False), final()],
    "ended too soon, in a list": [create(), listed([], 5, 9), final()],
    "ended too soon, a renewal says": [create(), renew(5, alive=False), final()],
    "ended too soon, its key says": [create(), acquire(1), read("", 3), final(), left("")],
    "ended too soon, it is refused its own key": [create(), acquire(1, outcome=FAILED, error=""), final(), left(None)],
    "ended too soon by a check that passes": [
        *[create(check_id="c"), set_check("passing", 2), info(3, alive=False)],
        final(),
    ],
    "came back": [create(), destroy(1), info(2, alive=True), final()],
    "came back after its TTL": [create(), info(12, alive=False), renew(14), final()],
    "came back though its check fell": [create(check_id="c"), set_check("critical", 1), renew(3), final()],
    "lives on": [create(), info(40, alive=True), final()],
    "held by a dead session": [create(), acquire(1), destroy(2), read("a", 4), final(), left("")],
    "behavior not followed": [create(behavior="delete"), acquire(1), destroy(2), read("", 4), final(), left(None)],
    "behavior not followed, it is gone": [create(), acquire(1), destroy(2), final(), left(None)],
    "phantom": [create(), acquire(1), read("a", 2, value=8), destroy(3), final(), left("")],
    "not in the same index": [
        *[create(), listed(["a"], 1, 5), acquire(2), destroy(4), listed([], 5, 12), read("", 6), final(), left("")]
    ],
    "not in the same index, too early": [
        *[create(), listed(["a"], 1, 5), acquire(2), listed(["a"], 3, 25), destroy(4), read("", 6), final(), left("")]
    ],
    "changed under one index": [create(), create("b"), listed(["a"], 1, 5), listed(["a", "b"], 2, 5), final()],
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


def test_after_a_fault_a_new_leader_gives_everybody_all_the_time() -> None:
    lines = [create(), info(40, alive=True), final()]
    assert not check(history(*lines, fault(5, 8, recovery_s=2))).valid, "30 s after the fault it is over"
    assert check(history(*lines, fault(25, 30, recovery_s=2))).passed


def test_in_the_end_only_the_machine_itself_excuses_a_session_that_lives_on() -> None:
    asked = at("list", 60, 60.1, None, {"sessions": ["a"], "index": 5}, phase="final")
    lines = [create(), asked, final(["a"], 5)]
    assert kinds(check(history(*lines, fault(50, 58, recovery_s=40)))) == ["lives on"]
    early = at("list", 80, 80.1, None, {"sessions": ["a"], "index": 5}, phase="final")
    assert check(history(create(), early, final(["a"], 5), fault(50, 79, recovery_s=40))).passed


def test_without_a_final_read_nothing_is_decided() -> None:
    assert not check(history(create(), acquire(1), final())).decided
    assert not check(history(create())).decided
