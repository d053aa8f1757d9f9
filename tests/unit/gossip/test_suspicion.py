"""How long a suspect stays suspect, awareness, and the timers below."""

import math

import pytest

from gossip.awareness import Awareness
from gossip.config import LAN, WAN, Timing
from gossip.suspicion import Suspicion, limits_of
from gossip.timers import LEFTOVERS_MIN, Timers


def timeouts(members_count: int, *senders: str, timing: Timing = LAN, lifeguard: bool = True) -> list[float]:
    """Return the timeout after the first sender's word and after each further one."""
    suspicion = Suspicion(0.0, senders[0], limits_of(timing, members_count, lifeguard=lifeguard))
    found = [suspicion.deadline_s]
    for sender in senders[1:]:
        suspicion.confirm(sender)
        found.append(suspicion.deadline_s)
    return found


def test_a_suspect_in_a_cluster_of_two_has_four_seconds() -> None:
    assert timeouts(2, "a") == [4.0]


def test_a_suspect_among_three_cannot_be_confirmed_often_enough_either() -> None:
    assert timeouts(3, "a", "b") == [4.0, 4.0]


def test_a_suspect_among_five_has_24_seconds_and_11_4_once_confirmed() -> None:
    assert timeouts(5, "a", "b", "c") == [24.0, 11.381, 4.0]


def test_times_grow_with_the_logarithm_of_the_cluster_cut_to_thousandths() -> None:
    assert timeouts(50, "a")[0] == pytest.approx(4 * 1.698 * 6)
    assert timeouts(1000, "a", "b", "c") == pytest.approx([72.0, 34.144, 12.0])


def test_wan_pools_take_their_time() -> None:
    assert limits_of(WAN, 10).least_s == 30.0
    assert limits_of(WAN, 10).confirmations_count == 4


def test_the_same_member_confirms_once_and_the_first_one_never() -> None:
    suspicion = Suspicion(0.0, "a", limits_of(LAN, 10))
    assert [suspicion.confirm(sender) for sender in "abbcd"] == [False, True, False, True, False]
    assert suspicion.confirmations_count == 2


def test_without_lifeguard_the_time_is_the_least_from_the_start() -> None:
    assert timeouts(5, "a", "b", "c", lifeguard=False) == [4.0, 4.0, 4.0]


def test_the_score_stays_between_its_bounds() -> None:
    awareness = Awareness()
    awareness.add(-1)
    assert (awareness.score, awareness.scaled(1.0)) == (0, 1.0)
    awareness.add(3)
    assert awareness.scaled(0.5) == 2.0
    awareness.add(100)
    assert (awareness.score, awareness.scaled(1.0)) == (7, 8.0)


def test_the_score_can_be_switched_off() -> None:
    awareness = Awareness(enabled=False)
    awareness.add(5)
    assert awareness.score == 0


def test_timers_run_in_their_order_each_once() -> None:
    timers, ran = Timers(), []
    for key, due_s in (("late", 3.0), ("early", 1.0), ("same", 1.0), ("moved", 1.0), ("cancelled", 1.0)):
        timers.set(key, due_s, lambda now_s, key=key: ran.append((key, now_s)))  # type: ignore[misc]
    timers.set("moved", 2.0, lambda now_s: ran.append(("moved", now_s)))
    timers.cancel("cancelled")
    assert timers.next_s() == 1.0
    timers.run(2.5)
    assert ran == [("early", 2.5), ("same", 2.5), ("moved", 2.5)]
    assert timers.next_s() == 3.0
    timers.run(9.0)
    assert timers.next_s() == math.inf


def test_a_timer_that_sets_itself_for_now_does_not_run_for_ever() -> None:
    timers, ran = Timers(), []

    def again(now_s: float) -> None:
        ran.append(now_s)
        timers.set("again", now_s, again)

    timers.set("again", 1.0, again)
    timers.run(1.0)
    timers.run(1.0)
    assert ran == [1.0, 1.0]


def test_a_timer_moved_very_often_takes_little_memory() -> None:
    timers = Timers()
    for number in range(10_000):
        timers.set("one", 1e6 - number, lambda now_s: None)
    assert len(timers) == 1
    assert len(timers._heap) <= LEFTOVERS_MIN + 3
