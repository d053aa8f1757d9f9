"""Servers that come and go as an operator makes them: grow, shrink, replace, remove the leader.

Who comes is given gossip addresses of the others and nothing else: it finds them, stands by, and votes. Who goes does
so in one of the ways of `departures.py`. Servers that were there at the start are there again after the healing, at
their addresses, so that clients keep their nodes. Nothing here endangers the majority by itself: a change begins only
while all servers run, and nobody's disk is wiped before the others have agreed on being without it, except where the
loss of one disk is the fault.
"""

import random
from abc import abstractmethod
from collections.abc import Awaitable, Callable

from jepsen.cluster import Cluster, Node, ProcessFailed
from jepsen.http_client import NotAnswered, NotSent
from jepsen.nemesis import peers, targets
from jepsen.nemesis.departures import Way, depart, require_gone
from jepsen.nemesis.package import Fault, Injection, NotInjected
from jepsen.nemesis.processes import RECOVERY_S, start_all

WAYS = tuple(Way)


async def _or_not_injected(act: Callable[[], Awaitable[object]]) -> None:
    """Do it; what did not happen in time was no injection. The first line says what; the logs follow it."""
    try:
        await act()
    except (ProcessFailed, NotSent, NotAnswered) as error:
        raise NotInjected(str(error).partition("\n")[0]) from error


class MembershipGrow(Fault):
    """One more server with an empty disk joins; later it is taken out for good."""

    name = "membership-grow"
    package = "membership"
    description = "a new server with an empty disk joins, votes, and goes for good later"
    hold_s = (1.0, 4.0)
    recovery_s = RECOVERY_S

    def __init__(self) -> None:
        self._before: list[Node] | None = None

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        await peers.require_whole(cluster)
        self._before = list(cluster.servers)
        added = await cluster.add_server()
        await _or_not_injected(lambda: peers.wait_voter(cluster, added))
        return Injection(what=f"{added.name} joined as a voter", nodes=[added.name])

    async def evidence(self, cluster: Cluster) -> str:
        rows = await peers.configuration(cluster)
        for added in self._added(cluster):
            row = peers.at(rows, added)
            if row is not None and row.voter:
                return f"{len(rows)} servers in the configuration, {added.name} votes"
        raise NotInjected("no new server in the configuration")

    def _added(self, cluster: Cluster) -> list[Node]:
        before = self._before
        return [] if before is None else [server for server in cluster.servers if server not in before]

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        for added in self._added(cluster):
            if added.running:
                await depart(cluster, added, rng.choice(WAYS), rng)
            cluster.retire(added)
            await peers.remove(cluster, added, rng)  # where it did not get so far, or was killed by another fault
        self._before = None


class _Away(Fault):
    """Base: one server goes, in whichever way; later it comes back, with its disk or without."""

    package = "membership"
    servers_min = 3
    hold_s = (1.0, 4.0)
    recovery_s = RECOVERY_S

    def __init__(self) -> None:
        self._node: Node | None = None
        self._way = Way.LEAVES
        self._is_out = False

    @abstractmethod
    async def choose(self, cluster: Cluster, rng: random.Random) -> Node:
        """Whom to remove; raises NotInjected."""

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        rows = await peers.require_whole(cluster)
        if len(rows) < self.servers_min:
            raise NotInjected(f"{len(rows)} servers: none can be spared")
        node = await self.choose(cluster, rng)
        way = rng.choice(WAYS)
        self._node, self._way, self._is_out = node, way, False
        await _or_not_injected(lambda: depart(cluster, node, way, rng))
        self._is_out = True
        return Injection(what=f"{node.name} {way.value}", nodes=[node.name])

    async def evidence(self, cluster: Cluster) -> str:
        if self._node is None:
            raise NotInjected("nobody was chosen")
        return await require_gone(cluster, self._node, self._way)

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        node, self._node = self._node, None
        if node is None:
            return
        if node.running:
            await node.stop()  # it is half way out, or out and does not know
        rows = await peers.configuration(cluster)
        if self._is_out and rows and peers.at(rows, node) is None and rng.random() < 0.5:
            node.wipe()  # the others agreed on being without it, so its disk is not needed for anything
        await start_all([node])
        await peers.wait_voter(cluster, node)


class MembershipShrink(_Away):
    name = "membership-shrink"
    description = "a follower leaves, or dies and is forgotten; later it joins again, with its old disk or an empty one"

    async def choose(self, cluster: Cluster, rng: random.Random) -> Node:
        return await targets.a_follower(cluster, rng)


class MembershipRemoveLeader(_Away):
    name = "membership-remove-leader"
    description = "the leader leaves, or dies and is forgotten, or is taken out; later it joins again"

    async def choose(self, cluster: Cluster, rng: random.Random) -> Node:
        return await targets.the_leader(cluster)


class MembershipReplace(Fault):
    """One follower's disk is lost: it comes back empty, under a new id, and takes the place of the old one."""

    name = "membership-replace"
    package = "membership"
    description = "a follower loses its whole disk and comes back under a new id at its old address"
    servers_min = 3
    hold_s = (1.0, 3.0)
    recovery_s = RECOVERY_S

    def __init__(self) -> None:
        self._node: Node | None = None
        self._old_id = ""

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        rows = await peers.require_whole(cluster)
        if len(rows) < self.servers_min:
            raise NotInjected(f"{len(rows)} servers: none can be spared")
        node = await targets.a_follower(cluster, rng)
        row = peers.at(rows, node)
        assert row is not None, "the cluster was whole a moment ago"
        self._node, self._old_id = node, row.server_id
        node.kill()
        node.wipe()
        node.start()
        await _or_not_injected(lambda: peers.wait_voter(cluster, node, not_id=row.server_id))
        return Injection(what=f"{node.name} killed, its disk wiped, started", nodes=[node.name])

    async def evidence(self, cluster: Cluster) -> str:
        rows = await peers.configuration(cluster)
        row = None if self._node is None else peers.at(rows, self._node)
        if row is None or row.server_id == self._old_id or any(each.server_id == self._old_id for each in rows):
            raise NotInjected("the old id was not replaced")
        return f"{row.name} votes as {row.server_id[:8]}, no more as {self._old_id[:8]}"

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        node, self._node = self._node, None
        if node is None:
            return
        await start_all([node])
        await peers.wait_voter(cluster, node)
