"""After each healing the cluster must come back by itself, and the run must have come to its end."""

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
    trouble = [str(text) for text in history.end.facts.get("trouble", [])]
    return Verdict(
        checker="recovery",
        valid=not trouble,
        summary=f"{len(history.faults)} faults healed" if not trouble else trouble[0].splitlines()[0],
        checked_count=len(history.faults),
        anomalies_count=len(trouble),
        anomalies=[Anomaly(kind="did not come back", text=text) for text in trouble],
    )
