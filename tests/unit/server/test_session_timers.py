"""TTLs and lock delays as pure rules: time is handed in."""

from server.leader.sessions import GAP_S_MAX, HEAP_SLACK_COUNT, SessionTimers
from server.lock_delays import LockDelays

SECOND_NS = 1_000_000_000


def run_until(timers: SessionTimers, begin_s: float, end_s: float, step_s: float = 0.5) -> list[tuple[float, bytes]]:
    """Look every `step_s`; return what was due, and when."""
    found = []
    now_s = begin_s
    while now_s <= end_s:
        found += [(now_s, key) for key in timers.due(now_s, 100)]
        now_s += step_s
    return found


def test_a_session_is_due_after_twice_its_ttl_and_only_once() -> None:
    timers = SessionTimers()
    timers.begin(100.0)
    timers.arm(b"a", 10.0, 100.0)
    assert run_until(timers, 100.0, 119.5) == []
    assert run_until(timers, 120.0, 140.0) == [(120.0, b"a")]
    assert len(timers) == 0


def test_a_renewal_gives_all_the_time_again() -> None:
    timers = SessionTimers()
    timers.begin(0.0)
    timers.arm(b"a", 10.0, 0.0)
    for renewed_s in (5.0, 19.0, 38.5):
        assert run_until(timers, timers._seen_s, renewed_s) == []
        timers.arm(b"a", 10.0, renewed_s)
    assert run_until(timers, 38.5, 70.0) == [(58.5, b"a")]


def test_a_shorter_ttl_counts_at_once() -> None:
    timers = SessionTimers()
    timers.begin(0.0)
    timers.arm(b"a", 100.0, 0.0)
    timers.arm(b"a", 1.0, 0.0)
    assert run_until(timers, 0.0, 300.0) == [(2.0, b"a")]


def test_time_in_which_the_leader_stood_still_does_not_count() -> None:
    timers = SessionTimers()
    timers.begin(0.0)
    timers.arm(b"a", 10.0, 0.0)
    assert run_until(timers, 0.0, 5.0) == []
    assert timers.due(3600.0, 100) == []  # an hour later: the renewals of that hour were not seen
    found = run_until(timers, 3600.0, 3620.0)
    assert found == [(3600.0 + 20.0 - 5.0 - GAP_S_MAX, b"a")]


def test_a_clock_that_goes_back_ends_nobody_and_stops_nothing() -> None:
    timers = SessionTimers()
    timers.begin(1000.0)
    timers.arm(b"a", 1.0, 1000.0)
    assert timers.due(10.0, 100) == []
    assert run_until(timers, 10.0, 12.0) == [(12.0, b"a")]


def test_who_is_due_is_not_renewed_any_more_until_it_has_ended() -> None:
    timers = SessionTimers()
    timers.begin(0.0)
    timers.arm(b"a", 1.0, 0.0)
    assert run_until(timers, 0.0, 2.0) == [(2.0, b"a")]
    assert timers.is_doomed(b"a")
    assert timers.is_armed(b"a")
    timers.arm(b"a", 1.0, 2.0)
    assert run_until(timers, 2.0, 10.0) == []
    timers.disarm(b"a")
    assert not timers.is_doomed(b"a")
    timers.arm(b"a", 1.0, 10.0)
    assert run_until(timers, 10.0, 20.0) == [(12.0, b"a")]


def test_ended_sessions_are_never_due_and_take_no_room() -> None:
    timers = SessionTimers()
    timers.begin(0.0)
    timers.arm(b"kept", 1.0, 0.0)
    for number in range(5 * HEAP_SLACK_COUNT):
        timers.arm(b"%d" % number, 1.0, 0.0)
        timers.disarm(b"%d" % number)
    assert len(timers._heap) <= 2 * len(timers) + HEAP_SLACK_COUNT
    assert run_until(timers, 0.0, 10.0) == [(2.0, b"kept")]


def test_a_new_beginning_forgets_everything() -> None:
    timers = SessionTimers()
    timers.begin(0.0)
    timers.arm(b"a", 1.0, 0.0)
    timers.arm(b"b", 2.0, 0.0)
    assert run_until(timers, 0.0, 2.0) == [(2.0, b"a")]
    timers.begin(50.0)
    assert not timers.is_doomed(b"a")
    assert run_until(timers, 50.0, 100.0) == []


def test_many_are_due_in_portions_the_longest_overdue_first() -> None:
    timers = SessionTimers()
    timers.begin(0.0)
    for number in range(10):
        timers.arm(b"%d" % number, 0.01 * (10 - number), 0.0)
    assert timers.due(1.0, 4) == [b"9", b"8", b"7", b"6"]
    assert len(timers.due(1.0, 100)) == 6


def test_a_lost_lock_is_nobodys_for_its_delay() -> None:
    delays = LockDelays()
    delays.lost([(b"a", 15 * SECOND_NS), (b"b", SECOND_NS)], 100.0)
    assert delays.remaining_s(b"a", 100.0) == 15.0
    assert delays.remaining_s(b"a", 114.0) == 1.0
    assert delays.remaining_s(b"a", 115.0) == 0.0
    assert delays.remaining_s(b"c", 100.0) == 0.0
    assert len(delays) == 0


def test_of_two_delays_of_a_key_the_longer_counts() -> None:
    delays = LockDelays()
    delays.lost([(b"a", 15 * SECOND_NS)], 0.0)
    delays.lost([(b"a", SECOND_NS)], 1.0)
    assert delays.remaining_s(b"a", 2.0) == 13.0
    delays.lost([(b"a", 60 * SECOND_NS)], 2.0)
    assert delays.remaining_s(b"a", 20.0) == 42.0
    assert delays.remaining_s(b"a", 62.0) == 0.0
    assert len(delays) == 0


def test_where_there_is_no_room_for_a_key_all_of_them_wait() -> None:
    delays = LockDelays(count_max=2)
    delays.lost([(b"a", SECOND_NS), (b"b", SECOND_NS), (b"c", 5 * SECOND_NS)], 0.0)
    assert len(delays) == 2
    assert delays.remaining_s(b"c", 1.0) == delays.remaining_s(b"other", 1.0) == 4.0
    assert delays.remaining_s(b"a", 1.0) == 4.0
    assert delays.remaining_s(b"other", 5.0) == 0.0
