"""Sets that only grow: whatever was acknowledged is there, and nothing is that nobody added.

`add` (input: an element, added once in a run) and `read` (output: all elements), each set (`key`) for itself. A read in
mode default or consistent must show every element whose add was acknowledged, and every element that any read had
shown, before it began. So must all reads of phase final, in any mode: then every replica has caught up.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from jepsen.checkers.findings import Findings, by_key
from jepsen.checkers.models import STALE, Value, value_of
from jepsen.checkers.verdict import Verdict
from jepsen.checkers.words import seconds, some
from jepsen.history import History, Operation, Outcome

OPERATIONS_SHOWN_MAX = 6


def check(history: History) -> Verdict:
    """Judge the workload `set`."""
    keys = by_key(history.of("set"))
    findings = Findings()
    unread: list[str] = []
    added_count = read_count = 0
    for key, operations in keys.items():
        of_key = _Set(key, operations)
        of_key.check(findings)
        added_count += sum(each.outcome is Outcome.OK for each in of_key.adds)
        read_count += len(of_key.reads)
        if of_key.adds and not of_key.final:
            unread.append(key)
    summary = f"{added_count:,} elements acknowledged, {read_count:,} reads of {len(keys):,} sets"
    if unread:
        summary += f"; no final read of {len(unread):,} sets"
    return findings.verdict(
        checker="set",
        workload="set",
        decided=not unread,
        summary=summary,
        checked_count=sum(len(operations) for operations in keys.values()),
    )


class _Set:
    """One set, and what its clients saw."""

    def __init__(self, key: str, operations: Sequence[Operation]) -> None:
        self.key = key
        self.adds = [each for each in operations if each.function == "add"]
        self.reads = sorted(
            (each for each in operations if each.function == "read" and each.outcome is Outcome.OK),
            key=lambda read: read.began_ns,
        )
        self.final = [read for read in self.reads if read.phase == "final"]
        self._attempts: dict[Value, list[Operation]] = defaultdict(list)
        for add in self.adds:
            self._attempts[value_of(add.input)].append(add)
        self._contents = {id(read): Counter(map(value_of, read.output)) for read in self.reads}
        self._first_shown: dict[Value, Operation] = {}
        for read in sorted(self.reads, key=lambda read: read.ended_ns):
            for element in self._contents[id(read)]:
                self._first_shown.setdefault(element, read)

    def check(self, findings: Findings) -> None:
        """Report whatever is wrong."""
        self._check_origins(findings)
        for read in self.reads:
            twice = [element for element, count in self._contents[id(read)].items() if count > 1]
            self._report(findings, "duplicate", twice, "is there more than once in one read", read)
        self._check_missing(findings)

    def _check_origins(self, findings: Findings) -> None:
        for element, read in self._first_shown.items():
            attempts = self._attempts.get(element, [])
            possible = [add for add in attempts if add.outcome is not Outcome.FAILED]
            if not attempts:
                self._report(findings, "phantom", [element], "was never added", read)
            elif not possible:
                self._report(findings, "resurrected", [element], "is there, although its add failed", read)
            elif min(add.began_ns for add in possible) > read.ended_ns:
                self._report(findings, "phantom", [element], "was there before it was added", read)

    def _check_missing(self, findings: Findings) -> None:
        """Go through the reads by time with all the elements that must be there by then."""
        due = [(add.ended_ns, value_of(add.input)) for add in self.adds if add.outcome is Outcome.OK]
        due += [(read.ended_ns, element) for element, read in self._first_shown.items()]
        due.sort(key=lambda pair: pair[0], reverse=True)
        final = [set(self._contents[id(read)]) for read in self.final]
        at_the_end = set[Value]().union(*final)
        must: set[Value] = set()
        reported: set[Value] = set()
        for read in self.reads:
            while due and due[-1][0] < read.began_ns:
                must.add(due.pop()[1])
            if read.mode == STALE and read.phase != "final":
                continue
            missing = must.difference(self._contents[id(read)], reported)
            lost = {element for element in missing if final and element not in at_the_end}
            differing = {element for element in missing - lost if read.phase == "final"}
            self._report(findings, "lost", lost, "was acknowledged or seen, and is gone", read)
            self._report(findings, "final reads differ", differing, "is missing here, and there in another read", read)
            self._report(findings, "stale read", missing - lost - differing, "was there before this read began", read)
            reported |= missing

    def _report(self, findings: Findings, kind: str, elements: Collection[Value], what: str, read: Operation) -> None:
        if not elements:
            return
        few = sorted(elements, key=lambda element: (str(type(element)), element))
        shown = [each for element in few for each in self._attempts.get(element, [])][:OPERATIONS_SHOWN_MAX]
        text = (
            f"{some(few)} {what}; seen by client {read.process} at {read.node or 'its node'}, {seconds(read.ended_ns)}."
        )
        findings.add(kind, text, key=self.key, operations=[*shown, read], count=len(elements))
