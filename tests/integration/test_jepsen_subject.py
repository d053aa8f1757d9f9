"""A real server under the wrapper: power fails, the disk fails, fills up or rots, clocks lie."""

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from jepsen.cluster import Cluster
from jepsen.http_client import HTTPConnection, NotAnswered, NotSent
from jepsen.machine import detect
from jepsen.nemesis.clock import wall_offset_s
from jepsen.nemesis.disk import DiskBitFlip, DiskFailing, DiskFull, DiskTornJournal, control, lost_bytes
from jepsen.nemesis.package import Fault

DELAY_US = 3600 * 1_000_000
"""A sync that does not end before the kill."""


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path, servers=3, agents=0, subject=True) as running:
        yield running


async def put(cluster: Cluster, key: str) -> int:
    leader = await cluster.leader()
    return (await leader.request("PUT", f"/v1/kv/{key}", b"value")).status


async def test_power_fails_in_the_middle_of_a_sync(cluster: Cluster) -> None:
    assert await put(cluster, "kept") == 200
    for server in cluster.servers:
        with control(server) as page:
            page.sync_delay_us = DELAY_US
    leader = await cluster.leader()
    with pytest.raises(NotAnswered):
        await leader.request("PUT", "/v1/kv/lost", b"value", timeout_s=0.5)
    for server in cluster.servers:
        server.kill()
    assert lost_bytes(cluster.servers)
    for server in cluster.servers:
        with control(server) as page:
            page.heal_disk()
        server.start()
    leader = await cluster.wait_ready()
    assert (await leader.request("GET", "/v1/kv/kept?raw&consistent")).body == b"value"


@pytest.mark.parametrize("kind", [DiskFailing, DiskFull, DiskTornJournal, DiskBitFlip])
async def test_a_disk_is_broken_and_mended(cluster: Cluster, kind: type[Fault]) -> None:
    fault, rng = kind(), random.Random(1)
    for number in range(5):
        assert await put(cluster, f"before/{number}") == 200
    injection = await fault.inject(cluster, rng)
    async with HTTPConnection((await cluster.leader()).http_address) as connection:
        for number in range(50):
            try:
                await connection.request("PUT", f"/v1/kv/under/{number}", b"v" * 512, timeout_s=2.0)
            except (NotSent, NotAnswered):
                break  # it was the leader's
    assert injection.nodes[0] in await fault.evidence(cluster)
    await fault.heal(cluster, rng)
    await fault.heal(cluster, rng)
    leader = await cluster.wait_ready()
    assert all(server.running for server in cluster.servers)
    assert len((await leader.request("GET", "/v1/kv/before/?keys&consistent")).json()) == 5


@pytest.mark.skipif("compiler" not in detect().abilities, reason="no C compiler")
async def test_a_wall_clock_jumps_and_nothing_else_changes(cluster: Cluster) -> None:
    leader = await cluster.leader()
    with control(leader) as page:
        page.wall_offset_ns = -(10**9) * 7200
        assert await put(cluster, "key") == 200
        with trio.fail_after(10):
            while not -7205 < await wall_offset_s(leader) < -7195:  # the date of answers is made once a second
                await trio.sleep(0.05)
        page.heal_clocks()
    assert await cluster.leader() is leader
