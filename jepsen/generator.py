"""Who is broken when: a schedule of faults drawn from one seed. Pure."""

import random
from collections.abc import Sequence

import msgspec

from jepsen.nemesis.package import Fault

QUIET_S = (1.5, 3.5)
"""Between a healing and the next fault: long enough for a leader, short enough that recoveries are disturbed, too."""
FIRST_S = 2.0
"""Undisturbed at the start: whatever fails in it is nobody's fault but the cluster's."""
CALM_EVERY = 4
CALM_S = (2.0, 4.0)
"""Now and then the cluster gets all the time it may take to recover, and so much more, in which nothing is excused."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a schedule. What it does to whom is drawn from its own seed when it acts."""

    fault: str
    quiet_s: float
    """Wait so long after the healing of the one before."""
    hold_s: float
    seed: str


def schedule(rng: random.Random, faults: Sequence[type[Fault]], *, duration_s: float) -> list[Step]:
    """Return the steps that fill `duration_s` at least: all faults in random order, again and again.

    The run ends the schedule where its time is over; how long injections and healings take is not known here.
    """
    steps: list[Step] = []
    filled_s = 0.0
    recovery_s = 0.0
    while faults and filled_s < duration_s:
        for fault in rng.sample(list(faults), len(faults)):
            quiet_s = rng.uniform(*QUIET_S) if steps else FIRST_S
            if steps and len(steps) % CALM_EVERY == 0:
                quiet_s = recovery_s + rng.uniform(*CALM_S)
            hold_s = rng.uniform(*fault.hold_s)
            filled_s += quiet_s + hold_s
            steps.append(Step(fault=fault.name, quiet_s=quiet_s, hold_s=hold_s, seed=f"{rng.getrandbits(64):x}"))
            recovery_s = fault.recovery_s
    return steps
