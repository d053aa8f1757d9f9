"""One agent with ten thousand services of its own: registered, killed, started again, compared with the catalog."""

import json
import signal

import trio

from bench.harness import cpu_s, memory_mib
from bench.kv import Bench
from jepsen.cluster import Node
from jepsen.http_client import HTTPConnection

SERVICES = 10_000
CONNECTIONS = 16
START_TIMEOUT_S = 120.0
SETTLE_S = 5.0
IDLE_S = 20.0


def definition(number: int) -> bytes:
    """The body of a registration with a TTL check."""
    return json.dumps({
        "Name": f"local-{number % 100}", "ID": f"local-{number}", "Port": 1000 + number % 50_000,
        "Check": {"TTL": "1h", "Status": "passing"},
    }).encode()  # fmt: skip


async def register_at(agent: Node, count: int) -> None:
    """Register so many services at an agent, over some connections at a time."""
    numbers = iter(range(count))

    async def some() -> None:
        async with HTTPConnection(agent.http_address) as connection:
            for number in numbers:
                reply = await connection.request(
                    "PUT", "/v1/agent/service/register", definition(number), timeout_s=60.0
                )
                assert reply.status == 200, (reply.status, reply.body[:200])

    async with trio.open_nursery() as nursery:
        for _ in range(CONNECTIONS):
            nursery.start_soon(some)


async def known_count(server: Node, agent: Node) -> int:
    """How many services of an agent the catalog has."""
    reply = await server.request("GET", f"/v1/catalog/node/{agent.name}", timeout_s=60.0)
    found = reply.json() if reply.status == 200 else None
    return len(found["Services"]) if found else 0


async def measure_many(bench: Bench) -> None:
    """How long it takes until everything is in the catalog, by registration and after it was taken out there."""
    count = SERVICES // 10 if bench.quick else SERVICES
    async with bench.cluster() as cluster:
        leader = await cluster.wait_ready()
        agent = cluster.agents[0]
        began_s = trio.current_time()
        await register_at(agent, count)
        bench.results.add(f"many {count} register s", trio.current_time() - began_s)
        assert await known_count(leader, agent) == count

        took_ms = []
        for path in ("/v1/agent/services", "/v1/agent/checks", "/v1/agent/self"):
            began_s = trio.current_time()
            assert (await agent.request("GET", path, timeout_s=60.0)).status == 200
            took_ms.append((trio.current_time() - began_s) * 1e3)
        bench.results.add(f"many {count} list services ms", took_ms[0])
        bench.results.add(f"many {count} list checks ms", took_ms[1])
        bench.results.add(f"many {count} self ms", took_ms[2])

        await trio.sleep(SETTLE_S)
        before_s = cpu_s([agent.pid])
        await trio.sleep(IDLE_S)
        bench.results.add(f"many {count} idle cpu percent", (cpu_s([agent.pid]) - before_s) / IDLE_S * 100)
        bench.results.add(f"many {count} rss mib", memory_mib(agent.pid))

        agent.send_signal(signal.SIGKILL)
        await agent.wait_exit()
        body = json.dumps({"Node": agent.name}).encode()
        assert (await leader.request("PUT", "/v1/catalog/deregister", body, timeout_s=60.0)).status == 200
        began_s = trio.current_time()
        agent.start()
        await agent.wait_answering(START_TIMEOUT_S)
        bench.results.add(f"many {count} restart to answer s", trio.current_time() - began_s)
        with trio.fail_after(START_TIMEOUT_S):
            while await known_count(leader, agent) < count:  # noqa: ASYNC110  another process
                await trio.sleep(0.1)
        bench.results.add(f"many {count} restart to in step s", trio.current_time() - began_s)

        began_s = trio.current_time()
        assert (await agent.request("PUT", "/v1/agent/maintenance?enable=true", timeout_s=60.0)).status == 200
        bench.results.add(f"many {count} maintenance ms", (trio.current_time() - began_s) * 1e3)
        began_s = trio.current_time()
        assert (await agent.request("PUT", "/v1/agent/reload", timeout_s=60.0)).status == 200
        bench.results.add(f"many {count} reload ms", (trio.current_time() - began_s) * 1e3)
