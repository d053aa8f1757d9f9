"""The tables at the end of the page: leaders by term, errors by node, replicas, and the run's own options."""

from collections.abc import Sequence

import msgspec

from jepsen.history import History
from jepsen.report.head import table
from jepsen.report.markup import Markup, element
from jepsen.report.series import NS_PER_S, Leader, error_classes, natural
from jepsen.report.words import seconds, short, span

ERROR_CLASSES_MAX = 20
ERROR_CHARACTERS_MAX = 160
TERMS_MAX = 200
TERMS_OPEN_MAX = 25
"""More are there, but folded away."""
FACTS_CHARACTERS_MAX = 20_000


def terms(leaders: Sequence[Leader], duration_ns: int) -> Markup:
    """Who led in which term, and how long nobody was seen leading before."""
    rows = []
    before_ns = 0
    for leader in leaders[:TERMS_MAX]:
        nobody_s = max(leader.first_ns - before_ns, 0) / NS_PER_S
        before_ns = max(before_ns, leader.last_ns)
        until = "the end" if leader.last_ns >= duration_ns - 2 * NS_PER_S else seconds(leader.last_ns, 1)
        rows.append(
            element(
                "tr",
                element("td", leader.term),
                element("td", leader.node, class_="keep"),
                element("td", seconds(leader.first_ns, 1), class_="n"),
                element("td", until, class_="n"),
                element("td", span((leader.last_ns - leader.first_ns) / NS_PER_S), class_="n"),
                element("td", span(nobody_s), class_="n"),
                element("td", "two leaders in one term" if leader.shared else "", class_="bad-text"),
            )
        )
    names = ("Term", "Leader", "First seen#", "Last seen#", "For#", "Nobody before#", "")
    more = len(leaders) - TERMS_MAX
    shown = table(names, rows, narrow=True)
    if len(rows) > TERMS_OPEN_MAX:
        shown = element("details", element("summary", f"{len(rows)} terms"), shown)
    return element(
        "section",
        element("h2", "Terms and leaders"),
        shown if rows else element("p", "No server was seen leading.", class_="nothing"),
        element("p", f"{more} more terms.", class_="note") if more > 0 else None,
        element("p", "As the servers said of themselves, asked twice a second.", class_="note") if rows else None,
    )


def errors(history: History) -> Markup:
    """What clients were told, class by class, by the node that was asked."""
    classes = error_classes(history.operations, history.faults)
    nodes = sorted({node for each in classes for node in each.by_node}, key=natural)
    rows = [
        element(
            "tr",
            element("td", element("code", short(each.text, ERROR_CHARACTERS_MAX)), class_="wide"),
            element("td", str(each.outcome), class_="keep"),
            [element("td", f"{each.by_node.get(node, 0) or ''}", class_="n") for node in nodes],
            element("td", f"{each.total:,}", class_="n"),
            element("td", f"{each.outside_count:,}", class_="n bad-text" if each.outside_count else "n"),
        )
        for each in classes[:ERROR_CLASSES_MAX]
    ]
    more = len(classes) - ERROR_CLASSES_MAX
    names = ("Error", "Outcome", *(f"{node or '?'}#" for node in nodes), "All#", "Outside faults#")
    return element(
        "section",
        element("h2", "Errors"),
        table(names, rows) if rows else element("p", "No operation ended with an error.", class_="nothing"),
        element("p", f"{more} rarer classes of errors are not shown.", class_="note") if more > 0 else None,
        element("p", "Numbers within texts are shown as #.", class_="note") if rows else None,
    )


def replicas(history: History) -> Markup:
    """Each replica's digest after the run."""
    digests = history.end.facts.get("digests") if history.end else None
    if not isinstance(digests, dict) or not digests:
        return Markup("")
    agreed = len({str(each) for each in digests.values()}) == 1
    rows = []
    for node in sorted(digests, key=natural):
        pair = digests[node]
        index, digest = pair if isinstance(pair, list | tuple) and len(pair) == 2 else ("", pair)
        rows.append(
            element(
                "tr",
                element("td", node, class_="keep"),
                element("td", index, class_="n"),
                element("td", element("code", str(digest))),
            )
        )
    verdict = "All replicas ended with the same state." if agreed else "Replicas did not end with the same state."
    return element(
        "section",
        element("h2", "Replicas at the end"),
        element("p", verdict, class_=None if agreed else "bad-text"),
        table(("Node", "Index#", "Digest"), rows, narrow=True),
    )


def everything(history: History) -> Markup:
    """What else the history says of the run and the machine, as it is."""
    facts = {
        "options": history.begin.options,
        "machine": history.begin.machine,
        "end": history.end.facts if history.end else None,
    }
    shown = msgspec.json.format(msgspec.json.encode(facts), indent=2).decode("utf-8")
    return element(
        "section",
        element(
            "details",
            element("summary", "Options, machine and end of the run as recorded"),
            element("div", element("pre", short(shown, FACTS_CHARACTERS_MAX)), class_="scroll"),
        ),
    )
