"""One server's inside without sockets: a real state machine, a FakeRaftNode, and the real reads and forwarding."""

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import trio
from msgspec.structs import replace

import server.endpoints.cluster
import server.endpoints.kv
import server.endpoints.operator
import server.endpoints.snapshot
import server.endpoints.status
import server.endpoints.txn  # noqa: F401
from base.disk import RealDisk
from base.errors import OutcomeUnknown, Unreachable
from fsm.machine import Machine
from fsm.store.store import Store
from fsm.watch import WatchRegistry
from rpc.caller import Caller
from server.config import ServerConfig
from server.dispatch import Dispatcher
from server.forwarding import Forwarding
from server.joining import Joining, Pins
from server.local import LocalDelegate
from server.reads import Reads
from server.roster import Roster
from server.services import Services
from structs.cluster import HelloReply, HelloRequest, Member, Peer
from tests.fakes.raft_node import FakeRaftNode

REMOTE = Caller(address="10.0.0.99:4000")


class FakePool:
    """Calls go to handlers by address; none: nobody there."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[str, bytes, Caller], Any]] = {}
        self.fail_next: list[Exception] = []
        self.calls: list[tuple[str, str]] = []
        self._under_way: list[tuple[str, trio.CancelScope]] = []

    def hurry(self, address: str, within_s: float) -> None:
        for asked, scope in self._under_way:
            if asked == address:
                scope.deadline = min(scope.deadline, trio.current_time() + within_s)

    async def call(self, address: str, method: str, body: bytes, *, timeout_s: float) -> bytes:
        await trio.lowlevel.checkpoint()
        self.calls.append((address, method))
        if self.fail_next:
            raise self.fail_next.pop(0)
        handler = self.handlers.get(address)
        if handler is None:
            raise Unreachable(f"dial tcp {address}: connection refused")
        answer = handler(method, body, REMOTE)
        if isinstance(answer, bytes):
            return answer
        with trio.move_on_after(timeout_s) as scope:
            self._under_way.append((address, scope))
            try:
                return cast(bytes, await answer)
            finally:
                self._under_way.remove((address, scope))
        raise OutcomeUnknown(f"rpc: no answer from {address} in time")

    def stream(self, address: str, method: str, body: bytes) -> Any:
        raise Unreachable("no streams here")


class ServerParts:
    """See the module's docstring."""

    def __init__(self, folder: Path, number: int = 1, *, pool: FakePool | None = None, hold_s: float = 7.0) -> None:
        self.peer = Peer(server_id=f"id-{number}", name=f"s{number}", address=f"10.0.0.{number}:8300")
        self.config = ServerConfig(
            node_id=self.peer.server_id, node_name=self.peer.name, datacenter="dc1", data_dir=str(folder),
            version="0", rpc_listen_host="10.0.0.1", rpc_listen_port=8300, advertise_host="10.0.0.1",
            serf_port=8301, bootstrap_expect=1, join=[], rpc_hold_timeout_s=hold_s,
        )  # fmt: skip
        self.machine = Machine(Store.create(folder / f"state-{number}"), WatchRegistry())
        self.raft = FakeRaftNode(self.peer, self.machine)
        self.pool = pool or FakePool()
        member = Member(
            name=self.peer.name, address=f"10.0.0.{number}", port=8301,
            tags={"id": self.peer.server_id, "role": "consul", "port": "8300"},
        )  # fmt: skip
        self.roster = Roster(member)
        self.reads = Reads(raft=self.raft, machine=self.machine, rng=random.Random(1), hold_s=hold_s, waiting_max=100)
        self.forwarding = Forwarding(
            raft=self.raft, reads=self.reads, pool=self.pool, rng=random.Random(2), hold_s=hold_s, write_timeout_s=10.0
        )
        self.services = Services(
            config=self.config, raft=self.raft, machine=self.machine, pool=self.pool, roster=self.roster,
            hello=self._hello, monotonic_s=trio.current_time,
        )  # fmt: skip
        self.dispatcher = Dispatcher(
            services=self.services, reads=self.reads, forwarding=self.forwarding,
            caller_is_server=lambda caller: bool(caller.may_act_as_server),
        )  # fmt: skip
        self.delegate = LocalDelegate(self.dispatcher)
        self.pool.handlers[self.peer.address] = self.dispatcher.handle

    def join(self, disk_folder: Path, *, expect: int, addresses: list[str]) -> Joining:
        """Make the server say and answer hellos; it has no configuration yet."""
        self.raft.peers = []
        self.raft.change_leader(None)
        config = replace(self.config, bootstrap_expect=expect, join=addresses)
        joining = Joining(
            config=config, peer=self.peer, raft=self.raft, pool=self.pool, roster=self.roster,
            pins=Pins(RealDisk(), disk_folder), monotonic_s=trio.current_time,
        )  # fmt: skip
        self.services.hello = joining.hello
        return joining

    def _hello(self, request: HelloRequest) -> HelloReply:
        return HelloReply(me=request, members=self.roster.members(0.0), leader=None, servers=[])

    async def ask(self, method: str, request: Any) -> Any:
        """A call of the embedded agent."""
        answer = self.dispatcher.call(method, request)
        return await answer if hasattr(answer, "__await__") else answer


@asynccontextmanager
async def server_parts(folder: Path, number: int = 1, **options: Any) -> AsyncGenerator[ServerParts, None]:
    """A server's inside with its blocking queries running, and an eye on who leads."""
    parts = ServerParts(folder, number, **options)
    async with trio.open_nursery() as nursery:
        await nursery.start(parts.reads.blocking.run)
        nursery.start_soon(parts.forwarding.run_watch)
        yield parts
        nursery.cancel_scope.cancel()
    parts.machine.close()
