"""The shape of a fault."""

import random
from abc import ABC, abstractmethod
from typing import ClassVar

import msgspec

from jepsen.cluster import Cluster


class NotInjected(Exception):
    """The fault could not be brought about now, or its effect was not seen; it does not count."""


class Injection(msgspec.Struct, frozen=True, kw_only=True):
    """What was done."""

    what: str
    """One sentence."""
    nodes: list[str]


class Fault(ABC):
    """One instance a run; `inject` and `heal` alternate. Both are bounded in time.

    `heal` must work after an `inject` that failed or was cancelled half way, and twice.
    """

    name: ClassVar[str]
    """partition-halves, kill-leader, ..."""
    package: ClassVar[str]
    """partition, kill, pause, clock, disk, packets, membership, snapshot, restart, combined"""
    description: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    """Names of `machine.ABILITIES`, or of a network's as "network:cut", "network:one-way", "network:delay" and
    "network:loss". Where one is not there, the fault is unavailable, and reports say so."""
    servers_min: ClassVar[int] = 1
    """The smallest cluster in which it means anything."""
    agents_min: ClassVar[int] = 0
    """The fewest agents that it needs."""
    subject: ClassVar[bool] = False
    """Whether servers must run under the wrapper (`jepsen.subject`), which can lose, slow or fail their disks."""
    options: ClassVar[tuple[str, ...]] = ()
    """Options of the command line that all nodes of the run must be started with."""
    hold_s: ClassVar[tuple[float, float]] = (3.0, 8.0)
    """How long it is held: drawn from this range."""
    recovery_s: ClassVar[float] = 8.0
    """Clients' errors are excused until so long after the healing."""

    @abstractmethod
    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        """Break something; raises NotInjected."""

    @abstractmethod
    async def evidence(self, cluster: Cluster) -> str:
        """While it holds, just before `heal`: how its effect shows, in a few words; raises NotInjected if not."""

    @abstractmethod
    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        """Mend it; afterwards all processes run again and reach each other."""
