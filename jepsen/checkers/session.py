"""Sessions: none ends too soon, none stays for ever, none comes back, and what they held goes with them.

What is certain of each session's life is worked out in `lives.py`. An answer that shows a session gone (`renew`,
`info`, `list`, or a `read` of the key that it was given) before it can have ended is an early end. Outside of faults
one that nobody renews any more is gone after twice its TTL and LEFT_OVER_S; every new leader begins to count anew, so
what follows a fault counts from when that is over. Once shown as gone, it is never there again.

The key of an ended session is released (its value and lock index stay) or deleted, as the session's behavior says. The
modify index of a released key is that at which its session was removed: above the index of every list that shows the
session, not above that of any that shows it gone.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from jepsen.checkers.findings import Findings, by_key
from jepsen.checkers.lives import Life, end_of, is_current, lives_of, may_have_happened
from jepsen.checkers.verdict import Verdict
from jepsen.checkers.windows import Windows
from jepsen.checkers.words import seconds, told
from jepsen.history import History, Operation, Outcome

WORKLOAD = "session"
LEFT_OVER_S = 2.0
"""Above twice its TTL: leaders look every half second, and end sessions through the log."""
TTL_FACTOR = 2.0
RATE = 1.1
NS = 1_000_000_000


def check(history: History) -> Verdict:
    """Judge the workload `session`."""
    operations = history.of(WORKLOAD)
    findings = Findings()
    lives = lives_of(operations)
    lists = sorted((each for each in operations if _is_list(each)), key=lambda each: each.output["index"])
    listing = _Listing(lists)
    seen = _seen(operations, lives)
    windows = Windows([*history.faults, *history.stalls])
    stalls = Windows(history.stalls)
    final_ns = min((each.began_ns for each in operations if each.phase == "final"), default=0)
    judged = [_Session(life, seen.get(life.session, []), findings) for life in lives.values()]
    by_id = {each.life.session: each for each in judged}
    unread = 0
    for key, of_key in by_key(operations).items():
        taken = next((each for each in of_key if each.function == "acquire"), None)
        reads = [each for each in of_key if each.function == "read" and each.outcome is Outcome.OK]
        if taken is not None:
            unread += not any(each.phase == "final" for each in reads)
            owner = by_id.get(taken.input["session"])
            if owner is not None:
                _Key(key, taken, reads, findings).check(owner, listing)
    for each in judged:
        each.check(windows, stalls, final_ns)
    _check_lists(lists, findings)
    is_listed = any(each.phase == "final" for each in lists)
    renewed = sum(len(each.life.renewals) - 1 for each in judged)
    summary = f"{len(lives):,} sessions, {renewed:,} renewals, {sum(each.is_over for each in judged):,} seen to end"
    if unread or not is_listed:
        summary += f"; no final read of {unread + (not is_listed):,} keys"
    return findings.verdict(
        checker="session",
        workload=WORKLOAD,
        decided=is_listed and not unread,
        summary=summary,
        checked_count=len(operations),
    )


def _is_list(operation: Operation) -> bool:
    return operation.function == "list" and operation.outcome is Outcome.OK


def _seen(operations: Sequence[Operation], lives: Mapping[str, Life]) -> dict[str, list[tuple[bool, Operation]]]:
    """Session -> (whether it was there, who says so) by current answers."""
    found: dict[str, list[tuple[bool, Operation]]] = {session: [] for session in lives}
    made = sorted(lives.values(), key=lambda life: -life.created.ended_ns)
    listable: set[str] = set()
    """Sessions that were made by now, and that no list has shown as gone."""
    for each in sorted(operations, key=lambda each: each.began_ns):
        while made and made[-1].created.ended_ns < each.began_ns:
            listable.add(made.pop().session)
        if each.function == "acquire" and each.input["session"] in found:
            if each.outcome is Outcome.FAILED and not each.error:
                found[each.input["session"]].append((False, each))  # the key is its own: nothing else can be the reason
        elif not is_current(each):
            continue
        elif each.function in ("renew", "info") and each.input["session"] in found:
            found[each.input["session"]].append((bool(each.output["alive"]), each))
        elif each.function == "list":
            listed = set(each.output["sessions"])
            for session in listed & found.keys():
                found[session].append((True, each))
            for session in listable - listed:
                found[session].append((False, each))
            listable &= listed
    return found


class _Listing:
    """What lists say of the index at which each session ended."""

    def __init__(self, lists: Sequence[Operation]) -> None:
        self._lists = lists
        """By index."""
        self._indexes = [each.output["index"] for each in lists]
        self._last_with: dict[str, Operation] = {}
        for each in lists:
            for session in each.output["sessions"]:
                self._last_with[session] = each

    def contradicting(self, session: str, index: int) -> Operation | None:
        """A list that cannot be if the session ended at `index`."""
        shown = self._last_with.get(session)
        if shown is None:
            return None
        if shown.output["index"] >= index:
            return shown
        at = bisect_right(self._indexes, shown.output["index"])
        return self._lists[at] if at < len(self._lists) and self._indexes[at] < index else None


def _check_lists(lists: Sequence[Operation], findings: Findings) -> None:
    """The table of sessions has one state at one index."""
    state_at: dict[int, Operation] = {}
    for each in lists:
        first = state_at.setdefault(each.output["index"], each)
        if first.output != each.output:
            text = f"{told(first)}; {told(each)}."
            findings.add("changed under one index", text, key=each.key, operations=[first, each])


class _Session:
    """One session, and what was seen of it."""

    def __init__(self, life: Life, answers: Sequence[tuple[bool, Operation]], findings: Findings) -> None:
        self.life = life
        self._findings = findings
        self._there = [each for is_there, each in answers if is_there]
        self.gone = [each for is_there, each in answers if not is_there]

    @property
    def is_over(self) -> bool:
        """Whether it was seen to have ended."""
        return bool(self.gone) or self.life.ended_by is not None

    @property
    def gone_from(self) -> Operation | None:
        """What tells first that it has ended."""
        ended_by = self.life.ended_by
        return min([*self.gone, *([ended_by] if ended_by else [])], key=end_of, default=None)

    def check(self, windows: Windows, stalls: Windows, final_ns: int) -> None:
        """Report whatever is wrong."""
        for each in self.gone:
            if each.ended_ns < self.life.earliest_end_ns:
                self.report_early(each)
                break
        gone_from = self.gone_from
        for each in self._there:
            if gone_from is not None and gone_from.ended_ns < each.began_ns:
                self._add("came back", f"{told(gone_from)} was over when this began: {told(each)}.", gone_from, each)
                break
        for each in self._there:
            if self._is_overdue(each, windows, stalls, final_ns):
                last = max(self.life.attempts, key=end_of)
                self._add("lives on", f"Nobody renewed it after {told(last)}, and {told(each)}.", last, each)
                break

    def report_early(self, answer: Operation) -> None:
        """What tells that it was gone before it can have been."""
        last = max(self.life.renewals, key=lambda each: each.began_ns)
        text = (
            f"It had {seconds(self.life.ttl_ns)} from {told(last)}, cannot have ended before "
            f"{seconds(self.life.earliest_end_ns)}, and {told(answer)}."
        )
        self._add("ended too soon", text, last, *self.life.enders[:1], answer)

    def _is_overdue(self, answer: Operation, windows: Windows, stalls: Windows, final_ns: int) -> bool:
        last_ns = max(map(end_of, self.life.attempts))
        if answer.phase == "final":  # nothing is broken any more
            last_ns = max(last_ns, final_ns, stalls.last_end(answer.began_ns))
        else:
            last_ns = max(last_ns, windows.last_end(answer.began_ns))
        allowed_ns = int(TTL_FACTOR * self.life.ttl_ns * RATE + LEFT_OVER_S * NS)
        return answer.began_ns > last_ns + allowed_ns

    def _add(self, kind: str, text: str, *operations: Operation) -> None:
        shown = f"session {self.life.session}: {text}"
        self._findings.add(kind, shown, key=self.life.created.key, operations=operations)


class _Key:
    """A key that one session was to hold, and nobody else ever."""

    def __init__(self, key: str, taken: Operation, reads: Sequence[Operation], findings: Findings) -> None:
        self._key = key
        self._taken = taken
        self._reads = reads
        self._findings = findings

    def check(self, owner: _Session, listing: _Listing) -> None:
        """Report whatever is wrong."""
        life, taken = owner.life, self._taken
        is_given = taken.outcome is Outcome.OK
        gone_from = owner.gone_from
        for read in self._reads:
            holder = read.output["session"] if read.output else ""
            if read.output and not (may_have_happened(taken) and self._is_as_written(read)):
                self._add("phantom", f"{told(taken)}, and {told(read)}.", taken, read)
            if holder == life.session and gone_from is not None and gone_from.ended_ns < read.began_ns:
                if is_current(read):
                    self._add(
                        "held by a dead session",
                        f"{told(gone_from)} was over when this began: {told(read)}.",
                        gone_from,
                        read,
                    )
            elif is_given and is_current(read) and read.began_ns > taken.ended_ns and holder != life.session:
                if read.ended_ns < life.earliest_end_ns:
                    owner.report_early(read)
                self._check_left(life, read, listing)

    def _is_as_written(self, read: Operation) -> bool:
        output, session = read.output, self._taken.input["session"]
        is_own = output["session"] in ("", session)
        return bool(is_own and output["value"] == self._taken.input["value"] and output["lock_index"] == 1)

    def _check_left(self, life: Life, read: Operation, listing: _Listing) -> None:
        """What a session that has ended leaves."""
        if (read.output is None) != (life.behavior == "delete"):
            text = f"Its session's behavior is {life.behavior}: {told(life.created)}; {told(read)}."
            self._add("behavior not followed", text, life.created, read)
            return
        if read.output is None:
            return
        other = listing.contradicting(life.session, read.output["modify_index"])
        if other is not None:
            text = f"Its session ended at another index: {told(other)}; {told(read)}."
            self._add("not in the same index", text, other, read)

    def _add(self, kind: str, text: str, *operations: Operation) -> None:
        self._findings.add(kind, text, key=self._key, operations=operations)
