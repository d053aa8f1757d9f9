"""Which checkers judge a history: those of the workloads in it, and the general ones."""

import time
import traceback

import msgspec

from jepsen.checkers import outcomes, replicas, terms
from jepsen.checkers.recovery import check_recovery
from jepsen.checkers.verdict import Checker, Verdict
from jepsen.history import History, Outcome
from jepsen.workloads.registry import WORKLOADS

GENERAL: list[Checker] = [outcomes.check, replicas.check, terms.check, check_recovery]
"""They judge every history, but for `_silent`."""


def checkers_for(history: History) -> list[Checker]:
    """Return the judges of this history, those of its workloads first."""
    chosen: list[Checker] = []
    for name in sorted({*history.workloads(), *_asked_for(history)}):
        own = WORKLOADS[name].checkers() if name in WORKLOADS else []
        chosen += own or [_nobody(name)]
    silent = _silent(history)
    return chosen + [checker for checker in GENERAL if checker not in silent]


def _silent(history: History) -> list[Checker]:
    """Those for whom a cluster of others (`--at`) has nothing to judge: it shows no digests, and perhaps no terms."""
    if not history.begin.options.get("at"):
        return []
    is_told = any("term" in each.facts for each in history.observations)
    return [replicas.check] if is_told else [replicas.check, terms.check]


def judge(history: History) -> list[Verdict]:
    """Ask every checker, and time it. One that fails has not decided; the others are asked all the same."""
    verdicts = []
    for checker in checkers_for(history):
        began_s = time.perf_counter()
        try:
            verdict = checker(history)
        except (
            Exception
        ) as error:  # border: a history may hold anything, and one checker's fall must not hide another's word
            verdict = _fallen(checker, error)
        verdicts.append(msgspec.structs.replace(verdict, took_s=time.perf_counter() - began_s))
    acknowledged = {each.workload for each in history.operations if each.outcome is Outcome.OK and each.phase == "main"}
    return [each if each.workload in acknowledged or not each.workload else _of_nothing(each) for each in verdicts]


def _asked_for(history: History) -> list[str]:
    """The workloads that the run was to have; one that did nothing at all must not be forgotten."""
    names = history.begin.options.get("workloads")
    return [str(name) for name in names] if isinstance(names, list) else []


def _of_nothing(verdict: Verdict) -> Verdict:
    """Where nothing was acknowledged before the final reads, nothing that was found says that a promise was kept."""
    summary = f"no operation was acknowledged; {verdict.summary}"
    return msgspec.structs.replace(verdict, decided=False, summary=summary)


def _fallen(checker: Checker, error: Exception) -> Verdict:
    name = f"{checker.__module__.rpartition('.')[2]}"
    [*_, frame] = traceback.extract_tb(error.__traceback__)
    return Verdict(
        checker=name,
        valid=True,
        decided=False,
        summary=f"the checker failed with {type(error).__name__}: {error} ({frame.name}, line {frame.lineno})",
        checked_count=0,
    )


def _nobody(workload: str) -> Checker:
    def check(history: History) -> Verdict:
        return Verdict(
            checker="nobody",
            workload=workload,
            valid=True,
            decided=False,
            summary=f"no checker is known for the workload {workload!r}",
            checked_count=len(history.of(workload)),
        )

    return check
