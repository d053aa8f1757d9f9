"""Clocks go forwards; the one that leases run by counts what the machine slept through."""

import time

import trio

from base.clock import RealClock
from base.elapsed import elapsed_s


def test_elapsed_time_never_goes_back_and_is_never_behind_the_monotonic_clock() -> None:
    seen = [elapsed_s() for _ in range(1000)]
    assert seen == sorted(seen)
    assert time.clock_gettime(time.CLOCK_MONOTONIC) <= elapsed_s()


async def test_the_real_clock_is_that_of_the_event_loop() -> None:
    before = trio.current_time()
    assert before <= RealClock().monotonic_s() <= trio.current_time()
