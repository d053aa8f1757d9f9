"""What `python -m bench kv` measures. Each part starts from the cluster it is given and adds lines to the results."""

import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from bench.fill import fill
from bench.harness import cpu_s, memory_mib, sync_times
from bench.ledger import Results
from bench.loads.load import KEYS_COUNT, VALUE_BYTES, run_load
from bench.watchers import time_last_woken
from jepsen.cluster import Cluster, Node
from jepsen.http_client import HTTPConnection, NotAnswered, NotSent

OPERATIONS = {
    "put": ("PUT", ""),
    "get-default": ("GET", ""),
    "get-stale": ("GET", "stale"),
    "get-consistent": ("GET", "consistent"),
}
CONNECTIONS = (1, 16, 64, 256)
WARM_UP_S = 1.0
SETTLE_S = 3.0
FAILOVER_KILLS = 5
WATCHERS = 5_000
RESTART_TIMEOUT_S = 120.0
# More connections than one client is allowed by default, since every generator sits on one address.
OPTIONS = ("-log-level", "warn", "-hcl", "limits { http_max_conns_per_client = 20000 }")


@dataclass
class Bench:
    """What every part needs."""

    folder: Path
    results: Results
    quick: bool
    clusters_count: int = 0

    def cluster(self, *, agents: int = 1) -> Cluster:
        """A new cluster in a folder of its own; the caller starts and ends it."""
        self.clusters_count += 1
        return Cluster(self.folder / f"cluster-{self.clusters_count}", servers=3, agents=agents, options=OPTIONS)


async def first_write(addresses: list[str], timeout_s: float = RESTART_TIMEOUT_S) -> tuple[float, str]:
    """Seconds until a write that begins now or later is acknowledged by any of the addresses, and by which."""
    began_s = trio.current_time()
    found: list[tuple[float, str]] = []

    async def ask(address: str, scope: trio.CancelScope) -> None:
        async with HTTPConnection(address) as connection:
            while True:
                try:
                    reply = await connection.request("PUT", "/v1/kv/bench-first", b"x", timeout_s=10.0)
                    if reply.status == 200:
                        found.append((trio.current_time() - began_s, address))
                        scope.cancel()
                except (NotSent, NotAnswered):
                    pass  # the server is down or going down: that is what is being waited out
                await trio.sleep(0.005)

    with trio.fail_after(timeout_s):
        async with trio.open_nursery() as nursery:
            for address in addresses:
                nursery.start_soon(ask, address, nursery.cancel_scope)
    return min(found)


async def measure_rates(bench: Bench) -> None:
    """PUT and GET in each consistency mode, at the leader, at a follower and through the agent."""
    async with bench.cluster() as cluster:
        disk = await trio.to_thread.run_sync(sync_times, cluster.servers[0].data_dir)
        bench.results.add("fdatasync p50_ms", disk.p50_ms)
        bench.results.add("fdatasync p99_ms", disk.p99_ms)
        leader = await cluster.wait_ready()
        follower = next(server for server in cluster.servers if server is not leader)
        await fill(leader.http_address, prefix="bench/", count=KEYS_COUNT, value_bytes=VALUE_BYTES)
        pids = [node.pid for node in cluster.nodes]
        seconds = 2.0 if bench.quick else 5.0
        for target, node in (("leader", leader), ("follower", follower), ("agent", cluster.agents[0])):
            for operation, (method, query) in OPERATIONS.items():
                for connections in CONNECTIONS:
                    await run_load(
                        node.http_address, method=method, query=query, connections=connections, seconds=WARM_UP_S
                    )
                    cpu_before_s = cpu_s(pids)
                    seen = await run_load(
                        node.http_address, method=method, query=query, connections=connections, seconds=seconds
                    )
                    spent_s = cpu_s(pids) - cpu_before_s
                    name = f"{operation} {target} c{connections}"
                    bench.results.add(f"{name} rate", seen.rate)
                    bench.results.add(f"{name} p50_ms", seen.p50_ms)
                    bench.results.add(f"{name} p99_ms", seen.p99_ms)
                    bench.results.add(f"{name} cpu_us", spent_s / max(1, seen.requests) * 1e6)
                    if seen.failed:
                        bench.results.add(f"{name} failed", seen.failed)
        await run_load(leader.http_address, method="PUT", query="", connections=256, seconds=seconds)
        await _loop_lag(bench, leader)


async def _loop_lag(bench: Bench, leader: Node) -> None:
    """How late the consensus loop woke for its timers: past a fifth of the election timeout, HTTP starves it."""
    stats = (await leader.request("GET", "/v1/agent/self")).json()["Stats"]["raft"]
    bench.results.add("heartbeat lag p99_ms", float(stats["loop_lag_p99_ms"]))


async def measure_failover(bench: Bench) -> None:
    """SIGKILL of the leader until the next acknowledged write, anywhere and through the agent."""
    anywhere_s, agent_s = [], []
    async with bench.cluster() as cluster:
        for _ in range(FAILOVER_KILLS):
            leader = await cluster.wait_ready()
            await first_write([leader.http_address])
            await trio.sleep(SETTLE_S / 3)
            leader.kill()
            alive = [server.http_address for server in cluster.servers if server is not leader]
            took: dict[str, float] = {}

            async def note(name: str, addresses: list[str], took: dict[str, float] = took) -> None:
                took[name] = (await first_write(addresses))[0]

            async with trio.open_nursery() as nursery:
                nursery.start_soon(note, "anywhere", alive)
                nursery.start_soon(note, "agent", [cluster.agents[0].http_address])
            anywhere_s.append(min(took.values()))
            agent_s.append(took["agent"])
            leader.start()
    bench.results.add("failover s", statistics.median(anywhere_s))
    bench.results.add("failover worst s", max(anywhere_s))
    bench.results.add("failover through agent s", statistics.median(agent_s))


async def measure_start(bench: Bench) -> None:
    """Three fresh servers to the first acknowledged write, and what they weigh when idle."""
    times_s = []
    for _ in range(1 if bench.quick else 3):
        cluster = bench.cluster(agents=0)
        try:
            cluster.start()
            took_s, _address = await first_write([server.http_address for server in cluster.servers])
            times_s.append(took_s)
            await trio.sleep(SETTLE_S)
            weights = [memory_mib(server.pid) for server in cluster.servers]
        finally:
            cluster.close()
    bench.results.add("fresh start s", statistics.median(times_s))
    bench.results.add("rss idle mib", max(weights))


async def measure_sizes(bench: Bench) -> None:
    """Memory, restart and snapshots with many keys."""
    for count, name in ((100_000, "100k"),) if bench.quick else ((100_000, "100k"), (1_000_000, "1m")):
        cluster = bench.cluster(agents=0)
        try:
            cluster.start()
            leader = await cluster.wait_ready()
            filled_s = await fill(leader.http_address, prefix="fill/", count=count, value_bytes=VALUE_BYTES)
            bench.results.add(f"fill {name} keys_a_second", count / filled_s)
            await trio.sleep(SETTLE_S)
            bench.results.add(f"rss {name} mib", max(memory_mib(server.pid) for server in cluster.servers))
            bench.results.add(
                f"rss anonymous {name} mib", max(memory_mib(server.pid, "RssAnon") for server in cluster.servers)
            )
            await cluster.stop()
            for server in cluster.servers:
                server.start()
            took_s, _address = await first_write([server.http_address for server in cluster.servers])
            bench.results.add(f"restart {name} s", took_s)
            await _time_snapshot(bench, await cluster.wait_ready(RESTART_TIMEOUT_S), name)
        finally:
            cluster.close()


async def _time_snapshot(bench: Bench, leader: Node, name: str) -> None:
    """Save an archive over HTTP and restore the same one."""
    async with HTTPConnection(leader.http_address) as connection:
        began_s = trio.current_time()
        saved = await connection.request("GET", "/v1/snapshot", timeout_s=RESTART_TIMEOUT_S)
        bench.results.add(f"snapshot save {name} s", trio.current_time() - began_s)
        assert saved.status == 200, (saved.status, saved.body[:200])
        bench.results.add(f"snapshot size {name} mib", len(saved.body) / 1024 / 1024)
        began_s = trio.current_time()
        restored = await connection.request("PUT", "/v1/snapshot", saved.body, timeout_s=RESTART_TIMEOUT_S)
        bench.results.add(f"snapshot restore {name} s", trio.current_time() - began_s)
        assert restored.status == 200, (restored.status, restored.body[:200])


async def measure_watchers(bench: Bench) -> None:
    """Many blocking queries on one key through one agent: from the write to the last answer."""
    async with bench.cluster() as cluster:
        times_ms = []
        for _ in range(1 if bench.quick else 3):
            woken = await time_last_woken(cluster.agents[0].http_address, "bench-watched", WATCHERS)
            times_ms.append(woken.last_s * 1e3)
            first_ms = woken.first_s * 1e3
        bench.results.add(f"watch {WATCHERS} first ms", first_ms)
        bench.results.add(f"watch {WATCHERS} last ms", statistics.median(times_ms))


PARTS: dict[str, Callable[[Bench], Awaitable[None]]] = {
    "rates": measure_rates,
    "start": measure_start,
    "failover": measure_failover,
    "watchers": measure_watchers,
    "sizes": measure_sizes,
}
