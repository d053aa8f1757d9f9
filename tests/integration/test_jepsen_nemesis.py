"""Faults against real servers: each shows its evidence, is healed, and the cluster takes writes at every node again."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from jepsen.cluster import Cluster, Node
from jepsen.http_client import NotAnswered, NotSent
from jepsen.nemesis import peers
from jepsen.nemesis.package import NotInjected
from jepsen.nemesis.registry import FAULTS
from jepsen.nemesis.targets import find_leader

HOLD_S = 0.3
"""Runs hold for longer."""
SNAPSHOTS_HOLD_S = 1.3
"""A server takes one a second."""


@asynccontextmanager
async def loaded(folder: Path, names: Sequence[str]) -> AsyncIterator[Cluster]:
    """Three servers with the options that these faults need, written to at every node without a pause."""
    options = dict.fromkeys(FAULTS[name].options for name in names)
    words = ["-log-level", "info", *(word for group in options for word in group)]
    async with Cluster(folder, options=words) as cluster, trio.open_nursery() as nursery:
        for node in cluster.nodes:
            nursery.start_soon(write_on_and_on, node)
        yield cluster
        nursery.cancel_scope.cancel()


async def write_on_and_on(node: Node) -> None:
    number = 0
    while True:
        number += 1
        try:
            await node.request("PUT", f"/v1/kv/load/{node.name}", str(number).encode(), timeout_s=3.0)
        except (NotSent, NotAnswered):
            await trio.sleep(0.05)  # it is down or stopped
        await trio.sleep(0.01)


async def wait_writable(node: Node) -> None:
    while True:
        try:
            if (await node.request("PUT", f"/v1/kv/probe/{node.name}", b"x", timeout_s=3.0)).status == 200:
                return
        except (NotSent, NotAnswered):
            pass  # not yet
        await trio.sleep(0.02)


async def a_moment() -> None:
    await trio.sleep(HOLD_S)


async def wait_other_leader(cluster: Cluster, old: Node) -> None:
    with trio.fail_after(20.0):
        while await find_leader(cluster) in (None, old):
            await trio.sleep(0.05)


async def break_and_heal(cluster: Cluster, name: str, hold: Callable[[], Awaitable[None]] = a_moment) -> str:
    """One round as a run makes it; returns the evidence. Afterwards writes work within the fault's bound."""
    fault, rng = FAULTS[name](), random.Random(1)
    try:
        injection = await fault.inject(cluster, rng)
        await hold()
        evidence = await fault.evidence(cluster)
    finally:
        await fault.heal(cluster, rng)
    with trio.fail_after(fault.recovery_s):
        async with trio.open_nursery() as nursery:
            for node in cluster.nodes:
                nursery.start_soon(wait_writable, node)
    await fault.heal(cluster, rng)  # twice does no harm
    await cluster.wait_ready()
    assert [node.name for node in cluster.nodes if not node.running] == []
    assert injection.what
    assert injection.nodes
    return evidence


async def test_leaders_that_die_or_stand_still_are_followed_by_others(tmp_path: Path) -> None:
    names = ["kill-leader", "pause-leader"]
    async with loaded(tmp_path, [*names, "pause-leader+kill-leader"]) as cluster:
        for name in names:
            leader = await cluster.wait_ready()
            pid = leader.pid
            evidence = await break_and_heal(cluster, name, partial(wait_other_leader, cluster, leader))
            assert leader.name in evidence
            assert (leader.pid == pid) is (name == "pause-leader")
            assert await cluster.leader() is not leader
        evidence = await break_and_heal(cluster, "pause-leader+kill-leader")
        assert "state T" in evidence
        assert "exit code -9" in evidence


async def test_members_come_and_go_and_all_are_there_in_the_end(tmp_path: Path) -> None:
    names = ["membership-grow", "membership-shrink", "restart-rolling"]
    async with loaded(tmp_path, names) as cluster:
        everybody = {server.rpc_address for server in cluster.servers}
        pids = {server.pid for server in cluster.servers}
        for name in names:
            await break_and_heal(cluster, name)
            assert {row.address for row in await peers.configuration(cluster)} == everybody
        assert not pids & {server.pid for server in cluster.servers}
        assert [node.name for node in cluster.retired] == ["server-4"]
        assert not cluster.retired[0].running


async def test_a_follower_left_behind_by_the_log_installs_a_snapshot(tmp_path: Path) -> None:
    names = ["snapshot-forced", "snapshot-install"]
    async with loaded(tmp_path, names) as cluster:
        for name in names:
            evidence = await break_and_heal(cluster, name, partial(trio.sleep, SNAPSHOTS_HOLD_S))
            assert "snapshot" in evidence
        assert any("snapshot installed" in server.log_text() for server in cluster.servers)


async def test_what_did_not_happen_is_not_counted(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=1, agents=0) as cluster:
        for name in ("membership-shrink", "membership-replace", "kill-minority", "pause-all-but-one", "kill-agent"):
            fault, rng = FAULTS[name](), random.Random(1)
            with pytest.raises(NotInjected):
                await fault.inject(cluster, rng)
            with pytest.raises(NotInjected):
                await fault.evidence(cluster)
            await fault.heal(cluster, rng)
        pause, rng = FAULTS["pause-leader"](), random.Random(1)
        await pause.inject(cluster, rng)
        cluster.servers[0].resume()
        with pytest.raises(NotInjected):
            await pause.evidence(cluster)
        await cluster.wait_ready()
