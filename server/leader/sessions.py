"""Sans-IO: when sessions have gone without renewal for so long that they are to be ended.

A session is armed for twice its TTL: in full when it is created, when it is renewed, and when its server has begun to
lead, since nobody else knows how much of its time had passed.

**Time is what the leader attended.** A leader that stood still (stopped, swapped out, a machine that slept) has not
seen the renewals that came meanwhile, so that time counts for at most `GAP_S_MAX`. What the wall clock says never
matters. A TTL is a lower bound: a session may live longer, never shorter.

**Who is due is doomed.** From the moment its end is asked for, until it has ended or this server leads no more, a
session is not renewed: whoever asks is told that it is gone, rather than that it lives while its end is in the log.

Source: state store specification, section 5; reliability notes on sessions.
"""

import heapq

TTL_FACTOR = 2.0
GAP_S_MAX = 1.0
"""Longest pause between two calls of `attend` that counts in full."""
HEAP_SLACK_COUNT = 1024
"""So many entries of the heap may be left over before it is made anew."""


class SessionTimers:
    """Deadlines by key of the session. All times handed in are monotonic seconds."""

    def __init__(self) -> None:
        self._deadlines: dict[bytes, float] = {}
        self._heap: list[tuple[float, bytes]] = []
        self._doomed: set[bytes] = set()
        self._attended_s = 0.0
        self._seen_s = 0.0

    def __len__(self) -> int:
        """Return how many sessions are armed."""
        return len(self._deadlines)

    def begin(self, now_s: float) -> None:
        """Forget everything: this server leads from now on, or its whole state was replaced."""
        self._deadlines.clear()
        self._heap.clear()
        self._doomed.clear()
        self._attended_s = 0.0
        self._seen_s = now_s

    def attend(self, now_s: float) -> None:
        """Count the time since the last call; to be called well within every `GAP_S_MAX`."""
        self._attended_s += min(max(0.0, now_s - self._seen_s), GAP_S_MAX)
        self._seen_s = now_s

    def arm(self, key: bytes, ttl_s: float, now_s: float) -> None:
        """Give a session all its time; one that is doomed stays so."""
        if key in self._doomed:
            return
        self.attend(now_s)
        deadline_s = self._attended_s + TTL_FACTOR * ttl_s
        known_s = self._deadlines.get(key)
        self._deadlines[key] = deadline_s
        if known_s is None or deadline_s < known_s:  # later ones are found when the earlier one comes up
            heapq.heappush(self._heap, (deadline_s, key))
            if len(self._heap) > 2 * len(self._deadlines) + HEAP_SLACK_COUNT:
                self._heap = sorted((at_s, each) for each, at_s in self._deadlines.items())

    def is_armed(self, key: bytes) -> bool:
        """Whether a session has a deadline, or has reached it."""
        return key in self._deadlines or key in self._doomed

    def is_doomed(self, key: bytes) -> bool:
        """Whether the end of a session was asked for."""
        return key in self._doomed

    def disarm(self, key: bytes) -> None:
        """A session has ended."""
        self._deadlines.pop(key, None)
        self._doomed.discard(key)

    def due(self, now_s: float, count_max: int) -> list[bytes]:
        """Return up to `count_max` sessions whose time is over, the longest first; they are doomed from now on."""
        self.attend(now_s)
        found: list[bytes] = []
        while self._heap and self._heap[0][0] <= self._attended_s and len(found) < count_max:
            _, key = heapq.heappop(self._heap)
            deadline_s = self._deadlines.get(key)
            if deadline_s is None:
                continue
            if deadline_s > self._attended_s:
                heapq.heappush(self._heap, (deadline_s, key))
                continue
            del self._deadlines[key]
            self._doomed.add(key)
            found.append(key)
        return found
