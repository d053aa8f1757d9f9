"""Sans-IO: Lamport clocks, and which times of others are believed. Source: wire format, section 7."""

TIME_MAX = 1 << 62
"""Times of others from here on are never believed: there must be room to count on. The wire has 64 bits, of which
members may take the first for a sign."""
LEAP_MAX = 1 << 48
"""How far another member's time may be ahead of a clock that has heard of others before.

Honest clocks advance by one an event, so nobody is ever that far ahead: 2^48 events are nine thousand years at a
thousand a second. Without the bound one message with the time 2^64 - 1 would leave every clock of the cluster without
a next value, for good; with it, tens of thousands of messages would be needed, each of them in the log.
A clock that has heard of nobody yet believes the first time it hears: whoever joins an old cluster must.
"""

assert LEAP_MAX < TIME_MAX < 1 << 63


class LamportClock:
    """Counts what happened. `time` is the next time to be given, and is above every time seen."""

    __slots__ = ("_fresh", "time")

    def __init__(self) -> None:
        self.time = 1
        self._fresh = True

    def plausible(self, time: int) -> bool:
        """Return whether an honest member may have sent `time`."""
        return 0 <= time < TIME_MAX and (self._fresh or time - self.time <= LEAP_MAX)

    def witness(self, time: int) -> bool:
        """Take notice of another's time; False, and nothing done, if it is not plausible."""
        if not self.plausible(time):
            return False
        if time >= self.time:
            self.time = time + 1
            self._fresh = False
        return True

    def stamp(self) -> int:
        """Return the time of something new of ours."""
        time = self.time
        self.time += 1
        return time
