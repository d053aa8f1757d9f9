"""From operations to what is drawn: counts a bucket of time, latency quantiles, spans of leadership. Pure."""

import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence

import msgspec

from jepsen.history import FaultWindow, Observation, Operation, Outcome
from jepsen.report.summary import is_declined

NS_PER_S = 1_000_000_000
BUCKETS_MAX = 240
"""Of a plot: about four pixels each, so that a bar can still be told from its neighbour."""
NICE = (1.0, 2.0, 5.0)
FINER = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""For buckets, whose figures stand on no axis."""
QUANTILES = (0.5, 0.95, 0.99, 1.0)
OUTCOMES = (Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN)


def nice_step(rough: float, digits: Sequence[float] = NICE) -> float:
    """Return the smallest of these digits times a power of ten that is at least `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next((each * power for each in digits if each * power >= rough * 0.999999), 10.0 * power)


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key: server-2 before server-10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


class Buckets:
    """Equal pieces of the run's time; an operation is counted where it ended, for only then something was known."""

    def __init__(self, duration_ns: int, count_max: int = BUCKETS_MAX) -> None:
        self.size_s = nice_step(max(duration_ns / NS_PER_S / count_max, 0.001), FINER)
        self.size_ns = self.size_s * NS_PER_S
        self.count = int(duration_ns // self.size_ns) + 1

    def of(self, at_ns: int) -> int:
        """The bucket of a moment."""
        return min(max(int(at_ns // self.size_ns), 0), self.count - 1)

    def begin_ns(self, position: int) -> float:
        """Where a bucket begins."""
        return position * self.size_ns


class Counts(msgspec.Struct, kw_only=True):
    """Operations by outcome, a number for each bucket."""

    by: dict[Outcome, list[int]]

    @classmethod
    def empty(cls, buckets: Buckets) -> "Counts":
        """All zero."""
        return cls(by={outcome: [0] * buckets.count for outcome in OUTCOMES})


def shown_outcome(operation: Operation) -> Outcome:
    """As what it is drawn: a server's answer that it did not do it (cas) is an answer, and no trouble."""
    return Outcome.OK if is_declined(operation) else operation.outcome


def count_by(operations: Iterable[tuple[str, Operation]], buckets: Buckets) -> dict[str, Counts]:
    """Return the counts of each group; each operation comes with the name of its own. Groups in natural order."""
    found: dict[str, Counts] = {}
    for group, operation in operations:
        counts = found.get(group)
        if counts is None:
            counts = found[group] = Counts.empty(buckets)
        counts.by[shown_outcome(operation)][buckets.of(operation.ended_ns)] += 1
    return {name: found[name] for name in sorted(found, key=natural)}


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value that `share` of them do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latencies(operations: Iterable[Operation], buckets: Buckets) -> list[list[float] | None]:
    """Seconds at `QUANTILES` of each bucket's answered operations; None where there was none."""
    held: list[list[float]] = [[] for _ in range(buckets.count)]
    for operation in operations:
        if shown_outcome(operation) is Outcome.OK:
            held[buckets.of(operation.ended_ns)].append((operation.ended_ns - operation.began_ns) / NS_PER_S)
    found: list[list[float] | None] = []
    for values in held:
        values.sort()
        found.append([quantile(values, share) for share in QUANTILES] if values else None)
    return found


# --- roles of nodes


class Stay(msgspec.Struct, kw_only=True):
    """One node in one state and term, from its first observation to its last (or to the next state's first)."""

    node: str
    state: str
    term: int
    began_ns: int
    ended_ns: int


class Leader(msgspec.Struct, frozen=True, kw_only=True):
    """One leader of one term, as far as it was seen."""

    term: int
    node: str
    first_ns: int
    last_ns: int
    shared: bool
    """Another node was seen leading in the same term: the worst that can happen."""


def stays(observations: Iterable[Observation]) -> dict[str, list[Stay]]:
    """Return what each consensus node was when, in natural order of names. Agents (clients) are left out."""
    found: dict[str, list[Stay]] = {}
    for each in sorted(observations, key=lambda observation: observation.at_ns):
        state = str(each.facts.get("state", ""))
        term = each.facts.get("term", 0)
        line = found.setdefault(each.node, [])
        if line:
            line[-1].ended_ns = each.at_ns
        if not line or (line[-1].state, line[-1].term) != (state, term):
            term = term if isinstance(term, int) else 0
            line.append(Stay(node=each.node, state=state, term=term, began_ns=each.at_ns, ended_ns=each.at_ns))
    return {
        node: found[node]
        for node in sorted(found, key=natural)
        if any(stay.state in ("leader", "follower", "candidate") for stay in found[node])
    }


def leaders(lines: dict[str, list[Stay]]) -> list[Leader]:
    """Return who led in which term, in the order of terms and times."""
    seen: dict[tuple[int, str], tuple[int, int]] = {}
    for node, line in lines.items():
        for stay in line:
            if stay.state == "leader":
                first_ns, last_ns = seen.get((stay.term, node), (stay.began_ns, stay.ended_ns))
                seen[stay.term, node] = (min(first_ns, stay.began_ns), max(last_ns, stay.ended_ns))
    terms = [term for term, _ in seen]
    return [
        Leader(term=term, node=node, first_ns=first_ns, last_ns=last_ns, shared=terms.count(term) > 1)
        for (term, node), (first_ns, last_ns) in sorted(seen.items(), key=lambda item: (item[0][0], item[1][0]))
    ]


# --- errors


class ErrorClass(msgspec.Struct, kw_only=True):
    """Errors that differ in numbers only."""

    text: str
    outcome: Outcome
    by_node: dict[str, int]
    outside_count: int
    """Of operations that touch no fault window with its recovery."""

    @property
    def total(self) -> int:
        return sum(self.by_node.values())


def error_classes(operations: Iterable[Operation], faults: Sequence[FaultWindow]) -> list[ErrorClass]:
    """Return the classes of errors, most frequent first. Operations that just did not happen (cas) have no error."""
    excused = _merged(faults)
    begins = [began_ns for began_ns, _ in excused]
    found: dict[tuple[str, Outcome], ErrorClass] = {}
    shapes: dict[str, str] = {}
    for operation in operations:
        if operation.outcome is Outcome.OK or not operation.error:
            continue
        shape = shapes.get(operation.error) or shapes.setdefault(operation.error, _shape(operation.error))
        entry = found.get((shape, operation.outcome))
        if entry is None:
            entry = ErrorClass(text=shape, outcome=operation.outcome, by_node={}, outside_count=0)
            found[shape, operation.outcome] = entry
        entry.by_node[operation.node] = entry.by_node.get(operation.node, 0) + 1
        position = bisect_left(begins, operation.ended_ns + 1) - 1
        entry.outside_count += not (position >= 0 and excused[position][1] >= operation.began_ns)
    return sorted(found.values(), key=lambda entry: (-entry.total, entry.text))


def _shape(error: str) -> str:
    """The text without what differs each time: long hexadecimal words and numbers, but for the status in front."""
    status, blank, rest = error.partition(" ")
    if not (status.isdigit() and len(status) == 3):
        status, blank, rest = "", "", error
    rest = re.sub(r"\b[0-9a-f]{8,}(-[0-9a-f]{4,})*\b", "#", rest)
    return (status + blank + re.sub(r"\d+", "#", rest)).strip()


def _merged(faults: Sequence[FaultWindow]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for began_ns, ended_ns in sorted((each.began_ns, each.ended_ns + each.recovery_ns) for each in faults):
        if found and began_ns <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], ended_ns))
        else:
            found.append((began_ns, ended_ns))
    return found
