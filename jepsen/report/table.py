"""What the terminal shows: the verdicts of a run, the broken ones told in full; and what there is to choose from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jepsen.checkers.verdict import Verdict
from jepsen.history import History
from jepsen.machine import ABILITIES, Machine
from jepsen.nemesis.package import Fault
from jepsen.report.head import WORDS, sentence
from jepsen.report.summary import RunSummary, summarise
from jepsen.report.words import call, plural, printable, seconds, short, span
from jepsen.workloads.workload import Workload

ANOMALIES_SHOWN_MAX = 3
"""Of one verdict; the page has more of them."""
OPERATIONS_SHOWN_MAX = 12
NAME_WIDTH = 24
FILE_WIDTH = 160
"""Of output that goes to a file, where rich would fold it at 80."""
STYLES = {"passed": "bold blue", "broken": "bold red", "undecided": "bold magenta"}


class Described(Protocol):
    """Whatever has a line for people; mutants do."""

    @property
    def what(self) -> str: ...


def print_verdicts(
    history: History, verdicts: Sequence[Verdict], page: Path | None = None, *, console: Console | None = None
) -> None:
    """Print what the checkers say, to stdout unless another console is given. `page` is where the page is."""
    console = console or _stdout()
    summary = summarise(history, list(verdicts))
    console.print(_table(verdicts))
    for verdict in verdicts:
        if not verdict.valid:
            _print_anomalies(console, verdict)
    for fault in summary.faults:
        if fault.not_counted:
            reasons = "; ".join(fault.reasons)
            console.print(Text(printable(f"not counted: {fault.name} × {fault.not_counted}: {reasons}"), "yellow"))
    for name, why in summary.left_out.items():
        console.print(Text(printable(f"left out: {name}: {why}"), "yellow"))
    if summary.no_turn:
        console.print(Text(printable(f"no time for: {', '.join(summary.no_turn)}"), "yellow"))
    for trouble in summary.trouble:
        console.print(Text(printable(f"trouble: {trouble}"), "red"))
    _print_end(console, summary, page)


def print_catalogue(
    workloads: Mapping[str, type[Workload]],
    faults: Mapping[str, type[Fault]],
    absent: Mapping[str, str],
    mutants: Mapping[str, Described],
    machine: Machine,
    *,
    console: Console | None = None,
) -> None:
    """Print what there is to choose from; `absent` says of faults why this machine cannot have them."""
    console = console or _stdout()
    _print_list(console, "workloads", [(name, each.description, "") for name, each in workloads.items()])
    for package in dict.fromkeys(each.package for each in faults.values()):
        rows = [
            (name, each.description, absent.get(name, "")) for name, each in faults.items() if each.package == package
        ]
        _print_list(console, f"faults: {package}", rows)
    _print_list(console, "mutants (--break)", [(name, each.what, "") for name, each in mutants.items()])
    rows = [(ability, ABILITIES.get(ability, ""), "") for ability in ABILITIES if ability in machine.abilities]
    rows += [(ability, ABILITIES.get(ability, ""), why) for ability, why in machine.missing.items()]
    _print_list(console, "this machine", rows + [(name, value, "") for name, value in machine.facts.items()])


def _stdout() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=FILE_WIDTH)


def _print_list(console: Console, title: str, rows: Sequence[tuple[str, str, str]]) -> None:
    """Name, what it is, and where there is one: why it cannot be had."""
    console.print(Text(title, "bold"))
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, min_width=NAME_WIDTH)
    table.add_column(overflow="fold")
    for name, what, why_not in rows:
        said = Text(printable(what), "bright_black" if why_not else "")
        if why_not:
            said.append(f"\nnot here: {printable(why_not)}", "yellow")
        table.add_row(Text(printable(name), "bright_black" if why_not else "blue"), said)
    console.print(Padding(table, (0, 0, 1, 2)))


def _table(verdicts: Sequence[Verdict]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bright_black")
    table.add_column("")
    table.add_column("checker", no_wrap=True)
    table.add_column("workload", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("judged", justify="right", no_wrap=True)
    table.add_column("took", justify="right", no_wrap=True)
    for verdict in sorted(verdicts, key=lambda each: (not each.valid, not each.decided)):
        word = "broken" if not verdict.valid else "passed" if verdict.decided else "undecided"
        sign = {"passed": "✓", "broken": "✗", "undecided": "?"}[word]
        table.add_row(
            Text(f"{sign} {word}", STYLES[word]),
            _text(verdict.checker),
            _text(verdict.workload),
            _text(verdict.summary),
            f"{verdict.checked_count:,}",
            span(verdict.took_s) if verdict.took_s else "",
        )
    return table


def _print_anomalies(console: Console, verdict: Verdict) -> None:
    """The broken promises of one checker, each with its operations in the order of their begins."""
    for anomaly in verdict.anomalies[:ANOMALIES_SHOWN_MAX]:
        console.print()
        head = Text("✗ ", "bold red")
        whose = f"{verdict.checker} {verdict.workload}".strip()
        head.append(printable(anomaly.kind), "bold red")
        head.append(printable(f" ({whose}{', key ' + anomaly.key if anomaly.key else ''}): {anomaly.text}"))
        console.print(head)
        if not anomaly.operations:
            continue
        culprit = anomaly.operations[-1]
        table = Table(box=None, pad_edge=False, show_header=False)
        for operation in sorted(anomaly.operations[-OPERATIONS_SHOWN_MAX:], key=lambda each: each.began_ns):
            table.add_row(
                seconds(operation.began_ns),
                f"+{span((operation.ended_ns - operation.began_ns) / 1e9)}",
                f"client {operation.process}",
                _text(operation.node),
                _text(call(operation)),
                _text(short(operation.error, 60)),
                style="red" if operation is culprit else "",
            )
        console.print(Padding(table, (0, 0, 0, 2)))
    more = max(verdict.anomalies_count, len(verdict.anomalies)) - min(len(verdict.anomalies), ANOMALIES_SHOWN_MAX)
    if more > 0:
        console.print(Text(f"  and {more:,} more", "bright_black"))


def _print_end(console: Console, summary: RunSummary, page: Path | None) -> None:
    """Last, for that is what stays on the screen: the verdict, the seed, the command, the page."""
    console.print()
    line = Text(WORDS[summary.word], STYLES[summary.word])
    line.append(printable(f": {sentence(summary)}"), "default not bold")
    console.print(line)
    faults = sum(fault.counted for fault in summary.faults)
    console.print(
        Text(f"seed {summary.seed}, {span(summary.duration_s)}, {plural(faults, 'fault')}, network {summary.network}")
    )
    console.print(Text(f"again: {printable(summary.command)}"), soft_wrap=True)
    if page:
        console.print(Text(f"look:  {page}"), soft_wrap=True)


def _text(value: str) -> Text:
    return Text(printable(value))
