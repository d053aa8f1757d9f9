"""Availability: errors are excused while a fault holds and recovery lasts, and only those that we know."""

from typing import Any

import pytest

from jepsen.checkers.outcomes import OPERATIONS_MIN, UNCLASSIFIED, check, class_of
from jepsen.history import Operation
from jepsen.witness import stall
from tests.unit.jepsen.checkers.histories import FAILED, OK, SECOND, UNKNOWN, fault, history, kinds, op


def did(began_s: float, error: str = "", *, lasting_s: float = 0.01, **more: Any) -> Operation:
    """A write; it failed if there is an error."""
    more.setdefault("outcome", FAILED if error else OK)
    return op("write", int(began_s * SECOND), int((began_s + lasting_s) * SECOND), 1, error=error, **more)


NO_LEADER = "500 No cluster leader"
FAULT = fault(10, 15, recovery_s=5)


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ("cancelled", "cancelled at the end"),
        ("PUT /v1/kv/a: TooSlowError()", "no answer in time"),
        ("no answer within 1.2 s", "no answer in time"),
        ("PUT /v1/txn: EOFError('the server closed the connection')", "connection broke"),
        ("GET /v1/kv/a: BrokenResourceError('socket connection broken: [Errno 104]')", "connection broke"),
        ("127.0.0.1:46455: all attempts to connect to 127.0.0.1:46455 failed", "no connection"),
        ("127.0.0.1:46455: ", "no connection"),
        ("500 No cluster leader", "no leader"),
        ("500 leadership lost: the write was discarded and will not happen", "no leader"),
        ("500 Not ready to serve consistent reads", "new leader not ready"),
        ("500 timed out while committing: the write may or may not have happened", "timed out while committing"),
        ("500 rpc: connection to 127.0.0.1:40403: was closed by the other side", "no server reached"),
        ("500 the server is stopping: the write may or may not have happened", "server is stopping"),
        ("500 No known Consul servers", "no server known"),
        ("429 ", "rate limited"),
        ("500 too many writes in flight (4096): try again later", "rate limited"),
        ("500 Internal server error", "internal error"),
        ("500 internal error in KVS.Apply: KeyError", "internal error"),
        ("500 Traceback (most recent call last):", "internal error"),
        ("500 No cluster leader (no outcome was claimed)", "no outcome claimed"),
        ("500 something new", UNCLASSIFIED),
        ("400 Missing key name", UNCLASSIFIED),
        ("404", UNCLASSIFIED),
    ],
)
def test_errors_have_classes(error: str, name: str) -> None:
    assert class_of(error) == name


GOOD: dict[str, list[Any]] = {
    "all well": [did(1), did(2)],
    "errors while a fault holds": [did(1), did(12, NO_LEADER), did(13, NO_LEADER, outcome=UNKNOWN), FAULT],
    "errors while it recovers": [did(1), did(19, NO_LEADER), FAULT],
    "an operation that began before the fault": [did(1), did(6, "PUT /: TooSlowError()", lasting_s=5), FAULT],
    "a compare-and-set that came too late": [did(1), did(2, outcome=FAILED)],
    "cancelled when the run was over": [did(1), did(30, "cancelled", outcome=UNKNOWN)],
}
BAD: dict[str, list[Any]] = {
    "error without a fault": [did(1), did(2, NO_LEADER)],
    "error without a fault: unknown": [did(1), did(2, "PUT /: TooSlowError()", outcome=UNKNOWN)],
    "error without a fault: before the first one": [did(1), did(9, NO_LEADER), FAULT],
    "error without a fault: recovery took too long": [did(1), did(20.1, NO_LEADER), FAULT],
    "error without a fault: between two": [did(1), did(30, NO_LEADER), FAULT, fault(40, 45)],
    "internal error": [did(1), did(12, "500 Internal server error", outcome=UNKNOWN), FAULT],
    "no outcome claimed": [did(1), did(12, f"{NO_LEADER} (no outcome was claimed)", outcome=UNKNOWN), FAULT],
    "unclassified error": [did(1), did(12, "500 what is this"), FAULT],
    "too few succeed": [did(12, NO_LEADER), FAULT],
    "too few succeed: all others came too late": [did(at, outcome=OK if at % 3 == 0 else FAILED) for at in range(200)],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories_pass(name: str) -> None:
    verdict = check(history(*GOOD[name]))
    assert verdict.passed, verdict.anomalies


@pytest.mark.parametrize("lines", [[], [did(1, "cancelled", outcome=UNKNOWN)]])
def test_a_run_in_which_nothing_was_done_is_not_decided(lines: list[Any]) -> None:
    verdict = check(history(*lines))
    assert verdict.valid
    assert not verdict.decided


@pytest.mark.parametrize("name", BAD)
def test_bad_histories_are_convicted_of_the_right_thing(name: str) -> None:
    verdict = check(history(*BAD[name]))
    assert not verdict.valid
    [kind] = kinds(verdict)
    assert name.startswith(kind)


def test_servers_of_others_need_not_claim_outcomes() -> None:
    lines: list[Any] = [did(1), did(12, "500 x (no outcome was claimed)", outcome=UNKNOWN), FAULT]
    assert check(history(*lines, at=["10.0.0.1:8500"])).valid


def test_a_share_of_few_operations_says_nothing() -> None:
    assert check(history(did(0), *(did(at, outcome=FAILED) for at in range(1, OPERATIONS_MIN - 1)))).valid


def test_errors_are_counted_by_class_and_node() -> None:
    lines = [did(12, NO_LEADER, node="server-1"), did(13, NO_LEADER, node="server-2"), did(18, NO_LEADER), did(1)]
    summary = check(history(*lines, FAULT)).summary
    assert "no leader 3 (server-1 2 server-2 1)" in summary
    assert "last errors 3.000 s after a healing" in summary
    assert summary.startswith("1 of 4 ok, 1 of 1 outside")


def test_an_error_in_the_next_fault_does_not_count_as_a_late_recovery() -> None:
    lines: list[Any] = [did(18, NO_LEADER), did(29.5, NO_LEADER, lasting_s=1.5), fault(30.0, 35.0), did(1)]
    assert "last errors 3.000 s after a healing" in check(history(*lines, FAULT)).summary


def test_what_fails_while_the_machine_stands_still_is_excused_and_said() -> None:
    still = stall("a sync took 1.5 s", 20 * SECOND, int(21.5 * SECOND))
    lines: list[Any] = [did(1), did(21, NO_LEADER), did(24, NO_LEADER)]
    assert not check(history(*lines)).valid
    verdict = check(history(*lines, still))
    assert verdict.valid
    assert "the machine itself stood still (1 ×, 1.500 s at most)" in verdict.summary
    assert not check(history(*lines, did(30, NO_LEADER), still)).valid, "long after it nothing is excused"
