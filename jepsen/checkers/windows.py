"""When errors and delays are excused: while a fault holds or the machine stands still, and until recovery is over."""

from bisect import bisect_right
from collections.abc import Iterable

from jepsen.history import FaultWindow, Stall

SLACK_NS = 50_000_000
"""A fault may have begun to work this much before its recorded beginning."""


class Windows:
    """Windows of faults and stalls, those that overlap joined."""

    def __init__(self, faults: Iterable[FaultWindow | Stall]) -> None:
        self._began: list[int] = []
        self._ended: list[int] = []
        for fault in sorted(faults, key=lambda fault: fault.began_ns):
            began_ns, ended_ns = fault.began_ns - SLACK_NS, fault.ended_ns + fault.recovery_ns
            if self._ended and began_ns <= self._ended[-1]:
                self._ended[-1] = max(self._ended[-1], ended_ns)
            else:
                self._began.append(began_ns)
                self._ended.append(ended_ns)

    def touch(self, began_ns: int, ended_ns: int) -> bool:
        """Whether any moment between the two is excused."""
        at = bisect_right(self._began, ended_ns) - 1
        return at >= 0 and self._ended[at] >= began_ns

    def last_end(self, at_ns: int) -> int:
        """When what is excused at this moment, or was before, is over; 0 if nothing was."""
        at = bisect_right(self._began, at_ns) - 1
        return self._ended[at] if at >= 0 else 0
