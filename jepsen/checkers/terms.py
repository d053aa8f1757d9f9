"""Terms: one leader each, never back on any server; commit and applied indexes never back while a server lives.

Judges what the servers said of themselves twice a second, so it may miss what was short. A term that goes back, also
across a restart, shows that a term or a vote was not stored. Terms that rise again and again show elections that the
pre-vote was to prevent.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

from jepsen.checkers.findings import Findings
from jepsen.checkers.verdict import Verdict
from jepsen.checkers.words import seconds
from jepsen.history import FaultWindow, History, Observation

ELECTIONS_PER_FAULT_MAX = 5
"""One for a lost leader, some for votes that were split or came too late; two faults may be combined in one."""
ELECTIONS_SPARE_MAX = 3
"""The first of all, and one or two of a machine that was too busy."""
ELECTIONS_PER_PARTITION_MAX = 2
"""Who is cut off does not campaign (pre-vote): one leader may be lost, one vote split."""
PROCESSES_LIVE_ON = frozenset({"partition", "packets", "pause", "clock"})
"""Packages of faults that end no process."""


def check(history: History) -> Verdict:
    """Judge all observations that tell a term."""
    findings = Findings()
    observed: dict[str, list[Observation]] = defaultdict(list)
    for observation in sorted(history.observations, key=lambda each: each.at_ns):
        observed[observation.node].append(observation)
    telling = [each for each in history.observations if "term" in each.facts]
    _check_leaders(telling, findings)
    for node, observations in sorted(observed.items()):
        _check_node(node, observations, history.faults, findings)
    _check_elections(telling, history.faults, findings)
    _check_end(telling, history, findings)
    terms = {each.facts["term"] for each in telling}
    summary = f"{len(telling):,} observations of {len(observed)} nodes"
    if terms:
        summary += f", terms {min(terms)} to {max(terms)}"
    # Servers of others need not tell their terms.
    decided = bool(terms) or bool(history.begin.options.get("at"))
    return findings.verdict(checker="terms", decided=decided, summary=summary, checked_count=len(telling))


def _check_leaders(telling: Iterable[Observation], findings: Findings) -> None:
    leader_of: dict[int, Observation] = {}
    reported = set[tuple[int, str]]()
    for each in telling:
        if each.facts.get("state") != "leader":
            continue
        term = each.facts["term"]
        first = leader_of.setdefault(term, each)
        if first.node != each.node and (term, each.node) not in reported:
            reported.add((term, each.node))
            text = f"{_told(first)} and {_told(each)} both led in term {term}."
            findings.add("two leaders", text, key=f"term {term}")


def _check_node(
    node: str, observations: Sequence[Observation], faults: Sequence[FaultWindow], findings: Findings
) -> None:
    # What it said last, whatever happened in between, for terms; only within one life for indexes.
    telling = [each for each in observations if "term" in each.facts]
    for one, other in pairwise(telling):
        if other.facts["term"] < one.facts["term"] and not _was_wiped(node, one, other, faults):
            text = f"{_told(one)} was in term {one.facts['term']}, and {_told(other)} in term {other.facts['term']}."
            findings.add("term back", text, key=node)
    for one, other in pairwise(observations):
        if "term" not in one.facts or "term" not in other.facts or _may_have_ended(node, one, other, faults):
            continue
        for name in ("commit", "applied"):
            if other.facts.get(name, 0) < one.facts.get(name, 0):
                text = f"{_told(one)} had {name} {one.facts[name]:,}, and {_told(other)} {other.facts[name]:,}."
                findings.add("index back", text, key=node)


def _between(one: Observation, other: Observation, fault: FaultWindow) -> bool:
    return fault.began_ns <= other.at_ns and one.at_ns <= fault.ended_ns


def _was_wiped(node: str, one: Observation, other: Observation, faults: Iterable[FaultWindow]) -> bool:
    """Whether a fault of membership may have given it an empty disk."""
    return any(node in each.nodes and "membership" in each.name and _between(one, other, each) for each in faults)


def _may_have_ended(node: str, one: Observation, other: Observation, faults: Iterable[FaultWindow]) -> bool:
    """Whether its process may have been another one at the second observation."""
    return any(
        node in each.nodes and each.package not in PROCESSES_LIVE_ON and _between(one, other, each) for each in faults
    )


def _check_elections(telling: Sequence[Observation], faults: Sequence[FaultWindow], findings: Findings) -> None:
    if not telling:
        return
    first = min(telling, key=lambda each: each.at_ns)
    raised = max(each.facts["term"] for each in telling) - first.facts["term"]
    allowed = ELECTIONS_SPARE_MAX + ELECTIONS_PER_FAULT_MAX * len(faults)
    if raised > allowed:
        text = f"Terms rose by {raised} in the run; {len(faults)} faults explain {allowed} at most."
        findings.add("too many elections", text)
    ordered = sorted(faults, key=lambda fault: fault.began_ns)
    for fault, following in zip(ordered, [*ordered, None][1:], strict=True):
        if fault.package != "partition" or "flapping" in fault.name:
            continue
        over_ns = fault.ended_ns + fault.recovery_ns
        if following is not None:
            over_ns = min(over_ns, following.began_ns)
        before = max((each.facts["term"] for each in telling if each.at_ns < fault.began_ns), default=0)
        after = max((each.facts["term"] for each in telling if each.at_ns < over_ns), default=0)
        if before and after - before > ELECTIONS_PER_PARTITION_MAX:
            text = f"Terms rose by {after - before} from {seconds(fault.began_ns)} to {seconds(over_ns)}: {fault.what}."
            findings.add("too many elections", text, key=fault.name)


def _check_end(telling: Iterable[Observation], history: History, findings: Findings) -> None:
    """In the end every server has applied whatever anybody had applied or committed before."""
    digests = {} if history.end is None else history.end.facts.get("digests") or {}
    if not digests:
        return
    highest = max(telling, key=_reached, default=None)
    for node, (index, _) in sorted(digests.items()):
        if highest is not None and index < _reached(highest):
            text = f"{_told(highest)} had committed or applied {_reached(highest):,}; in the end {node} has {index:,}."
            findings.add("applied went away", text, key=node)


def _reached(observation: Observation) -> int:
    facts = observation.facts
    return int(max(facts.get("commit", 0), facts.get("applied", 0)))


def _told(observation: Observation) -> str:
    return f"{observation.node} at {observation.at_ns / 1e9:.1f} s"
