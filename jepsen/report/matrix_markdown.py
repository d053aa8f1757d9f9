"""The figures of a campaign as Markdown, for what is kept of it in docs/."""

from collections.abc import Mapping, Sequence

from jepsen.report.head import WORDS
from jepsen.report.matrix import SIGNS, all_left_out, cells, fault_totals, overall, totals
from jepsen.report.summary import RunSummary
from jepsen.report.words import printable, span

SHOWN_FACTS_MAX = 20


def summary_markdown(
    results: Sequence[RunSummary],
    *,
    title: str = "",
    lost: Sequence[str] = (),
    left_out: Mapping[str, str] | None = None,
) -> str:
    """Return the whole campaign: verdict, machine, workloads by faults, outcomes, faults, every run with its seed.

    `lost` are the names of runs that left no summary, `left_out` says of faults why no run could have them.
    """
    blocks = [f"# {title}"] if title else []
    blocks.append(f"**{WORDS[overall(results, lost)]}.** {_cell(totals(results, lost))}")
    blocks += [_machine(results), _grid(results), _outcomes(results), _faults(results, left_out), _runs(results)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _machine(results: Sequence[RunSummary]) -> str:
    facts = {name: value for run in results for name, value in run.machine.items()}
    modes = sorted({run.network for run in results if run.network})
    versions = sorted({run.version for run in results})
    lines = [f"- Version: {', '.join(versions)}", f"- Network mode: {', '.join(modes) or 'not known'}"]
    lines += [f"- {name}: {value}" for name, value in sorted(facts.items())[:SHOWN_FACTS_MAX]]
    missing = {ability: why for run in results for ability, why in run.missing.items()}
    lines += [f"- Not possible on this machine: {ability} ({why})" for ability, why in sorted(missing.items())]
    return "\n".join(["## Machine", "", *(_cell(line) for line in lines)])


def _grid(results: Sequence[RunSummary]) -> str:
    workloads, packages, found = cells(results)
    if not workloads:
        return ""
    rows = []
    for workload in workloads:
        row = [workload]
        for package in packages:
            cell = found.get((workload, package))
            row.append(f"{SIGNS[cell.word]} {cell.operations_count:,} / {cell.faults_count:,}" if cell else "–")
        rows.append(row)
    words = (
        "Operations / faults with their effect seen. A run under several packages of faults counts under each; "
        f"{SIGNS['untried']} where nothing broke, but no fault took effect."
    )
    return f"## Workloads by faults\n\n{words}\n\n{_table(['', *packages], rows, figures=set())}"


def _outcomes(results: Sequence[RunSummary]) -> str:
    counts: dict[str, list[int]] = {}
    for run in results:
        for each in run.workloads:
            row = counts.setdefault(each.name, [0, 0, 0, 0])
            for at, count in enumerate((each.ok, each.declined, each.failed - each.declined, each.unknown)):
                row[at] += count
    rows = [[name, *(f"{count:,}" for count in row), f"{sum(row):,}"] for name, row in sorted(counts.items())]
    if len(rows) > 1:
        sums = [sum(row[at] for row in counts.values()) for at in range(4)]
        rows.append(["all", *(f"{count:,}" for count in sums), f"{sum(sums):,}"])
    head = ["workload", "ok", "declined", "failed", "unknown", "all"]
    return f"## Operations\n\n{_table(head, rows, figures=set(range(1, 6)))}" if rows else ""


def _faults(results: Sequence[RunSummary], left_out: Mapping[str, str] | None) -> str:
    rows = [
        [package, name, f"{counted:,}", f"{not_counted:,}", f"{runs_count:,}"]
        for package, name, counted, not_counted, runs_count in fault_totals(results)
    ]
    head = ["package", "fault", "effect seen", "not counted", "runs"]
    blocks = [_table(head, rows, figures={2, 3, 4})] if rows else []
    absent = all_left_out(results, left_out)
    if absent:
        lines = "\n".join(_cell(f"- {name}: {why}") for name, why in absent.items())
        blocks.append(f"Left out, since this machine cannot have them:\n\n{lines}")
    return "\n\n".join(["## Faults", *blocks]) if blocks else ""


def _runs(results: Sequence[RunSummary]) -> str:
    rows = [
        [
            f"{SIGNS[run.word]} {run.word}",
            str(run.seed),
            f"{run.operations_count:,}",
            f"{sum(fault.counted for fault in run.faults):,}",
            span(run.duration_s),
            f"`{run.command.replace('`', chr(39))}`",
            "; ".join(f"{each.checker}: {each.summary}" for each in run.verdicts if not each.passed),
        ]
        for run in results
    ]
    head = ["verdict", "seed", "operations", "faults", "duration", "command", "what failed"]
    return f"## Runs\n\n{_table(head, rows, figures={1, 2, 3, 4})}" if rows else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, figures: set[int]) -> str:
    """A table; columns at the positions in `figures` are right-aligned."""
    rule = ["---:" if at in figures else "---" for at in range(len(head))]
    return "\n".join("| " + " | ".join(_cell(each) for each in row) + " |" for row in (head, rule, *rows))


def _cell(value: str) -> str:
    """Text that stays in its cell, and is no markup: what failed may quote the cluster."""
    return printable(value).replace("|", "\\|").replace("<", "&lt;")
