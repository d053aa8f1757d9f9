"""Registers: good histories pass, bad ones are convicted of the right thing and shown by few operations."""

import random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jepsen.checkers.explain import explain, until, without
from jepsen.checkers.linear import check_keys, check_registers
from jepsen.checkers.models import Call, register
from jepsen.checkers.search import search
from jepsen.checkers.verdict import ANOMALIES_MAX
from jepsen.history import Operation
from tests.unit.jepsen.checkers.histories import (
    FAILED,
    OK,
    UNKNOWN,
    has_legal_order,
    history,
    op,
    simulated_register,
    with_final_reads,
)
from tests.unit.jepsen.checkers.test_search import register_operations

SEEDS = st.integers(0, 2**32)
GOOD = {
    "nothing": [],
    "read after write": [op("write", 0, 1, 7), op("read", 2, 3, None, 7)],
    "a read of nothing before": [op("read", 0, 1), op("write", 2, 3, 7)],
    "a concurrent read may see either": [
        op("write", 0, 9, 7),
        op("read", 1, 2, None, None),
        op("read", 3, 4, None, 7),
        op("read", 5, 12, None, 7),
    ],
    "a cas that won": [op("write", 0, 1, 7), op("cas", 2, 3, [7, 8]), op("read", 4, 5, None, 8)],
    "a cas that lost changes nothing": [
        op("write", 0, 1, 7),
        op("cas", 2, 3, [6, 8], outcome=FAILED, error=""),
        op("read", 4, 5, None, 7),
    ],
    "a cas that lost against a write that was still under way": [
        op("write", 0, 1, 7),
        op("write", 2, 9, 6),
        op("cas", 3, 4, [7, 8], outcome=FAILED, error=""),
        op("read", 5, 6, None, 6),
    ],
    "a cas that lost against an unknown write that nobody saw": [
        op("write", 0, 1, 7),
        op("write", 2, 3, 6, outcome=UNKNOWN),
        op("cas", 4, 5, [7, 8], outcome=FAILED, error=""),
        op("write", 6, 7, 9),
        op("read", 8, 9, None, 9),
    ],
    "a cas that wanted nothing, and something was there": [
        op("write", 0, 1, 7),
        op("cas", 2, 3, [None, 8], outcome=FAILED, error=""),
    ],
    "a cas that was refused with an error says nothing of what was there": [
        op("write", 0, 1, 7),
        op("cas", 2, 3, [7, 8], outcome=FAILED),
    ],
    "an unknown write that never happened": [op("write", 0, 1, 7, outcome=UNKNOWN), op("read", 2, 3)],
    "an unknown write that happened late": [
        op("write", 0, 1, 7, outcome=UNKNOWN),
        op("write", 2, 3, 8),
        op("read", 4, 5, None, 8),
        op("read", 6, 7, None, 7),
    ],
    "a deletion": [op("write", 0, 1, 7), op("write", 2, 3, None), op("read", 4, 5, None, None)],
    "stale reads may be of any earlier moment, and go back": [
        op("write", 0, 1, 7),
        op("write", 2, 3, 8),
        op("read", 4, 5, None, 7, mode="stale"),
        op("read", 6, 7, None, None, mode="stale"),
    ],
    "reads without an answer say nothing": [op("write", 0, 1, 7), op("read", 2, 3, outcome=FAILED)],
    "keys are apart": [op("write", 0, 1, 7, key="a"), op("read", 2, 3, key="b")],
}
BAD = {
    "stale read": [op("write", 0, 1, 7), op("write", 2, 3, 8), op("read", 4, 5, None, 7)],
    "stale read of nothing": [op("write", 0, 1, 7), op("read", 2, 3, None, None)],
    "never written": [op("write", 0, 1, 7), op("read", 2, 3, None, 9)],
    "failed write seen": [op("write", 0, 1, 7), op("write", 2, 3, 8, outcome=FAILED), op("read", 4, 5, None, 8)],
    "failed write seen of a cas": [
        op("write", 0, 1, 7),
        op("cas", 2, 3, [7, 8], outcome=FAILED, error=""),
        op("read", 4, 5, None, 8),
    ],
    "wrongly declined": [op("write", 0, 1, 7), op("cas", 2, 3, [7, 8], outcome=FAILED, error="")],
    "wrongly declined where nothing was ever there": [op("cas", 2, 3, [None, 8], outcome=FAILED, error="")],
    "wrongly declined between two who saw what was expected": [
        op("write", 0, 1, 7),
        op("write", 2, 3, 6, outcome=UNKNOWN),
        op("read", 4, 5, None, 7),
        op("cas", 6, 7, [7, 8], outcome=FAILED, error=""),
        op("read", 8, 9, None, 7),
    ],
    "never written, which even a stale read tells": [op("read", 0, 1, None, 7, mode="stale")],
    "seen before written by a stale read": [op("read", 0, 1, None, 7, mode="stale"), op("write", 2, 3, 7)],
    "seen before written": [op("read", 0, 1, None, 7), op("write", 2, 3, 7)],
    "not linearizable: two that took the same turn": [
        op("write", 0, 1, 7),
        op("cas", 2, 9, [7, 8]),
        op("cas", 2, 9, [7, 9]),
    ],
    "not linearizable: seen in two orders": [
        op("write", 0, 9, 1, process=1),
        op("write", 0, 9, 2, process=2),
        op("read", 10, 11, None, 1, process=3),
        op("read", 12, 13, None, 2, process=4),
    ],
    "not linearizable: new and then old, while the write runs": [
        op("write", 0, 1, 1),
        op("write", 2, 20, 2),
        op("read", 3, 4, None, 2),
        op("read", 5, 6, None, 1),
    ],
    "not linearizable: an unknown write happened twice": [
        op("write", 0, 1, 7, outcome=UNKNOWN),
        op("read", 2, 3, None, 7),
        op("write", 4, 5, 8),
        op("read", 6, 7, None, 8),
        op("read", 8, 9, None, 7),
    ],
    "contradiction": [op("cas", 0, 1, "what")],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories_pass(name: str) -> None:
    verdict = check_registers(history(*with_final_reads(GOOD[name])))
    assert verdict.passed, verdict.anomalies


def test_a_key_that_was_written_and_not_read_in_the_end_is_not_decided() -> None:
    final = op("read", 4, 5, None, 7, phase="final")
    read = [op("write", 0, 1, 7), final]
    assert check_registers(history(*read)).passed
    assert check_registers(history(*read, op("read", 0, 1, key="only read"))).passed
    for more in (
        [op("write", 0, 1, 7, key="lost")],
        [op("write", 0, 1, 7, key="lost", outcome=UNKNOWN)],
        [op("write", 0, 1, 7, key="lost"), op("read", 2, 3, None, 7, key="lost")],
        [op("write", 0, 1, 7, key="lost"), op("read", 2, 3, key="lost", phase="final", outcome=FAILED)],
    ):
        verdict = check_registers(history(*read, *more))
        assert verdict.valid
        assert not verdict.decided
        assert "no final read of 1 keys" in verdict.summary


@pytest.mark.parametrize("name", BAD)
def test_bad_histories_are_convicted_of_the_right_thing(name: str) -> None:
    verdict = check_registers(history(*BAD[name]))
    assert not verdict.valid
    [anomaly] = verdict.anomalies
    assert name.startswith(anomaly.kind)
    assert anomaly.key == "k"
    assert anomaly.text


def spoilt(operations: list[Operation]) -> list[Operation]:
    """One of the last reads answers what one of the first did."""
    reads = [at for at, each in enumerate(operations) if each.function == "read" and each.outcome is OK]
    at, old = reads[-3], next(operations[read].output for read in reads if operations[read].output is not None)
    bad = operations[at]
    return [*operations[:at], op("read", bad.began_ns, bad.ended_ns, None, old), *operations[at + 1 :]]


def calls_of(operations: list[Operation]) -> list[Call]:
    return [call for call in map(register, operations) if call is not None]


def test_a_stale_read_among_hundreds_is_shown_by_a_few_operations() -> None:
    verdict = check_registers(history(*spoilt(simulated_register(random.Random(3), operations=300))))
    [anomaly] = verdict.anomalies
    assert anomaly.kind == "stale read"
    assert len(anomaly.operations) == 3
    assert "cannot be placed" in anomaly.text


def test_a_wrongly_declined_cas_among_hundreds_is_shown_by_a_few_operations() -> None:
    operations = simulated_register(random.Random(3), operations=300)
    at = max(each.ended_ns for each in operations) + 1
    cas = op("cas", at + 2, at + 3, [1000, 1001], outcome=FAILED, error="")
    operations += [op("write", at, at + 1, 1000), cas, op("read", at + 4, at + 5, None, 1000)]
    [anomaly] = check_registers(history(*operations)).anomalies
    assert anomaly.kind == "wrongly declined"
    assert cas in anomaly.operations
    # Unknown writes that came before might have been what was there.
    assert len(anomaly.operations) <= 3 + sum(each.outcome is UNKNOWN for each in operations)


@given(SEEDS, st.sampled_from([0, 3, 6]))
def test_what_is_shown_is_itself_without_a_legal_order(seed: int, values: int) -> None:
    rng = random.Random(seed)
    calls = calls_of(spoilt(simulated_register(rng, operations=60, clients=4, values=values, unknown=0.1)))
    assume(search(calls).legal is False)
    explanation = explain(calls)
    assert explanation.last is not None
    at_ns = explanation.last.ended_ns
    assert search(until(explanation.calls, at_ns)).legal is False
    assert search(until(calls, at_ns - 1)).legal
    for position in range(len(explanation.calls)):
        fewer = without(explanation.calls, [position])
        assert len(fewer) == len(explanation.calls) or search(until(fewer, at_ns)).legal


@given(SEEDS, st.integers(1, 12), st.sampled_from([0, 3]))
def test_what_is_left_out_never_makes_a_good_history_bad(seed: int, size: int, values: int) -> None:
    rng = random.Random(seed)
    calls = calls_of(simulated_register(rng, operations=12, clients=4, values=values, unknown=0.2))
    assume(calls)
    fewer = without(calls, rng.sample(range(len(calls)), min(size, len(calls))))
    assert has_legal_order([call.operation for call in fewer], register)
    assert search(until(calls, rng.randrange(max(call.began_ns for call in calls) + 1))).legal


@settings(max_examples=300)
@given(register_operations(most=8, functions=("read", "write", "write", "declined", "declined", "cas")), SEEDS)
def test_nor_does_it_where_much_was_declined(operations: list[Operation], seed: int) -> None:
    rng = random.Random(seed)
    calls = calls_of(operations)
    assume(calls)
    fewer = without(calls, rng.sample(range(len(calls)), rng.randint(1, len(calls))))
    if search(calls).legal:
        assert search(fewer).legal
        assert search(until(calls, rng.randrange(25))).legal
    else:
        explanation = explain(calls)
        assert explanation.last is not None
        assert search(until(explanation.calls, explanation.last.ended_ns)).legal is False


def test_every_bad_key_is_counted_and_only_the_first_are_explained() -> None:
    bad = [
        each
        for number in range(ANOMALIES_MAX + 5)
        for each in (op("write", 0, 1, 7, key=f"k{number}"), op("read", 2, 3, None, 9, key=f"k{number}"))
    ]
    verdict = check_registers(history(*bad))
    assert verdict.anomalies_count == ANOMALIES_MAX + 5
    assert len(verdict.anomalies) == ANOMALIES_MAX


def test_keys_whose_search_grows_too_large_are_not_decided_and_named() -> None:
    writes = [op("write", 0, 1000, at % 3, key="large") for at in range(24)]
    reads = [op("read", 10 * at + 1, 10 * at + 5, None, at % 3, key="large") for at in range(25)]
    fine = [op("write", 0, 1, 7, key="small"), op("read", 2, 3, None, 7, key="small")]
    verdict = check_keys(
        [*writes, *reads, *fine], register, checker="linearizable", workload="register", configurations_max=50
    )
    assert verdict.valid
    assert not verdict.decided
    assert "large" in verdict.summary
    assert "small" not in verdict.summary
    assert not check_keys(
        [*writes, *reads, *fine], register, checker="linearizable", workload="register", configurations_max_total=0
    ).decided
