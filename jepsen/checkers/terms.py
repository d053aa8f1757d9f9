"""Terms: one leader each, never back on any server; commit and applied indexes never back while a server lives.

Judges what the servers said of themselves twice a second, so it may miss what was short. A server may say a term that
it has not stored yet, as long as it promises nothing to others. So a term that is gone after a restart counts only if
it led in that term (its own vote counted for it), or was in it for a while, on a disk that worked. Terms that rise
again and again show elections that the pre-vote was to prevent.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from jepsen.checkers.findings import Findings
from jepsen.checkers.models import BEGINNING_NS
from jepsen.checkers.verdict import Verdict
from jepsen.checkers.words import seconds
from jepsen.history import FaultWindow, History, Observation

ELECTIONS_PER_FAULT_MAX = 5
"""One for a lost leader, some for votes that were split or came too late; two faults may be combined in one."""
ELECTIONS_SPARE_MAX = 3
"""The first of all, and one or two of a machine that was too busy."""
ELECTIONS_PER_PARTITION_MAX = 2
"""Who is cut off does not campaign (pre-vote): one leader may be lost, one vote split. Partitions that follow each
other before the recovery is over are judged together; those within the recovery of another fault only by the bound of
the whole run."""
STORED_WITHIN_NS = 2_000_000_000
"""A disk that works has stored a term by then."""
OBSERVED_WITHIN_NS = 1_000_000_000
"""A node is asked at the time of an observation, and answers by then."""
PROCESSES_LIVE_ON = frozenset({"partition", "packets", "pause", "clock"})
"""Packages of faults that end no process."""
WIPING = ("membership", "disk-bit-flip")
"""In the names of faults that may give a server an empty disk."""


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
    _check_majorities(telling, history, findings)
    _check_elections(telling, history.faults, findings)
    _check_end(telling, history, findings)
    terms = {each.facts["term"] for each in telling}
    summary = f"{len(telling):,} observations of {len(observed)} nodes"
    if terms:
        summary += f", terms {min(terms)} to {max(terms)}"
    return findings.verdict(checker="terms", decided=bool(terms), summary=summary, checked_count=len(telling))


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
    """No term that it had stored is forgotten; in one life nothing goes back."""
    stored: Observation | None = None
    young: list[Observation] = []
    """What this life has said, and may not have stored yet."""
    last: Observation | None = None
    for each in observations:
        # What ends processes, or breaks disks, may also have kept it from storing what it said.
        if last is not None and ("term" not in each.facts or _may_have_ended(node, last, each, faults)):
            last = None
            young.clear()
        if "term" not in each.facts:
            continue
        if last is not None:
            _check_life(last, each, findings)
        if stored is not None and each.facts["term"] < stored.facts["term"]:
            if not _was_wiped(node, stored, each, faults):
                findings.add("term back", f"{_termed(stored)}, and {_termed(each)}.", key=node)
            stored = None
        young.append(each)
        while young and each.at_ns - young[0].at_ns >= STORED_WITHIN_NS:
            stored = _later_term(stored, young.pop(0))
        if each.facts.get("state") == "leader":
            stored = _later_term(stored, each)
        last = each


def _check_life(one: Observation, other: Observation, findings: Findings) -> None:
    if other.facts["term"] < one.facts["term"]:
        findings.add("term back", f"{_termed(one)}, and {_termed(other)}, without a restart.", key=one.node)
    for name in ("commit", "applied"):
        if other.facts.get(name, 0) < one.facts.get(name, 0):
            text = f"{_told(one)} had {name} {one.facts[name]:,}, and {_told(other)} {other.facts[name]:,}."
            findings.add("index back", text, key=one.node)


def _check_majorities(telling: Sequence[Observation], history: History, findings: Findings) -> None:
    """Who leads has the votes of a majority, which are stored: fewer than half can have an older term afterwards."""
    servers_count = int(history.begin.options.get("servers", 0))
    # How many servers a cluster of others has is not known.
    is_foreign = bool(history.begin.options.get("at"))
    if not servers_count or is_foreign or any(_wipes(fault) for fault in history.faults):
        return
    first_led: dict[int, Observation] = {}
    for each in telling:
        if each.facts.get("state") == "leader":
            first_led.setdefault(each.facts["term"], each)
    for term, led in sorted(first_led.items()):
        behind = {
            each.node for each in telling if each.at_ns >= led.at_ns + OBSERVED_WITHIN_NS and each.facts["term"] < term
        }
        if 2 * len(behind) >= servers_count:
            text = f"{_told(led)} led in term {term}, but later {', '.join(sorted(behind))} had an older one."
            findings.add("votes forgotten", text, key=f"term {term}")


def _later_term(known: Observation | None, other: Observation) -> Observation:
    return other if known is None or other.facts["term"] > known.facts["term"] else known


def _between(one: Observation, other: Observation, fault: FaultWindow) -> bool:
    return fault.began_ns <= other.at_ns and one.at_ns <= fault.ended_ns


def _was_wiped(node: str, one: Observation, other: Observation, faults: Iterable[FaultWindow]) -> bool:
    """Whether a fault may have given it an empty disk."""
    return any(_may_hit(each, node) and _wipes(each) and _between(one, other, each) for each in faults)


def _wipes(fault: FaultWindow) -> bool:
    return any(words in fault.name for words in WIPING)


def _may_hit(fault: FaultWindow, node: str) -> bool:
    """An injection that failed half way names nobody, and may have hit anybody."""
    return not fault.nodes or node in fault.nodes


def _may_have_ended(node: str, one: Observation, other: Observation, faults: Iterable[FaultWindow]) -> bool:
    """Whether its process may have been another one at the second observation."""
    return any(
        _may_hit(each, node) and each.package not in PROCESSES_LIVE_ON and _between(one, other, each) for each in faults
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
    convicted: FaultWindow | None = None
    for chain, over_ns in _chains(faults):
        if chain[0] is convicted:
            continue  # the rest of a chain would say it again
        began_ns = chain[0].began_ns
        before = max((each.facts["term"] for each in telling if each.at_ns < began_ns), default=0)
        after = max((each.facts["term"] for each in telling if each.at_ns < over_ns), default=0)
        if before and after - before > ELECTIONS_PER_PARTITION_MAX * len(chain):
            whats = "; ".join(fault.what for fault in chain)
            text = f"Terms rose by {after - before} from {seconds(began_ns)} to {seconds(over_ns)}: {whats}."
            findings.add("too many elections", text, key=chain[-1].name)
            convicted = chain[0]


def _chains(faults: Iterable[FaultWindow]) -> Iterator[tuple[list[FaultWindow], int]]:
    """Yield partitions that follow each other, the first of them in the quiet, and until when nothing else can be why.

    A chain is yielded with each of its partitions anew.
    """
    ordered = sorted(faults, key=lambda fault: fault.began_ns)
    chain: list[FaultWindow] = []
    others_over_ns = chain_over_ns = BEGINNING_NS
    for fault, following in zip(ordered, [*ordered, None][1:], strict=True):
        over_ns = fault.ended_ns + fault.recovery_ns
        if fault.package != "partition" or "flapping" in fault.name or fault.began_ns < others_over_ns:
            others_over_ns = max(others_over_ns, over_ns)
            chain = []
            continue
        chain = [*chain, fault] if fault.began_ns < chain_over_ns else [fault]
        chain_over_ns = max(chain_over_ns, over_ns)
        # Who is asked before the next one begins may answer after it.
        yield chain, over_ns if following is None else min(over_ns, following.began_ns - OBSERVED_WITHIN_NS)


def _check_end(telling: Iterable[Observation], history: History, findings: Findings) -> None:
    """In the end every server has applied whatever anybody had applied or committed before."""
    digests = {} if history.end is None else history.end.facts.get("digests") or {}
    if history.end is None or not digests:
        return
    # Digests are taken after the final operations; what was said after that may be newer.
    final_ns = max((each.ended_ns for each in history.operations if each.phase == "final"), default=history.end.at_ns)
    before = [each for each in telling if each.at_ns + OBSERVED_WITHIN_NS <= final_ns]
    highest = max(before, key=_reached, default=None)
    for node, (index, _) in sorted(digests.items()):
        if highest is not None and index < _reached(highest):
            text = f"{_told(highest)} had committed or applied {_reached(highest):,}; in the end {node} has {index:,}."
            findings.add("applied went away", text, key=node)


def _reached(observation: Observation) -> int:
    facts = observation.facts
    return int(max(facts.get("commit", 0), facts.get("applied", 0)))


def _termed(observation: Observation) -> str:
    return f"{_told(observation)} was in term {observation.facts['term']}"


def _told(observation: Observation) -> str:
    return f"{observation.node} at {observation.at_ns / 1e9:.1f} s"
