"""Denials: calls that were told that not all of what they expected is there. Which are easy, and who helps the others.

A read that saw a value wants its writer before it. A denial wants *some* writer of anything else: it may rest on many a
call, also on one whose values nobody ever saw.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from jepsen.checkers.models import BEGINNING_NS, FOREVER_NS, Call, Slot, Value


class _Writes:
    """What is written to one slot."""

    def __init__(self) -> None:
        self._last_ended_ns: dict[Value, int] = {}
        self._certain: list[tuple[int, int]] = []
        """(began, ended) of those that happened."""
        self._first_ends: list[int] | None = None

    def add(self, value: Value, began_ns: int, ended_ns: int) -> None:
        self._last_ended_ns[value] = max(self._last_ended_ns.get(value, BEGINNING_NS), ended_ns)
        if ended_ns != FOREVER_NS:
            self._certain.append((began_ns, ended_ns))

    def surely_overwritten_ns(self, value: Value) -> int:
        """When at the latest it was certainly there no more, and never again; FOREVER_NS if that is not certain."""
        if self._first_ends is None:
            self._certain.sort()
            self._first_ends = list(accumulate((ended for _, ended in reversed(self._certain)), min))[::-1]
        if value is not None and value not in self._last_ended_ns:
            return BEGINNING_NS
        after_ns = self._last_ended_ns.get(value, BEGINNING_NS)
        at = bisect_right(self._certain, (after_ns, FOREVER_NS))
        return self._first_ends[at] if at < len(self._first_ends) else FOREVER_NS


class Denials:
    """The denials among some calls, whose ends may be known better than they say."""

    def __init__(self, calls: Sequence[Call], ends: Mapping[int, int]) -> None:
        denying = [position for position in ends if calls[position].denies]
        self.empty: list[int] = []
        """Positions of those that any legal order of the other calls has room for."""
        self._latest: dict[Slot, dict[Value, int]] = defaultdict(dict)
        """Slot -> value that was denied -> when the last that did had ended."""
        if not denying:
            return
        writes: dict[Slot, _Writes] = defaultdict(_Writes)
        for position, ended_ns in ends.items():
            for slot, value in calls[position].sets:
                writes[slot].add(value, calls[position].began_ns, ended_ns)
        for position in denying:
            pairs = calls[position].denies
            if any(writes[slot].surely_overwritten_ns(value) <= ends[position] for slot, value in pairs):
                self.empty.append(position)
                continue
            for slot, value in pairs:
                latest = self._latest[slot]
                latest[value] = max(latest.get(value, BEGINNING_NS), ends[position])

    def may_rest_on(self, call: Call) -> bool:
        """Whether this write, if it happened, may be why a denial is right."""
        return any(
            ended_ns >= call.began_ns and denied != value
            for slot, value in call.sets
            for denied, ended_ns in self._latest[slot].items()
        )


def rests_on(denial: Call, write: Call, calls: Iterable[Call]) -> bool:
    """Whether the denial may be right only because of this write.

    It is not where the write was overwritten, by one of these calls, before the denial began.
    """
    for slot, value in denial.denies:
        if any(at == slot and to != value for at, to in write.sets) and write.began_ns <= denial.ended_ns:
            is_over = any(
                write.ended_ns < other.began_ns and other.ended_ns < denial.began_ns
                for other in calls
                if any(at == slot for at, _ in other.sets)
            )
            if not is_over:
                return True
    return False
