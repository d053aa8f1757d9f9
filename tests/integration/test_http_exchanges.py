"""The exchanges of tests/spec against real processes: what the fake answers is what servers and agents answer."""

from pathlib import Path

from jepsen.cluster import Cluster
from tests.spec.exchange import run
from tests.spec.test_exchanges import EXCHANGES


async def test_leader_follower_and_agent_give_the_same_answers(tmp_path: Path) -> None:
    # The exchanges are those of agents without a page; with one, `/` leads there.
    async with Cluster(tmp_path, options=("-log-level", "info", "-ui=false")) as cluster:
        leader = await cluster.leader()
        follower = next(server for server in cluster.servers if server is not leader)
        for node in (leader, follower, cluster.agents[0]):
            host, _, port = node.http_address.rpartition(":")
            for exchange in EXCHANGES:
                await run(exchange, host, int(port))
