"""Seeds of the consensus simulation, spread over all its plans, and what makes such runs worth anything.

More of them: `python -m tests.sim --plan all --seeds 1000 --start 1000 --jobs 2` (see `docs/internals/simulation.md`).
"""

import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import msgspec
import pytest

from tests.sim.plan import FAULTS, PLANS, command
from tests.sim.simulation import Outcome, run_seed

SEEDS_PER_TEST = 10
TESTS = {
    "three-servers": 5,
    "five-servers": 2,
    "changing-members": 4,
    "down-to-one-member": 3,
    "leases": 3,
    "tiny-snapshots": 4,
    "tiny-snapshots-five": 2,
    "tiny-snapshots-three-to-five": 3,
    "real-state": 1,
    "rare-faults": 1,
    "slow-disks": 2,
}
"""Plan -> how many tests of ten seeds."""
ROOT = Path(__file__).resolve().parents[2]


@cache
def outcome_of(plan: str, seed: int) -> Outcome:
    """Run it, once: what several tests look at."""
    return run_seed(PLANS[plan], seed)


def chunks() -> list[tuple[str, int]]:
    """(plan, first seed) for each test."""
    return [(name, number * SEEDS_PER_TEST) for name, count in TESTS.items() for number in range(count)]


def test_each_plan_is_run_and_the_seeds_are_three_hundred() -> None:
    assert TESTS.keys() == PLANS.keys()
    assert len(chunks()) * SEEDS_PER_TEST >= 300


@pytest.mark.parametrize(("plan", "first_seed"), chunks(), ids=lambda value: str(value))
def test_no_promise_is_broken_and_the_group_converges(plan: str, first_seed: int) -> None:
    for seed in range(first_seed, first_seed + SEEDS_PER_TEST):
        outcome = outcome_of(plan, seed)
        assert outcome.violation is None, f"{outcome.violation}\n{command(plan, PLANS[plan], seed)}"


def test_a_seed_decides_everything_whatever_the_hash_seed() -> None:
    program = (
        "import msgspec\n"
        "from tests.sim.plan import PLANS\n"
        "from tests.sim.simulation import Outcome, run_seed\n"
        "for name, plan in PLANS.items():\n"
        "    outcome = run_seed(msgspec.structs.replace(plan, duration_s=8.0), 1)\n"
        "    print(name, sorted(outcome.counts.items()), outcome.story, outcome.trace, outcome.violation)"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "4242")
    }
    assert len(runs) == 1


def test_the_trace_is_the_same_again_and_another_where_anything_differs() -> None:
    plan = msgspec.structs.replace(PLANS["three-servers"], duration_s=4.0)
    traces = [run_seed(each, 1).trace for each in (plan, plan, msgspec.structs.replace(plan, writes_rate=24.0))]
    assert traces[0] == traces[1] != traces[2]


@pytest.fixture(scope="module")
def counts() -> Counter[str]:
    """What a few seeds did together."""
    total: Counter[str] = Counter()
    for plan in ("changing-members", "rare-faults", "tiny-snapshots"):
        for seed in range(SEEDS_PER_TEST):
            total.update(outcome_of(plan, seed).counts)
    return total


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_really_happens(counts: Counter[str], fault: str) -> None:
    assert counts[f"fault {fault}"] > 0


WORK = (
    *(
        "acked",
        "default reads",
        "consistent reads",
        "elections",
        "snapshots",
        "installed",
        "add settled",
        "rem settled",
    ),
    *(
        "fetches held back",
        "crashes",
        "power lost at sync",
        "power lost at point",
        "disk full",
        "killed at sync",
        "sync failed in journal",
        "sync failed in snapshots",
        "sync folder failed in snapshots",
    ),
)


@pytest.mark.parametrize("work", WORK)
def test_the_group_works_between_the_faults_and_those_that_are_armed_strike(counts: Counter[str], work: str) -> None:
    assert counts[work] > 0
