"""Packets that come late or not at all, while everybody still reaches everybody."""

import random
from typing import ClassVar

from jepsen.cluster import Cluster
from jepsen.nemesis import targets
from jepsen.nemesis.package import Fault, Injection, NotInjected
from jepsen.nemesis.partition import grown, named
from jepsen.network import shapes
from jepsen.network.shapes import Shape

DELAY_S = (0.02, 0.1)
"""Of one direction, on average. A round trip with all jitter takes half an election timeout (0.6 s) at most: nobody
ought to be deposed for it."""
JITTER_SHARE = 0.5
SLOW_S = (0.3, 0.8)
"""Around the election timeout: whether the leader lasts is open."""
LOSS_SHARE = (0.05, 0.25)


class Packets(Fault):
    """Base: something befalls what passes in the directions of a shape."""

    package = "packets"
    hold_s = (3.0, 8.0)
    recovery_s = 8.0
    kinds: ClassVar[tuple[str, ...]]
    """Counters that show it."""

    def __init__(self) -> None:
        self._shape: Shape = frozenset()
        self._before: dict[str, int] = {}

    async def choose(self, cluster: Cluster, rng: random.Random) -> tuple[str, Shape]:
        """Where, and that in words; raises NotInjected. Here: between all nodes."""
        everybody = named(cluster.nodes)
        return "between all nodes", shapes.one_way(everybody, everybody)

    async def disturb(self, cluster: Cluster, shape: Shape, rng: random.Random) -> str:
        """Bring it about, and say what."""
        raise NotImplementedError

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._shape = frozenset()
        where, shape = await self.choose(cluster, rng)
        if not shape:
            raise NotInjected("there is only one node")
        self._before = await cluster.network.effects()
        what = await self.disturb(cluster, shape, rng)
        self._shape = shape
        return Injection(what=f"{what} {where}", nodes=sorted({node for direction in shape for node in direction}))

    async def evidence(self, cluster: Cluster) -> str:
        return await grown(cluster, self._before, self.kinds, self._shape)

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        await cluster.network.heal()


class PacketsDelay(Packets):
    name = "packets-delay"
    description = "everything between nodes arrives 20 to 150 ms later, with jitter"
    needs = frozenset({"network:delay"})
    kinds = ("delayed", "late")

    async def disturb(self, cluster: Cluster, shape: Shape, rng: random.Random) -> str:
        mean_s = rng.uniform(*DELAY_S)
        await cluster.network.delay(shape, mean_s=mean_s, jitter_s=mean_s * JITTER_SHARE)
        return f"delay of {mean_s * 1000:.0f} ms ± {mean_s * JITTER_SHARE * 1000:.0f} ms each way"


class PacketsLoss(Packets):
    name = "packets-loss"
    description = "5 to 25 % of the packets between nodes are lost; with links, connections break at that rate a second"
    needs = frozenset({"network:loss"})
    kinds = ("lost", "broken", "late")

    async def disturb(self, cluster: Cluster, shape: Shape, rng: random.Random) -> str:
        share = rng.uniform(*LOSS_SHARE)
        await cluster.network.lose(shape, share=share)
        return f"loss of {share:.0%}"


class PacketsSlowOneWay(Packets):
    name = "packets-slow-one-way"
    description = "what the leader sends, or what is sent to it, arrives 300 to 800 ms later; the other way is quick"
    needs = frozenset({"network:delay", "network:one-way"})
    kinds = ("delayed", "late")

    async def choose(self, cluster: Cluster, rng: random.Random) -> tuple[str, Shape]:
        leader = (await targets.the_leader(cluster)).name
        others = [name for name in named(cluster.nodes) if name != leader]
        if rng.random() < 0.5:
            return f"from {leader}, which led, to all others", shapes.one_way([leader], others)
        return f"from all others to {leader}, which led", shapes.one_way(others, [leader])

    async def disturb(self, cluster: Cluster, shape: Shape, rng: random.Random) -> str:
        mean_s = rng.uniform(*SLOW_S)
        await cluster.network.delay(shape, mean_s=mean_s, jitter_s=mean_s * JITTER_SHARE)
        return f"delay of {mean_s * 1000:.0f} ms ± {mean_s * JITTER_SHARE * 1000:.0f} ms"
