"""Linearizability, key by key: is there one order in which every client could have seen what it saw?

An order of all operations exists if there is one for each key (Herlihy and Wing), so each is searched alone.
What certainly did not happen is left out, but for what was declined because something else than expected was there:
that must have been so at some moment. What ended unknown may have happened at any moment after it began, or never.
A read in mode stale is not linearizable by promise: it only must show the state of some moment before it ended.
A key that somebody wrote and nobody could read in the end is not decided: what was lost there nobody has seen.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jepsen.checkers.explain import CALLS_MAX, explain
from jepsen.checkers.findings import Findings, by_key
from jepsen.checkers.models import Call, Crooked, Model, Value, register, value_of
from jepsen.checkers.search import CONFIGURATIONS_MAX, search
from jepsen.checkers.verdict import ANOMALIES_MAX, Verdict
from jepsen.checkers.words import seconds, told
from jepsen.history import History, Operation, Outcome

CONFIGURATIONS_MAX_TOTAL = 2_000_000
"""Of all keys together: most of a minute."""


def check_registers(history: History) -> Verdict:
    """Judge the workload `register`."""
    return check_keys(history.of("register"), register, checker="linearizable", workload="register")


def check_keys(
    operations: Sequence[Operation],
    model: Model,
    *,
    checker: str,
    workload: str,
    configurations_max: int = CONFIGURATIONS_MAX,
    configurations_max_total: int = CONFIGURATIONS_MAX_TOTAL,
) -> Verdict:
    """Search each key's operations for a legal order."""
    findings = Findings(per_kind_max=ANOMALIES_MAX)
    undecided: list[str] = []
    checked_count = spent = unread_count = 0
    keys = by_key(operations)
    for key, of_key in keys.items():
        try:
            calls = [call for call in map(model, of_key) if call is not None]
        except Crooked as error:
            findings.add("contradiction", f"{error}.", key=key, operations=_crooked(of_key, model))
            continue
        checked_count += len(calls)
        unread_count += _is_unread(calls)
        left = min(configurations_max, configurations_max_total - spent)
        found = search(calls, configurations_max=left) if left > 0 else None
        spent += found.configurations_count if found else 0
        if found is None or found.legal is None:
            undecided.append(key)
        elif not found.legal:
            _report(key, calls, of_key, findings)
    summary = f"{checked_count:,} operations on {len(keys):,} keys"
    if undecided:
        few = ", ".join(undecided[:3])
        summary += f"; given up on {len(undecided):,} keys ({few}) after {spent:,} configurations"
    if unread_count:
        summary += f"; no final read of {unread_count:,} keys"
    return findings.verdict(
        checker=checker,
        workload=workload,
        decided=not undecided and not unread_count,
        summary=summary,
        checked_count=checked_count,
    )


def _is_unread(calls: Iterable[Call]) -> bool:
    """Whether somebody wrote, or may have, and nobody saw what was left in the end."""
    is_written = is_read = False
    for call in calls:
        is_written |= not call.is_pure
        is_read |= call.is_pure and call.operation.phase == "final"
    return is_written and not is_read


def _crooked(operations: Iterable[Operation], model: Model) -> list[Operation]:
    for operation in operations:
        try:
            model(operation)
        except Crooked:
            return [operation]
    return []


def _report(key: str, calls: Sequence[Call], operations: Sequence[Operation], findings: Findings) -> None:
    if findings.is_full:
        findings.add("not linearizable", "", key=key)
        return
    explanation = explain(calls)
    kind, text = _diagnosis(explanation.calls, calls, operations)
    if explanation.last is not None:
        certain_count = sum(call.is_certain for call in calls)
        text += (
            f" The first {explanation.legal_count:,} of {certain_count:,} operations that ended have a legal order; "
            f"{told(explanation.last.operation)} cannot be placed."
        )
    shown = [call.operation for call in explanation.calls]
    if explanation.last is not None and explanation.last.operation in shown:
        # What cannot be placed comes last: drawings highlight that.
        shown.remove(explanation.last.operation)
        shown.append(explanation.last.operation)
    if len(shown) > CALLS_MAX:
        text += f" Only the last {CALLS_MAX} of {len(shown)} operations are shown."
    findings.add(kind, text, key=key, operations=shown[-CALLS_MAX:])


def _diagnosis(few: Sequence[Call], calls: Sequence[Call], operations: Sequence[Operation]) -> tuple[str, str]:
    """Kind, and a sentence. The plain cases have names of their own; what is left is simply not linearizable."""
    for viewer, slot, value in _seen(few):
        if value is None:
            continue
        writers = [call for call in calls if (slot, value) in call.sets]
        failed = [each for each in operations if each.outcome is Outcome.FAILED and _asks_for(each, value)]
        if not writers and failed:
            return "failed write seen", f"{told(viewer.operation)}, but {told(failed[0])}."
        if not writers:
            return "never written", f"{told(viewer.operation)}, which nobody wrote."
        if min(call.began_ns for call in writers) > viewer.ended_ns:
            return "seen before written", f"{told(viewer.operation)}, before that was written."
    for viewer, slot, value in _seen(few):
        later = _overwritten(few, viewer, slot, value)
        if later is not None and viewer.is_pure:
            return "stale read", (
                f"{told(viewer.operation)}, although {told(later.operation)} had been acknowledged "
                f"{seconds(viewer.began_ns - later.ended_ns)} before it began."
            )
    for call in few:
        if call.denies:
            viewers = [each for each, _, value in _seen(calls) if _asks_for(call.operation, value)]
            if viewers:
                return "failed write seen", f"{told(viewers[0].operation)}, but {told(call.operation)}."
            return "wrongly declined", (
                f"No order of these {len(few)} operations explains why {told(call.operation)}: "
                "what it expected must have been there."
            )
    return "not linearizable", f"No order of these {len(few)} operations explains what their clients saw."


def _seen(calls: Sequence[Call]) -> Iterator[tuple[Call, str, Value]]:
    for call in calls:
        if call.is_certain:
            for slot, value in call.needs:
                yield call, slot, value


def _overwritten(calls: Sequence[Call], viewer: Call, slot: str, value: Value) -> Call | None:
    """A write of something else, after all writes of this value and acknowledged before the viewer began."""
    writers = [call for call in calls if (slot, value) in call.sets]
    if any(not writer.is_certain for writer in writers):
        return None
    last_ns = max((writer.ended_ns for writer in writers), default=-1)
    for call in calls:
        is_other = any(at == slot and to != value for at, to in call.sets)
        if is_other and call is not viewer and last_ns < call.began_ns and call.ended_ns < viewer.began_ns:
            return call
    return None


def _asks_for(operation: Operation, value: Value) -> bool:
    """Whether the value is among what the operation would have written."""
    return value in map(value_of, _asked(operation))


def _asked(operation: Operation) -> list[Any]:
    """What the operation would have written; deletions are nothing that can be told from others."""
    match operation.function, operation.input:
        case "txn", [*micros]:
            return [micro[2] for micro in micros if micro[0] == "write" and micro[2] is not None]
        case "cas", [_, new]:
            return [] if new is None else [new]
        case "write", new:
            return [] if new is None else [new]
    return []
