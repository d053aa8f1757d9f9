"""Sans-IO: timers by key in one heap: set, moved, cancelled, run in the order of their times.

A key has at most one timer. What was moved or cancelled stays in the heap until its old time comes or until such
leftovers outnumber the living timers, so that memory is bounded by the number of keys, however often each is moved.
"""

import heapq
import math
from collections.abc import Callable, Hashable

Action = Callable[[float], None]
"""Called with the time at which it runs, which may be later than the one it was set for."""

LEFTOVERS_MIN = 64
"""So many leftovers are never worth a rebuild."""


class Timers:
    """What is to be done when."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Hashable, Action]] = []
        self._serials: dict[Hashable, int] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._serials)

    def set(self, key: Hashable, due_s: float, action: Action) -> None:
        """Run `action` at `due_s`, and forget the timer that `key` had."""
        self._serial += 1
        self._serials[key] = self._serial
        heapq.heappush(self._heap, (due_s, self._serial, key, action))
        if len(self._heap) > 2 * len(self._serials) + LEFTOVERS_MIN:
            self._heap = [entry for entry in self._heap if self._serials.get(entry[2]) == entry[1]]
            heapq.heapify(self._heap)

    def cancel(self, key: Hashable) -> None:
        """Forget the timer of `key`, if it has one."""
        self._serials.pop(key, None)

    def next_s(self) -> float:
        """Return when the next timer is due; infinite if there is none."""
        heap = self._heap
        while heap:
            entry = heap[0]
            if self._serials.get(entry[2]) == entry[1]:
                return entry[0]
            heapq.heappop(heap)
        return math.inf

    def run(self, now_s: float) -> None:
        """Run what is due by `now_s`. What an action sets for now or before runs the next time, lest this never end."""
        last_serial = self._serial
        while self.next_s() <= now_s and self._heap[0][1] <= last_serial:
            _, _, key, action = heapq.heappop(self._heap)
            del self._serials[key]
            action(now_s)
