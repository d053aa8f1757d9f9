"""Every mutant has something that should convict it; the command tells who did, and fails where nobody did."""

from pathlib import Path

import pytest

from jepsen.campaign import Ended, Plan
from jepsen.nemesis.registry import FAULTS
from jepsen.report.summary import RunSummary, VerdictLine
from jepsen.subject import convict
from jepsen.subject.convictions import CONVICTIONS
from jepsen.subject.mutants import MUTANTS
from jepsen.workloads.registry import WORKLOADS


def test_every_mutant_has_a_conviction_by_things_that_exist() -> None:
    assert list(CONVICTIONS) == list(MUTANTS)
    for name, conviction in CONVICTIONS.items():
        assert set(conviction.workload.split(",")) <= set(WORKLOADS), name
        assert set(filter(None, conviction.fault.split(","))) <= set(FAULTS), name


def summary_of(verdicts: list[VerdictLine]) -> RunSummary:
    return RunSummary(
        seed=1,
        command="",
        version="",
        started="",
        duration_s=1.0,
        finished=True,
        network="plain",
        missing={},
        machine={},
        options={},
        workloads=[],
        faults=[],
        verdicts=verdicts,
        leaders_count=1,
        trouble=[],
    )


def verdict(checker: str, *, valid: bool) -> VerdictLine:
    return VerdictLine(
        checker=checker,
        workload="set",
        passed=valid,
        valid=valid,
        decided=True,
        summary="",
        checked_count=1,
        anomalies_count=0,
        took_s=0.0,
    )


def test_rounds_go_on_with_the_next_seed_until_a_checker_convicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plans: list[Plan] = []

    def run_plan(plan: Plan, folder: Path, *, say: object) -> Ended:
        plans.append(plan)
        found = [verdict("terms", valid=True), verdict("set", valid=len(plans) < 2)]
        return Ended(plan=plan, exit_code=1, took_s=1.0, summary=summary_of(found))

    monkeypatch.setattr(convict, "run_plan", run_plan)
    said: list[str] = []
    assert convict.main(["no_fsync"], folder=tmp_path, say=said.append) == convict.EXIT_ALL_CONVICTED
    seeds = [plan.arguments[plan.arguments.index("--seed") + 1] for plan in plans]
    first = CONVICTIONS["no_fsync"].seed
    assert seeds == [str(first), str(first + 1)]
    assert plans[0].arguments[:2] == ("--break", "no_fsync")
    assert "| no_fsync | set | kill-all | set | 2 |" in capsys.readouterr().out
    assert "no_fsync" in (tmp_path / "mutants.json").read_text(encoding="utf-8")


def test_a_mutant_that_nobody_convicts_fails_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        convict,
        "run_plan",
        lambda plan, folder, *, say: Ended(plan=plan, exit_code=2, took_s=1.0, summary=None),
    )
    said: list[str] = []
    assert convict.main(["lost_wakeup"], folder=tmp_path, say=said.append) == convict.EXIT_SOME_ESCAPED
    assert "nobody" in capsys.readouterr().out
    assert "lost_wakeup: NOT CONVICTED" in said[-1]
    assert convict.main(["nothing"], folder=tmp_path, say=said.append) == convict.EXIT_USAGE
