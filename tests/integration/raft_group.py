"""Three real Raft nodes in one process: real sockets, journals, snapshots and state; only the HTTP half is missing."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trio.testing

from base.disk import RealDisk
from base.errors import NotFound
from base.network import RealNetwork, Stream
from fsm.commands.registry import KVS, encode_command
from rpc.caller import Caller
from rpc.listener import RPCListener
from rpc.pool import RPCPool
from server.raft.node import RaftNode, RaftSettings
from server.raft.opening import Opened, open_raft
from structs.cluster import Peer
from structs.kv import KVCommand, KVVerb

WAIT_S = 30.0


def set_command(key: str, value: bytes) -> bytes:
    """The logged form of a plain write."""
    return encode_command(KVS, KVCommand(verb=KVVerb.SET, key=key, value=value))


class Member:
    """One server: may be stopped and started again on the same folder and port."""

    def __init__(self, number: int, folder: Path, settings: RaftSettings) -> None:
        self.number = number
        self.folder = folder / f"s{number}"
        self.settings = settings
        self.network = RealNetwork()
        self.port = 0
        self.peer = Peer(server_id=f"0000000{number}-0000-4000-8000-000000000000", name=f"s{number}", address="")
        self.opened: Opened | None = None
        self.scope = trio.CancelScope()

    @property
    def node(self) -> RaftNode:
        assert self.opened is not None
        return self.opened.node

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until stopped; a stop is as sudden as the process being killed between two rounds."""
        self.folder.mkdir(exist_ok=True)
        pool = RPCPool(self.network)
        listener = RPCListener(
            self.network,
            "127.0.0.1",
            self.port,
            self._refuse_call,
            stream_handler=self._serve_stream,
            raft_handler=self._serve_link,
        )
        self.scope = trio.CancelScope()
        with self.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(pool.run)
                address = await nursery.start(listener.run)
                self.port = int(str(address).rpartition(":")[2])
                self.peer = Peer(server_id=self.peer.server_id, name=self.peer.name, address=f"127.0.0.1:{self.port}")
                self.opened = open_raft(
                    data_folder=self.folder,
                    disk=RealDisk(),
                    self_peer=self.peer,
                    settings=self.settings,
                    pool=pool,
                    rng=random.Random(self.number),
                )
                await nursery.start(self.node.run)
                task_status.started()
                await trio.sleep_forever()
        assert self.opened is not None
        self.opened.journal.close()
        self.opened.machine.close()

    def _refuse_call(self, method: str, body: bytes, caller: Caller) -> bytes | Awaitable[bytes]:
        raise NotFound(f"no method {method} here")

    async def _serve_stream(self, method: str, body: bytes, stream: Any, caller: Caller) -> None:
        assert method == "Raft.FetchSnapshot"
        await self.node.send_snapshot(0, 0, stream)

    async def _serve_link(self, stream: Stream, caller: Caller) -> None:
        await self.node.serve_link(stream)


class Group:
    """All members, and the nursery they run in."""

    def __init__(self, members: list[Member], nursery: trio.Nursery) -> None:
        self.members = members
        self._nursery = nursery

    async def start(self, member: Member) -> None:
        await self._nursery.start(member.run)

    async def stop(self, member: Member) -> None:
        member.scope.cancel()
        await trio.testing.wait_all_tasks_blocked(0.01)

    def leader(self) -> Member | None:
        return next((m for m in self.members if not m.scope.cancel_called and m.node.lease_valid()), None)

    async def wait_leader(self) -> Member:
        await wait_until(lambda: self.leader() is not None, "nobody leads")
        leader = self.leader()
        assert leader is not None
        return leader

    async def put(self, key: str, value: bytes) -> None:
        leader = await self.wait_leader()
        await leader.node.propose(set_command(key, value), timeout_s=10.0)

    async def wait_equal(self) -> None:
        """Wait until every member has applied the same and holds the same state."""

        def positions() -> set[tuple[int, str]]:
            machines = [m.opened.machine for m in self.members if m.opened is not None and not m.scope.cancel_called]
            return {(machine.raft_index_visible, machine.digest_now) for machine in machines}

        await wait_until(lambda: len(positions()) == 1, "members differ")


async def wait_until(condition: Callable[[], bool], complaint: str) -> None:
    """Poll until `condition` holds; AssertionError with `complaint` after WAIT_S."""
    with trio.move_on_after(WAIT_S):
        while not condition():
            await trio.sleep(0.01)
        return
    raise AssertionError(complaint)


@asynccontextmanager
async def raft_group(folder: Path, count: int, *, bootstrap: bool = True, **settings: Any) -> AsyncIterator[Group]:
    """`count` running members, bootstrapped with one another."""
    made = RaftSettings(datacenter="dc1", **settings)
    members = [Member(number, folder, made) for number in range(count)]
    async with trio.open_nursery() as nursery:
        group = Group(members, nursery)
        for member in members:
            await group.start(member)
        if bootstrap:
            for member in members:
                await member.node.bootstrap([m.peer for m in members])
        yield group
        nursery.cancel_scope.cancel()
