"""An agent's own services in real processes: into the catalog, through kill -9 and through a reload."""

import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from agent.local.persist import file_name
from jepsen.cluster import Cluster, Node

PATIENCE_S = 60.0


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    with trio.move_on_after(PATIENCE_S):
        while not await condition():
            await trio.sleep(0.05)
        return
    raise AssertionError(f"{what} did not come about")


async def instances(node: Node, name: str) -> list[int]:
    """The ports of a service's instances, as the catalog has them."""
    reply = await node.request("GET", f"/v1/catalog/service/{name}?stale")
    return [row["ServicePort"] for row in reply.json()] if reply.status == 200 else []


async def register(node: Node, body: dict[str, object]) -> int:
    return (await node.request("PUT", "/v1/agent/service/register", json.dumps(body).encode())).status


async def test_what_was_registered_before_kill_nine_reaches_the_catalog_after_it(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=1, agents=1) as cluster:
        server, agent = cluster.servers[0], cluster.agents[0]
        assert await register(agent, {"Name": "first", "Port": 1}) == 200
        assert await instances(server, "first") == [1]

        server.kill()
        stored = agent.data_dir / "services" / file_name("second")
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                """The agent dies while it tries to tell the servers."""
                try:
                    await register(agent, {"Name": "second", "Port": 2, "Check": {"TTL": "1h", "Status": "passing"}})
                except OSError:
                    return

            nursery.start_soon(ask)

            async def is_stored() -> bool:
                return stored.exists()

            await until(is_stored, "the file of the service")
            agent.kill()
            nursery.cancel_scope.cancel()
        server.start()
        agent.start()
        await agent.wait_answering()

        async def is_known() -> bool:
            return await instances(server, "second") == [2] and await instances(server, "first") == [1]

        await until(is_known, "the services in the catalog")
        assert sorted((await agent.request("GET", "/v1/agent/services")).json()) == ["first", "second"]


async def test_many_services_survive_kill_nine_and_come_back_to_a_catalog_that_forgot_them(tmp_path: Path) -> None:
    count, connections = 300, 8
    async with Cluster(tmp_path, servers=1, agents=1) as cluster:
        server, agent = cluster.servers[0], cluster.agents[0]
        numbers = iter(range(count))

        async def some() -> None:
            for number in numbers:
                name = f"many-{number % 10}"
                body: dict[str, object] = {"ID": f"m{number}", "Name": name, "Port": number + 1, "Check": {"TTL": "1h"}}
                assert await register(agent, body) == 200

        async with trio.open_nursery() as nursery:
            for _ in range(connections):
                nursery.start_soon(some)

        async def known() -> int:
            reply = await server.request("GET", f"/v1/catalog/node/{agent.name}?stale")
            found = reply.json() if reply.status == 200 else None
            return len(found["Services"]) if found else 0

        assert await known() == count
        agent.kill()
        forget = json.dumps({"Node": agent.name}).encode()
        assert (await server.request("PUT", "/v1/catalog/deregister", forget)).status == 200
        assert await known() == 0
        agent.start()
        await agent.wait_answering()
        assert len((await agent.request("GET", "/v1/agent/services")).json()) == count

        async def is_known() -> bool:
            return await known() == count

        await until(is_known, "all services in the catalog")
        checks = (await agent.request("GET", "/v1/agent/checks")).json()
        assert {check["Status"] for check in checks.values()} == {"critical"}
        assert len(checks) == count


async def test_files_define_services_and_a_reload_changes_them(tmp_path: Path) -> None:
    path = tmp_path / "web.hcl"
    path.write_text('service { name = "web" port = 1 check { ttl = "1h" status = "passing" } }')
    async with Cluster(tmp_path, servers=1, agents=0, options=("-config-file", str(path))) as cluster:
        server = cluster.servers[0]

        async def has(ports: list[int]) -> None:
            async def is_so() -> bool:
                return await instances(server, "web") == ports

            await until(is_so, f"web at {ports}")

        await has([1])
        path.write_text('service { name = "web" port = 2 check { ttl = "1h" status = "passing" } }')
        server.send_signal(signal.SIGHUP)
        await has([2])
        health = (await server.request("GET", "/v1/health/checks/web")).json()
        assert [check["Status"] for check in health] == ["passing"]

        path.write_text('service { name = "web" port = 3 check { interval = "1s" } }')
        reply = await server.request("PUT", "/v1/agent/reload")
        assert reply.status == 500
        assert b"Invalid check: TTL must be > 0 for TTL checks" in reply.body
        path.write_text('service { name = "web" port = 3 check { args = ["x"] interval = "1s" } }')
        reply = await server.request("PUT", "/v1/agent/reload")
        assert reply.status == 500
        assert b"Scripts are disabled on this agent" in reply.body
        assert await instances(server, "web") == [2]

        path.write_text('log_level = "INFO"')
        assert (await server.request("PUT", "/v1/agent/reload")).status == 200
        await has([])
