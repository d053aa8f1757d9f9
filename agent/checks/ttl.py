"""Sans-IO: checks that turn critical unless somebody speaks for them in time. Times are monotonic seconds.

Source: agent specification, section 4.
"""

from heapq import heapify, heappop, heappush

EXPIRED_TEXT = "TTL expired"
EXPIRED_AFTER_TEXT = "TTL expired (last output before timeout follows): "
STALE_COUNT_MIN = 64


class TTLTimers:
    """The deadlines of all TTL checks."""

    def __init__(self) -> None:
        self._ttls_s: dict[str, float] = {}
        self._deadlines_s: dict[str, float] = {}
        self._outputs: dict[str, str] = {}
        self._heap: list[tuple[float, str]] = []

    def __contains__(self, check_id: str) -> bool:
        """Whether it is a TTL check."""
        return check_id in self._ttls_s

    def __len__(self) -> int:
        """Return how many TTL checks there are."""
        return len(self._ttls_s)

    def add(self, check_id: str, ttl_s: float, now_s: float, *, left_s: float | None = None, output: str = "") -> None:
        """Begin to wait for `check_id`, for `left_s` the first time where that is given (0 < left_s <= ttl_s)."""
        self._ttls_s[check_id] = ttl_s
        self._outputs[check_id] = output
        self._wait(check_id, now_s + (ttl_s if left_s is None else min(max(left_s, 0.0), ttl_s)))

    def remove(self, check_id: str) -> None:
        """Forget it; one that is unknown is no error."""
        self._ttls_s.pop(check_id, None)
        self._deadlines_s.pop(check_id, None)
        self._outputs.pop(check_id, None)

    def heard(self, check_id: str, output: str, now_s: float) -> None:
        """Somebody has spoken for it: its time begins anew."""
        self._outputs[check_id] = output
        self._wait(check_id, now_s + self._ttls_s[check_id])

    def left_s(self, check_id: str, now_s: float) -> float | None:
        """Return the time that is left, 0 after it expired; None: no TTL check."""
        if check_id not in self._ttls_s:
            return None
        return max(0.0, self._deadlines_s.get(check_id, now_s) - now_s)

    def expired(self, now_s: float) -> list[tuple[str, str]]:
        """Return the checks whose time has come, once each, with what is said of them."""
        found: list[tuple[str, str]] = []
        while self._heap and self._heap[0][0] <= now_s:
            deadline_s, check_id = heappop(self._heap)
            if self._deadlines_s.get(check_id) == deadline_s:
                del self._deadlines_s[check_id]
                output = self._outputs[check_id]
                found.append((check_id, EXPIRED_AFTER_TEXT + output if output else EXPIRED_TEXT))
        return found

    def next_s(self) -> float | None:
        """Return when to ask `expired` again, at the latest; None: nothing can expire."""
        return self._heap[0][0] if self._heap else None

    def _wait(self, check_id: str, deadline_s: float) -> None:
        self._deadlines_s[check_id] = deadline_s
        heappush(self._heap, (deadline_s, check_id))
        if len(self._heap) > 2 * len(self._deadlines_s) + STALE_COUNT_MIN:
            self._heap = [(at_s, name) for name, at_s in self._deadlines_s.items()]
            heapify(self._heap)
