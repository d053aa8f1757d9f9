"""A watch against agents that answer anything: nothing is told twice, the end is not missed, nothing spins."""

import random

from hypothesis import given
from hypothesis import strategies as st

from base.errors import NoLeader
from mesh.query import Answer, Read
from mesh.watch_state import PAUSE_S_MAX, QUICK_S, WatchState

ANSWERS = st.tuples(st.integers(0, 6), st.sampled_from("abc"), st.sampled_from([0.0, 0.5, 5.0]))
"""Index, value and how long it took."""


def answer(index: int, value: str) -> Answer[str]:
    return Answer(value=value, index=index, known_leader=True, last_contact_s=0.0)


@given(st.lists(st.one_of(ANSWERS, st.none()), max_size=40), st.integers(0, 99))
def test_only_what_differs_is_told_and_every_question_is_sensible(
    steps: list[tuple[int, str, float] | None], seed: int
) -> None:
    state: WatchState[str] = WatchState(Read(wait_s=60), random.Random(seed))
    told: list[str] = []
    shown: list[str] = []
    for step in steps:
        asked = state.next_read().index
        if step is None:
            state.failed(NoLeader())
            assert 0 < state.pause_s <= PAUSE_S_MAX
            continue
        index, value, took_s = step
        shown.append(value)
        if state.answered(answer(index, value), took_s=took_s):
            told.append(value)
        now = state.next_read().index
        assert now == 0 if index < asked else now >= 1
        assert state.next_read().wait_s == 60
    assert told == [value for position, value in enumerate(shown) if position == 0 or shown[position - 1] != value]


@given(st.lists(st.integers(0, 6), min_size=60, max_size=60))
def test_an_agent_that_never_blocks_is_asked_seldom(indexes: list[int]) -> None:
    state: WatchState[str] = WatchState(Read(), random.Random(1))
    state.answered(answer(1, "same"), took_s=0.0)
    spent_s = 0.0
    for index in indexes:
        state.answered(answer(index, "same"), took_s=0.0)
        spent_s += state.pause_s
    assert spent_s > 60 * QUICK_S


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=60), st.integers(0, 1 << 16))
def test_the_last_state_of_a_store_is_always_told_in_the_end(changes: list[tuple[int, bool]], seed: int) -> None:
    """A store changes, or is restored to an older index with another value; a watch ends up with what it has."""
    rng = random.Random(seed)
    state: WatchState[int] = WatchState(Read(), rng)
    index, value, seen = 5, 0, -1

    def ask() -> None:
        nonlocal seen
        asked = state.next_read().index
        if asked and index == asked:
            return  # it blocks until its time is over, and would answer the same
        if state.answered(Answer(value=value, index=index, known_leader=True, last_contact_s=0.0), took_s=rng.random()):
            seen = value

    for step, restored in changes:
        value += 1
        index = max(1, index - 3) if restored else index + 1 + step
        if index == state.next_read().index:
            index += 1  # one index for two states is beyond what anybody can tell
        if rng.random() < 0.5:
            ask()
    for _ in range(2):  # one question may find that the index went back
        ask()
    assert seen == value
