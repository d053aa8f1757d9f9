"""What a gossip story asks of real nodes: whom they know, what the catalog says, and the command line in their place.

Everything is asked over HTTP or by the `mesh` command, as an operator would; waits poll and are bounded.
"""

from __future__ import annotations

import io
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import trio

from jepsen.cluster import Cluster, Node
from jepsen.http_client import NotAnswered, NotSent
from mesh.cli.main import run as run_command

PATIENCE_S = 120.0
"""A few exchanges of tables, which bring what rumours have missed: among six, one in 300 hears none of a rumour."""
POLL_S = 0.05
FAST = (
    'gossip_lan { probe_interval = "200ms" probe_timeout = "100ms" gossip_interval = "100ms" suspicion_mult = 2 } '
    'performance { leave_drain_time = "100ms" }'
)
"""A death is noticed within a second or two, also where ten processes share two cores."""
FAST_WAN = (
    'gossip_wan { probe_interval = "200ms" probe_timeout = "100ms" gossip_interval = "100ms" suspicion_mult = 2 }'
)
OPTIONS = ("-log-level", "info", "-hcl", FAST)
CALM = (
    "-log-level", "info", "-hcl",
    'gossip_lan { probe_interval = "500ms" probe_timeout = "250ms" gossip_interval = "100ms" suspicion_mult = 3 }',
)  # fmt: skip
"""Where nobody may be called dead though the machine is busy, or where packets go by way of the test's own process."""
ALIVE, LEAVING, LEFT, FAILED = 1, 2, 3, 4
STATUS_WORDS = {ALIVE: "alive", LEAVING: "leaving", LEFT: "left", FAILED: "failed"}

Statuses = dict[str, int]


async def wait_for(what: str, look: Callable[[], Awaitable[Any]], wanted: Any, timeout_s: float = PATIENCE_S) -> None:
    """Look until `wanted` is seen; AssertionError with what was seen last. An answer that does not come is asked anew.

    `wanted` may be a function, which is asked about what is seen.
    """
    seen: Any = None
    is_wanted = wanted if callable(wanted) else partial(_equal, wanted)
    with trio.move_on_after(timeout_s):
        while True:
            try:
                seen = await look()
            except (NotSent, NotAnswered) as error:
                seen = error
            else:
                if is_wanted(seen):
                    return
            await trio.sleep(POLL_S)
    expected = "something else" if callable(wanted) else wanted
    raise AssertionError(f"{what}: not within {timeout_s:g} s\n  wanted {expected}\n  seen   {seen}")


async def until(what: str, look: Callable[[], Any], wanted: Any = True) -> None:
    """Wait until a plain function of a double returns `wanted`, or something that `wanted` holds for."""

    async def looked() -> Any:
        return look()

    await wait_for(what, looked, wanted)


def _equal(wanted: Any, seen: Any) -> bool:
    return bool(wanted == seen)


# Members


async def member_rows(node: Node, *, wan: bool = False) -> dict[str, tuple[Any, ...]]:
    """Everybody that this node knows: name -> status, address, port and tags."""
    reply = await node.request("GET", "/v1/agent/members" + ("?wan=1" if wan else ""))
    assert reply.status == 200, reply.body
    return {row["Name"]: (row["Status"], row["Addr"], row["Port"], row["Tags"]) for row in reply.json()}


async def statuses(node: Node, *, wan: bool = False) -> Statuses:
    """Name -> status as this node has it."""
    return {name: row[0] for name, row in (await member_rows(node, wan=wan)).items()}


async def wait_members(nodes: Iterable[Node], wanted: Mapping[str, int], *, wan: bool = False) -> None:
    """Wait until each of these nodes that runs has exactly this list, and all have the same rows to the last tag."""
    running = [node for node in nodes if node.running]
    for node in running:
        await wait_for(f"members at {node.name}", partial(statuses, node, wan=wan), dict(wanted))

    async def rows() -> list[dict[str, tuple[Any, ...]]]:
        return [await member_rows(node, wan=wan) for node in running]

    await wait_for("the same rows everywhere", rows, lambda seen: all(each == seen[0] for each in seen))


# The catalog and the configuration


async def catalog_nodes(node: Node) -> set[str]:
    """Names of all nodes in the catalog."""
    reply = await node.request("GET", "/v1/catalog/nodes")
    return {row["Node"] for row in reply.json()} if reply.status == 200 else set()


async def serf_health(node: Node) -> dict[str, str]:
    """Node -> status of its `serfHealth` check."""
    reply = await node.request("GET", "/v1/health/state/any")
    if reply.status != 200:
        return {}
    return {row["Node"]: row["Status"] for row in reply.json() if row["CheckID"] == "serfHealth"}


async def wait_health(node: Node, wanted: Mapping[str, str]) -> None:
    """Wait until these are the nodes of the catalog, each with a `serfHealth` check of this status."""
    await wait_for(f"serfHealth asked at {node.name}", partial(serf_health, node), dict(wanted))
    await wait_for(f"nodes of the catalog at {node.name}", partial(catalog_nodes, node), set(wanted))


async def voters(node: Node) -> set[str]:
    """Names in the Raft configuration as the leader has it."""
    reply = await node.request("GET", "/v1/operator/raft/configuration")
    return {row["Node"] for row in reply.json()["Servers"] if row["Voter"]} if reply.status == 200 else set()


async def wait_voters(node: Node, wanted: Iterable[str]) -> None:
    """Wait until these are the servers of the Raft configuration."""
    await wait_for(f"Raft configuration asked at {node.name}", partial(voters, node), set(wanted))


async def write(node: Node, key: str) -> None:
    """Write a key through this node, again where nobody leads for a moment; the answer must come in the end."""

    async def put() -> int:
        return (await node.request("PUT", f"/v1/kv/{key}", b"x")).status

    await wait_for(f"a write through {node.name}", put, 200)


# The command line


class Said:
    """What one command came to."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    def __repr__(self) -> str:
        return f"exit {self.code}\n{self.out}{self.err}"


async def mesh(node: Node, *words: str, expect: int | None = 0) -> Said:
    """Run `mesh WORDS` against this node; `expect`: the exit code that it must have."""
    out, err = io.BytesIO(), io.StringIO()
    environment = {"CONSUL_HTTP_ADDR": node.http_address}
    code = await trio.to_thread.run_sync(run_command, words, environment, io.BytesIO(), out, err)
    said = Said(code, out.getvalue().decode(), err.getvalue())
    assert expect is None or code == expect, f"mesh {' '.join(words)} at {node.name}: {said!r}\n{node.log_tail()}"
    return said


async def listed(node: Node, *words: str) -> dict[str, str]:
    """What `mesh members` prints: name -> status."""
    rows = (await mesh(node, "members", *words)).out.splitlines()[1:]
    return {row.split()[0]: row.split()[2] for row in rows}


# Nodes


def lone(program: str, name: str, cluster: Cluster, *options: str) -> Node:
    """A node outside the cluster's lists, with an empty disk; to be closed by the caller."""
    return Node(program=program, name=name, folder=cluster.folder / name, options=[*OPTIONS, *options])


async def end_badly(node: Node, timeout_s: float = PATIENCE_S) -> str:
    """Wait until a started node has ended by itself with an error and without a traceback; return what it said."""
    code = await node.wait_exit(timeout_s)
    assert code == 1, f"{node.name} ended with {code}\n{node.log_tail()}"
    assert "Traceback" not in node.log_text(), node.log_tail()
    return node.log_text()


def assert_no_tracebacks(nodes: Iterable[Node]) -> None:
    """Nothing that happened may have ended in one."""
    for node in nodes:
        assert "Traceback" not in node.log_text(), f"{node.name}\n{node.log_tail()}"


def names(nodes: Sequence[Node]) -> list[str]:
    return [node.name for node in nodes]


def keyring_file(node: Node, pool: str = "local") -> list[str]:
    """The keys in a node's keyring file, primary first."""
    keys: list[str] = json.loads((node.data_dir / "serf" / f"{pool}.keyring").read_text(encoding="ascii"))
    return keys


class Story:
    """A cluster of servers and agents, and what all of it must agree on after each turn of events."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.statuses: Statuses = dict.fromkeys(names(cluster.nodes), ALIVE)
        """Name -> status as every running node must have it."""
        self.voters = set(names(cluster.servers))

    async def agrees(self) -> None:
        """Member lists are whole and equal everywhere, the catalog and the group follow, and a write goes through."""
        everybody = self.cluster.nodes
        await wait_members(everybody, self.statuses)
        running = [node for node in everybody if node.running]
        words = {ALIVE: "passing", FAILED: "critical"}
        health = {name: words[status] for name, status in self.statuses.items() if status in words}
        await wait_health(running[-1], health)
        await wait_voters(running[-1], self.voters)
        await write(running[-1], "story")

    async def became(self, status: int, *nodes: Node) -> None:
        """These nodes have this status now; everybody must come to agree."""
        for node in nodes:
            self.statuses[node.name] = status
        await self.agrees()

    async def another_server(self, *others: Node) -> Node:
        """Return a server that runs, does not lead, and is none of the others."""
        leader = await self.cluster.leader()
        return next(each for each in self.cluster.servers if each.running and each not in (leader, *others))
