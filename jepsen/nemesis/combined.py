"""Two faults at once, on one schedule: the second begins a moment after the first, and ends a moment before or after.

Which ends first is drawn, so that a server also wakes up, or starts, while the network is still cut. What waits for
others comes later: disks wait until all servers answer, changes of members for a majority. Whatever one of them meets,
the others are healed too.
"""

import random
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec
import trio

from jepsen.cluster import Cluster, ProcessFailed
from jepsen.nemesis.package import Fault, Injection

STAGGER_S = (0.0, 2.0)
"""Between the two beginnings: before, around and after the election that the first may cause."""
HEALING_STAGGER_S = (0.0, 1.5)
"""Between the two ends."""
HEALING_RANKS = {"disk": 1, "restart": 2, "snapshot": 2, "membership": 2}
"""By package; those that are not here wait for nobody. Lower ranks are healed first."""


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One fault made of two others, in the order of their beginnings."""

    first: str
    second: str
    why: str

    @property
    def name(self) -> str:
        """Name of the fault."""
        return f"{self.first}+{self.second}"


PAIRS = (
    Pair(first="partition-halves", second="kill-one", why="a majority that loses one more"),
    Pair(first="partition-leader", second="kill-leader", why="the old leader is cut off, the new one dies"),
    Pair(first="pause-leader", second="kill-leader", why="the old leader sleeps while its successor dies"),
    Pair(first="pause-leader", second="partition-one-way", why="an old leader wakes up into a half-open network"),
    Pair(first="membership-grow", second="kill-one", why="a change of members meets a crash"),
    Pair(first="disk-slow", second="partition-halves", why="an election while a disk is late"),
    Pair(first="clock-rate", second="pause-leader", why="leases measured by clocks that differ"),
)
"""A change of members always comes first: it begins only while all servers run."""


class Combined(Fault):
    """Base: `parts` are set by `combine`."""

    package = "combined"
    parts: ClassVar[tuple[type[Fault], ...]] = ()

    def __init__(self) -> None:
        self._faults = [part() for part in self.parts]

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        done: list[Injection] = []
        for position, fault in enumerate(self._faults):
            if position:
                await trio.sleep(rng.uniform(*STAGGER_S))
            done.append(await fault.inject(cluster, rng))
        return Injection(
            what="; ".join(injection.what for injection in done),
            nodes=sorted({node for injection in done for node in injection.nodes}),
        )

    async def evidence(self, cluster: Cluster) -> str:
        return "; ".join([await fault.evidence(cluster) for fault in self._faults])

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        trouble: list[ProcessFailed] = []
        for position, fault in enumerate(healing_order(self._faults, rng)):
            if position:
                await trio.sleep(rng.uniform(*HEALING_STAGGER_S))
            try:
                await fault.heal(cluster, rng)
            except ProcessFailed as error:
                trouble.append(error)
        if trouble:
            raise ProcessFailed("\n".join(str(error) for error in trouble)) from trouble[0]


def healing_order(faults: Sequence[Fault], rng: random.Random) -> list[Fault]:
    """The faults in the order in which they are healed: by rank, and by chance among equals."""
    return sorted(rng.sample(faults, len(faults)), key=lambda fault: HEALING_RANKS.get(fault.package, 0))


def combine(pair: Pair, parts: tuple[type[Fault], ...]) -> type[Fault]:
    """Return the fault made of these parts."""
    options = dict.fromkeys(part.options for part in parts)
    return type(
        "".join(part.__name__ for part in parts),
        (Combined,),
        {
            "name": pair.name,
            "description": f"{pair.first} and {pair.second} at once: {pair.why}",
            "parts": parts,
            "needs": frozenset[str]().union(*(part.needs for part in parts)),
            "servers_min": max(part.servers_min for part in parts),
            "agents_min": max(part.agents_min for part in parts),
            "subject": any(part.subject for part in parts),
            "options": tuple(word for group in options for word in group),
            "hold_s": (max(part.hold_s[0] for part in parts), max(part.hold_s[1] for part in parts)),
            "recovery_s": max(part.recovery_s for part in parts),
        },
    )


def combinations(faults: Mapping[str, type[Fault]]) -> list[type[Fault]]:
    """The pairs made of these faults."""
    return [combine(pair, (faults[pair.first], faults[pair.second])) for pair in PAIRS]
