"""One server's inside without sockets: a real state machine, a FakeRaftNode, and the real reads and forwarding."""

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import trio
from msgspec.structs import replace

import server.endpoints.autopilot
import server.endpoints.autopilot_health
import server.endpoints.catalog
import server.endpoints.cluster
import server.endpoints.coordinate
import server.endpoints.datacenter
import server.endpoints.health
import server.endpoints.internal
import server.endpoints.kv
import server.endpoints.operator
import server.endpoints.prepared_query
import server.endpoints.session
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
from server.elsewhere import Elsewhere
from server.forwarding import Forwarding
from server.joining import Joining, Pins
from server.leader.duties import LeaderDuties
from server.local import LocalDelegate
from server.reads import Reads
from server.router import Router
from server.services import Services
from structs.cluster import Peer
from tests.fakes.gossip import FakeGossip, FakeNetwork
from tests.fakes.members import server as server_member
from tests.fakes.raft_node import FakeRaftNode

REMOTE = Caller(address="10.0.0.99:4000")


class FakePool:
    """Calls go to handlers by address; none: nobody there."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[str, bytes, Caller], Any]] = {}
        self.fail_next: list[Exception] = []
        self.calls: list[tuple[str, str]] = []
        self.doubted: list[str] = []
        self.unproven: set[str] = set()
        """Addresses whose certificate is not a server's."""
        self._under_way: list[tuple[str, trio.CancelScope]] = []

    def doubt(self, address: str) -> None:
        self.doubted.append(address)

    def proves_server(self, address: str) -> bool:
        return address not in self.unproven

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

    def __init__(
        self,
        folder: Path,
        number: int = 1,
        *,
        pool: FakePool | None = None,
        network: FakeNetwork | None = None,
        hold_s: float = 7.0,
    ) -> None:
        self.peer = Peer(server_id=f"id-{number}", name=f"s{number}", address=f"10.0.0.{number}:8300")
        self.config = ServerConfig(
            node_id=self.peer.server_id, node_name=self.peer.name, datacenter="dc1", data_dir=str(folder),
            version="0", rpc_listen_host="10.0.0.1", rpc_listen_port=8300, advertise_host="10.0.0.1",
            bootstrap_expect=1, rpc_hold_timeout_s=hold_s,
        )  # fmt: skip
        self.machine = Machine(Store.create(folder / f"state-{number}"), WatchRegistry())
        self.raft = FakeRaftNode(self.peer, self.machine)
        self.pool = pool or FakePool()
        self.gossip = FakeGossip(server_member(self.peer.name), network)
        self.duties = LeaderDuties(
            config=self.config, raft=self.raft, machine=self.machine, pool=self.pool, gossip=self.gossip,
            heartbeat_s=0.1, wall_unix_s=lambda: 1_000_000.0,
        )  # fmt: skip
        self.gossip.subscribe(self.duties.heard)
        self.reads = Reads(raft=self.raft, machine=self.machine, rng=random.Random(1), hold_s=hold_s, waiting_max=100)
        self.forwarding = Forwarding(
            raft=self.raft, reads=self.reads, pool=self.pool, rng=random.Random(2), hold_s=hold_s, write_timeout_s=10.0
        )
        self.router = Router("dc1", random.Random(3))
        self.services = Services(
            config=self.config, raft=self.raft, machine=self.machine, pool=self.pool, gossip=self.gossip,
            autopilot=self.duties.autopilot, sessions=self.duties.sessions, hello=lambda request: request,
            router=self.router, query_rng=random.Random(4),
            elsewhere=Elsewhere(own="dc1", router=self.router, pool=self.pool, hold_s=hold_s, write_timeout_s=10.0),
        )  # fmt: skip
        self.dispatcher = Dispatcher(
            services=self.services, reads=self.reads, forwarding=self.forwarding,
            caller_is_server=lambda caller: bool(caller.may_act_as_server),
        )  # fmt: skip
        self.delegate = LocalDelegate(self.dispatcher)
        self.pool.handlers[self.peer.address] = self.dispatcher.handle

    def join(self, disk_folder: Path, *, expect: int) -> Joining:
        """Make the server say and answer hellos; it has no configuration yet."""
        self.raft.peers = []
        self.raft.change_leader(None)
        tags = {"bootstrap": "1"} if expect == 1 else {"expect": str(expect)} if expect else {}
        self.gossip.set_tags(self.gossip.self_member().tags | tags)
        joining = Joining(
            config=replace(self.config, bootstrap_expect=expect), peer=self.peer, raft=self.raft, pool=self.pool,
            gossip=self.gossip, pins=Pins(RealDisk(), disk_folder), monotonic_s=trio.current_time,
        )  # fmt: skip
        self.gossip.subscribe(lambda _kind, members: joining.heard(members))
        self.services.hello = joining.hello
        return joining

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
