"""Sans-IO: one entry of the agent's cache: when it asks the servers, whom it answers, and when it is forgotten.

Events go in, each with its time; instructions come out, to be carried out in this order. Two sorts of entries:

* A *refreshing* one has, from its first use until it is forgotten, one blocking query under way, so that its value is
  what the servers say now. Its age is how long ago contact with them was lost. What a caller says about ages is nothing
  to it.
* Any other is asked for only on behalf of a caller, and its age is how long ago that was.

Rules: never two fetches at once; every caller is answered, with a value or an error, when the fetch that it waits for
ends; a value that was once fetched is given out for as long as the servers cannot be asked (fail-static), but not once
they say no (a token that was taken back, a query that was deleted); an entry that never had a value is forgotten as
soon as its fetch fails.

Source: agent specification, section 8.
"""

from enum import Enum, auto
from typing import Any

import msgspec

BACKOFF_FREE_COUNT = 3
"""Failures in a row after which the next fetch follows at once; those after that wait 2^(n-3) seconds."""
BACKOFF_S_MAX = 60.0
FETCH_WAIT_S = 600.0
"""How long a background query may block."""
IDLE_S = 72 * 3600.0
"""Without a use, an entry is forgotten."""
IDLE_EMPTY_S = 60.0
"""The same for one whose value is empty: names that nobody has, made up by somebody, must not be watched for days."""
PROBE_WAIT_S = 10.0
"""How long the query after a failure may block: when it returns, there is contact again. It blocks, rather than asking
for what there is now, since a server that lags behind would else take everybody back to older data."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How entries of one kind live. Times in seconds."""

    refreshes: bool
    fetch_wait_s: float = FETCH_WAIT_S
    idle_s: float = IDLE_S
    idle_empty_s: float = IDLE_EMPTY_S


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller accepts (HTTP `Cache-Control`); nothing of it concerns refreshing entries."""

    age_s_max: float | None = None
    """None: any age."""
    must_revalidate: bool = False
    """Ask the servers now."""
    stale_if_error_s: float | None = None
    """Where the servers cannot be asked, a value of up to this age will do. None: it will not."""


ANYTHING = Control()


class Outcome(Enum):
    """How a waiting caller was answered."""

    FRESH = auto()
    """With what was just fetched."""
    OLD = auto()
    """With the value that there was before: the caller's time is over, or it accepts that after an error."""
    FAILED = auto()


class Fetch(msgspec.Struct, frozen=True):
    """Ask the servers: for anything newer than `index_min` within `wait_s`, or at once where that is 0."""

    number: int
    index_min: int
    wait_s: float


class Answer(msgspec.Struct, frozen=True):
    """Let this caller go on; `age_s` as in the header `Age`."""

    waiter: int
    outcome: Outcome
    age_s: float = 0.0


class RetryAt(msgspec.Struct, frozen=True):
    """Call `retry` at this time."""

    at_s: float


class Forget(msgspec.Struct, frozen=True):
    """Drop the entry and whatever it has under way; it takes no more events."""


Instruction = Fetch | Answer | RetryAt | Forget


class _Waiter(msgspec.Struct, frozen=True):
    index_min: int
    control: Control


class Entry:
    """One entry. Times are monotonic seconds."""

    __slots__ = (
        "_fetch_number",
        "_fetching",
        "_is_empty",
        "_lost_at_s",
        "_policy",
        "_retry_planned",
        "_retry_wanted",
        "_used_at_s",
        "_waiters",
        "error",
        "failures_count",
        "fetched_at_s",
        "forgotten",
        "index",
        "value",
        "version",
    )

    def __init__(self, policy: Policy, *, at_s: float) -> None:
        self._policy = policy
        self.value: Any = None
        self.index = 0
        """Of the value; 0: there is none yet."""
        self.version = 0
        """Grows with every other value; what was made of one may be used again while this stays."""
        self.fetched_at_s = at_s
        self.failures_count = 0
        """In a row."""
        self.error: Exception | None = None
        """Why the last fetch failed, None after one that did not."""
        self.forgotten = False
        self._is_empty = False
        self._fetching = False
        self._fetch_number = 0
        self._lost_at_s: float | None = None
        self._retry_wanted = False
        self._retry_planned = False
        self._used_at_s = at_s
        self._waiters: dict[int, _Waiter] = {}

    @property
    def has_value(self) -> bool:
        """Whether there is something to answer with."""
        return self.version > 0

    @property
    def is_busy(self) -> bool:
        """Whether somebody waits on it."""
        return bool(self._waiters)

    @property
    def is_fetching(self) -> bool:
        """Whether the servers are being asked."""
        return self._fetching

    @property
    def waiters_count(self) -> int:
        """How many wait."""
        return len(self._waiters)

    @property
    def idle_at_s(self) -> float:
        """When it is forgotten unless it is used."""
        return self._used_at_s + (self._policy.idle_empty_s if self._is_empty else self._policy.idle_s)

    def age_s(self, at_s: float) -> float:
        """Return the age of the value; 0 while a refreshing entry is in contact."""
        since = self._lost_at_s if self._policy.refreshes else self.fetched_at_s
        return 0.0 if since is None else max(0.0, at_s - since)

    def use(self, at_s: float, *, index_min: int = 0, control: Control = ANYTHING) -> bool:
        """Note a use and return whether the value can be given out now, without waiting."""
        self._used_at_s = at_s
        if not self.version:
            return False
        if self._policy.refreshes:
            return not index_min or self.index > index_min
        return not control.must_revalidate and (control.age_s_max is None or self.age_s(at_s) <= control.age_s_max)

    def wait(self, waiter: int, *, index_min: int = 0, control: Control = ANYTHING) -> list[Instruction]:
        """Take a caller whom `use` could not serve. `waiter` must be new; `index_min` needs a refreshing entry."""
        self._waiters[waiter] = _Waiter(index_min if self._policy.refreshes else 0, control)
        return [] if self._fetching else [self._fetch()]

    def leave(self, at_s: float, waiter: int, *, timed_out: bool) -> list[Instruction]:
        """A caller waits no longer; where its time is over it gets what there is."""
        if self._waiters.pop(waiter, None) is None or not timed_out:
            return []
        if not self.version:
            return [Answer(waiter, Outcome.FAILED)]
        return [Answer(waiter, Outcome.OLD, self.age_s(at_s))]

    def fetched(self, at_s: float, number: int, value: Any, *, index: int, is_empty: bool) -> list[Instruction]:
        """The servers have answered the fetch `number`; `index` 0 where they have none."""
        if not self._ends(number):
            return []
        went_back = self._policy.refreshes and 0 < index < self.index
        if not self._policy.refreshes or index != self.index or not self.version:
            self.version += 1
        self.value = value
        self.index = max(index, 1)
        self.fetched_at_s = at_s
        self.error = None
        self._is_empty = is_empty
        self._lost_at_s = None
        lacks_index = self._policy.refreshes and index == 0
        self.failures_count = self.failures_count + 1 if lacks_index else 0
        out: list[Instruction] = []
        for waiter, wants in list(self._waiters.items()):
            # Who waits for something newer than an index of the past hears of it: it has to begin anew.
            if not wants.index_min or self.index > wants.index_min or went_back or lacks_index:
                del self._waiters[waiter]
                out.append(Answer(waiter, Outcome.FRESH))
        if self._policy.refreshes:
            out += self._after_failure(at_s) if lacks_index else [self._fetch()]
        return out

    def failed(self, at_s: float, number: int, error: Exception, *, is_refusal: bool = False) -> list[Instruction]:
        """The fetch `number` has failed; `is_refusal`: the servers were asked, and said no."""
        if not self._ends(number):
            return []
        self.failures_count += 1
        self.error = error
        if self._lost_at_s is None:
            self._lost_at_s = at_s
        age_s = self.age_s(at_s)
        out: list[Instruction] = []
        for waiter, wants in self._waiters.items():
            bound_s = wants.control.stale_if_error_s
            is_old_enough = self.version > 0 and bound_s is not None and age_s <= bound_s
            serves = is_old_enough and not self._policy.refreshes and not is_refusal
            out.append(Answer(waiter, Outcome.OLD, age_s) if serves else Answer(waiter, Outcome.FAILED))
        self._waiters.clear()
        if not self.version or is_refusal:
            self.forgotten = True
            return [*out, Forget()]
        return out + self._after_failure(at_s) if self._policy.refreshes else out

    def retry(self) -> list[Instruction]:
        """The time that a RetryAt named has come."""
        self._retry_planned = False
        if not self._retry_wanted or self._fetching or self.forgotten:
            return []
        return [self._fetch()]

    def look(self, at_s: float) -> list[Instruction]:
        """Forget the entry if nobody has used it for long. To be called now and then."""
        if self.forgotten or self._waiters or at_s < self.idle_at_s:
            return []
        return self.evict()

    def evict(self) -> list[Instruction]:
        """Forget the entry at once; only while nobody waits on it."""
        self.forgotten = True
        return [Forget()]

    def end(self) -> list[Instruction]:
        """The cache ends: everybody who waits is sent away."""
        out: list[Instruction] = [Answer(waiter, Outcome.FAILED) for waiter in self._waiters]
        self._waiters.clear()
        self.forgotten = True
        return [*out, Forget()]

    def _ends(self, number: int) -> bool:
        if self.forgotten or not self._fetching or number != self._fetch_number:
            return False
        self._fetching = False
        return True

    def _fetch(self) -> Fetch:
        self._fetching = True
        self._fetch_number += 1
        self._retry_wanted = False
        if not self._policy.refreshes or not self.version:
            return Fetch(self._fetch_number, 0, 0.0)
        wait_s = min(PROBE_WAIT_S, self._policy.fetch_wait_s) if self.failures_count else self._policy.fetch_wait_s
        return Fetch(self._fetch_number, self.index, wait_s)

    def _after_failure(self, at_s: float) -> list[Instruction]:
        over = self.failures_count - BACKOFF_FREE_COUNT
        if over <= 0:
            return [self._fetch()]
        self._retry_wanted = True
        if self._retry_planned:
            return []  # one at a time; it comes within BACKOFF_S_MAX
        self._retry_planned = True
        return [RetryAt(at_s + min(2.0 ** min(over, 10), BACKOFF_S_MAX))]
