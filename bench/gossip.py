"""What `python -m bench gossip` measures: the cost of membership, how soon a death shows, whether the busy answer.

Real processes on the loopback with the defaults of a LAN. The machine is shared by all members, so a member that is
late here competes with all others for two cores.
"""

import json
import random
import statistics
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from bench.fill import fill
from bench.harness import cpu_s, memory_mib, thread_cpu_s
from bench.kv import OPTIONS, Bench
from bench.loads.load import run_load
from gossip.pool import THREAD_NAME
from jepsen.cluster import Cluster, Node
from jepsen.http_client import NotAnswered, NotSent

IDLE_S = 60.0
SETTLE_S = 20.0
DEATHS_COUNT = 40
"""In each of the clusters, which stand side by side: a hundredth of the deaths is then two."""
DEATH_CLUSTERS_COUNT = 5
DEATH_TIMEOUT_S = 60.0
JOINS_COUNT = 10
HUNDRED = 100
HUNDRED_TIMEOUT_S = 180.0
POLL_S = 0.02
PROBE_S = 15.0
LISTED_KEYS_COUNT = 200_000
LISTED_VALUE_BYTES = 200
ROOT = Path(__file__).resolve().parents[1]


async def measure_idle(bench: Bench) -> None:
    """CPU of ten members that have nothing to do: three servers and seven agents."""
    async with Cluster(bench.folder / "idle", servers=3, agents=7, options=OPTIONS) as cluster:
        await wait_members(cluster.nodes, 10)
        await trio.sleep(SETTLE_S)
        before = {node.name: (thread_cpu_s(node.pid, THREAD_NAME), cpu_s([node.pid])) for node in cluster.nodes}
        began_s = trio.current_time()
        await trio.sleep(IDLE_S / (3 if bench.quick else 1))
        took_s = trio.current_time() - began_s
        for what, nodes in (("agent", cluster.agents), ("server", cluster.servers)):
            gossip = [thread_cpu_s(node.pid, THREAD_NAME) - before[node.name][0] for node in nodes]
            whole = [cpu_s([node.pid]) - before[node.name][1] for node in nodes]
            bench.results.add(f"idle {what} gossip cpu percent", statistics.median(gossip) / took_s * 100)
            bench.results.add(f"idle {what} whole cpu percent", statistics.median(whole) / took_s * 100)
        bench.results.add("idle agent rss mib", statistics.median(memory_mib(node.pid) for node in cluster.agents))


async def measure_join(bench: Bench) -> None:
    """From the start of an agent's process, and from the moment it listens, to its first answered write."""
    async with Cluster(bench.folder / "join", servers=3, agents=1, options=OPTIONS) as cluster:
        agent = cluster.agents[0]
        starts, joins = [], []
        for number in range(3 if bench.quick else JOINS_COUNT):
            await agent.stop()
            began_s = trio.current_time()
            agent.start()
            await agent.wait_answering()
            listening_s = trio.current_time()
            while True:
                try:
                    if (await agent.request("PUT", f"/v1/kv/join-{number}", b"x")).status == 200:
                        break
                except (NotSent, NotAnswered):
                    pass  # it is still starting
                await trio.sleep(POLL_S)
            starts.append(trio.current_time() - began_s)
            joins.append(trio.current_time() - listening_s)
        bench.results.add("join start to usable s", statistics.median(starts))
        bench.results.add("join listening to usable s", statistics.median(joins))


async def measure_death(bench: Bench) -> None:
    """kill -9 of an agent until its serfHealth is critical in the catalog, five nodes, LAN defaults."""
    took: list[float] = []
    async with trio.open_nursery() as nursery:
        for number in range(1 if bench.quick else DEATH_CLUSTERS_COUNT):
            nursery.start_soon(_let_die, bench.folder / f"death-{number}", random.Random(number), took, bench.quick)
    took.sort()
    bench.results.add("death to critical p50 s", statistics.median(took))
    bench.results.add("death to critical p99 s", took[min(len(took) - 1, len(took) * 99 // 100)])
    bench.results.add("death to critical most s", took[-1])
    bench.results.add("death to critical count", len(took))


async def _let_die(folder: Path, rng: random.Random, took: list[float], quick: bool) -> None:
    """Kill agents of one cluster, one after the other."""
    async with Cluster(folder, servers=3, agents=2, options=OPTIONS) as cluster:
        for _ in range(5 if quick else DEATHS_COUNT):
            await wait_members(cluster.nodes, 5)
            victim = rng.choice(cluster.agents)
            await wait_health(cluster.servers[0], victim.name, "passing")
            await trio.sleep(rng.uniform(0.0, 2.0))
            began_s = trio.current_time()
            victim.kill()
            await wait_health(cluster.servers[0], victim.name, "critical")
            took.append(trio.current_time() - began_s)
            victim.start()
            await victim.wait_answering()


async def measure_hundred(bench: Bench) -> None:
    """A hundred agents and three servers start at once: until everybody knows everybody, and what an agent weighs."""
    cluster = Cluster(bench.folder / "hundred", servers=3, agents=HUNDRED, options=OPTIONS)
    began_s = trio.current_time()
    try:
        cluster.start()
        await wait_members(cluster.nodes, HUNDRED + 3, timeout_s=HUNDRED_TIMEOUT_S)
        bench.results.add("hundred agents all known s", trio.current_time() - began_s)
        with trio.fail_after(HUNDRED_TIMEOUT_S):

            async def all_pass() -> bool:
                return await passing_count(cluster.servers[0]) >= HUNDRED + 3

            await until(all_pass)
        bench.results.add("hundred agents in the catalog s", trio.current_time() - began_s)
        for agent in cluster.agents:
            assert (await agent.request("PUT", f"/v1/kv/{agent.name}", b"x")).status == 200
        await trio.sleep(SETTLE_S)
        bench.results.add("hundred agents rss mib", statistics.median(memory_mib(a.pid) for a in cluster.agents))
        before_s = cpu_s(node.pid for node in cluster.agents)
        await trio.sleep(SETTLE_S)
        share = (cpu_s(node.pid for node in cluster.agents) - before_s) / SETTLE_S / HUNDRED * 100
        bench.results.add("hundred agents cpu percent each", share)
        failed = max([await failed_count(server) for server in cluster.servers])
        bench.results.add("hundred agents falsely failed", failed)
    finally:
        cluster.close()


async def measure_starved(bench: Bench) -> None:
    """Answers to probes while a server is busy: gossip in a thread of its own, and in the loop of everything else."""
    for how, module in (("thread", "server.main"), ("one loop", "bench.loads.one_loop")):
        async with lone_server(bench.folder / f"starved-{how.replace(' ', '-')}", module) as node:
            await probed(bench, f"{how} idle", node, nothing, PROBE_S / 3)
            await fill(node.http_address, prefix="big/", count=LISTED_KEYS_COUNT, value_bytes=LISTED_VALUE_BYTES)
            for name, work in (
                ("c256 get", lambda node=node: load(node, "GET")),
                ("c256 put", lambda node=node: load(node, "PUT")),
                ("listing of 200,000 keys", lambda node=node: listings(node)),
                ("saved and restored snapshot", lambda node=node: snapshots(node)),
            ):
                await probed(bench, f"{how} {name}", node, work, PROBE_S)


async def nothing() -> None:
    """The member is idle."""


async def load(node: Node, method: str) -> None:
    """256 connections for PROBE_S."""
    await run_load(node.http_address, method=method, query="", connections=256, seconds=PROBE_S)


async def listings(node: Node) -> None:
    """Large listings, one after the other."""
    with trio.move_on_after(PROBE_S):
        while True:
            await node.request("GET", "/v1/kv/big/?recurse", timeout_s=PROBE_S)


async def snapshots(node: Node) -> None:
    """Archives, saved and restored one after the other."""
    with trio.move_on_after(PROBE_S):
        while True:
            archive = await node.request("GET", "/v1/snapshot", timeout_s=PROBE_S)
            await node.request("PUT", "/v1/snapshot", archive.body, timeout_s=PROBE_S)


async def probed(bench: Bench, name: str, node: Node, work: Callable[[], Awaitable[Any]], seconds: float) -> None:
    """Probe `node` from a process of its own while `work` goes on."""
    command = [sys.executable, "-m", "bench.loads.probe", node.gossip_address, node.name, str(seconds)]
    found: dict[str, float] = {}

    async def probe() -> None:
        done = await trio.run_process(command, capture_stdout=True, cwd=ROOT)
        found.update(json.loads(done.stdout))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(probe)
        await work()
    for quantity in ("p50_ms", "p99_ms", "max_ms", "late"):
        bench.results.add(f"starved {name} {quantity}", found[quantity])


@asynccontextmanager
async def lone_server(folder: Path, module: str) -> Any:
    """One server, run by `module`."""
    node = Node(program="mesh-server", name="busy", folder=folder, options=["-bootstrap-expect", "1", *OPTIONS])
    plain = node.command
    node.command = lambda: [sys.executable, "-m", module, *plain()[1:]]  # type: ignore[method-assign]
    node.environment = {"PYTHONPATH": str(ROOT)}
    try:
        node.start()
        await node.wait_answering()

        async def leads() -> bool:
            return await node.known_leader() != ""

        await until(leads)
        yield node
    finally:
        node.close()


async def members_of(node: Node) -> list[dict[str, Any]]:
    """What the node says of members, [] where it does not answer."""
    try:
        reply = await node.request("GET", "/v1/agent/members", timeout_s=5.0)
    except (NotSent, NotAnswered):
        return []
    return list(reply.json()) if reply.status == 200 else []


async def wait_members(nodes: Sequence[Node], count: int, *, timeout_s: float = DEATH_TIMEOUT_S) -> None:
    """Wait until each node knows so many living members."""
    with trio.fail_after(timeout_s):
        for node in nodes:

            async def knows(node: Node = node) -> bool:
                return bool(sum(row["Status"] == 1 for row in await members_of(node)) >= count)

            await until(knows)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask another process until it says so."""
    while not await condition():  # noqa: ASYNC110  another process cannot set an event of ours
        await trio.sleep(POLL_S)


async def failed_count(node: Node) -> int:
    """How many members the node holds for failed."""
    return sum(row["Status"] == 4 for row in await members_of(node))


async def wait_health(server: Node, name: str, status: str) -> None:
    """Wait until the catalog says so of a node's serfHealth."""
    with trio.fail_after(DEATH_TIMEOUT_S):
        while True:
            reply = await server.request("GET", f"/v1/health/node/{name}")
            rows = reply.json() if reply.status == 200 else []
            if any(row["CheckID"] == "serfHealth" and row["Status"] == status for row in rows):
                return
            await trio.sleep(POLL_S)


async def passing_count(server: Node) -> int:
    """How many nodes are healthy in the catalog."""
    reply = await server.request("GET", "/v1/health/state/passing")
    return sum(row["CheckID"] == "serfHealth" for row in reply.json()) if reply.status == 200 else 0


PARTS: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "idle": measure_idle,
    "join": measure_join,
    "death": measure_death,
    "hundred": measure_hundred,
    "starved": measure_starved,
}
