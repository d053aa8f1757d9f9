"""DNS and the cache over real processes: what is registered at a server is found by DNS at every process."""

import json
import re
from functools import partial
from pathlib import Path

import dns.message
import dns.query
import dns.rcode
import trio

from jepsen.cluster import Cluster, Node

PATIENCE_S = 30.0
BANNER = re.compile(r"^ +DNS: 127\.[0-9.]+:(\d+)$", re.MULTILINE)


async def ask(node: Node, name: str, kind: str = "A", *, tcp: bool = False) -> dns.message.Message:
    """Return the answer of a node to one question."""
    found = BANNER.search(node.log_text())
    assert found is not None, node.log_tail()
    host = node.http_address.rpartition(":")[0]
    send = dns.query.tcp if tcp else dns.query.udp
    query = dns.message.make_query(name, kind, use_edns=0, payload=1232)
    return await trio.to_thread.run_sync(partial(send, query, host, 10.0, int(found[1])))


def values(message: dns.message.Message) -> set[str]:
    """Return the data of all answers."""
    return {str(item) for rrset in message.answer for item in rrset}


async def wait_for(node: Node, name: str, wanted: set[str], kind: str = "A") -> None:
    """Wait until a node's answer is `wanted`."""
    seen: set[str] = set()
    with trio.move_on_after(PATIENCE_S):
        while True:
            seen = values(await ask(node, name, kind))
            if seen == wanted:
                return
            await trio.sleep(0.02)
    raise AssertionError(f"{node.name} answers {seen}, not {wanted}, for {name}")


async def register(server: Node, number: int, status: str) -> None:
    """Register an instance of "web" with a check on a node of its own."""
    body = {
        "Node": f"host-{number}",
        "Address": f"10.0.0.{number}",
        "Service": {"Service": "web", "Port": 8000 + number},
        "Check": {"CheckID": "alive", "ServiceID": "web", "Status": status},
    }
    reply = await server.request("PUT", "/v1/catalog/register", json.dumps(body).encode())
    assert reply.status == 200, reply


async def test_services_come_and_go_in_the_answers_of_servers_and_agents(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=1, agents=1, options=("-dns-port", "0")) as cluster:
        server, agent = cluster.servers[0], cluster.agents[0]
        for number in (1, 2, 3):
            await register(server, number, "passing")
        everybody = {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
        for node in (server, agent):
            await wait_for(node, "web.service.consul", everybody)
            assert values(await ask(node, "web.service.consul", tcp=True)) == everybody
            await wait_for(node, f"{server.name}.node.consul", {server.http_address.rpartition(":")[0]})
            await wait_for(node, "2.0.0.10.in-addr.arpa", {"host-2.node.dc1.consul."}, "PTR")
            assert (await ask(node, "nobody.service.consul")).rcode() == dns.rcode.NXDOMAIN
            assert (await ask(node, "www.example.com")).rcode() == dns.rcode.REFUSED
        await register(server, 2, "critical")
        for node in (server, agent):
            await wait_for(node, "web.service.consul", everybody - {"10.0.0.2"})
        await register(server, 2, "passing")
        for node in (server, agent):
            await wait_for(node, "web.service.consul", everybody)
        reply = await agent.request("GET", "/v1/health/service/web?cached")
        assert len(json.loads(reply.body)) == 3
        server.kill()
        await wait_for(agent, "web.service.consul", everybody)
        reply = await agent.request("GET", "/v1/health/service/web?cached")
        assert (reply.status, len(json.loads(reply.body))) == (200, 3)
