"""Makes a failing run short: fewer steps, less time, fewer clients, as long as the same promise is broken.

Delta debugging over the positions of the schedule, after "Simplifying and Isolating Failure-Inducing Input" (Zeller,
Hildebrandt).
"""

import math
import time

import msgspec

from tests.sim.plan import Plan, draw
from tests.sim.simulation import Outcome, run_seed

ATTEMPTS_MAX = 250
WALL_S_MAX = 45.0
"""A run takes a tenth of a second to half of one; people wait for the answer."""
DURATION_GRAIN_S = 0.1
RATE_DIVISORS = (16, 4, 2)


class Shrunk(msgspec.Struct, frozen=True, kw_only=True):
    """The shortest run that was found."""

    plan: Plan
    keep: tuple[int, ...]
    outcome: Outcome
    steps_before_count: int
    attempts_count: int
    minimal: bool
    """Without any one of its steps it does not fail any more; False where attempts or time ran out."""


def shrink(
    plan: Plan,
    seed: int,
    keep: tuple[int, ...] | None = None,
    *,
    attempts_max: int = ATTEMPTS_MAX,
    wall_s_max: float = WALL_S_MAX,
) -> Shrunk | None:
    """Shorten this run, with all steps of its schedule or those at these positions; None if it does not fail."""
    outcome = run_seed(plan, seed, keep)
    if outcome.violation is None:
        return None
    keep = tuple(range(len(draw(plan, seed)))) if keep is None else keep
    search = _Search(plan, keep, outcome, attempts_max, time.monotonic() + wall_s_max)
    search.run()
    return Shrunk(
        plan=search.plan,
        keep=search.keep,
        outcome=search.outcome,
        steps_before_count=len(keep),
        attempts_count=search.attempts_count,
        minimal=not search.exhausted,
    )


class _Search:
    """Holds the shortest failing run so far."""

    def __init__(self, plan: Plan, keep: tuple[int, ...], outcome: Outcome, attempts_max: int, until_s: float) -> None:
        self.plan = plan
        self.outcome = outcome
        self.keep = keep
        self.attempts_count = 0
        self.exhausted = False
        self._attempts_max = attempts_max
        self._until_s = until_s
        self._tried: set[tuple[Plan, tuple[int, ...]]] = set()

    def run(self) -> None:
        """Shorten until nothing helps any more: with fewer clients or less time other steps may have become idle."""
        before = None
        while before != (self.plan, self.keep):
            before = (self.plan, self.keep)
            self._cut_what_comes_after()
            self._without_accidents()
            self._reduce_steps()
            self._reduce_duration()
            for field in ("reads_rate", "writes_rate"):
                self._reduce_rate(field)

    def _try(self, plan: Plan, keep: tuple[int, ...]) -> bool:
        """Does this shorter run break the same promise? Then it is the one to go on with."""
        if (plan, keep) in self._tried or (plan, keep) == (self.plan, self.keep):
            return False
        if self.attempts_count >= self._attempts_max or time.monotonic() > self._until_s:
            self.exhausted = True
            return False
        self.attempts_count += 1
        self._tried.add((plan, keep))
        outcome = run_seed(plan, self.outcome.seed, keep)
        if outcome.kind != self.outcome.kind:
            return False
        self.plan, self.keep, self.outcome = plan, keep, outcome
        return True

    def _cut_what_comes_after(self) -> None:
        """What was to happen after the violation had no part in it."""
        ended_s = self.outcome.simulated_s
        steps = draw(self.plan, self.outcome.seed)
        keep = tuple(position for position in self.keep if steps[position].at_s <= ended_s)
        self._try(msgspec.structs.replace(self.plan, duration_s=min(self.plan.duration_s, _grain(ended_s))), keep)

    def _without_accidents(self) -> None:
        """A schedule that fails of its own tells more than one that waits for an accident."""
        for field in ("crash_in_sync", "crash_at_snapshot", "crash_again"):
            self._try(msgspec.structs.replace(self.plan, **{field: 0.0}), self.keep)

    def _reduce_steps(self) -> None:
        """Take away ever smaller parts of the schedule, until no single step can be missed."""
        size = len(self.keep)
        while size:
            start, reduced = 0, False
            while start < len(self.keep):
                if self._try(self.plan, self.keep[:start] + self.keep[start + size :]):
                    reduced = True  # what followed has moved to `start`
                else:
                    start += size
            size = size if reduced and size == 1 else size // 2

    def _reduce_duration(self) -> None:
        """Heal sooner after the last step."""
        steps = draw(self.plan, self.outcome.seed)
        last_s = max((steps[position].at_s for position in self.keep), default=0.0)
        for rest_s in (0.1, 0.5, 1.0, 2.0, 4.0, 8.0):
            if _grain(last_s + rest_s) < self.plan.duration_s and self._try(
                msgspec.structs.replace(self.plan, duration_s=_grain(last_s + rest_s)), self.keep
            ):
                return

    def _reduce_rate(self, field: str) -> None:
        """No clients, or few."""
        rate = getattr(self.plan, field)
        lower = [round(rate / divisor, 1) for divisor in RATE_DIVISORS]
        for candidate in (0.0, *(each for each in lower if 0.0 < each < rate)):
            if self._try(msgspec.structs.replace(self.plan, **{field: candidate}), self.keep):
                return


def _grain(time_s: float) -> float:
    """The next tenth of a second that lies after this time."""
    return round((math.floor(time_s / DURATION_GRAIN_S) + 1) * DURATION_GRAIN_S, 1)
