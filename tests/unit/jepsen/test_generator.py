"""Schedules: decided by the seed, fair to all faults, long enough."""

import random

import pytest

from jepsen.generator import CALM_EVERY, CALM_S, FIRST_S, QUIET_S, schedule
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
        if position == 0:
            assert step.quiet_s == FIRST_S
        elif position % CALM_EVERY:
            assert QUIET_S[0] <= step.quiet_s <= QUIET_S[1]
        else:
            beyond_s = step.quiet_s - FAULTS[steps[position - 1].fault].recovery_s
            assert CALM_S[0] <= beyond_s <= CALM_S[1], "errors would be excused from the first fault to the last"
    assert len({step.seed for step in steps}) == len(steps)


def test_without_faults_nothing_is_scheduled() -> None:
    assert schedule(random.Random(3), (), duration_s=60) == []
