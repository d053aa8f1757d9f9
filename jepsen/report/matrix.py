"""What many runs come to: totals, and workloads by packages of faults. Pure; the page and the Markdown show it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from jepsen.report.summary import RunSummary
from jepsen.report.words import plural, span

NO_FAULT = "no fault"
SIGNS = {"passed": "✓", "broken": "✗", "undecided": "?", "untried": "○"}


class Cell(msgspec.Struct, kw_only=True):
    """What was tried of one workload under one package of faults."""

    runs: list[RunSummary]
    operations_count: int = 0
    """Of the workload, in all these runs; a run under several packages counts under each."""
    faults_count: int = 0
    """Of the package, with their effect seen."""
    word: str = "passed"
    """The worst verdict on the workload, or on the whole cluster, in any of these runs; "untried" where nothing is
    wrong, but no fault of the package took effect."""


def overall(runs: Sequence[RunSummary], lost: Sequence[str] = ()) -> str:
    """Return passed, broken or undecided: the worst word of all runs. No run at all, or a lost one, decides nothing."""
    words = [run.word for run in runs]
    return _worst(words if words and not lost else [*words, "undecided"])


def totals(runs: Sequence[RunSummary], lost: Sequence[str] = ()) -> str:
    """Everything in one sentence. `lost` are names of runs that left no summary."""
    faults = sum(fault.counted for run in runs for fault in run.faults)
    checked = sum(run.operations_count for run in runs)
    failing = [run for run in runs if run.word != "passed"]
    said = f"{plural(len(runs), 'run')}, {plural(checked, 'operation')}, {plural(faults, 'fault')}, "
    said += f"{span(sum(run.duration_s for run in runs))} of cluster time"
    said += f"; ended without a result: {', '.join(lost)}" if lost else ""
    seeds = ", ".join(str(run.seed) for run in failing)
    return f"{said}; not passed: {'seed' if len(failing) == 1 else 'seeds'} {seeds}." if failing else f"{said}."


def cells(runs: Sequence[RunSummary]) -> tuple[list[str], list[str], dict[tuple[str, str], Cell]]:
    """Return workloads, packages of faults, and what was tried of each pair."""
    found: dict[tuple[str, str], Cell] = {}
    packages: list[str] = []
    for run in runs:
        counted = Counter[str]()
        for fault in run.faults:
            counted[fault.package] += fault.counted
        for package in counted or [NO_FAULT]:
            if package not in packages:
                packages.append(package)
            for workload in run.workloads:
                cell = found.setdefault((workload.name, package), Cell(runs=[]))
                cell.runs.append(run)
                cell.operations_count += workload.total
                cell.faults_count += counted[package]
                cell.word = _worst([cell.word, word_on(run, workload.name)])
    for (_, package), cell in found.items():
        if package != NO_FAULT and not cell.faults_count and cell.word == "passed":
            cell.word = "untried"
    workloads = sorted({workload for workload, _ in found})
    packages.sort(key=lambda package: (package == NO_FAULT, package))
    return workloads, packages, found


def word_on(run: RunSummary, workload: str) -> str:
    """Return the verdict on one workload of a run; checkers of the whole cluster speak for every workload."""
    verdicts = [verdict for verdict in run.verdicts if verdict.workload in (workload, "")]
    if any(not verdict.valid for verdict in verdicts):
        return "broken"
    return "passed" if run.finished and verdicts and all(verdict.passed for verdict in verdicts) else "undecided"


def _worst(words: Iterable[str]) -> str:
    order = ("passed", "undecided", "broken")
    return max(words, key=order.index)


def all_left_out(runs: Sequence[RunSummary], left_out: Mapping[str, str] | None) -> dict[str, str]:
    """Return fault -> why it could not be had, of the campaign (`left_out`) and of its runs; sorted."""
    found = {name: why for run in runs for name, why in run.left_out.items()}
    return dict(sorted({**found, **(left_out or {})}.items()))


def fault_totals(runs: Sequence[RunSummary]) -> list[tuple[str, str, int, int, int]]:
    """Return package, fault, times counted, times not counted, in how many runs; sorted."""
    counted, not_counted, in_runs = Counter[tuple[str, str]](), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for run in runs:
        for fault in run.faults:
            counted[fault.package, fault.name] += fault.counted
            not_counted[fault.package, fault.name] += fault.not_counted
            in_runs[fault.package, fault.name] += 1
    return [(*name, counted[name], not_counted[name], in_runs[name]) for name in sorted(in_runs)]
