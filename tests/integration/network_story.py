"""A program for test_jepsen_network.py: a cluster on a breakable network, in a process that may enter a namespace.

    python -m tests.integration.network_story MODE FOLDER break     break the network in turn, say what was seen
    python -m tests.integration.network_story MODE FOLDER wait      start, say who runs, and wait to be killed
    python -m tests.integration.network_story MODE FOLDER datagrams break it between two nodes that know only UDP

What it says are lines of JSON on stdout.
"""

import json
import os
import random
import subprocess
import sys
from functools import partial
from pathlib import Path

import trio

from jepsen.cluster import Cluster, Node, ReservedPort
from jepsen.digests import wait_equal_digests
from jepsen.nemesis.packets import PacketsDelay, PacketsLoss
from jepsen.nemesis.partition import Partition, PartitionLeader, PartitionOneWay
from jepsen.network.choosing import enter, opened
from jepsen.network.network import Direction, Network, count

PATIENCE_S = 15.0
POLL_S = 0.05
KINDS = ("dropped", "lost", "delayed")
DELAY_S = 0.1
SHOW_S = 0.5
"""How long a delay or a loss is held."""


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


async def wait_other_leader(old: Node, others: list[Node]) -> str:
    """Name the leader that the others have chosen without `old`."""
    with trio.fail_after(PATIENCE_S):
        while True:
            named = {await node.known_leader() for node in others}
            if len(named) == 1 and named not in ({old.rpc_address}, {""}):
                return named.pop()
            await trio.sleep(POLL_S)


async def write(node: Node, key: str) -> bool:
    reply = await node.request("PUT", f"/v1/kv/{key}", b"x")
    return reply.status == 200


async def depose(cluster: Cluster, fault: Partition, rng: random.Random) -> None:
    """Cut the leader off, see another one take over, heal, and see the old one follow."""
    old = await cluster.leader()
    injection = await fault.inject(cluster, rng)
    others = [server for server in cluster.servers if server is not old]
    new = await wait_other_leader(old, others)
    evidence = await fault.evidence(cluster)
    wrote = await write(others[0], f"{fault.name}-during")
    await fault.heal(cluster, rng)
    with trio.fail_after(PATIENCE_S):
        leader = await cluster.wait_ready()
    say(
        fault=fault.name,
        what=injection.what,
        deposed=new != old.rpc_address,
        evidence=evidence,
        wrote=wrote,
        follows=await write(old, f"{fault.name}-after"),
        leader=leader.name,
    )


async def break_it(cluster: Cluster) -> None:
    rng = random.Random(7)
    for partition in (PartitionLeader(), PartitionOneWay()):
        await depose(cluster, partition, rng)
    for packets in (PacketsDelay(), PacketsLoss()):
        leader = await cluster.leader()
        injection = await packets.inject(cluster, rng)
        began_s = trio.current_time()
        wrote = await write(leader, packets.name)
        took_s = trio.current_time() - began_s
        await trio.sleep(SHOW_S)
        evidence = await packets.evidence(cluster)
        await packets.heal(cluster, rng)
        say(fault=packets.name, what=injection.what, evidence=evidence, wrote=wrote, took_s=took_s)
    index, _ = await wait_equal_digests(cluster.servers, timeout_s=PATIENCE_S)
    say(equal_at=index)


async def break_datagrams(network: Network) -> None:
    ports = {node: ReservedPort(for_datagrams=True).number for node in ("a", "b")}
    for node, port in ports.items():
        await network.open_port(node, port)
    both: list[Direction] = [("a", "b"), ("b", "a")]
    bound = {node: f"{network.addresses(node).bind}:{port}" for node, port in ports.items()}
    target = f"{network.addresses('b').advertise}:{ports['b']}"
    peer = [sys.executable, "-m", "tests.integration.datagram_peer"]
    async with trio.open_nursery() as nursery:
        command = network.wrap("b", [*peer, "echo", bound["b"]])
        echo = await nursery.start(partial(trio.run_process, command, stdout=subprocess.PIPE, check=False))
        assert await echo.stdout.receive_some(), "it did not start"

        async def show(**what: object) -> None:
            before = await network.effects()
            said = await trio.run_process(network.wrap("a", [*peer, "probe", bound["a"], target]), capture_stdout=True)
            now = await network.effects()
            kinds = {kind: count(now, [kind], both) - count(before, [kind], both) for kind in KINDS}
            say(**what, **json.loads(said.stdout), **kinds)

        await show(network="whole")
        await network.cut([("b", "a")])
        await show(network="cut")
        await network.reopen([("b", "a")])
        await network.lose([("a", "b")], share=0.5)
        await show(network="lossy")
        await network.heal()
        await network.delay(both, mean_s=DELAY_S, jitter_s=0.0)
        await show(network="slow", delay_s=DELAY_S)
        await network.heal()
        await show(network="healed")
        nursery.cancel_scope.cancel()


async def main(mode: str, folder: Path, task: str) -> None:
    if task == "datagrams":
        async with opened(mode) as network:
            await break_datagrams(network)
        return
    async with opened(mode) as network, Cluster(folder, servers=3, agents=1, network=network) as cluster:
        say(
            pids=pids(cluster),
            namespaces=sorted({os.readlink(f"/proc/{pid}/ns/net") for pid in [os.getpid(), *pids(cluster)]}),
        )
        if task == "wait":
            await trio.sleep_forever()
        await break_it(cluster)


def pids(cluster: Cluster) -> list[int]:
    return [node.pid for node in cluster.nodes]


if __name__ == "__main__":
    enter(sys.argv[1])
    trio.run(main, sys.argv[1], Path(sys.argv[2]), sys.argv[3])
