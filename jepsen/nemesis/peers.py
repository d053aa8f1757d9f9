"""The Raft configuration as an operator sees and changes it: over HTTP, at any node that answers."""

import random
from collections.abc import Callable, Sequence

import msgspec
import trio

from jepsen.cluster import Cluster, Node, ProcessFailed
from jepsen.http_client import NotAnswered, NotSent, Reply
from jepsen.nemesis.package import NotInjected
from jepsen.nemesis.targets import healthy

CHANGE_TIMEOUT_S = 20.0
"""An election, a change and its commit, with time to spare on a busy machine."""
CALL_TIMEOUT_S = 4.0
RETRY_S = 0.1


class PeerRow(msgspec.Struct, frozen=True, kw_only=True):
    """One server of the configuration."""

    server_id: str = msgspec.field(name="ID")
    name: str = msgspec.field(name="Node")
    address: str = msgspec.field(name="Address")
    leader: bool = msgspec.field(name="Leader")
    voter: bool = msgspec.field(name="Voter")
    last_index: int = msgspec.field(name="LastIndex")


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    servers: list[PeerRow] = msgspec.field(name="Servers")


Rows = list[PeerRow]


async def _ask(nodes: Sequence[Node], method: str, path: str) -> Reply | None:
    """The first good answer of these nodes; None if none gave one."""
    for node in nodes:
        try:
            reply = await node.request(method, path, timeout_s=CALL_TIMEOUT_S)
        except (NotSent, NotAnswered):
            continue
        if reply.status == 200:
            return reply
    return None


async def configuration(cluster: Cluster, *, besides: Node | None = None) -> Rows:
    """The configuration as the leader has it; empty where nobody can say. `besides` is asked last."""
    nodes = sorted(healthy(cluster.servers), key=lambda server: server is besides)
    reply = await _ask(nodes, "GET", "/v1/operator/raft/configuration")
    return msgspec.json.decode(reply.body, type=_Answer).servers if reply is not None else []


async def wait_configuration(cluster: Cluster, wanted: Callable[[Rows], bool], what: str) -> Rows:
    """Wait until the configuration is as wanted; raises ProcessFailed."""
    rows: Rows = []
    with trio.move_on_after(CHANGE_TIMEOUT_S):
        while True:
            rows = await configuration(cluster)
            if rows and wanted(rows):
                return rows
            await trio.sleep(RETRY_S)
    raise ProcessFailed(f"not so within {CHANGE_TIMEOUT_S:g} s: {what}; the configuration is {rows}\n{cluster.story()}")


def at(rows: Rows, node: Node) -> PeerRow | None:
    """The configured server at the node's address."""
    return next((row for row in rows if row.address == node.rpc_address), None)


async def wait_voter(cluster: Cluster, node: Node, *, not_id: str = "") -> PeerRow:
    """Wait until the server is a voter (under another id than `not_id`); raises ProcessFailed."""

    def votes(rows: Rows) -> bool:
        row = at(rows, node)
        return row is not None and row.voter and row.server_id != not_id

    row = at(await wait_configuration(cluster, votes, f"{node.name} votes"), node)
    assert row is not None
    return row


async def wait_out(cluster: Cluster, node: Node) -> None:
    """Wait until no server is configured at the node's address; raises ProcessFailed."""
    await wait_configuration(cluster, lambda rows: at(rows, node) is None, f"{node.name} is out")


async def remove(cluster: Cluster, node: Node, rng: random.Random) -> str:
    """Take the server out as an operator would, asking any node, until it is out; returns its id ("": it was not in).

    Raises ProcessFailed. An answer may be lost and a change refused while another is under way, so the configuration
    itself is asked after each attempt.
    """
    server_id = ""
    with trio.move_on_after(CHANGE_TIMEOUT_S):
        while True:
            rows = await configuration(cluster, besides=node)
            row = at(rows, node)
            if rows and row is None:
                return server_id
            if row is not None:
                server_id = row.server_id
                askable = [each for each in healthy(cluster.nodes) if each is not node] or [node]
                await _ask([rng.choice(askable)], "DELETE", f"/v1/operator/raft/peer?id={server_id}")
            await trio.sleep(RETRY_S)
    raise ProcessFailed(f"{node.name} could not be removed within {CHANGE_TIMEOUT_S:g} s\n{cluster.story()}")


async def transfer_leader(cluster: Cluster, server_id: str) -> bool:
    """Hand the leadership to this server; returns whether that was answered with success."""
    path = f"/v1/operator/raft/transfer-leader?id={server_id}"
    return await _ask(healthy(cluster.servers)[:1], "PUT", path) is not None


async def require_whole(cluster: Cluster) -> Rows:
    """The configuration, if exactly the cluster's servers are in it and all of them run; raises NotInjected.

    With somebody down, taking out one who is up could cost the majority.
    """
    missing = [server.name for server in cluster.servers if server not in healthy(cluster.servers)]
    if missing:
        raise NotInjected(f"no change of members while {', '.join(missing)} does not run")
    rows = await configuration(cluster)
    if {row.address for row in rows} != {server.rpc_address for server in cluster.servers}:
        raise NotInjected("the configuration is not that of the running servers")
    return rows
