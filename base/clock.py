"""Wall and monotonic seconds. The monotonic clock is trio's, so `trio.testing.MockClock` moves all of it.

Wall time is only ever shown or logged, or carried in a command that its proposer dates; never a deadline.
"""

import time
from typing import Protocol

import trio


class Clock(Protocol):
    """What a component may ask about time."""

    def monotonic_s(self) -> float:
        """Seconds that never go backwards and mean nothing outside this process."""
        ...

    def wall_unix_s(self) -> float:
        """Seconds since 1970 as the machine believes; may jump either way."""
        ...


class RealClock:
    """The machine's own clocks; `monotonic_s` needs a running trio loop."""

    def monotonic_s(self) -> float:
        """See Clock."""
        return trio.current_time()

    def wall_unix_s(self) -> float:
        """See Clock."""
        return time.time()
