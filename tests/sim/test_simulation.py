"""Seeds of the consensus simulation: groups of three and five under faults, with and without changes of membership.

More of them: `python -m tests.sim --seeds 1000 --start 1000 --jobs 2` (see `docs/internals/simulation.md`).
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.__main__ import Arguments, run_seed
from tests.sim.simulation import Simulation

SEEDS_PER_TEST = 10
PLANS = {
    "three servers": (Arguments(), 9),
    "five servers": (Arguments(nodes=5), 3),
    "changing members": (Arguments(membership=True), 3),
    "down to one member": (Arguments(nodes=2, membership=True, members_min=1), 2),
    "leases": (Arguments(leases=True), 3),
    "tiny snapshots": (Arguments(threshold=5, trailing=0), 2),
}
"""Name -> what to run, and how many tests of ten seeds."""


def chunks() -> list[tuple[str, int]]:
    """(plan, first seed) for each test: 220 seeds in all."""
    return [(name, number * SEEDS_PER_TEST) for name, (_, count) in PLANS.items() for number in range(count)]


@pytest.mark.parametrize(("plan", "first_seed"), chunks(), ids=lambda value: str(value))
def test_no_promise_is_broken_and_the_group_converges(plan: str, first_seed: int) -> None:
    arguments = PLANS[plan][0]
    for seed in range(first_seed, first_seed + SEEDS_PER_TEST):
        _, _, violation = run_seed(arguments, seed)
        assert violation is None, f"{violation}\n{arguments.command(seed)}"


def test_a_seed_decides_everything_whatever_the_hash_seed() -> None:
    program = (
        "from tests.sim.__main__ import Arguments, run_seed\n"
        "for seed in range(4):\n"
        "    for plan in (Arguments(nodes=5), Arguments(membership=True), Arguments(leases=True, nodes=5)):\n"
        "        print(sorted(run_seed(plan, seed)[1].items()))"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            cwd=Path(__file__).resolve().parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "1", "4242")
    }
    assert len(runs) == 1


def test_the_faults_really_happen_and_the_group_works_between_them() -> None:
    counts = Simulation(3, duration_s=30.0).run()
    for name in ("acked", "default reads", "consistent reads", "crashes", "elections", "snapshots", "installed"):
        assert counts[name] > 0, name


def test_a_disk_that_forgets_is_convicted() -> None:
    assert any(run_seed(Arguments(off=("fsync",)), seed)[2] is not None for seed in range(5))
