"""Schedules: decided by the seed, fair to all faults, long enough."""

import random

import pytest

from jepsen.generator import FIRST_S, QUIET_S, schedule
from jepsen.nemesis.registry import FAULTS

ALL = tuple(FAULTS.values())


def test_one_seed_is_one_schedule() -> None:
    assert schedule(random.Random("a"), ALL, duration_s=100) == schedule(random.Random("a"), ALL, duration_s=100)
    assert schedule(random.Random("a"), ALL, duration_s=100) != schedule(random.Random("b"), ALL, duration_s=100)


@pytest.mark.parametrize("duration_s", [1.0, 60.0, 600.0])
def test_all_faults_come_before_any_comes_again_and_the_time_is_filled(duration_s: float) -> None:
    steps = schedule(random.Random(1), ALL, duration_s=duration_s)
    assert {step.fault for step in steps[: len(ALL)]} == {fault.name for fault in ALL}
    assert sum(step.quiet_s + step.hold_s for step in steps) >= duration_s


def test_each_step_keeps_its_fault_s_bounds() -> None:
    steps = schedule(random.Random(2), ALL, duration_s=300)
    for position, step in enumerate(steps):
        low, high = FAULTS[step.fault].hold_s
        assert low <= step.hold_s <= high
        assert step.quiet_s == FIRST_S if position == 0 else QUIET_S[0] <= step.quiet_s <= QUIET_S[1]
    assert len({step.seed for step in steps}) == len(steps)


def test_without_faults_nothing_is_scheduled() -> None:
    assert schedule(random.Random(3), (), duration_s=60) == []
