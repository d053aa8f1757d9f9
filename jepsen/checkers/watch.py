"""Blocking queries: no change is missed, no index goes back, nobody is woken late.

`write` (input: a value written once in a run, null deletes; output: {"modify_index"}) and `wait` (input: {"index",
"wait_s"}; output: {"value", "modify_index", "index"}), each key for itself. Waits in mode default and consistent must
show a state that was current at some moment while they were held. Waits in mode stale may show an older one.

`wait_all` watches all keys that begin with its `key` (output: {"values": {key: [value, modify index]}, "index"}). It is
judged as a wait for each of them, and its index as that of the whole.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from itertools import accumulate, pairwise

import msgspec

from jepsen.checkers.findings import Findings, by_key
from jepsen.checkers.levels import Placed, too_low
from jepsen.checkers.models import FOREVER_NS, STALE, Value, value_of
from jepsen.checkers.verdict import Verdict
from jepsen.checkers.windows import Windows
from jepsen.checkers.words import seconds, shown, told
from jepsen.history import History, Operation, Outcome

WAKE_WITHIN_NS = 1_500_000_000
"""A change that was acknowledged must have woken its watchers by then. Well above what a busy machine needs (some
milliseconds), well below the time of a wait."""


def check_health(history: History) -> Verdict:
    """Judge the workload `health-watch`."""
    return check(history, workload="health-watch")


def check(history: History, *, workload: str = "watch", wake_within_ns: int = WAKE_WITHIN_NS) -> Verdict:
    """Judge the workload `watch`, or another one of the same words."""
    findings = Findings()
    windows = Windows([*history.faults, *history.stalls])
    servers = {each.node for each in history.observations if "term" in each.facts}
    operations = history.of(workload)
    lists = [each for each in operations if each.function == "wait_all" and each.outcome is Outcome.OK]
    keys = by_key(each for each in operations if each.function != "wait_all")
    for prefix, of_prefix in by_key(lists).items():
        under = sorted(key for key in keys if key.startswith(prefix))
        writes = [each for key in under for each in keys[key] if each.function == "write"]
        _check_lists(prefix, of_prefix, writes, findings)
        for wait in of_prefix:
            for key in under:
                keys[key].append(_of_one(wait, key))
    unread = 0
    wait_count = 0
    slowest_ns = 0
    for key, of_key in keys.items():
        watched = _Key(key, of_key, findings)
        watched.check_values()
        watched.check_states()
        watched.check_watchers(windows, servers)
        slowest_ns = max(slowest_ns, watched.check_wakes(windows, wake_within_ns))
        wait_count += len(watched.waits)
        unread += not any(wait.phase == "final" for wait in watched.waits)
    summary = (
        f"{wait_count:,} answers about {len(keys):,} keys; woken after {seconds(slowest_ns)} at most outside faults"
    )
    if unread:
        summary += f"; no final read of {unread:,} keys"
    return findings.verdict(
        checker=workload,
        workload=workload,
        decided=not unread,
        summary=summary,
        checked_count=len(operations),
    )


def _of_one(wait: Operation, key: str) -> Operation:
    """What a wait for all keys says of one: its index is the key's own, or the whole's where the key is absent."""
    value, modify_index = wait.output["values"].get(key) or (None, 0)
    output = {"value": value, "modify_index": modify_index, "index": modify_index or wait.output["index"]}
    return msgspec.structs.replace(wait, key=key, output=output)


def _check_lists(prefix: str, waits: Sequence[Operation], writes: Iterable[Operation], findings: Findings) -> None:
    """The index of the whole is no lower than any of its keys', is never back, and has one state."""
    state_at: dict[int, Operation] = {}
    for wait in waits:
        values, index = wait.output["values"], wait.output["index"]
        if index < max((modify_index for _, modify_index in values.values()), default=1):
            findings.add("index too low", f"{told(wait)}.", key=prefix, operations=[wait])
        first = state_at.setdefault(index, wait)
        if first.output["values"] != values:
            text = f"{told(first)}; {told(wait)}."
            findings.add("changed under one index", text, key=prefix, operations=[first, wait])
    placed = [Placed(operation=each, level=each.output["modify_index"]) for each in writes if _has_index(each)]
    placed += [Placed(operation=each, level=each.output["index"], is_current=each.mode != STALE) for each in waits]
    for earlier, later in [(one.operation, other.operation) for one, other in too_low(placed)]:
        if later.function == "wait_all":
            kind = "missed change" if earlier.function == "write" else "index back"
            text = f"{told(earlier)} was over when this began: {told(later)}."
            findings.add(kind, text, key=prefix, operations=[earlier, later])


def _has_index(write: Operation) -> bool:
    """Whether it was acknowledged with its modify index (deletes have none)."""
    return write.outcome is Outcome.OK and bool(write.output and write.output["modify_index"])


class _Earliest:
    """Of spans, the earliest end among those that begin, or whose number is, above some bound."""

    def __init__(self, spans: Iterable[tuple[int, Operation]]) -> None:
        ordered = sorted(spans, key=lambda span: span[0])
        self._bounds = [bound for bound, _ in ordered]
        self._firsts = list(accumulate((each for _, each in reversed(ordered)), _sooner))[::-1]

    def above(self, bound: int) -> Operation | None:
        at = bisect_right(self._bounds, bound)
        return self._firsts[at] if at < len(self._firsts) else None


class _Key:
    """One key: who wrote what, and what its watchers were told."""

    def __init__(self, key: str, operations: Sequence[Operation], findings: Findings) -> None:
        self._key = key
        self._findings = findings
        ordered = sorted(operations, key=lambda each: each.began_ns)
        self.waits = [each for each in ordered if each.function in ("wait", "wait_all") and each.outcome is Outcome.OK]
        self._writes = [each for each in ordered if each.function == "write"]
        self._acknowledged = [each for each in self._writes if _has_index(each)]
        possible = [each for each in self._writes if each.input is None and each.outcome is not Outcome.FAILED]
        self._deletes_began = [each.began_ns for each in possible]
        self._deletes_over_by = list(
            accumulate((each.ended_ns if each.outcome is Outcome.OK else FOREVER_NS for each in possible), max)
        )
        self._next_change = _Earliest((each.output["modify_index"], each) for each in self._acknowledged)
        """By modify index."""
        self._next_delete = _Earliest((each.began_ns, each) for each in possible if each.outcome is Outcome.OK)
        """By its beginning."""
        self._write_of = {value_of(each.input): each for each in self._writes if each.input is not None}
        self._value_at: dict[int, tuple[Value, Operation]] = {}
        """Modify index -> value, and who said so first."""

    def _add(self, kind: str, text: str, *operations: Operation) -> None:
        self._findings.add(kind, text, key=self._key, operations=operations)

    def check_values(self) -> None:
        """One modify index has one value, one value one modify index, and all of them were written."""
        index_of: dict[Value, tuple[int, Operation]] = {}
        said = [(each.output["modify_index"], value_of(each.input), each) for each in self._acknowledged]
        said += [
            (each.output["modify_index"], value_of(each.output["value"]), each)
            for each in self.waits
            if each.output["value"] is not None
        ]
        for index, value, operation in said:
            known, first = self._value_at.setdefault(index, (value, operation))
            if known != value:
                self._add("two values under one index", f"{told(first)}; {told(operation)}.", first, operation)
            known_index, first = index_of.setdefault(value, (index, operation))
            if known_index != index:
                text = f"{shown(value)} was written once, and has the indexes {known_index} and {index}"
                self._add("written twice", f"{text}: {told(operation)}.", first, operation)
            write = self._write_of.get(value)
            if write is None:
                self._add("phantom", f"{shown(value)} was never written: {told(operation)}.", operation)
            elif write.outcome is Outcome.FAILED:
                self._add("resurrected", f"{told(write)}, and was seen: {told(operation)}.", write, operation)
            elif operation.ended_ns < write.began_ns:
                self._add("phantom", f"{told(operation)}, before that was written.", operation, write)

    def check_states(self) -> None:
        """Answers are no older than what was acknowledged, or told to anybody, before the question."""
        # Absent keys have the index of what was asked for: the whole table's for a wait, the prefix's for wait_all.
        # They cannot be compared, so there are two rounds, each without the absent ones of the other kind.
        for absent in ("wait", "wait_all"):
            waits = [each for each in self.waits if each.output["modify_index"] or each.function == absent]
            self._check_order(waits, of_kind=absent)
        self._check_deletes()

    def _check_order(self, waits: Sequence[Operation], *, of_kind: str) -> None:
        placed = [Placed(operation=each, level=each.output["modify_index"]) for each in self._acknowledged]
        placed += [Placed(operation=each, level=each.output["index"], is_current=each.mode != STALE) for each in waits]
        for earlier, later in [(one.operation, other.operation) for one, other in too_low(placed)]:
            if of_kind == "wait_all" and of_kind not in (earlier.function, later.function):
                continue  # the round before has seen it
            if later.function == "write":
                kind = "phantom"
            elif later.phase == "final":
                kind = "lost"
            elif earlier.function == "write":
                kind = "missed change"
            else:
                kind = "index back" if earlier.process == later.process else "stale read"
            self._add(kind, f"{told(earlier)} was over when this began: {told(later)}.", earlier, later)

    def _check_deletes(self) -> None:
        """What is absent was deleted, or never written yet; what was deleted is absent, or written again."""
        by_end = sorted(self._acknowledged, key=_end_of)
        ends = [each.ended_ns for each in by_end]
        newest = list(accumulate(by_end, _newer))
        for wait in self.waits:
            if wait.mode == STALE:
                continue
            at = bisect_left(ends, wait.began_ns)
            if wait.output["value"] is None and at and not self._may_be_deleted(newest[at - 1], wait):
                self._add("lost", f"{told(newest[at - 1])}, nobody deleted it, and {told(wait)}.", newest[at - 1], wait)
            delete = self._deleted_after(wait.output["modify_index"])
            if delete is not None and delete.ended_ns < wait.began_ns:
                self._add("stale read", f"{told(delete)} was over when this began: {told(wait)}.", delete, wait)

    def check_watchers(self, windows: Windows, servers: Collection[str]) -> None:
        """For one watcher no index goes back, and what it is told does not change under one index."""
        state_at: dict[int, Operation] = {}
        for wait in self.waits:
            if wait.output["index"] < 1 or wait.output["index"] < wait.output["modify_index"]:
                self._add("index too low", f"{told(wait)}.", wait)
            first = state_at.setdefault(wait.output["index"], wait)
            if (first.output["value"], first.output["modify_index"]) != (
                wait.output["value"],
                wait.output["modify_index"],
            ):
                self._add("changed under one index", f"{told(first)}; {told(wait)}.", first, wait)
        for one, other in self._pairs_of_watchers():
            if one.mode == STALE and (one.node not in servers or windows.touch(one.began_ns, other.ended_ns)):
                # Another server may have answered, or the same one after a restart, when it had not caught up yet.
                continue
            if other.output["index"] < one.output["index"]:
                self._add("index back", f"{told(one)}, then {told(other)}.", one, other)

    def check_wakes(self, windows: Windows, within_ns: int) -> int:
        """Acknowledged changes wake whoever waits for them. Return the longest that it took outside of faults."""
        longest_ns = 0
        for wait in self.waits:
            index = wait.input["index"]
            for change in (self._next_change.above(index), self._deleted_after(index)):
                if change is None or change.ended_ns >= wait.ended_ns:
                    continue
                due_ns = max(wait.began_ns, change.ended_ns)
                if windows.touch(due_ns, wait.ended_ns):
                    continue
                late_ns = wait.ended_ns - due_ns
                longest_ns = max(longest_ns, late_ns)
                if late_ns > within_ns:
                    text = f"{told(wait)} was answered {seconds(late_ns)} after it could have been: {told(change)}."
                    self._add("lost wake-up", text, change, wait)
                    break
        return longest_ns

    def _pairs_of_watchers(self) -> Iterable[tuple[Operation, Operation]]:
        """Each watcher's answers in a row."""
        watchers: dict[tuple[int, str, str], list[Operation]] = {}
        for wait in self.waits:
            if wait.phase != "final":
                watchers.setdefault((wait.process, wait.node, wait.mode), []).append(wait)
        for waits in watchers.values():
            yield from pairwise(waits)

    def _may_be_deleted(self, write: Operation, wait: Operation) -> bool:
        """Whether some delete can have come after this write and before the end of the wait."""
        at = bisect_right(self._deletes_began, wait.ended_ns)
        return at > 0 and self._deletes_over_by[at - 1] >= write.began_ns

    def _deleted_after(self, modify_index: int) -> Operation | None:
        """The first acknowledged delete that began after the write of this index was over, if that is known."""
        value, _ = self._value_at.get(modify_index, (None, None))
        write = self._write_of.get(value)
        if write is None or write.outcome is not Outcome.OK:
            return None
        return self._next_delete.above(write.ended_ns)


def _end_of(operation: Operation) -> int:
    return operation.ended_ns


def _sooner(one: Operation, other: Operation) -> Operation:
    return min(one, other, key=_end_of)


def _newer(one: Operation, other: Operation) -> Operation:
    return other if other.output["modify_index"] > one.output["modify_index"] else one
