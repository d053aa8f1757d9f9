"""Who judges what, and that nobody's fall hides the word of another."""

import msgspec
import pytest

from jepsen.checkers import registry
from jepsen.checkers.registry import GENERAL, checkers_for, judge
from jepsen.checkers.verdict import Verdict
from jepsen.history import End, History
from jepsen.workloads.registry import WORKLOADS
from tests.unit.jepsen.checkers.histories import FAILED, UNKNOWN, history, op, seen

END = End(at_ns=9, facts={"digests": {"server-1": [1, "x"]}, "trouble": []})


def test_a_history_is_judged_by_those_of_its_workloads_and_the_general_ones() -> None:
    made = history(op("write", 0, 1, 7), op("add", 0, 1, 7, workload="set"))
    assert checkers_for(made) == [*WORKLOADS["register"].checkers(), *WORKLOADS["set"].checkers(), *GENERAL]


def test_every_workload_has_a_judge() -> None:
    assert [name for name in WORKLOADS if not WORKLOADS[name].checkers()] == []


def test_each_verdict_says_how_long_it_took() -> None:
    verdicts = judge(history(op("write", 0, 1, 7), op("read", 2, 3, None, 7, phase="final"), seen(0, "leader", 1), END))
    assert [verdict.checker for verdict in verdicts] == ["linearizable", "outcomes", "replicas", "terms", "recovery"]
    assert all(verdict.passed and verdict.took_s > 0 for verdict in verdicts)


def test_a_workload_that_nobody_knows_is_not_decided() -> None:
    [verdict] = [verdict for verdict in judge(history(op("x", 0, 1, workload="later"))) if verdict.workload == "later"]
    assert not verdict.decided


def test_a_checker_that_fails_has_not_decided_and_the_others_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def falls(_: History) -> Verdict:
        raise KeyError("index")

    monkeypatch.setattr(registry, "GENERAL", [falls, *GENERAL])
    verdicts = judge(history(op("write", 0, 1, 7), END))
    [fallen] = [verdict for verdict in verdicts if "KeyError" in verdict.summary]
    assert not fallen.decided
    assert len(verdicts) == 2 + len(GENERAL)


def test_a_saved_history_is_judged_the_same() -> None:
    made = history(op("write", 0, 1, 7), op("read", 2, 3, None, None), END)
    again = msgspec.json.decode(msgspec.json.encode(made), type=History)
    untimed = [[msgspec.structs.replace(each, took_s=0.0) for each in judge(one)] for one in (made, again)]
    assert untimed[0] == untimed[1]


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_of_which_nothing_was_acknowledged_is_not_decided(name: str) -> None:
    made = history(op("write", 0, 1, 7), END)
    made.begin.options["workloads"] = ["register", name]
    calls = [op("add", 0, 1, 7, workload=name, outcome=FAILED), op("add", 2, 3, 8, workload=name, outcome=UNKNOWN)]
    for operations in ([], calls):
        made.operations = operations
        [verdict] = [each for each in judge(made) if each.workload == name]
        assert not verdict.decided
        assert "no operation was acknowledged" in verdict.summary


def test_final_reads_alone_do_not_make_a_workload_pass() -> None:
    [verdict] = [each for each in judge(history(op("read", 0, 1, phase="final"), END)) if each.workload]
    assert verdict.valid
    assert not verdict.decided


def test_of_a_cluster_of_others_nobody_says_passed_who_has_nothing_to_judge() -> None:
    lines = (op("write", 0, 1, 7), op("read", 2, 3, None, 7, phase="final"), END)
    at = ["10.0.0.1:8500"]
    untold = judge(history(*lines, seen(0, "answers 404"), at=at))
    assert [verdict.checker for verdict in untold] == ["linearizable", "outcomes", "recovery"]
    told = judge(history(*lines, seen(0, "leader", 1), at=at))
    assert [verdict.checker for verdict in told] == ["linearizable", "outcomes", "terms", "recovery"]
    assert all(verdict.passed for verdict in (*untold, *told))
