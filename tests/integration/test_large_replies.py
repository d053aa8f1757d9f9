"""Answers larger than one frame between real processes: through an agent, and from a follower that asks the leader."""

import base64
import json
from pathlib import Path

import trio

from jepsen.cluster import Cluster
from rpc.frame import BODY_BYTES_MAX

VALUE_BYTES = 400 * 1024
VALUES_COUNT = 2 * BODY_BYTES_MAX // VALUE_BYTES + 1
SMALL_READS = 20


async def test_whatever_is_listed_arrives_through_every_process(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=3, agents=1) as cluster:
        leader = await cluster.wait_ready()
        values = {f"large/{number}": bytes([number]) * VALUE_BYTES for number in range(VALUES_COUNT)}
        for key, value in values.items():
            assert (await leader.request("PUT", f"/v1/kv/{key}", value)).body == b"true"
        follower = next(server for server in cluster.servers if server is not leader)
        for node in (leader, follower, cluster.agents[0]):
            reply = await node.request("GET", "/v1/kv/large/?recurse", timeout_s=60.0)
            assert reply.status == 200, reply.body[:200]
            assert {row["Key"]: base64.b64decode(row["Value"]) for row in reply.json()} == values

        agent = cluster.agents[0]
        sizes: list[int] = []

        async def read_all() -> None:
            for _ in range(3):
                sizes.append(len((await agent.request("GET", "/v1/kv/large/?recurse", timeout_s=60.0)).body))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(read_all)
            for _ in range(SMALL_READS):
                reply = await agent.request("GET", "/v1/kv/large/0?keys", timeout_s=60.0)
                assert json.loads(reply.body) == ["large/0"]
        assert len(sizes) == 9
        assert len(set(sizes)) == 1
