"""Services: what was acknowledged stays as it is until it is changed, and in the end all show what each agent claims.

Each service has one writer, who is never in doubt (after an unknown end nobody touches it again). So at every moment it
is in one of at most two known states: `agent` reads at its own node, and reads of the catalog in mode default or
consistent where it was written there, must show one that was current while they were made. What was registered at an
agent stays (unless its disk is taken away: then it has another id), and comes to the catalog in its time; in the end
(`phase` final) the catalog, its health view, and the agent's own list are equal, at every node.

`health` has one state at each index, and its index does not go back: at any node in modes default and consistent, and
for one client at one server in mode stale, but for faults.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from jepsen.catalog_calls import check_of
from jepsen.checkers.findings import Findings
from jepsen.checkers.levels import Placed, too_low
from jepsen.checkers.lives import end_of, is_current, may_have_happened
from jepsen.checkers.models import STALE
from jepsen.checkers.verdict import Verdict
from jepsen.checkers.windows import Windows
from jepsen.checkers.words import told
from jepsen.history import History, Observation, Operation, Outcome

WORKLOAD = "catalog"
ABSENT = 0
"""The version of what is not there."""
WRITES = ("register", "deregister", "catalog_register", "catalog_deregister")
Services = Mapping[str, int]


def check(history: History) -> Verdict:
    """Judge the workload `catalog`."""
    operations = history.of(WORKLOAD)
    findings = Findings()
    nodes = _nodes(operations)
    for name, wiped in _wiped(history.observations).items():
        if name in nodes:
            nodes[name].wiped = wiped
    answers = [each for each in operations if each.outcome is Outcome.OK and each.function not in WRITES]
    for each in sorted(answers, key=lambda each: each.began_ns):
        if each.function == "agent":
            versions = {service_id: version for service_id, (version, _) in each.output.items()}
            nodes[each.input["node"]].check(versions, each, is_eventual=False, findings=findings)
        elif each.function == "node_services":
            node = nodes[each.input["node"]]
            node.check(each.output, each, is_eventual=node.is_of_agent, findings=findings)
        elif each.function == "health":
            shown = _by_node(each)
            for name in {*shown, *nodes}:
                node = nodes.get(name) or _Node()
                node.check(shown.get(name, {}), each, is_eventual=node.is_of_agent, findings=findings)
    for each in operations:
        if each.function in ("deregister", "set_status") and each.outcome is Outcome.FAILED and not each.error:
            nodes[each.input["node"]].judge(each.input["id"], ABSENT, each, findings=findings)
    healths = [each for each in answers if each.function == "health"]
    windows = Windows([*history.faults, *history.stalls])
    servers = {each.node for each in history.observations if "term" in each.facts}
    _check_indexes(healths, windows, servers, findings)
    final = [each for each in answers if each.phase == "final"]
    is_read = _check_final(final, findings)
    written = sum(each.function in WRITES and each.outcome is Outcome.OK for each in operations)
    services = sum(len(node.services) for node in nodes.values())
    summary = f"{written:,} changes of {services:,} services at {len(nodes):,} nodes, {len(answers):,} answers"
    return findings.verdict(
        checker="catalog",
        workload=WORKLOAD,
        decided=is_read,
        summary=summary if is_read else f"{summary}; no final read of the catalog and of an agent",
        checked_count=len(operations),
    )


class _Node:
    """The services of one node, and who wrote what."""

    def __init__(self) -> None:
        self.services: dict[str, list[Operation]] = {}
        """Id -> its writes that may have happened, in their order."""
        self._ends: dict[str, list[int]] = {}
        self.wiped: list[tuple[int, int]] = []
        """When its agent began with an empty disk: after the one, before the other."""
        self._live: set[str] = set()
        """Those whose first write was over by now, and that were not deregistered for good yet."""
        self._turns: list[tuple[int, bool, str]] | None = None
        """When each of them comes and goes, the earliest last."""
        self.is_of_agent = True

    def add(self, write: Operation) -> None:
        self.services.setdefault(write.input["id"], []).append(write)
        self._ends.setdefault(write.input["id"], []).append(end_of(write))
        self.is_of_agent = not write.function.startswith("catalog")

    def _live_at(self, at_ns: int) -> set[str]:
        """The services that an answer which begins now must speak of; to be asked in the order of time."""
        if self._turns is None:
            turns = [(end_of(writes[0]), True, service_id) for service_id, writes in self.services.items()]
            for service_id, writes in self.services.items():
                if len(writes) > 1 and _version_of(writes[-1]) == ABSENT:
                    turns.append((end_of(writes[-1]), False, service_id))
            self._turns = sorted(turns, reverse=True)
        while self._turns and self._turns[-1][0] < at_ns:
            _, comes, service_id = self._turns.pop()
            (self._live.add if comes else self._live.discard)(service_id)
        return self._live

    def check(self, shown: Services, answer: Operation, *, is_eventual: bool, findings: Findings) -> None:
        """Judge what an answer shows of this node; one that is eventual, or stale, may be old."""
        may_be_old = is_eventual or not is_current(answer)
        for service_id in shown.keys() | (set() if may_be_old else self._live_at(answer.began_ns)):
            self.judge(service_id, shown.get(service_id, ABSENT), answer, may_be_old=may_be_old, findings=findings)

    def judge(
        self, service_id: str, version: int, answer: Operation, *, findings: Findings, may_be_old: bool = False
    ) -> None:
        """Judge what an answer shows of one service."""
        writes = self.services.get(service_id, [])
        # Before the last write that was over nothing counts.
        first = 0 if may_be_old else bisect_left(self._ends.get(service_id, []), answer.began_ns) - 1
        possible = [each for each in writes[max(0, first) :] if each.began_ns <= answer.ended_ns]
        if version == ABSENT and (first < 0 or self._may_be_wiped(writes, answer)):
            return
        if not any(_version_of(each) == version for each in possible):
            kind = self._kind_of(version, writes, answer)
            text = f"{service_id} has version {version or 'none'} here: {told(answer)}."
            findings.add(kind, text, key=answer.key, operations=[*possible[:2], answer])

    def _may_be_wiped(self, writes: Sequence[Operation], answer: Operation) -> bool:
        """Whether the agent began with an empty disk between the last known write and the answer."""
        before = [each for each in writes if each.began_ns <= answer.ended_ns]
        return any(
            before and before[-1].began_ns <= latest_ns and earliest_ns <= answer.ended_ns
            for earliest_ns, latest_ns in self.wiped
        )

    @staticmethod
    def _kind_of(version: int, writes: Sequence[Operation], answer: Operation) -> str:
        if version == ABSENT:
            return "lost"
        if version not in [_version_of(each) for each in writes if each.began_ns <= answer.ended_ns]:
            return "phantom"
        over = [each for each in writes if end_of(each) < answer.began_ns]
        return "came back" if over and _version_of(over[-1]) == ABSENT else "stale"


def _nodes(operations: Iterable[Operation]) -> dict[str, _Node]:
    nodes: dict[str, _Node] = {}
    for each in sorted(operations, key=lambda each: each.began_ns):
        if isinstance(each.input, dict) and "node" in each.input:
            node = nodes.setdefault(each.input["node"], _Node())
            if each.function in WRITES and may_have_happened(each):
                node.add(each)
    return nodes


def _wiped(observations: Iterable[Observation]) -> dict[str, list[tuple[int, int]]]:
    """Node -> when it was there under another id: it had lost its disk, and what its agent had been told."""
    last: dict[str, Observation] = {}
    found: dict[str, list[tuple[int, int]]] = {}
    for each in observations:
        if "id" not in each.facts:
            continue
        before = last.get(each.node)
        if before is not None and before.facts["id"] != each.facts["id"]:
            found.setdefault(each.node, []).append((before.at_ns, each.at_ns))
        last[each.node] = each
    return found


def _version_of(write: Operation) -> int:
    return int(write.input.get("version", ABSENT))


def _by_node(health: Operation) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for name, (version, _) in health.output["instances"].items():
        node, _, service_id = name.partition("/")
        found.setdefault(node, {})[service_id] = version
    return found


def _check_indexes(
    healths: Sequence[Operation], windows: Windows, servers: Collection[str], findings: Findings
) -> None:
    """One state at one index, which does not go back."""
    state_at: dict[int, Operation] = {}
    for each in healths:
        first = state_at.setdefault(each.output["index"], each)
        if first.output["instances"] != each.output["instances"]:
            text = f"{told(first)}; {told(each)}."
            findings.add("changed under one index", text, key=each.key, operations=[first, each])
        if each.output["index"] < 1:
            findings.add("index too low", f"{told(each)}.", key=each.key, operations=[each])
    back = [
        (one.operation, other.operation)
        for one, other in too_low(
            Placed(operation=each, level=each.output["index"], is_current=is_current(each)) for each in healths
        )
    ]
    at_one: dict[tuple[int, str], list[Operation]] = {}
    for each in sorted(healths, key=lambda each: each.began_ns):
        if each.mode == STALE and each.node in servers:
            at_one.setdefault((each.process, each.node), []).append(each)
    for in_a_row in at_one.values():
        back += [
            (one, other)
            for one, other in pairwise(in_a_row)
            if other.output["index"] < one.output["index"] and not windows.touch(one.began_ns, other.ended_ns)
        ]
    for one, other in back:
        text = f"{told(one)} was over when this began: {told(other)}."
        findings.add("index back", text, key=other.key, operations=[one, other])


def _check_final(final: Sequence[Operation], findings: Findings) -> bool:
    """All nodes show what each agent claims. Return whether anybody was asked."""
    claims = {each.input["node"]: each for each in final if each.function == "agent"}
    healths = [each for each in final if each.function == "health"]
    listed = [each for each in final if each.function == "node_services"]
    for node, claim in claims.items():
        versions = {service_id: version for service_id, (version, _) in claim.output.items()}
        for each in listed:
            if each.input["node"] == node and each.output != versions:
                _report(findings, claim, each, versions, each.output)
        for each in healths:
            shown = _claimed_in(each, node)
            if shown != claim.output:
                _report(findings, claim, each, claim.output, shown)
    for one, other in pairwise(healths):
        if _services_in(one) != _services_in(other):
            text = f"{told(one)}; {told(other)}."
            findings.add("final reads differ", text, key=other.key, operations=[one, other])
    return bool(claims and healths and listed)


def _report(
    findings: Findings, claim: Operation, answer: Operation, claimed: Mapping[str, Any], shown: Mapping[str, Any]
) -> None:
    differing = sorted(each for each in claimed.keys() | shown.keys() if claimed.get(each) != shown.get(each))
    first = differing[0]
    text = (
        f"{len(differing)} services of {claim.input['node']} are not as it claims, e.g. {first}: it says "
        f"{claimed.get(first)}, this {shown.get(first)}: {told(answer)}."
    )
    findings.add("did not converge", text, key=answer.key, operations=[claim, answer])


def _claimed_in(health: Operation, wanted: str) -> dict[str, list[Any]]:
    """What a health view shows of one agent's services, in the words of `agent`."""
    found = {}
    for name, (version, checks) in health.output["instances"].items():
        node, _, service_id = name.partition("/")
        if node == wanted:
            found[service_id] = [version, checks.get(check_of(service_id), "")]
    return found


def _services_in(health: Operation) -> dict[str, int]:
    """Checks of nodes may still change; the services may not."""
    return {name: version for name, (version, _) in health.output["instances"].items()}
