"""What a checker says."""

from collections.abc import Callable

import msgspec

from jepsen.history import History, Operation

ANOMALIES_MAX = 20
"""One verdict names so many; the rest is only counted."""


class Anomaly(msgspec.Struct, frozen=True, kw_only=True):
    """One broken promise."""

    kind: str
    """A short stable word or two: lost, stale read, not linearizable, ..."""
    text: str
    """One or two sentences for a person."""
    key: str = ""
    operations: list[Operation] = []
    """The operations that show it, few enough to be drawn. The last one is what cannot be; drawings highlight it."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One checker's word on one run."""

    checker: str
    workload: str = ""
    valid: bool
    """False: a promise was broken."""
    decided: bool = True
    """False: the search was given up; neither good nor bad is shown, and the run does not pass."""
    summary: str
    """Figures in one line."""
    checked_count: int
    """Operations (or observations) that were judged."""
    anomalies_count: int = 0
    anomalies: list[Anomaly] = []
    took_s: float = 0.0

    @property
    def passed(self) -> bool:
        return self.valid and self.decided


Checker = Callable[[History], Verdict]
