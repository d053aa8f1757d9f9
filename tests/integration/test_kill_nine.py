"""Servers are killed with SIGKILL at random for a minute, under load: nothing acknowledged may be lost."""

import random
from collections import Counter
from pathlib import Path

import trio

from jepsen.cluster import Cluster
from jepsen.digests import wait_equal_digests
from tests.integration.load import Outcome, Writer, complaints, read_all

SEED = 20_261_123
KILLING_S = 60.0
WRITERS_COUNT = 8
RECOVERY_S = 20.0


async def kill_and_restart(cluster: Cluster, rng: random.Random, stop: trio.Event) -> int:
    """Kill a minority, sometimes everybody, and start them again; returns how many were killed."""
    killed_count = 0
    with trio.move_on_after(KILLING_S):
        while True:
            await trio.sleep(rng.uniform(1.0, 4.0))
            victims_count = rng.choice([1, 1, 1, 1, 2, 3])
            victims = rng.sample(cluster.servers, victims_count)
            for victim in victims:
                victim.kill()
                killed_count += 1
            await trio.sleep(rng.uniform(0.0, 1.5))
            for victim in victims:
                victim.start()
    for server in cluster.servers:
        if not server.running:
            server.start()
    return killed_count


async def test_no_acknowledged_write_is_lost_when_servers_are_killed_at_random(tmp_path: Path) -> None:
    rng = random.Random(SEED)
    async with Cluster(tmp_path, servers=3, agents=1) as cluster:
        addresses = [node.http_address for node in cluster.nodes]
        writers = [
            Writer(name=f"w{number}", addresses=addresses, rng=random.Random(rng.random()), by_cas=number % 2 == 1)
            for number in range(WRITERS_COUNT)
        ]
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            for writer in writers:
                nursery.start_soon(writer.run, stop)
            killed_count = await kill_and_restart(cluster, rng, stop)
            await cluster.wait_ready(RECOVERY_S)
            stop.set()

        leader = await cluster.wait_ready(RECOVERY_S)
        outcomes = sum((writer.outcomes for writer in writers), Counter[Outcome]())
        print(f"killed {killed_count} servers; outcomes {dict(outcomes)}")
        assert killed_count >= 10
        assert outcomes[Outcome.OK] > 100
        assert complaints(writers, await read_all(leader.http_address, "load/")) == []

        await wait_equal_digests(cluster.servers, timeout_s=RECOVERY_S)
        for server in cluster.servers:
            assert complaints(writers, await read_all(server.http_address, "load/", mode="stale")) == []
