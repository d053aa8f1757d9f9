"""Lamport clocks: they follow everybody but those who must be lying."""

from hypothesis import given
from hypothesis import strategies as st

from gossip.clocks import LEAP_MAX, TIME_MAX, LamportClock


def test_a_clock_is_always_above_what_it_has_seen() -> None:
    clock = LamportClock()
    assert clock.time == 1
    assert clock.witness(5)
    assert clock.time == 6
    assert clock.witness(3)
    assert clock.time == 6
    assert clock.stamp() == 6
    assert clock.time == 7


def test_a_newcomer_believes_the_first_time_it_hears_of_an_old_cluster() -> None:
    clock = LamportClock()
    assert clock.witness(LEAP_MAX * 4)
    assert clock.time == LEAP_MAX * 4 + 1


def test_one_forged_time_does_not_stop_the_count() -> None:
    clock = LamportClock()
    clock.witness(10)
    for forged in (1 << 64, (1 << 64) - 1, TIME_MAX, TIME_MAX - 1, LEAP_MAX + 12, -1):
        assert not clock.witness(forged)
    assert clock.time == 11


@given(st.lists(st.integers(0, (1 << 64) - 1)))
def test_a_clock_never_goes_back_and_never_leaves_the_wire_format(times: list[int]) -> None:
    clock = LamportClock()
    before = clock.time
    for time in times:
        clock.witness(time)
        assert before <= clock.time <= TIME_MAX
        before = clock.time
