"""Whom a fault hits: one, a minority, a majority, all but one, all, the leader, a follower, an agent.

The counting and choosing is pure. Only who leads is asked of the servers, with a bound; where nobody leads in that time
a fault of the leader has no target.
"""

import random
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import TypeVar

import trio

from jepsen.cluster import POLL_INTERVAL_S, Cluster, Node
from jepsen.nemesis.package import NotInjected
from jepsen.nemesis.processes import is_stopped

LEADER_TIMEOUT_S = 5.0
"""Elections take 0.6 to 1.2 s, a little more where votes are split."""

Thing = TypeVar("Thing")


class Share(Enum):
    """How many of the servers."""

    ONE = "one"
    MINORITY = "minority"
    """As many as may fail while the rest goes on; none of one or two."""
    MAJORITY = "majority"
    """The fewest whose loss stops the rest."""
    ALL_BUT_ONE = "all but one"
    ALL = "all"

    def of(self, servers_count: int) -> int:
        """So many of `servers_count`."""
        counts = {
            Share.ONE: 1,
            Share.MINORITY: (servers_count - 1) // 2,
            Share.MAJORITY: servers_count // 2 + 1,
            Share.ALL_BUT_ONE: servers_count - 1,
            Share.ALL: servers_count,
        }
        return max(0, min(counts[self], servers_count))


def choose(things: Sequence[Thing], count: int, rng: random.Random) -> list[Thing]:
    """Return `count` of `things` by chance, in their old order; raises NotInjected for none or too many."""
    if not 0 < count <= len(things):
        raise NotInjected(f"{count} were to be chosen of {len(things)}")
    positions = sorted(rng.sample(range(len(things)), count))
    return [things[position] for position in positions]


def most_named(names: Sequence[str]) -> str:
    """Return the name that most gave, "" where nobody gave one; of equals the first."""
    counted = Counter(name for name in names if name)
    return counted.most_common(1)[0][0] if counted else ""


def healthy(nodes: Sequence[Node]) -> list[Node]:
    """Those whose process runs and is not stopped."""
    return [node for node in nodes if node.running and not is_stopped(node)]


def some(cluster: Cluster, share: Share, rng: random.Random) -> list[Node]:
    """Choose among the servers that run, a share of all there are; raises NotInjected where too few run."""
    return choose(healthy(cluster.servers), share.of(len(cluster.servers)), rng)


async def find_leader(cluster: Cluster, timeout_s: float = LEADER_TIMEOUT_S) -> Node | None:
    """The server that most of the others take for the leader, and that runs; None if there is none in time."""
    with trio.move_on_after(timeout_s):
        while True:
            named: list[str] = []

            async def ask(server: Node, named: list[str] = named) -> None:
                named.append(await server.known_leader())

            async with trio.open_nursery() as nursery:
                for server in healthy(cluster.servers):
                    nursery.start_soon(ask, server)
            leader = cluster.server_at(most_named(named))
            if leader is not None and healthy([leader]):
                return leader
            await trio.sleep(POLL_INTERVAL_S)
    return None


async def the_leader(cluster: Cluster) -> Node:
    """The leader; raises NotInjected where there is none in time."""
    leader = await find_leader(cluster)
    if leader is None:
        raise NotInjected(f"nobody led within {LEADER_TIMEOUT_S:g} s")
    return leader


async def a_follower(cluster: Cluster, rng: random.Random) -> Node:
    """A server that runs and does not lead; raises NotInjected where there is none."""
    leader = await find_leader(cluster)
    return choose([server for server in healthy(cluster.servers) if server is not leader], 1, rng)[0]


def an_agent(cluster: Cluster, rng: random.Random) -> Node:
    """An agent that runs; raises NotInjected where there is none."""
    return choose(healthy(cluster.agents), 1, rng)[0]


def names(nodes: Sequence[Node]) -> str:
    """Their names, for a sentence."""
    return ", ".join(node.name for node in nodes)
