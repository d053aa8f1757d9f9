"""A number that only grows: the sum of what was added to it, always.

`add` (input: n > 0; output: the new total, where that is known) and `read` (output: the total), each counter (`key`)
for itself. A total lies between what must have been added and what can have been; acknowledged adds do not overlap
(each has turned one total into the next); and nobody sees less than was acknowledged or seen before (`levels.py`).
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

from jepsen.checkers.findings import Findings, by_key
from jepsen.checkers.levels import Placed, too_low
from jepsen.checkers.models import STALE
from jepsen.checkers.verdict import Verdict
from jepsen.checkers.words import shown, told
from jepsen.history import History, Operation, Outcome


def check(history: History) -> Verdict:
    """Judge the workload `counter`."""
    keys = by_key(history.of("counter"))
    findings = Findings()
    unread = 0
    sums = []
    read_count = 0
    for key, operations in keys.items():
        counter = _Counter(key, operations, findings)
        counter.check()
        sums.append(f"{counter.acknowledged:,}–{counter.possible:,}")
        read_count += len(counter.reads)
        unread += bool(counter.adds) and not counter.has_final
    summary = f"{read_count:,} totals read; acknowledged–possible in the end: {', '.join(sums[:3])}"
    if unread:
        summary += f"; no final read of {unread:,} counters"
    return findings.verdict(
        checker="counter",
        workload="counter",
        decided=not unread,
        summary=summary,
        checked_count=sum(len(operations) for operations in keys.values()),
    )


class _Sums:
    """How much had been added by which time."""

    def __init__(self, steps: Sequence[tuple[int, int]]) -> None:
        """`steps`: (time, what was added)."""
        ordered = sorted(steps)
        self._times = [time for time, _ in ordered]
        self._totals = [0, *accumulate(addend for _, addend in ordered)]

    def before(self, time_ns: int) -> int:
        """The sum of what was added earlier than that."""
        return self._totals[bisect_left(self._times, time_ns)]


class _Counter:
    """One counter, and what its clients saw of it."""

    def __init__(self, key: str, operations: Sequence[Operation], findings: Findings) -> None:
        self._key = key
        self._findings = findings
        self.adds = [each for each in operations if each.function == "add" and each.outcome is not Outcome.FAILED]
        self._acknowledged = [each for each in self.adds if each.outcome is Outcome.OK]
        self.reads = [each for each in operations if each.function == "read" and each.outcome is Outcome.OK]
        self.has_final = any(read.phase == "final" for read in self.reads)
        self._final_total = max((_total(read) for read in self.reads if read.phase == "final"), default=0)
        self.acknowledged = sum(each.input for each in self._acknowledged)
        self.possible = sum(each.input for each in self.adds)

    def check(self) -> None:
        """Report whatever is wrong."""
        self._check_bounds()
        told_totals = [each for each in self._acknowledged if isinstance(each.output, int)]
        self._check_turns(told_totals)
        placed = [Placed(operation=each, level=2 * each.output - 1) for each in told_totals]
        placed += [
            Placed(operation=each, level=2 * each.output, is_current=each.mode != STALE)
            for each in self.reads
            if isinstance(each.output, int)
        ]
        for earlier, later in too_low(placed):
            text = f"The total had been {_total(earlier.operation):,} before {told(later.operation)}."
            self._add(self._kind_of_low(later.operation), text, earlier.operation, later.operation)

    def _add(self, kind: str, text: str, *operations: Operation) -> None:
        self._findings.add(kind, text, key=self._key, operations=operations)

    def _kind_of_low(self, operation: Operation) -> str:
        """Whether what was missing then came back in the end, or an add was even made on top of too little."""
        is_lost = operation.function == "add" or (self.has_final and _total(operation) >= self._final_total)
        return "lost" if is_lost else "stale read"

    def _check_bounds(self) -> None:
        must = _Sums([(each.ended_ns, each.input) for each in self._acknowledged])
        can = _Sums([(each.began_ns, each.input) for each in self.adds])
        for read in self.reads:
            low = 0 if read.mode == STALE else must.before(read.began_ns)
            high = can.before(read.ended_ns + 1)
            if not isinstance(read.output, int):
                self._add("phantom", f"{shown(read.output)} is no total.", read)
            elif read.output < low:
                self._add(self._kind_of_low(read), f"{told(read)}, although {low:,} had been acknowledged.", read)
            elif read.output > high:
                self._add("phantom", f"{told(read)}, although at most {high:,} can have been added.", read)

    def _check_turns(self, told_totals: Sequence[Operation]) -> None:
        """Each acknowledged add has led from one total to the next, and nobody else was in between."""
        ordered = sorted(told_totals, key=_total)
        for one, other in pairwise(ordered):
            if _total(other) - other.input < _total(one):
                self._add(
                    "lost", f"{told(one)} and {told(other)}: one was added on top of what the other had.", one, other
                )
        totals = [_total(each) for each in ordered]
        for read in self.reads:
            if not isinstance(read.output, int):
                continue
            at = bisect_left(totals, read.output + 1)
            if at < len(ordered) and totals[at] - ordered[at].input < read.output:
                self._add("phantom", f"{told(read)}, but {told(ordered[at])} left that total out.", ordered[at], read)


def _total(operation: Operation) -> int:
    return operation.output if isinstance(operation.output, int) else 0
