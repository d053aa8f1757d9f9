"""Plans of campaigns: everything at least once, in the time that was given, from one seed."""

from itertools import islice

import pytest

from jepsen.__main__ import chosen_faults, chosen_workloads, parser
from jepsen.campaign import BOTH_NETWORKS, RUN_EXTRA_S, matrix_plans, soak_plans
from jepsen.nemesis.registry import FAULTS, packages
from jepsen.workloads.registry import WORKLOADS


def test_the_matrix_has_every_fault_with_every_workload_in_its_time() -> None:
    plans = matrix_plans(packages(), list(WORKLOADS), minutes=30, seed=5)
    assert [plan.name for plan in plans] == list(packages())
    seen: list[str] = []
    for plan in plans:
        given = parser().parse_args(["run", *plan.arguments])
        assert [each.name for each in chosen_workloads(given.workload)] == list(WORKLOADS)
        seen += [each.name for each in chosen_faults(given.fault)]
    assert seen == list(FAULTS)
    assert sum(plan.seconds + RUN_EXTRA_S for plan in plans) == pytest.approx(30 * 60, rel=0.02)


def test_what_differs_between_networks_runs_on_both() -> None:
    plans = matrix_plans(packages(), list(WORKLOADS), minutes=30, seed=5, both_networks=True)
    assert [plan.name for plan in plans] == [*packages(), *(f"{package}-links" for package in BOTH_NETWORKS)]
    networks = [parser().parse_args(["run", *plan.arguments]).network for plan in plans]
    assert networks == ["auto"] * len(packages()) + ["links"] * len(BOTH_NETWORKS)
    assert len({plan.arguments[-1] for plan in plans}) == len(plans), "a seed of its own for each"
    assert sum(plan.seconds + RUN_EXTRA_S for plan in plans) == pytest.approx(30 * 60, rel=0.02)


def test_a_short_matrix_still_gives_every_package_some_time() -> None:
    assert all(plan.seconds >= 20 for plan in matrix_plans(packages(), ["register"], minutes=0.5, seed=5))


def test_the_seed_decides_a_campaign() -> None:
    assert matrix_plans(packages(), ["set"], minutes=9, seed=5) == matrix_plans(packages(), ["set"], minutes=9, seed=5)
    first, second = ([*islice(soak_plans(list(FAULTS), ["set"], seconds=60, seed=seed), 20)] for seed in (1, 2))
    assert first == [*islice(soak_plans(list(FAULTS), ["set"], seconds=60, seed=1), 20)]
    assert first != second


def test_every_plan_of_a_soak_is_a_command_that_parses() -> None:
    for plan in islice(soak_plans(list(FAULTS), list(WORKLOADS), seconds=60, seed=3), 50):
        given = parser().parse_args(["run", *plan.arguments])
        assert 1 <= len(chosen_faults(given.fault)) <= 4
