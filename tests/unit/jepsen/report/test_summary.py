"""A run in figures."""

import msgspec

from jepsen.report.summary import RunSummary, summarise
from tests.unit.jepsen.report.runs import bad_verdicts, good_verdicts, made_up


def test_it_survives_json() -> None:
    history = made_up()
    summary = summarise(history, bad_verdicts(history), folder="/runs/1")
    assert msgspec.json.decode(msgspec.json.encode(summary), type=RunSummary) == summary


def test_operations_are_counted_by_workload_and_outcome() -> None:
    history = made_up()
    summary = summarise(history, [])
    assert [each.name for each in summary.workloads] == ["register", "set"]
    assert summary.operations_count == len(history.operations)
    for each in summary.workloads:
        of = history.of(each.name)
        assert each.ok == sum(operation.outcome == "ok" for operation in of)
        assert each.unknown == sum(operation.outcome == "unknown" for operation in of)
        assert each.declined == sum(operation.outcome == "failed" and not operation.error for operation in of)
        assert each.ok + each.failed + each.unknown == each.total


def test_a_fault_without_evidence_is_not_counted_and_its_reason_is_kept_once() -> None:
    history = made_up()
    missed = msgspec.structs.replace(history.faults[0], evidence="", what="not counted, no packet was dropped")
    history.faults += [missed, missed]
    found = next(each for each in summarise(history, []).faults if each.name == "partition-leader")
    assert (found.counted, found.not_counted, found.reasons) == (1, 2, ["not counted, no packet was dropped"])


def test_the_machine_is_told_apart_from_what_it_could_not_do() -> None:
    summary = summarise(made_up(), [])
    assert summary.network == "links"
    assert list(summary.missing) == ["netem"]
    assert summary.machine == {"kernel": "6.1.0", "cores": "2"}
    assert summary.options["workloads"] == "register, set"


def test_the_word_on_a_run() -> None:
    history = made_up(operations=100, seconds=10)
    assert summarise(history, good_verdicts(history)).word == "passed"
    assert summarise(history, bad_verdicts(history)).word == "broken"
    assert summarise(history, []).word == "undecided"
    history.end = None
    interrupted = summarise(history, good_verdicts(history))
    assert (interrupted.word, interrupted.finished) == ("undecided", False)
