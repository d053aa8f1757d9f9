"""One entry of the cache: what it decides at each event."""

import pytest

from agent.cache.entry import (
    BACKOFF_S_MAX,
    FETCH_WAIT_S,
    IDLE_EMPTY_S,
    IDLE_S,
    PROBE_WAIT_S,
    Answer,
    Control,
    Entry,
    Fetch,
    Forget,
    Outcome,
    Policy,
    RetryAt,
)
from base.errors import NoLeader, NotFound

REFRESHING = Policy(refreshes=True)
ON_DEMAND = Policy(refreshes=False)
FRESH = Outcome.FRESH


def filled(policy: Policy = REFRESHING, *, index: int = 5, at_s: float = 0.0) -> Entry:
    """An entry that was asked for once and has its first value."""
    entry = Entry(policy, at_s=at_s)
    assert not entry.use(at_s)
    assert entry.wait(1) == [Fetch(1, 0, 0.0)]
    assert entry.fetched(at_s, 1, "first", index=index, is_empty=False)[0] == Answer(1, FRESH)
    return entry


def test_the_first_use_fetches_without_blocking_and_then_a_blocking_query_stays_under_way() -> None:
    entry = Entry(REFRESHING, at_s=0.0)
    entry.wait(1)
    assert entry.wait(2) == []  # never two fetches at once
    out = entry.fetched(1.0, 1, "a", index=5, is_empty=False)
    assert out == [Answer(1, FRESH), Answer(2, FRESH), Fetch(2, 5, FETCH_WAIT_S)]
    assert entry.use(2.0)
    assert entry.fetched(3.0, 2, "b", index=7, is_empty=False) == [Fetch(3, 7, FETCH_WAIT_S)]
    assert (entry.value, entry.index, entry.version) == ("b", 7, 2)


def test_who_names_an_index_waits_until_the_entry_is_past_it() -> None:
    entry = filled(index=5)
    assert entry.use(1.0, index_min=4)
    assert not entry.use(1.0, index_min=5)
    assert entry.wait(7, index_min=5) == []
    assert entry.wait(8, index_min=9) == []
    assert entry.fetched(2.0, 2, "b", index=6, is_empty=False) == [Answer(7, FRESH), Fetch(3, 6, FETCH_WAIT_S)]
    assert entry.fetched(2.0, 3, "c", index=10, is_empty=False)[0] == Answer(8, FRESH)


def test_a_query_that_ends_without_news_wakes_nobody_and_changes_no_version() -> None:
    entry = filled(index=5)
    entry.wait(7, index_min=5)
    assert entry.fetched(600.0, 2, "same", index=5, is_empty=False) == [Fetch(3, 5, FETCH_WAIT_S)]
    assert entry.version == 1


def test_an_index_that_goes_back_wakes_everybody_who_waits() -> None:
    entry = filled(index=50)
    entry.wait(7, index_min=50)
    out = entry.fetched(1.0, 2, "restored", index=3, is_empty=False)
    assert out == [Answer(7, FRESH), Fetch(3, 3, FETCH_WAIT_S)]
    assert (entry.value, entry.index) == ("restored", 3)


def test_an_index_of_zero_is_a_failure_that_is_kept_as_one() -> None:
    entry = Entry(REFRESHING, at_s=0.0)
    entry.wait(1)
    assert entry.fetched(0.0, 1, "a", index=0, is_empty=False) == [Answer(1, FRESH), Fetch(2, 1, PROBE_WAIT_S)]
    assert (entry.index, entry.failures_count) == (1, 1)
    for number in (2, 3):
        assert isinstance(entry.fetched(0.0, number, "a", index=0, is_empty=False)[-1], Fetch)
    assert entry.fetched(0.0, 4, "a", index=0, is_empty=False) == [RetryAt(2.0)]  # no busy loop


def test_failures_wait_longer_and_longer_and_the_value_is_given_out_with_its_age() -> None:
    entry = filled()
    at_s, number, pauses = 10.0, 2, []
    for _ in range(12):
        out = entry.failed(at_s, number, NoLeader())
        if isinstance(out[0], RetryAt):
            pauses.append(out[0].at_s - at_s)
            at_s = out[0].at_s
            out = entry.retry()
        assert out == [Fetch(number + 1, 5, PROBE_WAIT_S)]
        number += 1
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, *[BACKOFF_S_MAX] * 4]
    assert entry.use(at_s)
    assert entry.age_s(at_s) == at_s - 10.0  # since contact was lost, not since the last failure
    assert entry.fetched(at_s, number, "back", index=5, is_empty=False) == [Fetch(number + 1, 5, FETCH_WAIT_S)]
    assert entry.age_s(at_s + 99) == 0.0


def test_a_failure_without_any_value_is_told_and_forgotten() -> None:
    entry = Entry(REFRESHING, at_s=0.0)
    entry.wait(1)
    assert entry.failed(0.0, 1, NoLeader()) == [Answer(1, Outcome.FAILED), Forget()]
    assert entry.forgotten


def test_a_caller_that_waits_for_news_hears_of_a_failure() -> None:
    entry = filled()
    entry.wait(7, index_min=5)
    assert entry.failed(1.0, 2, NoLeader()) == [Answer(7, Outcome.FAILED), Fetch(3, 5, PROBE_WAIT_S)]


def test_a_caller_whose_time_is_over_gets_what_there_is() -> None:
    entry = filled()
    entry.wait(7, index_min=5)
    assert entry.leave(1.0, 7, timed_out=True) == [Answer(7, Outcome.OLD, 0.0)]
    assert entry.leave(1.0, 7, timed_out=True) == []
    entry.wait(8, index_min=5)
    assert entry.leave(1.0, 8, timed_out=False) == []
    assert not entry.is_busy
    empty = Entry(REFRESHING, at_s=0.0)
    empty.wait(1)
    assert empty.leave(1.0, 1, timed_out=True) == [Answer(1, Outcome.FAILED)]


@pytest.mark.parametrize(("is_empty", "idle_s"), [(False, IDLE_S), (True, IDLE_EMPTY_S)])
def test_an_entry_is_forgotten_after_its_last_use(is_empty: bool, idle_s: float) -> None:
    entry = Entry(REFRESHING, at_s=0.0)
    entry.use(0.0)
    entry.wait(1)
    entry.fetched(0.0, 1, "a", index=5, is_empty=is_empty)
    entry.use(10.0)
    assert entry.look(10.0 + idle_s - 1) == []
    assert entry.look(10.0 + idle_s) == [Forget()]
    assert entry.fetched(10.0 + idle_s, 2, "late", index=9, is_empty=False) == []


def test_nobody_who_waits_is_forgotten() -> None:
    entry = filled()
    entry.wait(7, index_min=5)
    assert entry.look(10 * IDLE_S) == []
    assert entry.end() == [Answer(7, Outcome.FAILED), Forget()]


def test_an_entry_that_does_not_refresh_obeys_what_its_caller_says_of_ages() -> None:
    entry = filled(ON_DEMAND)
    assert not entry.is_fetching
    assert entry.use(100.0)
    assert entry.age_s(100.0) == 100.0
    assert entry.use(100.0, control=Control(age_s_max=100.0))
    assert not entry.use(100.0, control=Control(age_s_max=99.0))
    assert not entry.use(0.0, control=Control(must_revalidate=True))
    assert entry.wait(7, control=Control(must_revalidate=True)) == [Fetch(2, 0, 0.0)]
    assert entry.fetched(100.0, 2, "b", index=0, is_empty=False) == [Answer(7, FRESH)]
    assert entry.version == 2


@pytest.mark.parametrize(
    ("bound_s", "answer"),
    [
        (None, Answer(7, Outcome.FAILED)),
        (99.0, Answer(7, Outcome.FAILED)),
        (100.0, Answer(7, Outcome.OLD, 100.0)),
    ],
)
def test_an_old_value_after_an_error_is_only_for_those_who_accept_it(bound_s: float | None, answer: Answer) -> None:
    entry = filled(ON_DEMAND)
    entry.wait(7, control=Control(must_revalidate=True, stale_if_error_s=bound_s))
    assert entry.failed(100.0, 2, NoLeader()) == [answer]
    assert not entry.is_fetching


def test_an_old_value_is_for_nobody_once_the_servers_say_no() -> None:
    entry = filled(ON_DEMAND)
    entry.wait(7, control=Control(must_revalidate=True, stale_if_error_s=100.0))
    assert entry.failed(1.0, 2, NotFound("Query not found"), is_refusal=True) == [Answer(7, Outcome.FAILED), Forget()]
    assert entry.forgotten


def test_what_a_caller_says_of_ages_is_nothing_to_an_entry_that_refreshes() -> None:
    assert filled().use(1000.0, control=Control(age_s_max=1.0, must_revalidate=True))


def test_answers_to_other_fetches_than_the_one_under_way_count_for_nothing() -> None:
    entry = filled()
    assert entry.fetched(1.0, 1, "old", index=99, is_empty=False) == []
    assert entry.failed(1.0, 3, NoLeader()) == []
    assert (entry.value, entry.failures_count) == ("first", 0)


def test_a_caller_during_the_back_off_starts_a_fetch_and_the_timer_then_starts_no_second_one() -> None:
    entry = filled()
    for number in range(2, 6):
        out = entry.failed(0.0, number, NoLeader())
    assert out == [RetryAt(2.0)]
    assert entry.wait(7, index_min=5) == [Fetch(6, 5, PROBE_WAIT_S)]
    assert entry.retry() == []
