"""The links of a crowd: what a datagram and a stream take, and what is lost on the way.

A link loses each datagram with the same probability, on its own. A stream is what TCP makes of such links: a lost
handshake costs a second, then two, four and so on; a lost segment of the message costs a round trip if others follow
it, and else a time-out of 0.2 s, which doubles.
"""

import random
from typing import Final

from tests.sim.gossip_world import SimMember

LATENCY_S_MIN: Final = 0.0002
LATENCY_JITTER_S: Final = 0.0003
"""Mean of what comes on top, exponentially distributed: a local network with a queue here and there."""
DEAF_S_MIN, DEAF_S_MAX = 0.5, 10.0
"""How long something waits at a member that is deaf: drawn evenly from this."""
HANDSHAKE_TIMEOUT_S: Final = 1.0
SEGMENT_TIMEOUT_S: Final = 0.2
SEGMENT_BYTES: Final = 1448
TRIES_MAX: Final = 8
"""Then a stream is given up; every deadline has passed long before."""
NEVER_S: Final = 1e6


class Links:
    """All links, alike. `loss` may be changed at any time."""

    def __init__(self, seed: int, loss: float = 0.0) -> None:
        self.loss = loss
        self.deaf: dict[str, None] = {}
        """Members that take whatever comes only after a while."""
        self._rng = random.Random(f"{seed}/links")

    def latency_s(self, sender: SimMember, receiver: SimMember) -> float:
        """Return how long one datagram is on its way, and waits to be taken."""
        latency_s = LATENCY_S_MIN + self._rng.expovariate(1 / LATENCY_JITTER_S)
        if self.deaf and receiver.name in self.deaf:
            latency_s += self._rng.uniform(DEAF_S_MIN, DEAF_S_MAX)
        return latency_s

    def lost(self, sender: SimMember, receiver: SimMember) -> bool:
        """Whether this datagram is lost."""
        return self.loss > 0 and self._rng.random() < self.loss

    def stream_delay_s(self, sender: SimMember, receiver: SimMember, bytes_count: int, opens: bool) -> float:
        """Return how long a message takes on a stream, that of its handshake included if it `opens` one."""
        delay_s = self.latency_s(sender, receiver)
        if opens:
            delay_s += 2 * (LATENCY_S_MIN + LATENCY_JITTER_S)  # the system answers, however slow the member is
        if self.loss <= 0:
            return delay_s
        if opens:
            delay_s += self._tries_s(HANDSHAKE_TIMEOUT_S, 2)
        segments_count = -(-bytes_count // SEGMENT_BYTES)
        lost_count = sum(self._rng.random() < self.loss for _ in range(segments_count - 1))
        return delay_s + lost_count * 2 * LATENCY_S_MIN + self._tries_s(SEGMENT_TIMEOUT_S, 1)

    def _tries_s(self, timeout_s: float, legs_count: int) -> float:
        """Return what is lost in time until one try gets over so many legs."""
        through = (1 - self.loss) ** legs_count
        spent_s = 0.0
        for _ in range(TRIES_MAX):
            if self._rng.random() < through:
                return spent_s
            spent_s += timeout_s
            timeout_s *= 2
        return NEVER_S
