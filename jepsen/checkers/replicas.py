"""Replicas: at one index all servers hold the same state."""

from collections import defaultdict

from jepsen.checkers.findings import Findings
from jepsen.checkers.verdict import Verdict
from jepsen.history import History


def check(history: History) -> Verdict:
    """Compare `End.facts["digests"]`: server -> [index, digest]. Not decided unless all could be compared."""
    told = None if history.end is None else history.end.facts.get("digests")
    if told is None:
        return Findings().verdict(
            checker="replicas", decided=False, summary="nobody was asked for a digest", checked_count=0
        )
    findings = Findings()
    at_index: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for node, (index, digest) in sorted(told.items()):
        at_index[index][digest].append(node)
    for index, digests in sorted(at_index.items()):
        if len(digests) > 1:
            sides = " and ".join(f"{', '.join(nodes)} ({digest[:12]})" for digest, nodes in digests.items())
            findings.add("replicas differ", f"At index {index:,} {sides} do not hold the same.")
    indexes = sorted(at_index)
    is_compared = len(indexes) == 1
    where = f"index {indexes[0]:,}" if is_compared else f"different indexes ({', '.join(map(str, indexes)) or 'none'})"
    return findings.verdict(
        checker="replicas",
        decided=is_compared,
        summary=f"{len(told)} servers at {where}: {', '.join(sorted(told))}",
        checked_count=len(told),
    )
