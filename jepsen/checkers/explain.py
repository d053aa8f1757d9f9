"""Cuts calls without a legal order down to the few that show it.

Only what cannot make a good history bad is left out: what began after some moment (and the ends of what was still under
way then), reads, denials, what a compare-and-set expected, and writes whose values none of the rest saw and on which no
denial can rest. Whatever remains therefore convicts the whole.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

import msgspec

from jepsen.checkers.denials import rests_on
from jepsen.checkers.models import FOREVER_NS, Call, Slot, Value
from jepsen.checkers.search import search

CONFIGURATIONS_MAX = 50_000
"""Of all searches for one explanation; then it stays as small as it is."""
CALLS_MAX = 30
"""More than so many cannot be drawn."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that have no legal order, as few as could be found."""

    calls: list[Call]
    """In the order of their beginnings. Their ends are what they really were."""
    last: Call | None
    """The one at whose end there was no legal order any more. None: it was not looked for long enough."""
    legal_count: int
    """Certain calls that had ended before that."""


def explain(calls: Sequence[Call]) -> Explanation:
    """Return the smallest part of `calls`, which have no legal order, that was found to have none either."""
    trial = _Trial()
    ends = sorted({call.ended_ns for call in calls if call.is_certain})
    good, bad = -1, len(ends) - 1
    while bad - good > 1:
        middle = (good + bad) // 2
        if trial.is_illegal(until(calls, ends[middle])):
            bad = middle
        else:
            good = middle
    chosen = until(calls, ends[bad])
    last = None if trial.is_over else next(call for call in calls if call.ended_ns == ends[bad])
    legal_count = sum(call.ended_ns < ends[bad] for call in calls)
    chosen = _without_single(_newest(chosen, trial), trial)
    blind = _without_needs(chosen, trial)
    if blind != chosen:
        chosen = _without_single(blind, trial)
    ended_ns = {id(call.operation): call.ended_ns for call in calls}
    chosen.sort(key=lambda call: call.began_ns)
    return Explanation(
        calls=[msgspec.structs.replace(call, ended_ns=ended_ns[id(call.operation)]) for call in chosen],
        last=last,
        legal_count=legal_count,
    )


def until(calls: Iterable[Call], at_ns: int) -> list[Call]:
    """Return what was known at that moment: reads that had ended, and writes that had begun."""
    return [
        call if call.ended_ns <= at_ns else msgspec.structs.replace(call, ended_ns=FOREVER_NS)
        for call in calls
        if call.began_ns <= at_ns and (call.ended_ns <= at_ns or not call.is_pure)
    ]


def without(calls: Sequence[Call], positions: Collection[int]) -> list[Call]:
    """Leave these out, but for writes whose values somebody among the rest saw, or on which a denial among it may rest.

    In a legal order of all, what a kept denial saw instead is the last write before it: one that is kept, too.
    """
    kept = dict(enumerate(calls))
    needed = _Needed(calls)
    views: Counter[tuple[Slot, Value]] = Counter(token for call in calls for token in call.needs)
    leaving = set(positions)
    while True:
        going = [
            at
            for at in leaving
            if not any(views[token] > calls[at].needs.count(token) for token in calls[at].sets)
            and not any(denial in kept for denial in needed.by_denials(at))
        ]
        if not going:
            return list(kept.values())
        for at in going:
            leaving.remove(at)
            del kept[at]
            views.subtract(calls[at].needs)


class _Needed:
    """Which denials may rest on a write."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        self._denials = [at for at, call in enumerate(calls) if call.denies]

    def by_denials(self, at: int) -> list[int]:
        """Positions of those that may rest on the call at this position."""
        write = self._calls[at]
        if not write.sets:
            return []
        return [denial for denial in self._denials if rests_on(self._calls[denial], write, self._calls)]


class _Trial:
    """Searches, as long as there is patience."""

    def __init__(self) -> None:
        self._left = CONFIGURATIONS_MAX
        self.is_over = False

    def is_illegal(self, calls: Sequence[Call]) -> bool:
        """Whether they are known to have no legal order."""
        if self.is_over:
            return False
        found = search(calls, configurations_max=self._left)
        # A search costs something even where nothing is to be chosen.
        self._left -= found.configurations_count + 1 + len(calls) // 10
        self.is_over = found.legal is None or self._left <= 0
        return found.legal is False


def _newest(calls: list[Call], trial: _Trial) -> list[Call]:
    """The last 8, 16, 32, ... calls, with the writers of what they saw."""
    by_end = sorted(range(len(calls)), key=lambda at: calls[at].ended_ns)
    count = 8
    while count < len(calls) and not trial.is_over:
        fewer = without(calls, by_end[:-count])
        if len(fewer) < len(calls) and trial.is_illegal(fewer):
            return fewer
        count *= 2
    return calls


def _without_single(calls: list[Call], trial: _Trial) -> list[Call]:
    """Leave out whatever is not needed: runs of calls first, then single ones, until none can go."""
    size = max(1, len(calls) // 2)
    while not trial.is_over:
        at = 0
        has_shrunk = False
        while at < len(calls) and not trial.is_over:
            fewer = without(calls, range(at, min(at + size, len(calls))))
            if len(fewer) < len(calls) and trial.is_illegal(fewer):
                calls, has_shrunk = fewer, True
            else:
                at += size
        if size > 1:
            size //= 2
        elif not has_shrunk:
            break
    return calls


def _without_needs(calls: list[Call], trial: _Trial) -> list[Call]:
    """Let writes forget what they saw, where that is not what is wrong: fewer others must stay for their sake."""
    for at, call in enumerate(calls):
        if call.needs and not call.is_pure:
            blind = [*calls[:at], msgspec.structs.replace(call, needs=()), *calls[at + 1 :]]
            if trial.is_illegal(blind):
                calls = blind
    return calls
