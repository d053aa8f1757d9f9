"""Is there one order of these calls that every client could have seen? Wing and Gong's search, with Lowe's memory.

Depth first: of the calls that may come next (none that ended before they began is still out), one that is legal is put
next; where none is left, the last choice is taken back. Two ways that put the same calls and led to the same state have
the same future, so the second is not walked (G. Lowe, "Testing for linearizability", 2017). What makes it quick beside
that never changes the answer:

* a legal read is put at once: it takes nothing from anybody (nor does one that saw what is *not* there);
* a value that somebody is still to see, and nobody can write again, is not overwritten;
* a call whose end is not known, and whose values nobody saw, is left out, unless a denial (`denials.py`) may rest on
  it; if somebody saw them and nobody else wrote them, it ended when the first of those did;
* a denial is left out if something else was certainly there at some moment while it was made.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from jepsen.checkers.denials import Denials
from jepsen.checkers.models import FOREVER_NS, Call, Slot, Value

CONFIGURATIONS_MAX = 300_000
"""Of one search: about 100 MB and a few seconds."""
NOBODY = -1
State = tuple[int, ...]
"""Slot -> token of the value that it holds."""
Mark = tuple[int, int, int, State]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a search has to say."""

    legal: bool | None
    """Whether there is a legal order. None: the bound was reached before the answer."""
    order: list[int]
    """Positions of the calls in a legal order; where there is none, the furthest that one got. Denials for which any
    order has room are not in it."""
    configurations_count: int
    """Different (calls put, state) that were looked at."""


def search(calls: Sequence[Call], *, configurations_max: int = CONFIGURATIONS_MAX) -> Found:
    """Look for a legal order of all certain calls and any of the uncertain ones; every slot begins as null."""
    bounds = settled_bounds(calls)
    if bounds is None:
        return Found(legal=False, order=[], configurations_count=0)
    return _Search(calls, bounds, configurations_max).run()


def settled_bounds(calls: Sequence[Call]) -> dict[int, int] | None:
    """Return position -> end of each call that must be considered, ends made as early as can be proved.

    None: somebody saw a value that nobody can have written by then.
    """
    ends = {position: call.ended_ns for position, call in enumerate(calls)}
    while True:
        denials = Denials(calls, ends)
        for position in denials.empty:
            del ends[position]
        uses = _Uses(calls, ends, denials)
        idle = [position for position, end_ns in ends.items() if end_ns == FOREVER_NS and uses.is_idle(position)]
        for position in idle:
            del ends[position]
        if idle:
            continue
        if any(uses.lacks_writer(position) for position in ends):
            return None
        earlier = {}
        for writer, first_ns in uses.first_seen():
            if first_ns < calls[writer].began_ns:
                return None
            if first_ns < ends[writer]:
                earlier[writer] = first_ns
        if not earlier:
            return ends
        ends.update(earlier)


class _Uses:
    """Who writes, and who sees, each value of each slot."""

    def __init__(self, calls: Sequence[Call], ends: dict[int, int], denials: Denials) -> None:
        self._calls = calls
        self._ends = ends
        self._denials = denials
        self._writers: dict[tuple[Slot, Value], list[int]] = defaultdict(list)
        self._viewers: dict[tuple[Slot, Value], list[int]] = defaultdict(list)
        for position in ends:
            for token in calls[position].sets:
                self._writers[token].append(position)
            for token in calls[position].needs:
                self._viewers[token].append(position)

    def is_idle(self, position: int) -> bool:
        """Whether it makes no difference if this call happened, or it cannot have happened."""
        others = (viewer for token in self._calls[position].sets for viewer in self._viewers[token])
        if self.lacks_writer(position):
            return True
        return all(viewer == position for viewer in others) and not self._denials.may_rest_on(self._calls[position])

    def lacks_writer(self, position: int) -> bool:
        """Whether it needs a value that nobody writes."""
        return any(value is not None and not self._writers[slot, value] for slot, value in self._calls[position].needs)

    def first_seen(self) -> Iterator[tuple[int, int]]:
        """(writer, when the first that saw its value ended) for each value that has one writer and was seen."""
        for token, writers in self._writers.items():
            viewers = [viewer for viewer in self._viewers[token] if viewer != writers[0]]
            if len(writers) == 1 and token[1] is not None and viewers:
                yield writers[0], min(self._ends[viewer] for viewer in viewers)


class _Choice(msgspec.Struct, gc=False):
    """One step of the walk: what the state was, which reads were put for nothing, and what else could be put next."""

    state: State
    reads: list[int]
    others: list[int]
    taken: int = NOBODY


class _Search:
    """One search. Events (calls and returns by time) are a doubly linked list, from which what was put is lifted.

    Calls are numbered in the order of their beginnings, those without an end last.
    """

    def __init__(self, calls: Sequence[Call], ends: dict[int, int], configurations_max: int) -> None:
        self._configurations_max = configurations_max
        self._positions = sorted(ends, key=lambda at: (ends[at] == FOREVER_NS, calls[at].began_ns, at))
        chosen = [calls[position] for position in self._positions]
        self._ends = [ends[position] for position in self._positions]
        self._certain_count = sum(end_ns != FOREVER_NS for end_ns in self._ends)
        self._is_pure = [call.is_pure for call in chosen]
        self._intern(chosen)
        self._link(chosen)
        self._put = 0
        """Bits of the certain calls that were put."""
        self._put_open = 0
        """Bits of the others, apart from them: they may stay away for ever, and would keep the marks long."""
        self._path: list[int] = []

    def _intern(self, calls: list[Call]) -> None:
        """Slots become positions in the state; each (slot, value) becomes a small number, its token."""
        slots = {
            slot: at for at, slot in enumerate(sorted({slot for c in calls for slot, _ in c.needs + c.sets + c.denies}))
        }
        tokens: dict[tuple[Slot, Value], int] = {}

        def numbered(pairs: tuple[tuple[Slot, Value], ...]) -> list[tuple[int, int]]:
            return [(slots[slot], tokens.setdefault((slot, value), len(tokens))) for slot, value in pairs]

        self._initial: State = tuple(tokens.setdefault((slot, None), len(tokens)) for slot in slots)
        self._needs = [numbered(call.needs) for call in calls]
        self._sets = [numbered(call.sets) for call in calls]
        self._denies = [numbered(call.denies) for call in calls]
        self._viewers = [0] * len(tokens)
        """Token -> certain calls, not put yet, that must still see it."""
        self._writers = [0] * len(tokens)
        """Token -> calls, not put yet, that can still write it."""
        for number in range(len(calls)):
            self._count(number, +1)

    def _link(self, calls: list[Call]) -> None:
        # At an equal time calls come before returns: who cannot be told apart counts as concurrent.
        events = sorted(
            [(call.began_ns, 0, number) for number, call in enumerate(calls)]
            + [(end_ns, 1, number) for number, end_ns in enumerate(self._ends) if end_ns != FOREVER_NS]
        )
        self._tail = len(events) + 1
        self._next = [*range(1, self._tail + 1), self._tail]
        self._previous = [0, *range(self._tail)]
        self._call_at = [NOBODY] * (self._tail + 1)
        """Event -> the call that begins there."""
        self._events: list[list[int]] = [[] for _ in calls]
        """Call -> its events, the later one first."""
        for event, (_, is_return, number) in enumerate(events, start=1):
            self._events[number].insert(0, event)
            if not is_return:
                self._call_at[event] = number

    def run(self) -> Found:
        """Walk until an order is found, none is left to try, or the bound is reached."""
        seen: set[Mark] = set()
        furthest: list[int] = []
        choices: list[_Choice] = []
        state = self._initial
        while True:
            choice = self._look(state)
            if choice is None:
                return self._found(True, self._path, len(seen))
            mark = self._mark(state)
            if mark in seen:
                choice.others.clear()
            elif len(seen) >= self._configurations_max:
                return self._found(None, furthest, len(seen))
            seen.add(mark)
            choices.append(choice)
            after = self._choose(choice)
            if after is None and len(self._path) > len(furthest):
                furthest = list(self._path)
            while after is None:
                self._take_back(choices.pop())
                if not choices:
                    return self._found(False, furthest, len(seen))
                self._lower(choices[-1].taken)
                after = self._choose(choices[-1])
            state = after

    def _found(self, legal: bool | None, path: list[int], count: int) -> Found:
        return Found(legal=legal, order=[self._positions[number] for number in path], configurations_count=count)

    def _look(self, state: State) -> _Choice | None:
        """Put every read that is legal now and find what else may come next. None: everything certain is put."""
        choice = _Choice(state=state, reads=[], others=[])
        event = self._next[0]
        while event != self._tail:
            number = self._call_at[event]
            if number == NOBODY:
                # Who ends soonest is tried first: it is taken from the end.
                choice.others.sort(key=self._ends.__getitem__, reverse=True)
                return choice
            for slot, token in self._needs[number]:
                if state[slot] != token:
                    break
            else:
                if not self._is_pure[number]:
                    choice.others.append(number)
                elif not self._denies[number] or self._is_right(number, state):
                    self._lift(number)
                    choice.reads.append(number)
            event = self._next[event]
        return None

    def _is_right(self, number: int, state: State) -> bool:
        """Whether not all of what this denial denies is there."""
        return any(state[slot] != token for slot, token in self._denies[number])

    def _choose(self, choice: _Choice) -> State | None:
        """Put the next one that may come and return the state after it; None: there is none."""
        while choice.others:
            number = choice.others.pop()
            after = list(choice.state)
            for slot, token in self._sets[number]:
                after[slot] = token
            self._lift(number)
            if not any(
                before != token and self._viewers[before] and not self._writers[before]
                for before, token in zip(choice.state, after, strict=True)
            ):
                choice.taken = number
                return tuple(after)
            self._lower(number)
        return None

    def _take_back(self, choice: _Choice) -> None:
        for number in reversed(choice.reads):
            self._lower(number)

    def _mark(self, state: State) -> Mark:
        """What was put, and the state. Calls before the first one missing go without saying, which keeps it short."""
        missing = ~self._put
        first = (missing & -missing).bit_length() - 1
        return first, self._put >> first, self._put_open, state

    def _lift(self, number: int) -> None:
        """Put a call: take its events out of the list, the later one first, so that what follows it stays right."""
        for event in self._events[number]:
            before, after = self._previous[event], self._next[event]
            self._next[before] = after
            self._previous[after] = before
        self._count(number, -1)
        self._flip(number)
        self._path.append(number)

    def _lower(self, number: int) -> None:
        """Undo the last `_lift`."""
        self._path.pop()
        self._flip(number)
        self._count(number, +1)
        for event in reversed(self._events[number]):
            self._next[self._previous[event]] = event
            self._previous[self._next[event]] = event

    def _flip(self, number: int) -> None:
        if number < self._certain_count:
            self._put ^= 1 << number
        else:
            self._put_open ^= 1 << (number - self._certain_count)

    def _count(self, number: int, step: int) -> None:
        if number < self._certain_count:
            for _, token in self._needs[number]:
                self._viewers[token] += step
        for _, token in self._sets[number]:
            self._writers[token] += step
