"""After each healing the cluster must come back by itself, and the run must have come to its end.

A run that was to be one under faults, and in which none was seen to take effect, has decided nothing.
"""

from jepsen.checkers.verdict import Anomaly, Verdict
from jepsen.history import History


def check_recovery(history: History) -> Verdict:
    """Judge `End.facts`: what could not be healed in its time is in `trouble`."""
    if history.end is None:
        return Verdict(
            checker="recovery",
            valid=True,
            decided=False,
            summary="the history has no end: the run was interrupted",
            checked_count=0,
        )
    is_calm = no_fault_took_effect(history)
    trouble = [str(text) for text in history.end.facts.get("trouble", [])]
    return Verdict(
        checker="recovery",
        valid=not trouble,
        decided=not is_calm,
        summary=trouble[0].splitlines()[0] if trouble else _healed(history, is_calm=is_calm),
        checked_count=len(history.faults),
        anomalies_count=len(trouble),
        anomalies=[Anomaly(kind="did not come back", text=text) for text in trouble],
    )


def no_fault_took_effect(history: History) -> bool:
    """Whether faults were asked for, and of none the effect was seen."""
    is_asked = bool(history.begin.options.get("faults") or history.faults)
    return is_asked and not any(fault.evidence for fault in history.faults)


def _healed(history: History, *, is_calm: bool) -> str:
    if is_calm:
        return f"no fault took effect: {len(history.faults)} tried"
    return f"{len(history.faults)} faults healed"
