"""Sans-IO: keys that lost their lock with its session, and for how long nobody may lock them.

The old holder may not know yet that it holds the lock no more; the delay gives it time to notice. It is kept in memory
by every server that applies the end of the session, from that moment on its own clock, so a new leader that had
followed knows it too, and none counts it shorter than its predecessor. A server that starts from a snapshot, or is
sent one, does not know of what is in it.

Source: state store specification, section 4.
"""

import heapq
from collections.abc import Iterable

NANOSECONDS = 1e9
DELAYS_MAX = 262_144
"""Keys that are remembered one by one. Beyond, all keys have to wait as long as the one that found no place."""


class LockDelays:
    """Keys and when their delay is over. All times are monotonic seconds."""

    def __init__(self, *, count_max: int = DELAYS_MAX) -> None:
        self._count_max = count_max
        self._until_s: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []
        self._all_until_s = float("-inf")

    def __len__(self) -> int:
        """Return how many keys are remembered."""
        return len(self._until_s)

    def lost(self, locks: Iterable[tuple[bytes, int]], now_s: float) -> None:
        """Remember these (key, delay in nanoseconds) from now on."""
        self._sweep(now_s)
        for key, delay_ns in locks:
            until_s = now_s + delay_ns / NANOSECONDS
            known_s = self._until_s.get(key)
            if known_s is not None and known_s >= until_s:
                continue
            if len(self._heap) >= self._count_max:
                self._all_until_s = max(self._all_until_s, until_s)
                continue
            self._until_s[key] = until_s
            heapq.heappush(self._heap, (until_s, key))

    def remaining_s(self, key: bytes, now_s: float) -> float:
        """Return for how long `key` may not be locked yet, 0.0 if it may."""
        self._sweep(now_s)
        return max(0.0, self._until_s.get(key, now_s) - now_s, self._all_until_s - now_s)

    def _sweep(self, now_s: float) -> None:
        while self._heap and self._heap[0][0] <= now_s:
            until_s, key = heapq.heappop(self._heap)
            if self._until_s.get(key) == until_s:
                del self._until_s[key]
