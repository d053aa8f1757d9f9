"""One run in figures: small enough to be kept for ever, and what a matrix of runs is made of."""

from collections import Counter

import msgspec

from jepsen.checkers.verdict import Verdict
from jepsen.history import FaultWindow, History, Operation, Outcome

NS_PER_S = 1e9


class FaultCount(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a run."""

    name: str
    package: str
    counted: int
    """Injected, with its effect seen."""
    not_counted: int
    """Tried without effect, or impossible at that moment."""
    reasons: list[str]
    """Why not, each reason once."""


class WorkloadCount(msgspec.Struct, frozen=True, kw_only=True):
    """One workload of a run: operations by outcome."""

    name: str
    ok: int
    failed: int
    unknown: int
    declined: int
    """Of the failed: the server answered that it did not do it, e.g. a compare-and-set that came too late."""

    @property
    def total(self) -> int:
        return self.ok + self.failed + self.unknown


class VerdictLine(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict without its drawings."""

    checker: str
    workload: str
    passed: bool
    valid: bool
    decided: bool
    summary: str
    checked_count: int
    anomalies_count: int
    took_s: float


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run without its operations. JSON by msgspec."""

    seed: int
    command: str
    version: str
    started: str
    duration_s: float
    """From the begin of the run to the end of its last operation or fact."""
    finished: bool
    """False: the history has no last line, the run was interrupted."""
    network: str
    """Mode: namespaces, links, plain."""
    missing: dict[str, str]
    """What the machine could not do -> why."""
    machine: dict[str, str]
    """Other facts of the machine."""
    options: dict[str, str]
    workloads: list[WorkloadCount]
    faults: list[FaultCount]
    verdicts: list[VerdictLine]
    leaders_count: int
    """Terms whose leader was seen."""
    trouble: list[str]
    """What the run itself complained of."""
    left_out: dict[str, str] = {}
    """Faults that were asked for and could not be had -> why."""
    no_turn: list[str] = []
    """Faults that were to be injected, and whose turn never came before the time was over."""
    folder: str = ""
    """Where its history and page are."""

    @property
    def passed(self) -> bool:
        """Whether it was a whole run and every checker is content; a run that nobody judged did not pass."""
        return self.finished and bool(self.verdicts) and all(verdict.passed for verdict in self.verdicts)

    @property
    def broken(self) -> bool:
        """Whether a promise was broken."""
        return any(not verdict.valid for verdict in self.verdicts)

    @property
    def word(self) -> str:
        """passed, broken, undecided: the verdict on the whole run."""
        if self.broken:
            return "broken"
        return "passed" if self.passed else "undecided"

    @property
    def is_calm(self) -> bool:
        """Whether faults were asked for, and of none the effect was seen."""
        return bool(self.faults or self.no_turn) and not any(fault.counted for fault in self.faults)

    @property
    def operations_count(self) -> int:
        return sum(workload.total for workload in self.workloads)


def summarise(history: History, verdicts: list[Verdict], folder: str = "") -> RunSummary:
    """Return the figures of one judged run."""
    machine = dict(history.begin.machine)
    missing = machine.pop("missing", {})
    network = str(machine.pop("network", ""))
    trouble = history.end.facts.get("trouble", []) if history.end else []
    options = dict(history.begin.options)
    left_out = options.pop("left out", {})
    tried = {fault.name for fault in history.faults}
    planned = options.get("faults", [])
    return RunSummary(
        seed=history.begin.seed,
        command=history.begin.command,
        version=history.begin.version,
        started=history.begin.started,
        duration_s=duration_ns(history) / NS_PER_S,
        finished=history.end is not None,
        network=network,
        missing={str(name): str(why) for name, why in missing.items()} if isinstance(missing, dict) else {},
        machine={name: _fact(value) for name, value in machine.items()},
        options={name: _fact(value) for name, value in options.items()},
        workloads=_workloads(history.operations),
        faults=_faults(history.faults),
        verdicts=[
            VerdictLine(
                checker=verdict.checker,
                workload=verdict.workload,
                passed=verdict.passed,
                valid=verdict.valid,
                decided=verdict.decided,
                summary=verdict.summary,
                checked_count=verdict.checked_count,
                anomalies_count=max(verdict.anomalies_count, len(verdict.anomalies)),
                took_s=verdict.took_s,
            )
            for verdict in verdicts
        ],
        leaders_count=len(
            {
                (each.facts.get("term"), each.node)
                for each in history.observations
                if each.facts.get("state") == "leader"
            }
        ),
        trouble=[str(each) for each in trouble] if isinstance(trouble, list) else [str(trouble)],
        left_out={str(name): str(why) for name, why in left_out.items()} if isinstance(left_out, dict) else {},
        no_turn=[str(name) for name in planned if name not in tried] if isinstance(planned, list) else [],
        folder=folder,
    )


def duration_ns(history: History) -> int:
    """Return the last moment that the history knows of, at least one millisecond."""
    ends = [
        max((operation.ended_ns for operation in history.operations), default=0),
        max((fault.ended_ns for fault in history.faults), default=0),
        max((observation.at_ns for observation in history.observations), default=0),
        history.end.at_ns if history.end else 0,
    ]
    return max(*ends, 1_000_000)


def is_declined(operation: Operation) -> bool:
    """Whether the server answered, and answered that it did not do it: an answer like any other, no trouble."""
    return operation.outcome is Outcome.FAILED and not operation.error


def _fact(value: object) -> str:
    """`True`, lists and tables as a person writes them."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _workloads(operations: list[Operation]) -> list[WorkloadCount]:
    counts: dict[str, Counter[str]] = {}
    for operation in operations:
        count = counts.setdefault(operation.workload, Counter())
        count[operation.outcome] += 1
        count["declined"] += is_declined(operation)
    return [
        WorkloadCount(
            name=name,
            ok=count["ok"],
            failed=count["failed"],
            unknown=count["unknown"],
            declined=count["declined"],
        )
        for name, count in sorted(counts.items())
    ]


def _faults(windows: list[FaultWindow]) -> list[FaultCount]:
    found: dict[tuple[str, str], list[FaultWindow]] = {}
    for window in windows:
        found.setdefault((window.package, window.name), []).append(window)
    return [
        FaultCount(
            name=name,
            package=package,
            counted=sum(1 for window in group if window.evidence),
            not_counted=sum(1 for window in group if not window.evidence),
            reasons=list(dict.fromkeys(window.what for window in group if not window.evidence)),
        )
        for (package, name), group in sorted(found.items())
    ]
