"""Server: wires consensus, state machine, RPC and the leader's duties, and owns the nursery they live in.

What differs between production and tests comes in through the door: the Raft node, the network, chance and disk are
made by whoever makes the server (`server/main.py`).
"""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio

import server.endpoints.cluster
import server.endpoints.kv
import server.endpoints.operator
import server.endpoints.snapshot
import server.endpoints.status
import server.endpoints.txn  # noqa: F401  # each registers its methods
from base.chance import Chance
from base.errors import ConfigInvalid, MeshError, Refused
from base.log import get_logger
from base.network import Network, Stream, join_address
from fsm.machine import Machine
from rpc.caller import Caller
from rpc.listener import ListenerLimits, RPCListener
from rpc.pool import RPCPool
from rpc.tls import TLSContexts
from server.config import ServerConfig
from server.consensus import Consensus
from server.digests import DigestComparison
from server.dispatch import Dispatcher
from server.endpoints.registry import METHODS, STREAMS
from server.forwarding import FORWARDED_MARK, Forwarding
from server.joining import Joining, Pins
from server.leader.loop import Leadership
from server.leader.members import MembershipDuty
from server.leader.tombstones import TombstoneDuty
from server.local import LocalDelegate
from server.reads import Reads
from server.roster import Roster
from server.services import Services
from structs.cluster import Member, Peer, RemovePeerRequest

LEAVE_TRANSFER_S = 5.0
LEAVE_REMOVED_S = 5.0
LEAVE_RETRY_S = 0.1

_log = get_logger("server")


class Node(Consensus, Protocol):
    """The Raft node with its tasks."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part in the group until cancelled."""
        ...

    async def serve_link(self, stream: Stream) -> None:
        """Serve one incoming Raft link until it ends."""
        ...


def self_peer(config: ServerConfig) -> Peer:
    """Return how this server stands in a configuration."""
    address = join_address(config.advertise_host, config.rpc_listen_port)
    return Peer(server_id=config.node_id, name=config.node_name, address=address)


class Server:
    """One server. `run` is the only place that starts its tasks."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        self_member: Member,
        raft: Node,
        machine: Machine,
        pins: Pins,
        pool: RPCPool,
        network: Network,
        tls: TLSContexts | None,
        chance: Chance,
    ) -> None:
        """Put the parts together; nothing runs yet. Needs a running trio loop for its clock."""
        self._config = config
        self.raft = raft
        self.machine = machine
        self._pool = pool
        self.roster = Roster(self_member)
        self._peer = self_peer(config)
        self.joining = Joining(
            config=config, peer=self._peer, raft=raft, pool=pool, roster=self.roster, pins=pins,
            monotonic_s=trio.current_time,
        )  # fmt: skip
        self.reads = Reads(
            raft=raft, machine=machine, rng=chance.generator("reads"), hold_s=config.rpc_hold_timeout_s,
            waiting_max=config.blocking_queries_max,
        )  # fmt: skip
        self.forwarding = Forwarding(
            raft=raft, reads=self.reads, pool=pool, rng=chance.generator("forwarding"),
            hold_s=config.rpc_hold_timeout_s, write_timeout_s=config.write_timeout_s,
        )  # fmt: skip
        self._services = Services(
            config=config, raft=raft, machine=machine, pool=pool, roster=self.roster, hello=self.joining.hello,
            monotonic_s=trio.current_time,
        )  # fmt: skip
        self.dispatcher = Dispatcher(
            services=self._services, reads=self.reads, forwarding=self.forwarding, caller_is_server=_is_server
        )
        self.delegate = LocalDelegate(self.dispatcher)
        self.leadership = Leadership(raft, [MembershipDuty(raft, self.joining).run, TombstoneDuty(raft, machine).run])
        self.digests = DigestComparison(server_id=config.node_id, raft=raft, machine=machine, pool=pool)
        self.listener = RPCListener(
            network,
            config.rpc_listen_host,
            config.rpc_listen_port,
            self.dispatcher.handle,
            stream_handler=self.dispatcher.serve_stream,
            raft_handler=self._serve_link,
            tls=tls,
            server_only=_server_only(),
            limits=ListenerLimits(
                connections_max_per_address=config.rpc_connections_per_client_max,
                handshake_timeout_s=config.rpc_handshake_timeout_s,
            ),
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled. Raises ConfigInvalid, DiskFailed or InvariantBroken, possibly in a group."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._pool.run)
            try:
                address = await nursery.start(self.listener.run)
            except OSError as error:
                raise ConfigInvalid(
                    f"cannot listen for RPC on {self._config.rpc_listen_host}:{self._config.rpc_listen_port}: "
                    f"{error.strerror or error}"
                ) from error
            await nursery.start(self.raft.run)
            await nursery.start(self.reads.blocking.run)
            await nursery.start(self.leadership.run)
            await nursery.start(self.joining.run)
            nursery.start_soon(self.digests.run)
            nursery.start_soon(self.forwarding.run_watch)
            _log.info("serving", rpc=address, id=self._peer.server_id, bootstrapped=self.raft.bootstrapped())
            task_status.started()

    async def _serve_link(self, stream: Stream, caller: Caller) -> None:
        await self.raft.serve_link(stream)

    @property
    def bootstraps(self) -> bool:
        """Whether this server was told to form a cluster by itself."""
        return self._config.bootstrap_expect == 1

    # Leaving

    def refuse_calls(self) -> None:
        """Answer what needs a leader with NoLeader from now on: this server is about to go."""
        self.forwarding.leaving = True

    async def leave(self) -> None:
        """Hand over, get removed from the configuration, and tell the others; each step is bounded in time."""
        mine = self._peer.server_id
        await self.joining.say_leaving()
        peers = self.raft.configuration()
        if len(peers) > 1 and any(peer.server_id == mine for peer in peers):
            if self.raft.is_leader():
                await self._bounded("hand over the leadership", LEAVE_TRANSFER_S, self._hand_over)
            await self._bounded("leave the configuration", LEAVE_REMOVED_S, self._get_removed)
        self.refuse_calls()

    async def _hand_over(self) -> None:
        await self.raft.transfer_leadership(None)
        while self.raft.is_leader():
            await self.raft.wait_leadership_change()

    async def _get_removed(self) -> None:
        request = RemovePeerRequest(server_id=self._peer.server_id)
        while True:
            try:
                await self.dispatcher.call("Operator.RaftRemovePeer", request)
            except Refused as error:
                # A leader of a moment ago may not change the group yet; another change may be under way.
                _log.debug("not removed yet", reason=str(error))
                if all(peer.server_id != self._peer.server_id for peer in self.raft.configuration()):
                    return
                await trio.sleep(LEAVE_RETRY_S)
            else:
                return

    async def _bounded(self, what: str, timeout_s: float, step: Callable[[], Awaitable[None]]) -> None:
        try:
            with trio.move_on_after(timeout_s) as scope:
                await step()
            if scope.cancelled_caught:
                _log.warn("leaving anyway", failed=what, reason=f"not within {timeout_s:g} s")
        except MeshError as error:
            _log.warn("leaving anyway", failed=what, reason=str(error))


def _is_server(caller: Any) -> bool:
    return bool(caller.may_act_as_server)


def _server_only() -> frozenset[str]:
    names = [row.name for row in METHODS.values() if row.access.servers_only]
    names += [row.name for row in STREAMS.values() if row.access.servers_only]
    return frozenset([*names, *(FORWARDED_MARK + name for name in names)])
