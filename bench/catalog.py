"""What `python -m bench catalog` measures: discovery, registration, watchers of a service, DNS, and an idle agent."""

import json
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable

import trio

from bench.harness import cpu_s, memory_mib, sync_times
from bench.kv import Bench
from bench.loads.load import LoadRequest, run_requests
from bench.many_local import measure_many
from bench.watchers import time_view
from jepsen.cluster import Node
from jepsen.http_client import HTTPConnection, fetch

SERVICE = "bench-web"
INSTANCES = 100
WATCHERS = 1_000
REGISTRATIONS = 4_000
"""Different ones, taken in turn; each pass through them changes every one."""
FILL_CONNECTIONS = 8
LOCAL_SERVICES = 1_000
MANY_INSTANCES = 50_000
MANY_SERVICES = 500
LARGE_READS = 3
LARGE_WRITE_PAUSE_S = 0.005
WARM_UP_S = 1.0
SETTLE_S = 5.0
IDLE_S = 20.0
DNS_WINDOW = 32
DNS_TIMEOUT_S = 60.0


def registration(node: str, service: str, service_id: str, output: str, *, version: str = "1") -> str:
    """The body of a registration: a node with its own check, an instance, and a check of it, all passing.

    The node's check is not `serfHealth`: nodes that gossip has but does not know are taken out of the catalog.
    """
    return json.dumps({
        "Node": node, "Address": "10.1.2.3", "NodeMeta": {"zone": "a"},
        "Service": {"ID": service_id, "Service": service, "Tags": ["v1", "blue"], "Port": 8080,
                    "Meta": {"version": version}},
        "Checks": [
            {"CheckID": "host-alive", "Name": "Host Alive Status", "Status": "passing", "Output": "Host alive"},
            {"CheckID": f"service:{service_id}", "Name": "HTTP", "ServiceID": service_id, "Status": "passing",
             "Output": output},
        ],
    })  # fmt: skip


async def register_all(address: str, bodies: list[str]) -> None:
    """Register these, over some connections at a time."""
    turns = iter(bodies)

    async def some() -> None:
        async with HTTPConnection(address) as connection:
            for body in turns:
                reply = await connection.request("PUT", "/v1/catalog/register", body.encode(), timeout_s=60.0)
                assert reply.status == 200, (reply.status, reply.body[:200])

    async with trio.open_nursery() as nursery:
        for _ in range(FILL_CONNECTIONS):
            nursery.start_soon(some)


def hundred() -> list[str]:
    """The instances that health and DNS are asked for, each on a node of its own."""
    return [registration(f"bench-{n}", SERVICE, f"{SERVICE}-{n}", "HTTP GET: 200 OK") for n in range(INSTANCES)]


async def _load(
    bench: Bench, pids: list[int], name: str, address: str, requests: list[LoadRequest], width: int
) -> None:
    """Put the load on, and add rate, quantiles and CPU an operation over all processes."""
    await run_requests(address, requests, connections=width, seconds=WARM_UP_S)
    before_s = cpu_s(pids)
    seen = await run_requests(address, requests, connections=width, seconds=2.0 if bench.quick else 5.0)
    spent_s = cpu_s(pids) - before_s
    bench.results.add(f"{name} c{width} rate", seen.rate)
    bench.results.add(f"{name} c{width} p50_ms", seen.p50_ms)
    bench.results.add(f"{name} c{width} p99_ms", seen.p99_ms)
    bench.results.add(f"{name} c{width} cpu_us", spent_s / max(1, seen.requests) * 1e6)
    if seen.failed:
        bench.results.add(f"{name} c{width} failed", seen.failed)


async def measure_health(bench: Bench) -> None:
    """The passing instances of a service of a hundred: at the leader, through an agent, and from its cache."""
    async with bench.cluster() as cluster:
        leader = await cluster.wait_ready()
        await register_all(leader.http_address, hundred())
        pids = [node.pid for node in cluster.nodes]
        path = f"/v1/health/service/{SERVICE}?passing"
        found = (await fetch(leader.http_address, "GET", path)).json()
        assert len(found) == INSTANCES, len(found)
        agent = cluster.agents[0].http_address
        for name, address, target in (
            ("health leader", leader.http_address, path),
            ("health agent", agent, path),
            ("health agent filtered", agent, f"{path}&filter=Service.Meta.version+==+1"),
            ("health agent cached", agent, f"{path}&cached"),
        ):
            await _load(bench, pids, name, address, [LoadRequest("GET", target)], 16)


async def measure_register(bench: Bench) -> None:
    """Registrations that change something, and the same again, which change nothing."""
    async with bench.cluster() as cluster:
        disk = await trio.to_thread.run_sync(sync_times, cluster.servers[0].data_dir)
        bench.results.add("fdatasync p50_ms", disk.p50_ms)
        leader = await cluster.wait_ready()
        pids = [node.pid for node in cluster.nodes]
        for name, output in (("register leader", "pass {pass}"), ("register again leader", "the same")):
            requests = [
                LoadRequest("PUT", "/v1/catalog/register", registration(f"n{n}", f"s{n % 100}", f"s{n}", output))
                for n in range(REGISTRATIONS)
            ]
            if "{" not in output:
                await register_all(leader.http_address, [each.body for each in requests])
            await _load(bench, pids, name, leader.http_address, requests, 64)


async def measure_watchers(bench: Bench) -> None:
    """A thousand watchers of one service through one agent: from the change to the last answer."""
    async with bench.cluster() as cluster:
        leader = await cluster.wait_ready()
        await register_all(leader.http_address, hundred())
        last_ms = []
        for number in range(1 if bench.quick else 5):
            body = registration("bench-0", SERVICE, f"{SERVICE}-0", f"change {number}").encode()
            path = f"/v1/health/service/{SERVICE}?passing"
            woken = await time_view(cluster.agents[0].http_address, path, "/v1/catalog/register", body, WATCHERS)
            last_ms.append(woken.last_s * 1e3)
        bench.results.add(f"watch {WATCHERS} of service last ms", statistics.median(last_ms))


async def measure_dns(bench: Bench) -> None:
    """A queries for one service at an agent, and what each costs it; the rate of a core that does nothing else."""
    async with bench.cluster() as cluster:
        leader = await cluster.wait_ready()
        await register_all(leader.http_address, hundred())
        agent = cluster.agents[0]
        await _ask(agent, 1.0)
        before_s = cpu_s([agent.pid])
        seen = await _ask(agent, 2.0 if bench.quick else 5.0)
        spent_s = cpu_s([agent.pid]) - before_s
        assert seen["answers"], "no answer came"
        cpu_us = spent_s / seen["answers"] * 1e6
        bench.results.add("dns agent a rate", seen["answers"] / seen["duration_s"])
        bench.results.add("dns agent a p99_ms", seen["p99_ms"])
        bench.results.add("dns agent a cpu_us", cpu_us)
        bench.results.add("dns agent a one_core_rate", 1e6 / cpu_us)
        bench.results.add("dns agent a wrong or lost", seen["wrong"] + seen["lost"])


async def _ask(agent: Node, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.loads.dns", agent.dns_address, f"{SERVICE}.service.consul", str(seconds),
               str(DNS_WINDOW)]  # fmt: skip
    with trio.fail_after(seconds + DNS_TIMEOUT_S):
        done = await trio.run_process(command, capture_stdout=True, stdin=subprocess.DEVNULL)
    found: dict[str, float] = json.loads(done.stdout)
    return found


async def measure_idle(bench: Bench) -> None:
    """An agent with a thousand services of its own, each with a TTL check, that nobody asks for anything."""
    async with bench.cluster() as cluster:
        await cluster.wait_ready()
        agent = cluster.agents[0]
        bodies = [
            json.dumps({"Name": f"local-{n % 100}", "ID": f"local-{n}", "Port": 1000 + n,
                        "Check": {"TTL": "1h", "Status": "passing"}})
            for n in range(LOCAL_SERVICES)
        ]  # fmt: skip
        began_s = trio.current_time()
        async with HTTPConnection(agent.http_address) as connection:
            for body in bodies:
                reply = await connection.request("PUT", "/v1/agent/service/register", body.encode(), timeout_s=60.0)
                assert reply.status == 200, (reply.status, reply.body[:200])
        bench.results.add("agent register ms", (trio.current_time() - began_s) / LOCAL_SERVICES * 1e3)
        await trio.sleep(SETTLE_S)
        before_s = cpu_s([agent.pid])
        await trio.sleep(IDLE_S)
        bench.results.add("agent 1000 services idle cpu percent", (cpu_s([agent.pid]) - before_s) / IDLE_S * 100)
        bench.results.add("agent 1000 services rss mib", memory_mib(agent.pid))


async def measure_large(bench: Bench) -> None:
    """A catalog of fifty thousand instances: how long whole listings take, and what the servers weigh."""
    count = MANY_INSTANCES // 10 if bench.quick else MANY_INSTANCES
    async with bench.cluster() as cluster:
        leader = await cluster.wait_ready()
        began_s = trio.current_time()
        bodies = [registration(f"big-{n // 10}", f"big-{n % MANY_SERVICES}", f"big-{n}", "ok") for n in range(count)]
        await register_all(leader.http_address, bodies)
        bench.results.add("large fill registrations_a_second", count / (trio.current_time() - began_s))
        agent = cluster.agents[0].http_address
        for name, path in (
            ("services", "/v1/catalog/services"),
            ("nodes", "/v1/catalog/nodes"),
            ("services of some nodes", "/v1/catalog/services?node-meta=zone:a"),
            ("services filtered", "/v1/catalog/services?filter=ServicePort+==+8080"),
            ("one service", "/v1/health/service/big-0"),
            ("ui services", "/v1/internal/ui/services"),
            ("ui nodes", "/v1/internal/ui/nodes"),
            ("all checks", "/v1/health/state/any"),
            ("critical checks", "/v1/health/state/critical"),
        ):
            took_ms: list[float] = []
            writes_ms: list[float] = []
            for number in range(LARGE_READS):
                changed = registration("big-0", "big-0", "big-0", "ok", version=f"{name} {number}").encode()
                await fetch(leader.http_address, "PUT", "/v1/catalog/register", changed)  # what is kept will not do
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_write_often, leader.http_address, writes_ms)
                    began_s = trio.current_time()
                    reply = await fetch(agent, "GET", path, timeout_s=60.0)
                    took_ms.append((trio.current_time() - began_s) * 1e3)
                    nursery.cancel_scope.cancel()
                assert reply.status == 200, (path, reply.status, reply.body[:200])
            bench.results.add(f"large {name} mb", len(reply.body) / 1e6)
            bench.results.add(f"large {name} ms", statistics.median(took_ms))
            if writes_ms:
                bench.results.add(f"large {name} writes most ms", max(writes_ms))
        stats = (await leader.request("GET", "/v1/agent/self")).json()["Stats"]["raft"]
        bench.results.add("large heartbeat lag p99_ms", float(stats["loop_lag_p99_ms"]))
        bench.results.add("large leader rss mib", memory_mib(leader.pid))


async def _write_often(address: str, took_ms: list[float]) -> None:
    """Write one small key after the other, which is what has to go on while somebody lists everything."""
    async with HTTPConnection(address) as connection:
        while True:
            began_s = trio.current_time()
            await connection.request("PUT", "/v1/kv/beside", b"x", timeout_s=60.0)
            took_ms.append((trio.current_time() - began_s) * 1e3)
            await trio.sleep(LARGE_WRITE_PAUSE_S)


PARTS: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "health": measure_health,
    "register": measure_register,
    "watchers": measure_watchers,
    "dns": measure_dns,
    "idle": measure_idle,
    "large": measure_large,
    "many": measure_many,
}
