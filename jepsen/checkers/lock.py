"""Locks: one holder at a time, whose number is higher than that of all before; nobody too soon after a lost one.

Whoever was given a lock (`acquire`), or was shown as its holder (`read`), holds it until it may have given it back
(`release`) or its session may have ended (`lives.py`). Meanwhile nobody else is given it or shown as its holder, and
its holder can give it back. A lock that was lost with its session is given to nobody for the session's lock delay,
unless a server took or got a snapshot meanwhile: whoever starts from one does not know of such locks.

Each new holder adds 1 to the lock index, which counts them: it is never below the holders that are certain, nor above
those that are possible, and never goes back. What the lock guards (`guard`) is never written with a lower number after
a higher one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import pairwise

from jepsen.checkers.findings import Findings, by_key
from jepsen.checkers.levels import Placed, too_low
from jepsen.checkers.lives import Life, end_of, is_current, lives_of, may_have_happened
from jepsen.checkers.verdict import Verdict
from jepsen.checkers.words import seconds, told
from jepsen.history import History, Observation, Operation, Outcome

WORKLOAD = "lock"
SNAPSHOT_SEEN_NS = 15_000_000_000
"""So much later a snapshot is seen at the latest: by then its server has been started again and asked."""


def check(history: History) -> Verdict:
    """Judge the workload `lock`."""
    operations = history.of(WORKLOAD)
    findings = Findings()
    lives = lives_of(operations)
    snapshots = _snapshots(history.observations)
    held_count = guarded_count = 0
    unread: list[str] = []
    for key, of_key in by_key(operations).items():
        functions = {each.function for each in of_key}
        reads = [each for each in of_key if each.function == "read" and each.outcome is Outcome.OK]
        if "list" not in functions and "create" not in functions and not any(each.phase == "final" for each in reads):
            unread.append(key)
        if functions & {"acquire", "release"}:
            lock = _Lock(key, of_key, lives, snapshots, findings)
            lock.check()
            held_count += len(lock.given)
        elif "guard" in functions:
            guarded_count += _check_guarded(key, of_key, findings)
    summary = (
        f"{held_count:,} locks given, {len(lives):,} sessions, {guarded_count:,} writes under guard; "
        f"{len(snapshots):,} snapshots"
    )
    if unread:
        summary += f"; no final read of {len(unread):,} keys"
    return findings.verdict(
        checker="lock", workload=WORKLOAD, decided=not unread, summary=summary, checked_count=len(operations)
    )


def _snapshots(observations: Sequence[Observation]) -> list[int]:
    """When a server was first seen with another snapshot than before."""
    known: dict[str, int] = {}
    found: list[int] = []
    for each in observations:
        index = each.facts.get("snapshot")
        if index is not None and known.setdefault(each.node, index) != index:
            known[each.node] = index
            found.append(each.at_ns)
    return sorted(found)


def _check_guarded(key: str, operations: Sequence[Operation], findings: Findings) -> int:
    """Return how many writes were accepted."""
    written = [each for each in operations if each.function == "guard" and each.outcome is Outcome.OK]
    placed = [Placed(operation=each, level=each.input["fence"]) for each in written]
    possible = {each.input["number"] for each in operations if each.function == "guard" and may_have_happened(each)}
    for read in operations:
        if read.function != "read" or read.outcome is not Outcome.OK:
            continue
        fence = read.output["fence"] if read.output else 0
        placed.append(Placed(operation=read, level=fence, is_current=is_current(read)))
        if read.output and read.output["number"] not in possible:
            findings.add("phantom", f"Nobody wrote this: {told(read)}.", key=key, operations=[read])
    for earlier, later in [(one.operation, other.operation) for one, other in too_low(placed)]:
        kind = "older number accepted" if later.function == "guard" else "lost"
        text = f"{told(earlier)} was over when this began: {told(later)}."
        findings.add(kind, text, key=key, operations=[earlier, later])
    return len(written)


class _Lock:
    """One key, and who held it."""

    def __init__(
        self,
        key: str,
        operations: Sequence[Operation],
        lives: Mapping[str, Life],
        snapshots: Sequence[int],
        findings: Findings,
    ) -> None:
        self._key = key
        self._lives = lives
        self._snapshots = snapshots
        self._findings = findings
        ordered = sorted(operations, key=lambda each: each.began_ns)
        self._ordered = ordered
        self._attempts = [each for each in ordered if each.function == "acquire" and may_have_happened(each)]
        self.given = [each for each in self._attempts if each.outcome is Outcome.OK]
        self._reads = [each for each in ordered if each.function == "read" and is_current(each)]
        self._attempts_of = _by_session(self._attempts)
        self._releases_of = _by_session(
            [each for each in ordered if each.function == "release" and may_have_happened(each)]
        )

    def check(self) -> None:
        """Report whatever is wrong."""
        self._check_numbers()
        self._check_states()
        self._check_counts()
        self._check_holders()
        self._check_releases()
        self._check_dead()

    def _add(self, kind: str, text: str, *operations: Operation) -> None:
        self._findings.add(kind, text, key=self._key, operations=operations)

    def _check_numbers(self) -> None:
        """No number goes back, and one has one holder."""
        placed = [Placed(operation=each, level=_lock_index(each)) for each in self._reads]
        for one, other in too_low(placed):
            text = f"{told(one.operation)} was over when this began: {told(other.operation)}."
            self._add("lock index back", text, one.operation, other.operation)
        holder_of: dict[int, Operation] = {}
        for each in self._shown():
            if each.output["session"]:
                first = holder_of.setdefault(_lock_index(each), each)
                if first.output["session"] != each.output["session"]:
                    self._add("two holders of one number", f"{told(first)}; {told(each)}.", first, each)

    def _check_states(self) -> None:
        """One modify index is one state, which somebody asked for."""
        state_at: dict[int, Operation] = {}
        for each in self._shown():
            first = state_at.setdefault(each.output["modify_index"], each)
            if first.output != each.output:
                self._add("changed under one index", f"{told(first)}; {told(each)}.", first, each)
            session = each.output["session"]
            if session and not any(
                attempt.began_ns <= each.ended_ns for attempt in self._attempts_of.get(session, [])[:1]
            ):
                self._add("phantom holder", f"It never asked for the lock: {told(each)}.", each)

    def _check_counts(self) -> None:
        """The number is that of the holders there were."""
        certain = sorted(each.ended_ns for each in self._new_holders())
        possible = sorted(each.began_ns for each in self._attempts)
        for read in self._reads:
            least, most = bisect_left(certain, read.began_ns), bisect_right(possible, read.ended_ns)
            if not least <= _lock_index(read) <= most:
                text = f"There had been {least} holders at least and {most} at most: {told(read)}."
                self._add("lock index miscounted", text, read)

    def _new_holders(self) -> list[Operation]:
        """Acquisitions that are certainly not by whoever held the lock already."""
        found: list[Operation] = []
        for session, of_session in _by_session(self.given).items():
            found.append(of_session[0])
            releases = [each for each in self._releases_of.get(session, []) if each.outcome is Outcome.OK]
            for before, after in pairwise(of_session):
                if any(before.ended_ns < each.began_ns and each.ended_ns < after.began_ns for each in releases):
                    found.append(after)
        return found

    def _check_holders(self) -> None:
        """Who holds the lock holds it until it may have lost it, and nobody else meanwhile, nor soon after."""
        evidence = [each for each in self._ordered if _tells_holder(each)]
        began_ns = [each.began_ns for each in evidence]
        for claim in evidence:
            holder = _holder_in(claim)
            life = self._lives.get(holder)
            if life is None:
                continue
            releases = [each for each in self._releases_of.get(holder, []) if end_of(each) >= claim.began_ns]
            let_go_ns = min((each.began_ns for each in releases), default=None)
            until_ns = life.free_from_ns if let_go_ns is None else min(life.free_from_ns, let_go_ns)
            for at in range(bisect_right(began_ns, claim.ended_ns), len(evidence)):
                other = evidence[at]
                if other.began_ns > until_ns:
                    break
                if other.ended_ns < until_ns and self._contradicts(life, claim, other):
                    break

    def _contradicts(self, life: Life, claim: Operation, other: Operation) -> bool:
        """Whether what came later cannot be, as the session still held the lock, or its delay was not over."""
        if other.function == "release":
            is_wrong, kind = other.input["session"] == life.session, "release refused to the holder"
        else:
            is_wrong = _holder_in(other) != life.session
            kind = "two holders" if _holder_in(other) else "lost lock"
        if not is_wrong:
            return False
        if other.ended_ns >= life.earliest_end_ns:
            if other.function != "acquire" or self._snapshot_between(life.earliest_end_ns, other.ended_ns):
                return False
            kind = "lock delay cut short"
        text = (
            f"{told(claim)}; it cannot have ended before {seconds(life.earliest_end_ns)}, with a lock delay of "
            f"{seconds(life.delay_ns)}; {told(other)}."
        )
        self._add(kind, text, claim, max(life.renewals, key=lambda each: each.began_ns), *life.enders[:1], other)
        return True

    def _snapshot_between(self, began_ns: int, ended_ns: int) -> bool:
        at = bisect_left(self._snapshots, began_ns)
        return at < len(self._snapshots) and self._snapshots[at] <= ended_ns + SNAPSHOT_SEEN_NS

    def _check_releases(self) -> None:
        """Each lock is given back once, by whoever took it."""
        for session, releases in self._releases_of.items():
            before_ns = -1
            for each in releases:
                if each.outcome is not Outcome.OK:
                    continue
                attempts = self._attempts_of.get(session, [])
                if not any(one.began_ns <= each.ended_ns and end_of(one) >= before_ns for one in attempts):
                    self._add("released what it did not hold", f"{told(each)}.", *attempts[-1:], each)
                before_ns = each.began_ns

    def _check_dead(self) -> None:
        """A session that was ended holds nothing, and is given nothing."""
        for each in self._ordered:
            session = each.input["session"] if each.function != "read" else _holder_in(each)
            life = self._lives.get(session)
            ended_by = life.ended_by if life else None
            is_shown = is_current(each)
            if ended_by is not None and is_shown and ended_by.ended_ns < each.began_ns:
                kind = "held by a dead session" if each.function == "read" else f"{each.function} by a dead session"
                self._add(kind, f"{told(ended_by)} was over when this began: {told(each)}.", ended_by, each)

    def _shown(self) -> list[Operation]:
        """Reads of any mode that show the key."""
        return [each for each in self._ordered if each.function == "read" and each.output]


def _by_session(operations: Sequence[Operation]) -> dict[str, list[Operation]]:
    found: dict[str, list[Operation]] = {}
    for each in operations:
        found.setdefault(each.input["session"], []).append(each)
    return found


def _lock_index(read: Operation) -> int:
    return int(read.output["lock_index"]) if read.output else 0


def _tells_holder(operation: Operation) -> bool:
    """Whether it says who holds the lock, or who does not."""
    if operation.function == "release":
        return operation.outcome is Outcome.FAILED and not operation.error
    return is_current(operation)


def _holder_in(operation: Operation) -> str:
    """The session that this shows to hold the lock; "": nobody's."""
    if operation.function == "acquire":
        return str(operation.input["session"])
    if operation.function == "read" and operation.output:
        return str(operation.output["session"])
    return ""
