"""Partitions: nothing passes between some nodes and others, in both directions or in one. Clients reach everybody.

That a cut took effect is seen twice: the network counts what it kept from passing, and a new connection across it
does not come about. (One direction is enough for that: either the call or its answer is lost.)
"""

import random
from collections.abc import Collection

from jepsen.cluster import Cluster, Node
from jepsen.nemesis import targets
from jepsen.nemesis.package import Fault, Injection, NotInjected
from jepsen.network import shapes
from jepsen.network.network import UNITS, Direction, count
from jepsen.network.shapes import Shape

CUT_KINDS = ("dropped", "held", "refused")
"""Counters that only a cut moves."""
FLAP_INTERVAL_S = (0.2, 1.0)
"""Around an election timeout (0.6 to 1.2 s): now and then somebody gives up waiting just before the link is back."""


def named(nodes: Collection[Node]) -> list[str]:
    """Their names, in order."""
    return [node.name for node in nodes]


def sides(*groups: Collection[str]) -> str:
    """For a sentence."""
    return " | ".join(", ".join(sorted(group)) for group in groups)


async def grown(cluster: Cluster, before: dict[str, int], kinds: Collection[str], shape: Collection[Direction]) -> str:
    """By how much these counters have grown in these directions; raises NotInjected if none has."""
    now = await cluster.network.effects()
    grown_by = {kind: count(now, [kind], shape) - count(before, [kind], shape) for kind in kinds}
    if not any(grown_by.values()):
        raise NotInjected(f"the network counted nothing that was {' or '.join(kinds)}")
    return ", ".join(f"{number} {UNITS[kind]} {kind}" for kind, number in grown_by.items() if number)


class Partition(Fault):
    """Base: a shape is cut until it is healed."""

    package = "partition"
    needs = frozenset({"network:cut"})
    servers_min = 3
    hold_s = (2.0, 9.0)
    """From a little over an election to longer than the consensus links bear silence (6 s)."""
    recovery_s = 8.0
    """TCP sends again in doubling intervals (.., 6.2, 12.6 s after the cut), and an RPC connection is given up after 10
    to 11 s of silence: after a cut of 6.3 s one may hang for 4.7 s more. Two rounds of election (2.4 s) may follow.
    Seen at most: 3.7 s.
    """

    def __init__(self) -> None:
        self._shape: Shape = frozenset()
        self._before: dict[str, int] = {}

    async def choose(self, cluster: Cluster, rng: random.Random) -> tuple[str, Shape]:
        """What to cut, and that in a sentence; raises NotInjected."""
        raise NotImplementedError

    async def cut(self, cluster: Cluster, shape: Shape) -> None:
        """Bring it about."""
        await cluster.network.cut(shape)

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._shape = frozenset()
        what, shape = await self.choose(cluster, rng)
        if not shape:
            raise NotInjected("there was nothing to cut")
        self._before = await cluster.network.effects()
        await self.cut(cluster, shape)
        self._shape = shape
        return Injection(what=what, nodes=sorted({node for direction in shape for node in direction}))

    async def evidence(self, cluster: Cluster) -> str:
        words = await grown(cluster, self._before, CUT_KINDS, self._shape)
        probe = self._probe(cluster)
        if probe is not None:
            source, target = probe
            if await cluster.network.reaches(source.name, target.name, target.rpc_port):
                raise NotInjected(f"{source.name} still reaches {target.name}")
            words += f", {source.name} cannot reach {target.name}"
        return words

    def _probe(self, cluster: Cluster) -> tuple[Node, Node] | None:
        """Across the cut, towards a server that would answer. None if there is no such pair (any more)."""
        nodes = {node.name: node for node in cluster.nodes}
        servers = set(named(targets.healthy(cluster.servers)))
        for source, target in sorted(self._shape | {(target, source) for source, target in self._shape}):
            if source in nodes and target in servers:
                return nodes[source], nodes[target]
        return None

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        await cluster.network.heal()


class PartitionHalves(Partition):
    name = "partition-halves"
    description = "a majority of the servers and the rest do not reach each other"

    async def choose(self, cluster: Cluster, rng: random.Random) -> tuple[str, Shape]:
        majority, rest = shapes.halves(named(cluster.servers), named(cluster.agents), rng)
        return f"cut {sides(majority, rest)}", shapes.between(majority, rest)


class PartitionOne(Partition):
    name = "partition-one"
    description = "one server, whichever, reaches nobody and is reached by nobody"

    async def choose(self, cluster: Cluster, rng: random.Random) -> tuple[str, Shape]:
        one = rng.choice(named(cluster.servers))
        near, far = shapes.alone(one, named(cluster.servers), named(cluster.agents), rng)
        return f"cut {sides(near, far)}", shapes.between(near, far)


class PartitionLeader(Partition):
    name = "partition-leader"
    description = "the leader is cut off: the others choose a new one, and the old one must not answer as if it led"

    async def choose(self, cluster: Cluster, rng: random.Random) -> tuple[str, Shape]:
        leader = (await targets.the_leader(cluster)).name
        near, far = shapes.alone(leader, named(cluster.servers), named(cluster.agents), rng)
        return f"cut {sides(near, far)}; {leader} led", shapes.between(near, far)


class PartitionRing(Partition):
    name = "partition-ring"
    description = "every server reaches a majority, and no two the same one"
    servers_min = 5

    async def choose(self, cluster: Cluster, rng: random.Random) -> tuple[str, Shape]:
        circle, shape = shapes.ring(named(cluster.servers), named(cluster.agents), rng)
        return f"each reaches only its neighbours in the ring {', '.join(circle)}", shape


class PartitionBridge(Partition):
    name = "partition-bridge"
    description = "two sides reach each other only through one server between them, which everybody reaches"

    async def choose(self, cluster: Cluster, rng: random.Random) -> tuple[str, Shape]:
        middle, left, right = shapes.bridge(named(cluster.servers), named(cluster.agents), rng)
        return f"cut {sides(left, right)}; {middle} reaches both", shapes.between(left, right)


class PartitionOneWay(Partition):
    name = "partition-one-way"
    description = "the leader hears nobody, or nobody hears the leader; the other direction works"
    needs = frozenset({"network:cut", "network:one-way"})

    async def choose(self, cluster: Cluster, rng: random.Random) -> tuple[str, Shape]:
        leader = (await targets.the_leader(cluster)).name
        near, far = shapes.alone(leader, named(cluster.servers), named(cluster.agents), rng)
        if rng.random() < 0.5:
            return f"nothing arrives at {sides(near)} from {sides(far)}; {leader} led", shapes.one_way(far, near)
        return f"nothing arrives from {sides(near)} at {sides(far)}; {leader} led", shapes.one_way(near, far)


class PartitionFlapping(Partition):
    name = "partition-flapping"
    description = "the link between two sides comes and goes, each time for 0.2 to 1 s"

    async def choose(self, cluster: Cluster, rng: random.Random) -> tuple[str, Shape]:
        majority, rest = shapes.halves(named(cluster.servers), named(cluster.agents), rng)
        return f"cut and healed again and again: {sides(majority, rest)}", shapes.between(majority, rest)

    async def cut(self, cluster: Cluster, shape: Shape) -> None:
        await cluster.network.flap(shape, interval_s=FLAP_INTERVAL_S)

    async def evidence(self, cluster: Cluster) -> str:
        kept = await grown(cluster, self._before, CUT_KINDS, self._shape)
        one = [min(self._shape)]
        cuts_count = count(await cluster.network.effects(), ["flapped"], one) - count(self._before, ["flapped"], one)
        if cuts_count < 2:
            raise NotInjected("the link was cut only once")
        return f"cut {cuts_count} times, {kept}"


class PartitionAgent(Partition):
    name = "partition-agent"
    description = "an agent reaches no server; the servers reach each other"
    servers_min = 1
    agents_min = 1

    async def choose(self, cluster: Cluster, rng: random.Random) -> tuple[str, Shape]:
        agent = targets.an_agent(cluster, rng).name
        return f"cut {sides([agent], named(cluster.servers))}", shapes.between([agent], named(cluster.servers))
