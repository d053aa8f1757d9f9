"""The page of one run: a verdict first, then what broke, drawn, then everything over time. One HTML file, no network.

HTML and SVG are made by `markup.py` from the standard library: see there why by no template engine or plotting library.
All operations are aggregated into buckets of time, so the page's size hardly depends on their number.
"""

from collections.abc import Sequence
from pathlib import Path

from jepsen.checkers.verdict import Anomaly, Verdict
from jepsen.history import History
from jepsen.report import anomaly as anomalies
from jepsen.report import head, tables
from jepsen.report.markup import Markup, element
from jepsen.report.plot import WIDTH, Scene, TimeAxis
from jepsen.report.rates import latency, rates
from jepsen.report.series import NS_PER_S, Buckets, leaders, stays
from jepsen.report.style import document
from jepsen.report.summary import RunSummary, duration_ns, summarise
from jepsen.report.timeline import faults, roles, strips
from jepsen.report.words import plural

RATE_BUCKETS_MAX = 120
"""Coarser than the strips: a rate counted over a few operations is noise."""


def write(history: History, verdicts: list[Verdict], path: Path) -> None:
    """Write the page of a judged run; raises OSError."""
    path.write_text(html(history, verdicts), encoding="utf-8")


def html(history: History, verdicts: list[Verdict]) -> str:
    """Return the page of a judged run."""
    summary = summarise(history, verdicts)
    lines = stays(history.observations)
    scene = Scene(TimeAxis(duration_ns(history)), history.faults, leaders(lines), _final_ns(history))
    return document(
        f"{summary.word}: seed {summary.seed}",
        _fade(),
        head.banner(summary),
        head.facts(summary),
        head.verdict_table(verdicts),
        _broken(history, verdicts),
        _charts(history, scene, summary),
        tables.terms(scene.leaders, scene.axis.duration_ns),
        tables.errors(history),
        tables.replicas(history),
        tables.everything(history),
    )


def _final_ns(history: History) -> int | None:
    return min((each.began_ns for each in history.operations if each.phase == "final"), default=None)


def _fade() -> Markup:
    """What an unknown operation ends in; referred to by all drawings of anomalies."""
    stops = [element("stop", offset="0", class_="fade-from"), element("stop", offset="1", class_="fade-to")]
    return element("svg", element("defs", element("linearGradient", *stops, id="fade")), class_="defs")


def _broken(history: History, verdicts: Sequence[Verdict]) -> Markup:
    """Each anomaly, told and drawn."""
    cards = [
        _card(history, verdict, anomaly) for verdict in verdicts if not verdict.valid for anomaly in verdict.anomalies
    ]
    if not cards:
        return Markup("")
    more = sum(max(verdict.anomalies_count - len(verdict.anomalies), 0) for verdict in verdicts)
    return element(
        "section",
        element("h2", "What broke"),
        cards,
        element("p", f"{plural(more, 'more anomaly').replace('anomalys', 'anomalies')} not shown.", class_="note")
        if more
        else None,
    )


def _card(history: History, verdict: Verdict, anomaly: Anomaly) -> Markup:
    whose = f"{verdict.workload}, {verdict.checker}" if verdict.workload else verdict.checker
    key = f", key {anomaly.key}" if anomaly.key else ""
    return element(
        "div",
        element("h3", element("span", anomaly.kind, class_="kind"), f" ({whose}{key})"),
        element("p", anomaly.text, class_="text"),
        anomalies.draw(anomaly, history.faults),
        class_="card",
    )


def _charts(history: History, scene: Scene, summary: RunSummary) -> Markup:
    """All plots over the run's time, in one box, so that they scroll together and a cursor goes through all."""
    buckets = Buckets(scene.axis.duration_ns)
    view = (
        f'{{"width":{WIDTH},"left":{scene.axis.left:g},"right":{scene.axis.right:g},'
        f'"seconds":{scene.axis.duration_ns / NS_PER_S:.6f}}}'
    )
    by_workload = {workload.name: history.of(workload.name) for workload in summary.workloads}
    return element(
        "section",
        element("h2", "Over time"),
        element(
            "div",
            element(
                "div",
                faults(scene),
                roles(scene, stays(history.observations)),
                strips(scene, history.operations, buckets),
                rates(scene, history.operations, Buckets(scene.axis.duration_ns, RATE_BUCKETS_MAX)),
                [latency(scene, name, operations) for name, operations in by_workload.items()],
                class_="charts",
                data_view=view,
            ),
            class_="scroll",
        ),
    )
