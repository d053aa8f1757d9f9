"""Sans-IO: when each check runs.

The first run comes at a random point of the interval, the next ones a full interval after the run before has ended. How
many run at one time is limited by lane: programs are dearer than connections, and neither shall keep the other waiting.
What is due and finds its lane full waits in line, first come first served; so a check that hangs costs the others one
place for as long as its own deadline lets it. Source: agent specification, section 4.
"""

import random
from collections import deque
from enum import StrEnum
from heapq import heapify, heappop, heappush

from structs.check_spec import CheckSpec

INTERVAL_S_MIN = 1.0
NETWORK_TIMEOUT_S_MAX = 10.0
PROGRAM_TIMEOUT_S = 30.0
STALE_FRACTION_MAX = 0.5
"""When more of the heap than this is of checks that are gone, they are cleared away."""


class Lane(StrEnum):
    """Who shares places with whom."""

    ASKING = "asking"
    PROCESSES = "processes"


LANES = {"script": Lane.PROCESSES, "docker": Lane.PROCESSES}
"""By kind; all others ask."""


def interval_s_of(spec: CheckSpec) -> float:
    """Return the pause between two runs."""
    return max(spec.interval_s, INTERVAL_S_MIN)


def timeout_s_of(spec: CheckSpec) -> float:
    """Return how long one run may take."""
    if spec.kind in ("script", "docker"):
        return spec.timeout_s or PROGRAM_TIMEOUT_S
    if spec.kind == "grpc":
        return spec.timeout_s or NETWORK_TIMEOUT_S_MAX
    interval_s = interval_s_of(spec)
    if 0 < spec.timeout_s < interval_s:
        return spec.timeout_s
    return min(interval_s, NETWORK_TIMEOUT_S_MAX)


class Planned:
    """One check in the schedule."""

    __slots__ = ("check_id", "interval_s", "is_removed", "is_running", "lane")

    def __init__(self, check_id: str, interval_s: float, lane: Lane) -> None:
        self.check_id = check_id
        self.interval_s = interval_s
        self.lane = lane
        self.is_running = False
        self.is_removed = False


class Schedule:
    """All checks of an agent that run at intervals. Times are monotonic seconds."""

    def __init__(self, places: dict[Lane, int], rng: random.Random) -> None:
        self._rng = rng
        self._free = dict(places)
        self._waiting: dict[Lane, deque[Planned]] = {lane: deque() for lane in places}
        self._heap: list[tuple[float, int, Planned]] = []
        self._pushed_total = 0
        self._stale_count = 0

    def add(self, check_id: str, *, interval_s: float, lane: Lane, now_s: float) -> Planned:
        """Plan a check's first run."""
        planned = Planned(check_id, interval_s, lane)
        self._push(now_s + self._rng.random() * interval_s, planned)
        return planned

    def remove(self, planned: Planned) -> None:
        """Plan no more runs of it. One that is under way keeps its place until `finished`."""
        if not planned.is_removed:
            planned.is_removed = True
            if not planned.is_running:
                self._stale_count += 1
                if self._stale_count > len(self._heap) * STALE_FRACTION_MAX:
                    self._clear_away()

    def due(self, now_s: float) -> list[Planned]:
        """Return what is to be run now, each with a place; `finished` must be called for each."""
        while self._heap and self._heap[0][0] <= now_s:
            planned = heappop(self._heap)[2]
            if planned.is_removed:
                self._stale_count = max(0, self._stale_count - 1)
            else:
                self._waiting[planned.lane].append(planned)
        started: list[Planned] = []
        for lane, waiting in self._waiting.items():
            while waiting and self._free[lane] > 0:
                planned = waiting.popleft()
                if not planned.is_removed:
                    planned.is_running = True
                    self._free[lane] -= 1
                    started.append(planned)
        return started

    def finished(self, planned: Planned, now_s: float) -> None:
        """A run has ended: its place is free, and the next one is planned."""
        planned.is_running = False
        self._free[planned.lane] += 1
        if not planned.is_removed:
            self._push(now_s + planned.interval_s, planned)

    def next_s(self) -> float | None:
        """Return when to ask `due` again, None: when something finishes or is added."""
        return self._heap[0][0] if self._heap else None

    @property
    def is_anyone_waiting(self) -> bool:
        """Whether a place that becomes free is wanted."""
        return any(self._waiting.values())

    def _push(self, at_s: float, planned: Planned) -> None:
        self._pushed_total += 1  # breaks ties in the order of planning
        heappush(self._heap, (at_s, self._pushed_total, planned))

    def _clear_away(self) -> None:
        self._heap = [row for row in self._heap if not row[2].is_removed]
        heapify(self._heap)
        for lane, waiting in self._waiting.items():
            self._waiting[lane] = deque(planned for planned in waiting if not planned.is_removed)
        self._stale_count = 0
