"""Availability: outside of faults and their recovery every operation succeeds, and every error is one that we know.

An operation that the server answered without an error but did not do (a compare-and-set that came too late) has not
failed in this sense.
"""

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate

from jepsen.checkers.findings import Findings
from jepsen.checkers.verdict import Verdict
from jepsen.checkers.windows import SLACK_NS, Windows
from jepsen.checkers.words import seconds, told
from jepsen.client import NOT_CLAIMED
from jepsen.history import FaultWindow, History, Operation, Outcome

OK_SHARE_MIN = 0.5
"""Of the operations outside of faults. Below it so many compare-and-sets were lost that the run has shown little."""
OPERATIONS_MIN = 100
"""Fewer say nothing about a share."""
OPERATIONS_SHOWN_MAX = 5
CLASSES_NAMED_MAX = 6
CANCELLED = "cancelled at the end"
"""By the harness, when the run was over."""

NOT_CLAIMED_CLASS = "no outcome claimed"

KNOWN: tuple[tuple[str, str], ...] = (
    (CANCELLED, r"^cancelled$"),
    ("no answer in time", r"TooSlowError|^no answer within "),
    ("connection broke", r"(EOF|Closed|Broken|Connection\w*|OS|TimeoutE)\w*Error|BrokenResource|ClosedResource"),
    ("no connection", r"^[^ ]+:\d+: "),
    ("no leader", r"^500 (No cluster leader|leadership|not the leader)"),
    ("new leader not ready", r"^500 Not ready to serve consistent reads"),
    ("timed out while committing", r"^500 timed out while committing"),
    ("server is stopping", r"^500 the server is stopping"),
    ("no server known", r"^500 No known Consul servers"),
    ("no server reached", r"^500 (rpc: |dial |listener |TLS |connection to )"),
    ("rate limited", r"^(429|500 .*too many )"),
)
"""Class of an error and the pattern of its text; the first that matches counts. They may happen while a fault holds."""
BROKEN: tuple[tuple[str, str], ...] = (
    (NOT_CLAIMED_CLASS, re.escape(NOT_CLAIMED)),
    ("internal error", r"Internal server error|internal error in |Traceback|InvariantBroken"),
)
"""These must never happen."""
UNCLASSIFIED = "unclassified error"
_PATTERNS = [(name, re.compile(pattern)) for name, pattern in (*BROKEN, *KNOWN)]
_NEVER = {name for name, _ in BROKEN} | {UNCLASSIFIED}


def class_of(error: str) -> str:
    """Return the class of an error's text."""
    return next((name for name, pattern in _PATTERNS if pattern.search(error)), UNCLASSIFIED)


def check(history: History) -> Verdict:
    """Judge how all operations of all workloads ended."""
    windows = Windows([*history.faults, *history.stalls])
    findings = Findings()
    wrong = [each for each in history.operations if each.error and each.outcome is not Outcome.OK]
    outside = [each for each in history.operations if not windows.touch(each.began_ns, each.ended_ns)]
    unexcused = {id(each) for each in outside}
    # Servers of others claim nothing, and need not.
    is_foreign = bool(history.begin.options.get("at"))
    errors: dict[str, Counter[str]] = defaultdict(Counter)
    found: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    for operation in wrong:
        name = class_of(operation.error)
        errors[name][operation.node] += 1
        if name in _NEVER and not (name == NOT_CLAIMED_CLASS and is_foreign):
            found[name, name].append(operation)
        elif name != CANCELLED and id(operation) in unexcused:
            found["error without a fault", name].append(operation)
    for (kind, name), operations in found.items():
        first = operations[0]
        text = f"{name}: {len(operations):,} times, first {told(first)}: {first.error}"
        findings.add(kind, text, operations=operations[:OPERATIONS_SHOWN_MAX], count=len(operations))
    ok_count = _ok_count(history.operations)
    if errors.keys() - {CANCELLED} and not ok_count:
        findings.add("too few succeed", "Not one operation was acknowledged.")
    elif len(outside) >= OPERATIONS_MIN and _ok_count(outside) < OK_SHARE_MIN * len(outside):
        text = f"Only {_ok_count(outside):,} of {len(outside):,} operations outside of faults did what they were to do."
        findings.add("too few succeed", text)
    summary = (
        f"{ok_count:,} of {len(history.operations):,} ok, {_ok_count(outside):,} of {len(outside):,} outside of faults"
    )
    if errors:
        summary += f"; {_table(errors)}"
    if history.stalls:
        longest_ns = max(each.ended_ns - each.began_ns for each in history.stalls)
        summary += f"; the machine itself stood still ({len(history.stalls):,} ×, {seconds(longest_ns)} at most)"
    if history.faults:
        summary += f"; last errors {seconds(_recovery_ns(wrong, history.faults))} after a healing"
    # A run that did nothing has not shown that anything can be done.
    return findings.verdict(
        checker="outcomes", decided=bool(ok_count), summary=summary, checked_count=len(history.operations)
    )


def _ok_count(operations: Iterable[Operation]) -> int:
    return sum(each.outcome is Outcome.OK for each in operations)


def _recovery_ns(wrong: Iterable[Operation], faults: Iterable[FaultWindow]) -> int:
    """The longest time from a healing to the beginning of an operation that failed before the next fault began."""
    ordered = sorted(faults, key=lambda fault: fault.began_ns)
    began_ns = [fault.began_ns for fault in ordered]
    healed_ns = list(accumulate((fault.ended_ns for fault in ordered), max))
    longest_ns = 0
    for operation in wrong:
        at = bisect_right(began_ns, operation.began_ns)
        if at < len(began_ns) and operation.ended_ns >= began_ns[at] - SLACK_NS:
            continue  # the next fault may be the reason
        if at and class_of(operation.error) != CANCELLED:
            longest_ns = max(longest_ns, operation.began_ns - healed_ns[at - 1])
    return longest_ns


def _table(errors: Mapping[str, Counter[str]]) -> str:
    """Each class with its count and where it was met most."""
    by_count = sorted(errors.items(), key=lambda pair: -pair[1].total())
    words = [f"{name} {nodes.total():,} ({_nodes(nodes)})" for name, nodes in by_count[:CLASSES_NAMED_MAX]]
    more = by_count[CLASSES_NAMED_MAX:]
    return ", ".join(words) + (f", others {sum(nodes.total() for _, nodes in more):,}" if more else "")


def _nodes(nodes: Counter[str]) -> str:
    named: Collection[tuple[str, int]] = sorted(nodes.items())
    return " ".join(f"{node or '?'} {count:,}" for node, count in named)
