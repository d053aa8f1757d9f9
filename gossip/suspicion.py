"""Sans-IO: how long a suspect stays suspect. Source: Lifeguard, local health aware suspicion; wire format, section 6.3.

A suspicion that nobody shares may be the fault of whoever has it, so it takes long to become a death; each further
member that suspects the same one on its own shortens it.
"""

import math

import msgspec

from gossip.config import SUSPICION_MAX_MULTIPLIER, Timing

SCALE_STEPS = 1000
"""The factor for the cluster's size, and times in seconds, are cut to so many parts, as foreign members do."""
NOT_CONFIRMING_COUNT = 2
"""The suspect and who suspects it first confirm nothing."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Between which times a suspicion runs out, and how many confirmations take it from one to the other."""

    least_s: float
    most_s: float
    confirmations_count: int


def limits_of(timing: Timing, members_count: int, *, lifeguard: bool = True) -> Limits:
    """Return the limits among so many known members, the dead included; without Lifeguard both are the least."""
    scale = max(1.0, math.log10(max(1, members_count)))
    least_s = timing.suspicion_multiplier * math.floor(scale * SCALE_STEPS) / SCALE_STEPS * timing.probe_interval_s
    wanted = timing.suspicion_multiplier - NOT_CONFIRMING_COUNT
    if not lifeguard or wanted < 1 or members_count - NOT_CONFIRMING_COUNT < wanted:
        return Limits(least_s=least_s, most_s=least_s, confirmations_count=0)
    return Limits(least_s=least_s, most_s=least_s * SUSPICION_MAX_MULTIPLIER, confirmations_count=wanted)


class Suspicion:
    """One suspect's time."""

    def __init__(self, started_s: float, sender: str, limits: Limits) -> None:
        self.started_s = started_s
        self._limits = limits
        self._senders = {sender: None}

    @property
    def confirmations_count(self) -> int:
        """How many others share it."""
        return len(self._senders) - 1

    @property
    def deadline_s(self) -> float:
        """When it becomes a death."""
        limits = self._limits
        if not self.confirmations_count:
            return self.started_s + limits.most_s
        share = math.log(self.confirmations_count + 1) / math.log(limits.confirmations_count + 1)
        timeout_s = limits.most_s - (limits.most_s - limits.least_s) * share
        return self.started_s + max(limits.least_s, math.floor(timeout_s * SCALE_STEPS) / SCALE_STEPS)

    def confirm(self, sender: str) -> bool:
        """Take another's suspicion; false if it adds nothing: known already, or more than are needed."""
        if self.confirmations_count >= self._limits.confirmations_count or sender in self._senders:
            return False
        self._senders[sender] = None
        return True

    def postpone(self, gap_s: float) -> None:
        """Do not count a time during which nothing could be heard."""
        self.started_s += gap_s
