"""The client library and its commands against real processes: locks while servers are killed, services, jobs."""

import json
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import trio

from base.errors import MeshError
from jepsen.cluster import Cluster, Node
from mesh.client import Client
from mesh.lock import Held, Lock, Semaphore
from mesh.query import Read
from mesh.service import RegisteredService
from mesh.trio_client import TrioClient
from mesh.trio_lock import lock_in_trio
from mesh.txn import Operation
from mesh.watch import watch_in_trio
from structs.catalog import NodeService

PATIENCE_S = 60.0
CONTENDERS_COUNT = 3
ROUNDS_COUNT = 12
HOLD_S = 0.4


async def until(condition: object) -> None:
    assert callable(condition)
    with trio.fail_after(PATIENCE_S):
        while not await trio.to_thread.run_sync(condition):
            await trio.sleep(0.05)


class Witness:
    """Sees who holds the lock: everybody says so, and writes behind a fence."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holders: set[int] = set()
        self.fencing: list[int] = []
        self.complaints: list[str] = []
        self.fenced_count = 0

    def begin(self, number: int, held: Held) -> None:
        with self.lock:
            if self.holders:
                self.complaints.append(f"{number} comes while {self.holders} hold it")
            if self.fencing and held.fencing <= self.fencing[-1]:
                self.complaints.append(f"{held.fencing} after {self.fencing[-1]}")
            self.holders.add(number)
            self.fencing.append(held.fencing)

    def end(self, number: int) -> None:
        with self.lock:
            self.holders.discard(number)


def contend(number: int, addresses: list[str], witness: Witness, stop: threading.Event) -> None:
    """Take the lock again and again, through another agent after each trouble."""
    turn = number
    while not stop.is_set():
        turn += 1
        with Client(addresses[turn % len(addresses)], environment={}) as client:
            lock = Lock(client, "app/.lock", lock_delay_s=0.0)
            try:
                held = lock.acquire(timeout_s=20.0)
                if held is None:
                    continue
                witness.begin(number, held)
                ends_s = time.monotonic() + HOLD_S
                while held.is_certain() and time.monotonic() < ends_s:
                    held.lost.wait(0.02)
                fenced = Operation.check_session("app/.lock", held.session_id)
                done = client.txn.apply([fenced, Operation.set("app/data", str(held.fencing).encode())])
                witness.fenced_count += not done.errors
                witness.end(number)
                lock.release()
            except MeshError:
                witness.end(number)
                lock.release()


async def test_a_lock_has_one_holder_while_leaders_are_killed(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=3, agents=1) as cluster:
        addresses = [node.http_address for node in cluster.nodes]
        witness, stop = Witness(), threading.Event()
        async with trio.open_nursery() as nursery:
            for number in range(CONTENDERS_COUNT):
                nursery.start_soon(trio.to_thread.run_sync, contend, number, addresses, witness, stop)
            await until(lambda: len(witness.fencing) >= ROUNDS_COUNT // 3)
            for _ in range(2):
                leader = await cluster.leader()
                leader.kill()
                known = len(witness.fencing)
                await until(lambda known=known: len(witness.fencing) >= known + ROUNDS_COUNT // 3)
                leader.start()
                await cluster.wait_ready()
            stop.set()
        assert witness.complaints == []
        assert witness.fencing == sorted(set(witness.fencing))
        assert witness.fenced_count > 0


def command(node: Node, *words: str) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, "CONSUL_HTTP_ADDR": node.http_address}
    return subprocess.run(
        [sys.executable, "-m", "mesh.cli.main", *words],
        env=environment, capture_output=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


async def test_commands_and_the_library_against_one_server(tmp_path: Path) -> None:
    options = ("-hcl", "disable_remote_exec = false")
    async with Cluster(tmp_path, servers=1, agents=1, options=options) as cluster:
        agent = cluster.agents[0]
        type_ = partial(command, agent)

        def run(*words: str) -> "trio.abc.Awaitable[subprocess.CompletedProcess[bytes]]":  # type: ignore[name-defined]
            return trio.to_thread.run_sync(lambda: type_(*words))

        done = await run("services", "register", "-name=web", "-port=80", "-tag=v1")
        assert (done.returncode, done.stdout) == (0, b"Registered service: web\n"), done.stderr
        done = await run("catalog", "services", "-tags")
        assert done.stdout.splitlines()[-1] == b"web         v1"
        done = await run("maint", "-enable", "-service=web", "-reason=test")
        assert done.stdout == b'Service maintenance is now enabled for "web"\n', done.stderr
        assert b"ID:     web\n  Reason: test" in (await run("maint")).stdout
        await run("maint", "-disable", "-service=web")
        done = await run("watch", "-type=service", "-service=web")
        assert json.loads(done.stdout)[0]["Service"]["Port"] == 80
        assert (await run("services", "deregister", "-id=web")).returncode == 0
        done = await run("lock", "-child-exit-code", "app", "exit 3")
        assert (done.returncode, done.stderr) == (2, b"")
        done = await run("lock", "-n=2", "app2", "true")
        assert (done.returncode, done.stderr) == (0, b"")
        done = await run("kv", "get", "-keys", "app")
        assert done.stdout == b""
        done = await run("exec", "-node=^" + agent.name + "$", "echo", "from", "afar")
        assert done.stdout.decode().splitlines()[0] == f"    {agent.name}: from afar", done.stderr
        assert done.returncode == 0
        assert (await run("reload")).stdout == b"Configuration reload triggered\n"
        await library(agent)


async def library(agent: Node) -> None:
    """A service that is watched comes and goes; locks in trio; sessions."""
    seen: list[int] = []
    async with TrioClient(agent.http_address, environment={}) as client:
        async with trio.open_nursery() as nursery:

            async def follow() -> None:
                ask = partial(client.health.service, "live", passing=True)
                async for answer in watch_in_trio(client, lambda read: ask(read=read), Read(wait_s=20)):
                    seen.append(len(answer.value))

            nursery.start_soon(follow)
            with Client(agent.http_address, environment={}) as other:
                keeper = RegisteredService(other, NodeService(service_id="live1", service="live", port=1), ttl_s=3)
                await trio.to_thread.run_sync(keeper.__enter__)
                await until(lambda: seen[-1:] == [1])
                await trio.to_thread.run_sync(keeper.__exit__, None)
                await until(lambda: seen[-1:] == [0])
            nursery.cancel_scope.cancel()
        async with lock_in_trio(client, "trio/.lock", lock_delay_s=0.0) as held:
            sessions = (await client.session.list()).value
            assert held.session_id in [session.session_id for session in sessions]
            assert (await client.session.info(held.session_id)).value is not None
        assert (await client.session.list()).value == []
    with Client(agent.http_address, environment={}) as other:
        semaphore = Semaphore(other, "places", 2)
        held_place = await trio.to_thread.run_sync(semaphore.acquire)
        assert held_place is not None
        assert await trio.to_thread.run_sync(semaphore.release)
