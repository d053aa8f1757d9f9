"""A cache entry under any order of events: no lost wake-up, never two fetches at once, everything bounded."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.cache.entry import (
    BACKOFF_S_MAX,
    Answer,
    Control,
    Entry,
    Fetch,
    Forget,
    Instruction,
    Outcome,
    Policy,
    RetryAt,
)
from base.errors import NoLeader


class EntryLife(RuleBasedStateMachine):
    """Plays the driver: keeps what is under way, as the instructions say, and what each caller is owed."""

    @initialize(refreshes=st.booleans())
    def begin(self, refreshes: bool) -> None:
        self.policy = Policy(refreshes=refreshes, idle_s=100.0, idle_empty_s=10.0)
        self.at_s = 0.0
        self.entry = Entry(self.policy, at_s=0.0)
        self.under_way: list[Fetch] = []
        self.timers: list[float] = []
        self.owed: dict[int, tuple[int, int]] = {}
        """Caller -> index it named, and how many fetches had ended when it came."""
        self.ended_count = 0
        self.number = 0
        self.gone = False

    def carry_out(self, out: list[Instruction]) -> None:
        for one in out:
            assert not self.gone or isinstance(one, Answer), "nothing is begun for a forgotten entry"
            match one:
                case Fetch():
                    assert not self.under_way, "two fetches at once"
                    self.under_way.append(one)
                case Answer(waiter, outcome, age_s):
                    assert waiter in self.owed, "answered twice"
                    index_min, _ = self.owed.pop(waiter)
                    assert age_s >= 0
                    if outcome is not Outcome.FAILED:
                        assert self.entry.has_value
                    if outcome is Outcome.FRESH and self.policy.refreshes and not self.went_back:
                        assert not index_min or self.entry.index > index_min
                case RetryAt(at_s):
                    assert self.at_s < at_s <= self.at_s + BACKOFF_S_MAX
                    self.timers.append(at_s)
                case Forget():
                    self.gone = True
                    self.under_way.clear()

    went_back = False

    @precondition(lambda self: not self.gone)
    @rule(index_min=st.integers(0, 6), revalidate=st.booleans(), stale_s=st.sampled_from([None, 0.0, 1e9]))
    def somebody_asks(self, index_min: int, revalidate: bool, stale_s: float | None) -> None:
        control = Control(must_revalidate=revalidate, stale_if_error_s=stale_s)
        if self.entry.use(self.at_s, index_min=index_min, control=control):
            assert self.entry.has_value
            if self.policy.refreshes and index_min:
                assert self.entry.index > index_min
            return
        self.number += 1
        self.owed[self.number] = (index_min if self.policy.refreshes else 0, self.ended_count)
        self.carry_out(self.entry.wait(self.number, index_min=index_min, control=control))
        assert self.under_way, "a caller waits and nothing is under way for it"

    @precondition(lambda self: self.under_way)
    @rule(index=st.integers(0, 6), is_empty=st.booleans())
    def servers_answer(self, index: int, is_empty: bool) -> None:
        fetch = self.under_way.pop()
        self.went_back = index < self.entry.index
        self.ended_count += 1
        owed = dict(self.owed)
        self.carry_out(self.entry.fetched(self.at_s, fetch.number, object(), index=index, is_empty=is_empty))
        for waiter, (index_min, _) in owed.items():
            if not index_min or self.entry.index > index_min or self.went_back:
                assert waiter not in self.owed, "lost wake-up"
        self.went_back = False

    @precondition(lambda self: self.under_way)
    @rule()
    def servers_fail(self) -> None:
        fetch = self.under_way.pop()
        self.carry_out(self.entry.failed(self.at_s, fetch.number, NoLeader()))
        assert not self.owed, "a failure is told to all who wait"

    @precondition(lambda self: self.owed)
    @rule(data=st.data(), timed_out=st.booleans())
    def somebody_leaves(self, data: st.DataObject, timed_out: bool) -> None:
        waiter = data.draw(st.sampled_from(sorted(self.owed)))
        if not timed_out:
            del self.owed[waiter]
        self.carry_out(self.entry.leave(self.at_s, waiter, timed_out=timed_out))
        assert waiter not in self.owed

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0, 101.0]))
    def time_passes(self, seconds: float) -> None:
        self.at_s += seconds
        due, self.timers = (
            [at_s for at_s in self.timers if at_s <= self.at_s],
            [at_s for at_s in self.timers if at_s > self.at_s],
        )
        for _ in due:
            self.carry_out(self.entry.retry())
        if not self.gone:
            self.carry_out(self.entry.look(self.at_s))

    @invariant()
    def an_entry_that_lives_is_kept_fresh(self) -> None:
        if self.gone:
            assert not self.owed
            return
        assert len(self.timers) <= 1
        assert self.entry.waiters_count == len(self.owed)
        if self.owed:
            assert self.under_way, "somebody waits for nothing"
        if self.policy.refreshes and self.entry.has_value:
            assert self.under_way or self.timers, "the entry has stopped refreshing"


TestEntryLife = EntryLife.TestCase
