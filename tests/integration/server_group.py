"""Whole servers in one process: real sockets, journals and state; gossip is the fake, so a test says who sees whom."""

from __future__ import annotations

import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from base.chance import Chance
from base.disk import RealDisk
from base.network import RealNetwork
from rpc.pool import RPCPool
from rpc.tls import TLSContexts
from server.config import ServerConfig
from server.joining import Pins
from server.raft.node import RaftSettings
from server.raft.opening import RAFT_FOLDER, Opened, open_raft
from server.server import Server, self_peer
from structs.autopilot import SECOND, AutopilotConfig
from structs.cluster import Member, MemberStatus
from structs.kv import KVApplyRequest, KVCommand, KVVerb
from tests.fakes.gossip import FakeGossip, FakeNetwork
from tests.fakes.members import server as server_member

WAIT_S = 30.0
STABLE_S = 0.4
FAILED_AFTER_S = 0.2
"""How soon the fake gossip is told that somebody has failed."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningServer:
    """One server: may be stopped and started again on the same folder."""

    def __init__(self, number: int, group: ServerGroup, *, expect: int, tls: TLSContexts | None = None) -> None:
        self.number = number
        self.name = f"s{number}"
        self.node_id = f"0000000{number}-0000-4000-8000-000000000000"
        self.folder = group.folder / self.name
        self.port = free_port()
        self.expect = expect
        self.tls = tls or group.tls
        self.running: Server | None = None
        self._group = group
        self._opened: Opened | None = None
        self._scope = trio.CancelScope()

    @property
    def server(self) -> Server:
        assert self.running is not None, f"{self.name} does not run"
        return self.running

    def member(self) -> Member:
        mode = {"bootstrap": "1"} if self.expect == 1 else {"expect": str(self.expect)} if self.expect else {}
        return server_member(self.name, id=self.node_id, port=str(self.port), address="127.0.0.1", **mode)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped; a stop is as sudden as a kill between two rounds."""
        self.folder.mkdir(exist_ok=True)
        network, disk = RealNetwork(), RealDisk()
        pool = RPCPool(network, tls=self.tls)
        config = ServerConfig(
            node_id=self.node_id, node_name=self.name, datacenter="dc1", data_dir=str(self.folder), version="0",
            rpc_listen_host="127.0.0.1", rpc_listen_port=self.port, advertise_host="127.0.0.1",
            bootstrap_expect=self.expect, leave_drain_s=0.1, session_ttl_s_min=0.1,
            autopilot=AutopilotConfig(server_stabilization_time_ns=int(STABLE_S * SECOND)),
        )  # fmt: skip
        settings = RaftSettings(datacenter="dc1")
        self._opened = open_raft(
            data_folder=self.folder, disk=disk, self_peer=self_peer(config), settings=settings, pool=pool,
            rng=random.Random(self.number),
        )  # fmt: skip
        self.running = Server(
            config, gossip=FakeGossip(self.member(), self._group.network), raft=self._opened.node,
            machine=self._opened.machine, pins=Pins(disk, self.folder / RAFT_FOLDER), pool=pool, network=network,
            tls=self.tls, chance=Chance(self.number),
        )  # fmt: skip
        self._scope = trio.CancelScope()
        try:
            with self._scope:
                await self.running.run(task_status=task_status)
        finally:
            self._group.network.pools.remove(self.running.gossip)  # type: ignore[arg-type]
            self.running = None
            self._opened.journal.close()
            self._opened.machine.close()

    async def stop(self) -> None:
        """Stop it without a word; gossip shows it as alive until somebody says otherwise."""
        self._scope.cancel()
        while self.running is not None:
            await trio.sleep(0.01)

    async def kill(self) -> None:
        """Stop it, and let gossip notice."""
        await self.stop()
        await trio.sleep(FAILED_AFTER_S)
        self._group.network.set_status(self.name, MemberStatus.FAILED)


class ServerGroup:
    """All servers, and the nursery they run in."""

    def __init__(self, folder: Path, nursery: trio.Nursery, tls: TLSContexts | None) -> None:
        self.folder = folder
        self.tls = tls
        self.network = FakeNetwork()
        self.servers: list[RunningServer] = []
        self._nursery = nursery

    async def add(self, number: int, *, expect: int = 0, tls: TLSContexts | None = None) -> RunningServer:
        added = RunningServer(number, self, expect=expect, tls=tls)
        self.servers.append(added)
        await self.start(added)
        return added

    async def start(self, server: RunningServer) -> None:
        await self._nursery.start(server.run)

    def leader(self) -> RunningServer | None:
        running = [each for each in self.servers if each.running is not None]
        return next((each for each in running if each.server.raft.lease_valid()), None)

    async def wait_leader(self) -> RunningServer:
        await wait_until(lambda: self.leader() is not None, "nobody leads")
        leader = self.leader()
        assert leader is not None
        return leader

    def voters(self) -> list[str]:
        """Names of the voters as the leader has them."""
        leader = self.leader()
        return sorted(peer.name for peer in leader.server.raft.configuration()) if leader is not None else []

    async def wait_voters(self, *names: str) -> None:
        await wait_until(lambda: self.voters() == sorted(names), lambda: f"voters are {self.voters()}")

    async def put(self, via: RunningServer, key: str) -> None:
        request = KVApplyRequest(command=KVCommand(verb=KVVerb.SET, key=key, value=b"1"))
        await via.server.dispatcher.call("KVS.Apply", request)


async def wait_until(condition: Callable[[], bool], complaint: str | Callable[[], str]) -> None:
    """Poll until `condition` holds; AssertionError with `complaint` after WAIT_S."""
    with trio.move_on_after(WAIT_S):
        while not condition():
            await trio.sleep(0.01)
        return
    raise AssertionError(complaint if isinstance(complaint, str) else complaint())


@asynccontextmanager
async def server_group(folder: Path, count: int, *, tls: TLSContexts | None = None) -> AsyncIterator[ServerGroup]:
    """`count` servers that expect one another."""
    async with trio.open_nursery() as nursery:
        group = ServerGroup(folder, nursery, tls)
        for number in range(1, count + 1):
            await group.add(number, expect=count)
        yield group
        nursery.cancel_scope.cancel()
