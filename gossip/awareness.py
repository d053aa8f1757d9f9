"""Sans-IO: how well this member itself keeps up. Source: Lifeguard, local health aware probe; wire format, section 6.2.

Who misses answers of many, or must refute what others say of him, has reason to doubt himself before the others: he
probes more slowly, and gives everybody more time to answer.
"""

from gossip.config import AWARENESS_MAX


class Awareness:
    """A score from 0 (well) to AWARENESS_MAX - 1."""

    def __init__(self, *, enabled: bool = True) -> None:
        """`enabled` false keeps the score at 0."""
        self._enabled = enabled
        self.score = 0

    def add(self, delta: int) -> None:
        """Move the score: successes take 1 away, missed answers and refutations add."""
        if self._enabled:
            self.score = min(max(self.score + delta, 0), AWARENESS_MAX - 1)

    def scaled(self, interval_s: float) -> float:
        """Return the interval as long as the score makes it."""
        return interval_s * (self.score + 1)
