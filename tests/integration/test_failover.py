"""A prepared query over two datacenters of real processes: nobody is healthy here, so whoever is there answers."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from jepsen.cluster import Node
from tests.integration.datacenter_story import Datacenter, datacenters, everybody
from tests.integration.gossip_story import assert_no_tracebacks, wait_for, wait_members


async def put(node: Node, path: str, body: object) -> None:
    reply = await node.request("PUT", path, json.dumps(body).encode())
    assert reply.status == 200, reply.body


def check(verb: str, status: str) -> list[object]:
    found = {"Node": "host", "CheckID": "c", "ServiceID": "web", "Status": status}
    return [{"Check": {"Verb": verb, "Check": found}}]


def registration(address: str) -> list[object]:
    return [
        {"Node": {"Verb": "set", "Node": {"Node": "host", "Address": address}}},
        {"Service": {"Verb": "cas", "Node": "host", "Service": {"Service": "web", "Port": 80}}},
        *check("cas", "passing"),
    ]


async def executed(node: Node, name: str) -> tuple[str, int, list[str]]:
    """Datacenter, failovers, addresses."""
    reply = await node.request("GET", f"/v1/query/{name}/execute")
    assert reply.status == 200, reply.body
    answer: Any = reply.json()
    return answer["Datacenter"], answer["Failovers"], [each["Node"]["Address"] for each in answer["Nodes"]]


async def test_a_prepared_query_fails_over_and_comes_back(tmp_path: Path) -> None:
    near, far = Datacenter(tmp_path, "dc1", servers=1), Datacenter(tmp_path, "dc2", servers=1)
    far.servers[0].options += ["-retry-join-wan", near.wan_address(near.servers[0])]
    async with datacenters(near, far):
        await wait_members([*near.servers, *far.servers], everybody(near, far), wan=True)
        await put(near.agent, "/v1/txn", registration("10.1.0.1"))
        await put(far.agent, "/v1/txn", registration("10.2.0.1"))
        template = {
            "Name": "near-",
            "Template": {"Type": "name_prefix_match"},
            "Service": {"Service": "${name.suffix}", "Failover": {"NearestN": 1, "Datacenters": ["nowhere"]}},
        }
        created = await near.agent.request("POST", "/v1/query", json.dumps(template).encode())
        assert created.status == 200, created.body
        for node in near.cluster.nodes:
            assert await executed(node, "near-web") == ("dc1", 0, ["10.1.0.1"])
            assert await executed(node, "near-none") == ("dc1", 1, [])
            reply = await node.request("GET", "/v1/query/other/execute")
            assert (reply.status, reply.body) == (404, b"Query not found")
        await put(near.agent, "/v1/txn", check("set", "critical"))
        for node in near.cluster.nodes:
            assert await executed(node, "near-web") == ("dc2", 1, ["10.2.0.1"])
        await put(far.agent, "/v1/txn", check("set", "critical"))
        assert await executed(near.agent, "near-web") == ("dc1", 1, [])
        far.servers[0].kill()
        await wait_for("an answer all the same", partial(executed, near.agent, "near-web"), ("dc1", 1, []))
        await put(near.agent, "/v1/txn", check("set", "passing"))
        assert await executed(near.agent, "near-web") == ("dc1", 0, ["10.1.0.1"])
        assert_no_tracebacks([*near.cluster.nodes, *far.cluster.nodes])
