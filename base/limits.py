"""Sans-IO: bounds on rates and counts."""

import math
from collections.abc import Iterable


class KeyedCap:
    """How many of something may exist at once, for each key (a source address, a token) and in total."""

    def __init__(self, *, per_key_max: int, total_max: int) -> None:
        self._per_key_max = per_key_max
        self._total_max = total_max
        self._counts: dict[str, int] = {}
        self.count = 0
        """How many exist now."""
        self.refused_count = 0
        """How many were refused since the start."""

    def enter(self, key: str) -> bool:
        """Count one more, or refuse (False)."""
        held = self._counts.get(key, 0)
        if held >= self._per_key_max or self.count >= self._total_max:
            self.refused_count += 1
            return False
        self._counts[key] = held + 1
        self.count += 1
        return True

    def leave(self, key: str) -> None:
        """One that had entered is gone."""
        held = self._counts[key]
        self.count -= 1
        if held == 1:
            del self._counts[key]
        else:
            self._counts[key] = held - 1

    def resize(self, *, per_key_max: int, total_max: int) -> None:
        """Change the bounds; those inside stay."""
        self._per_key_max = per_key_max
        self._total_max = total_max


class TokenBucket:
    """At most `burst` at once and `rate_per_s` in the long run. Time is handed in, monotonic seconds."""

    def __init__(self, *, rate_per_s: float, burst: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._filled_at_s = now_s

    def take(self, now_s: float, count: float = 1.0) -> bool:
        """Take `count` tokens, or none of them (False) if there are not as many."""
        if now_s > self._filled_at_s:
            self._tokens = min(self._burst, self._tokens + (now_s - self._filled_at_s) * self._rate_per_s)
            self._filled_at_s = now_s
        if self._tokens < count:
            return False
        self._tokens -= count
        return True


class Seldom:
    """Lets one through in each `pause_s`, and counts the others: for lines of the log that others can cause."""

    def __init__(self, pause_s: float) -> None:
        self._pause_s = pause_s
        self._next_s = -math.inf
        self._count = 0

    def count(self, now_s: float) -> int:
        """Return 0 for "not now", else how many there were since it last returned something else, this one included."""
        self._count += 1
        if now_s < self._next_s:
            return 0
        count, self._count = self._count, 0
        self._next_s = now_s + self._pause_s
        return count


class Turns:
    """Who of many is next where only some can be: those that never were, then those for whom it is longest ago."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._last: dict[str, int] = {}
        self._number = 0

    def pick(self, keys: Iterable[str]) -> list[str]:
        """Return up to `count_max` of `keys`, which are those that there are now: all others are forgotten."""
        wanted = dict.fromkeys(keys)
        self._last = {key: number for key, number in self._last.items() if key in wanted}
        picked = sorted(wanted, key=lambda key: self._last.get(key, 0))[: self._count_max]
        for key in picked:
            self._number += 1
            self._last[key] = self._number
        return picked
