"""Lists that only grow at their end: nothing lost, nothing twice, one order for everybody.

`append` (input: an element, appended once in a run; output: the list as it was written, where that is known) and `read`
(output: the list), each list (`key`) for itself. All lists that were seen must be beginnings of the longest one; then
each operation has a place in it, and must not be before what had ended when it began (`levels.py`). That is
linearizability.
"""

from collections import Counter
from collections.abc import Sequence

from jepsen.checkers.findings import Findings, by_key
from jepsen.checkers.levels import Placed, too_low
from jepsen.checkers.models import STALE, Value, value_of
from jepsen.checkers.verdict import Verdict
from jepsen.checkers.words import shown, some, told
from jepsen.history import History, Operation, Outcome


def check(history: History) -> Verdict:
    """Judge the workload `append`."""
    keys = by_key(history.of("append"))
    findings = Findings()
    unread = 0
    appended_count = seen_count = 0
    for key, operations in keys.items():
        of_key = _List(key, operations, findings)
        of_key.check()
        appended_count += sum(each.outcome is Outcome.OK for each in of_key.appends)
        seen_count += len(of_key.views)
        unread += bool(of_key.appends) and not of_key.has_final
    summary = f"{appended_count:,} elements acknowledged, {len(keys):,} lists seen {seen_count:,} times"
    if unread:
        summary += f"; no final read of {unread:,} lists"
    return findings.verdict(
        checker="append",
        workload="append",
        decided=not unread,
        summary=summary,
        checked_count=sum(len(operations) for operations in keys.values()),
    )


class _List:
    """One list, and what its clients saw of it."""

    def __init__(self, key: str, operations: Sequence[Operation], findings: Findings) -> None:
        self._key = key
        self._findings = findings
        self.appends = [each for each in operations if each.function == "append"]
        self.views: list[tuple[Operation, list[Value]]] = [
            (each, [value_of(element) for element in each.output])
            for each in operations
            if each.outcome is Outcome.OK and each.output is not None
        ]
        """Reads, and what appends say that they wrote."""
        self._longest: list[Value] = max((seen for _, seen in self.views), key=len, default=[])
        final = [seen for operation, seen in self.views if operation.phase == "final"]
        self.has_final = bool(final)
        self._final_length = max(map(len, final), default=0)

    def check(self) -> None:
        """Report whatever is wrong."""
        self._check_origins()
        self._check_twice()
        placed = self._placed_views() + self._placed_appends()
        for earlier, later in too_low(placed):
            self._report_too_low(earlier.operation, later.operation)

    def _add(self, kind: str, text: str, *operations: Operation) -> None:
        self._findings.add(kind, text, key=self._key, operations=operations)

    def _check_origins(self) -> None:
        possible = {value_of(each.input) for each in self.appends if each.outcome is not Outcome.FAILED}
        failed = {value_of(each.input): each for each in self.appends if each.outcome is Outcome.FAILED}
        known = set[Value]()
        for operation, seen in self.views:
            for element in seen:
                if element in known or element in possible:
                    continue
                known.add(element)
                if element in failed:
                    text = f"{shown(element)} is there, although its append failed; {told(operation)}."
                    self._add("resurrected", text, failed[element], operation)
                else:
                    self._add("phantom", f"{shown(element)} was never appended; {told(operation)}.", operation)

    def _check_twice(self) -> None:
        reported = set[Value]()
        for operation, seen in self.views:
            if len(set(seen)) == len(seen):
                continue
            twice = [element for element, count in Counter(seen).items() if count > 1 and element not in reported]
            if twice:
                own = [each for each in self.appends if value_of(each.input) in twice and each is not operation]
                first, second, *_ = (place for place, element in enumerate(seen, 1) if element == twice[0])
                where = f"{shown(twice[0])} at places {first} and {second} of {len(seen)}"
                text = f"{some(twice)} more than once in one list: {where}; {told(operation)}."
                self._add("duplicate", text, *own, operation)
                reported.update(twice)

    def _placed_views(self) -> list[Placed]:
        """Reads and appends that tell the list, where it is a beginning of the longest one."""
        placed = []
        for operation, seen in self.views:
            if seen != self._longest[: len(seen)]:
                self._report_fork(operation, seen)
            elif operation.function == "append":
                if not seen or seen[-1] != value_of(operation.input):
                    self._add("wrong order", f"{told(operation)}: it is not at the end.", operation)
                placed.append(Placed(operation=operation, level=_level_of_append(len(seen) - 1)))
            else:
                is_current = operation.mode != STALE
                placed.append(Placed(operation=operation, level=_level_of_read(len(seen)), is_current=is_current))
        return placed

    def _placed_appends(self) -> list[Placed]:
        """Appends that do not tell the list: their place is their element's; behind everything if that is nowhere."""
        position_of = {element: position for position, element in reversed(list(enumerate(self._longest)))}
        placed = []
        for append in self.appends:
            position = position_of.get(value_of(append.input))
            if append.outcome is Outcome.UNKNOWN and position is not None:
                placed.append(Placed(operation=append, level=_level_of_append(position), is_over=False))
            elif append.outcome is Outcome.OK and append.output is None:
                behind = len(self._longest) if position is None else position
                placed.append(Placed(operation=append, level=_level_of_append(behind)))
        return placed

    def _report_fork(self, operation: Operation, seen: Sequence[Value]) -> None:
        at = next(at for at, (one, other) in enumerate(zip(seen, self._longest, strict=False)) if one != other)
        witness = next(each for each, longest in self.views if longest[: at + 1] == self._longest[: at + 1])
        text = (
            f"{shown(seen[at])} follows {shown(list(seen[max(0, at - 2) : at]))} here, {shown(self._longest[at])} there"
        )
        self._add("fork", f"{text}: {told(operation)}.", witness, operation)

    def _report_too_low(self, earlier: Operation, later: Operation) -> None:
        if later.function == "append":
            if earlier.function == "append":
                text = f"{shown(later.input)} is before {shown(earlier.input)}, which had been acknowledged earlier."
                self._add("wrong order", text, earlier, later)
            else:
                self._add("phantom", f"{shown(later.input)} was there before its append began.", earlier, later)
            return
        length = len(later.output)
        is_gone = self.has_final and length >= self._final_length
        what = "and never again" if is_gone else "but were there again later"
        known = len(self._longest) if earlier.output is None else len(earlier.output)
        had = self._longest[length:known] or [value_of(earlier.input)]
        text = f"{some(had)} had been acknowledged or seen, and was missing, {what}: {told(later)}."
        self._add("lost" if is_gone else "stale read", text, earlier, later)


def _level_of_read(length: int) -> int:
    return 2 * length


def _level_of_append(position: int) -> int:
    return 2 * position + 1
