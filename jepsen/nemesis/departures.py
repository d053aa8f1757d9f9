"""How servers go for good: told to leave, killed and declared to have left, or taken out by an operator and stopped.

Whoever is alive in gossip is let in again by the leader after a moment of standing by. So a server that an operator
takes out while it runs is out for no longer than that, unless it is stopped before; leaving, and `force-leave` of one
that does not answer any more, are final.
"""

import random
from enum import Enum

import trio

from jepsen.cluster import Cluster, Node, ProcessFailed
from jepsen.http_client import NotAnswered, NotSent
from jepsen.nemesis import peers
from jepsen.nemesis.package import NotInjected
from jepsen.nemesis.targets import healthy

LEFT = 3
"""`Status` of a member that left, or was said to have left."""
GONE_TIMEOUT_S = 20.0
"""A dead server is noticed after 4 to 7 s where all is quiet; the rest is for a machine that is busy."""
POLL_S = 0.1
LINGER_S = (0.0, 0.8)
"""How long a server that was taken out goes on before it is stopped: it does not know, and may not disturb. Less than
the time it has to stand by (`cluster.STANDING_BY`)."""


class Way(Enum):
    """How to go."""

    LEAVES = "told to leave"
    FORCED = "killed, then said to have left"
    REMOVED = "taken out by an operator, then stopped"


async def depart(cluster: Cluster, node: Node, way: Way, rng: random.Random) -> str:
    """Make the server go, and return what was done in a few words; raises ProcessFailed, NotSent, NotAnswered.

    Afterwards it is not in the configuration and does not run.
    """
    match way:
        case Way.LEAVES:
            reply = await node.request("PUT", "/v1/agent/leave")
            code = await node.wait_exit()
            if (reply.status, code) != (200, 0):
                raise ProcessFailed(f"{node.name} was to leave, answered {reply.status} and ended with {code}")
        case Way.FORCED:
            node.kill()
            await _force_leave(cluster, node)
        case Way.REMOVED:
            await peers.remove(cluster, node, rng)
            await trio.sleep(rng.uniform(*LINGER_S))
            await node.stop()
            await peers.remove(cluster, node, rng)  # it may have been let in again just before it stopped
    await peers.wait_out(cluster, node)
    return f"{node.name} {way.value}"


async def _force_leave(cluster: Cluster, node: Node) -> None:
    """Say it again until it is believed: nothing happens before gossip has noticed that the server is gone."""
    with trio.move_on_after(GONE_TIMEOUT_S):
        while await status_of(cluster, node) != LEFT:
            for other in healthy(cluster.nodes):
                try:
                    await other.request("PUT", f"/v1/agent/force-leave/{node.name}", timeout_s=peers.CALL_TIMEOUT_S)
                    break
                except (NotSent, NotAnswered):
                    continue
            await trio.sleep(POLL_S)
        return
    raise ProcessFailed(f"{node.name} was not taken for gone within {GONE_TIMEOUT_S:g} s\n{cluster.story()}")


async def status_of(cluster: Cluster, node: Node) -> int:
    """What gossip says of the node at the first other node that answers: its status as a number, 0 where unknown."""
    for other in healthy(cluster.nodes):
        if other is node:
            continue
        try:
            reply = await other.request("GET", "/v1/agent/members", timeout_s=peers.CALL_TIMEOUT_S)
        except (NotSent, NotAnswered):
            continue
        if reply.status == 200:
            return next((int(row["Status"]) for row in reply.json() if row["Name"] == node.name), 0)
    return 0


async def require_gone(cluster: Cluster, node: Node, way: Way) -> str:
    """How its absence shows, in a few words; raises NotInjected where it does not."""
    rows = await peers.configuration(cluster)
    if not rows or peers.at(rows, node) is not None or node.running:
        raise NotInjected("the server is not out of the configuration")
    words = f"{len(rows)} servers in the configuration, {node.name} is not among them"
    if way is Way.REMOVED:
        return words
    if await status_of(cluster, node) != LEFT:
        raise NotInjected(f"gossip does not say that {node.name} has left")
    return f"{words}, and has left as gossip says"
