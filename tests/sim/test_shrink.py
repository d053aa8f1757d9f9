"""Schedules are drawn up front, a failing run is made short, and the printed command brings it back."""

import shlex
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.sim.__main__ import main
from tests.sim.plan import PLANS, Plan, command, draw
from tests.sim.shrink import Shrunk, shrink
from tests.sim.simulation import HEAL_S, run_seed

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_H20 = msgspec.structs.replace(
    PLANS["three-servers"], duration_s=10.0, faults=("isolate", "bridge", "crash all", "crash"), off=("h20",)
)


@pytest.fixture(scope="module")
def failing_seed() -> int:
    """One that convicts the library without its guard."""
    return next(seed for seed in range(100) if run_seed(WITHOUT_H20, seed).violation is not None)


@pytest.fixture(scope="module")
def shrunk(failing_seed: int) -> Shrunk:
    """A failing run made short."""
    found = shrink(WITHOUT_H20, failing_seed)
    assert found is not None
    return found


def test_a_shorter_run_has_the_first_steps_of_the_longer_one() -> None:
    plan = PLANS["changing-members"]
    steps = draw(plan, 7)
    shorter = draw(msgspec.structs.replace(plan, duration_s=9.0), 7)
    assert shorter == [step for step in steps if step.at_s < 9.0]


def test_a_step_that_is_taken_away_leaves_what_came_before_it_alone() -> None:
    steps = draw(PLANS["three-servers"], 5)
    whole = run_seed(PLANS["three-servers"], 5)
    without = run_seed(PLANS["three-servers"], 5, [each for each in range(len(steps)) if each != 6])
    before = [event for event in whole.story if event[0] < steps[6].at_s]
    assert without.story[: len(before)] == before
    assert whole.story != without.story


def test_a_shrunk_run_breaks_the_same_promise_with_fewer_steps(shrunk: Shrunk) -> None:
    before = run_seed(WITHOUT_H20, shrunk.outcome.seed)
    after = run_seed(shrunk.plan, shrunk.outcome.seed, shrunk.keep)
    assert after.kind == shrunk.outcome.kind == before.kind
    assert len(shrunk.keep) < shrunk.steps_before_count


def test_no_step_of_a_minimal_schedule_can_be_missed(shrunk: Shrunk) -> None:
    assert shrunk.minimal
    for position in shrunk.keep:
        rest = [each for each in shrunk.keep if each != position]
        assert run_seed(shrunk.plan, shrunk.outcome.seed, rest).kind != shrunk.outcome.kind


def test_attempts_are_bounded(failing_seed: int) -> None:
    found = shrink(WITHOUT_H20, failing_seed, attempts_max=3)
    assert found is not None
    assert found.attempts_count == 3
    assert not found.minimal
    assert run_seed(found.plan, failing_seed, found.keep).kind == found.outcome.kind


def test_a_run_that_does_not_fail_cannot_be_shrunk() -> None:
    assert shrink(PLANS["three-servers"], 0) is None


def test_the_printed_commands_fail_again_with_the_same_violation(
    failing_seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(command("three-servers", WITHOUT_H20, failing_seed))[3:]) == 1
    lines = capsys.readouterr().out.splitlines()
    printed = [position for position, line in enumerate(lines) if line.startswith("  python -m tests.sim")]
    assert len(printed) == 2, "as it failed, and shrunk"
    for position in printed:
        violation = lines[position - 1].partition(": ")[2]
        words = [sys.executable, *shlex.split(lines[position])[1:]]
        again = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        assert again.returncode == 1
        assert f"seed {failing_seed}: {violation}\n" in again.stdout


def test_a_command_says_all_that_differs_from_the_named_plan() -> None:
    changes = {"nodes": 5, "faults": ("crash all", "power"), "membership": True, "off": ("h20",), "duration_s": 2.5}
    plan = msgspec.structs.replace(PLANS["leases"], **changes)
    assert shlex.split(command("leases", plan, 3, (1, 4)))[3:] == [
        *("--plan", "leases", "--start", "3", "--seeds", "1", "--nodes", "5", "--duration", "2.5"),
        *("--faults", "crash all,power", "--membership", "--off", "h20", "--keep", "1,4"),
    ]


def test_a_command_says_every_digit_of_a_number() -> None:
    plan = msgspec.structs.replace(PLANS["leases"], writes_rate=12.3456789)
    assert command("leases", plan, 3).endswith(" --writes-rate 12.3456789")


def test_a_story_tells_the_schedule_and_what_happened(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plan", "changing-members", "--start", "2", "--seeds", "1", "--story", "--keep", "1,3"]) == 0
    out = capsys.readouterr().out
    for text in (
        "schedule:\n     1 ",
        "what happened:\n",
        " s  [3] ",
        "is elected in term",
        "everything heals",
        "\ntrace: ",
    ):
        assert text in out


def test_unknown_guards_and_faults_are_refused() -> None:
    assert "unknown guards: ['h99']" in str(Plan(off=("h99",)).complaint())
    assert "unknown faults: ['rain']" in str(Plan(faults=("rain",)).complaint())


def test_a_campaign_over_all_plans_ends_with_what_it_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--plan", "all", "--seeds", "3", "--duration", "5"]) == 0
    faults, _, _, rates = capsys.readouterr().out.splitlines()
    assert faults.startswith("faults: ")
    assert rates.startswith("3 seeds, 0 violations, ")
    assert f"{3 * (5 + HEAL_S):.0f} simulated s" in rates
