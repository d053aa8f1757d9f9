"""Processes that stand still (SIGSTOP) for longer than leases and elections, and go on as if nothing had been."""

import random
from collections.abc import Sequence

from jepsen.cluster import Cluster, Node
from jepsen.nemesis import targets
from jepsen.nemesis.package import NotInjected
from jepsen.nemesis.processes import is_stopped, process_state, require_silent, wait_all_answering
from jepsen.nemesis.strike import Strike
from jepsen.nemesis.targets import Share


class Pause(Strike):
    """Base: some servers are stopped by SIGSTOP, and go on at SIGCONT."""

    package = "pause"
    blow = "SIGSTOP"
    hold_s = (3.0, 6.0)
    """A lease is 0.54 s, an election at most 1.2 s: the others have long chosen another leader."""

    def strike(self, victims: Sequence[Node]) -> None:
        for node in victims:
            node.pause()

    async def evidence(self, cluster: Cluster) -> str:
        if not self._victims:
            raise NotInjected("nobody was stopped")
        for node in self._victims:
            if not is_stopped(node):
                raise NotInjected(f"{node.name} is in state {process_state(node.pid)!r}, not stopped")
        await require_silent(self._victims)
        return f"state T, no answer: {targets.names(self._victims)}"

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        resumed = [node for node in cluster.nodes if is_stopped(node)]
        for node in resumed:
            node.resume()
        await wait_all_answering(resumed)


class PauseOne(Pause):
    name = "pause-one"
    description = "SIGSTOP of one server for longer than the lease and an election"


class PauseLeader(Pause):
    name = "pause-leader"
    description = "SIGSTOP of the leader: it wakes up believing that it still leads"

    async def choose(self, cluster: Cluster, rng: random.Random) -> list[Node]:
        return [await targets.the_leader(cluster)]


class PauseMajority(Pause):
    name = "pause-majority"
    description = "SIGSTOP of a majority: no leader may act alone"
    servers_min = 3
    share = Share.MAJORITY


class PauseAllButOne(Pause):
    name = "pause-all-but-one"
    description = "SIGSTOP of all servers but one, which must not lead by itself"
    servers_min = 3
    share = Share.ALL_BUT_ONE


class PauseAll(Pause):
    name = "pause-all"
    description = "SIGSTOP of all servers, as when the machine under them sleeps"
    share = Share.ALL


class PauseAgent(Pause):
    name = "pause-agent"
    agents_min = 1
    description = "SIGSTOP of a client agent"

    async def choose(self, cluster: Cluster, rng: random.Random) -> list[Node]:
        return [targets.an_agent(cluster, rng)]
