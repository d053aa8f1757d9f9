"""Server: wires consensus, state machine, RPC and the leader's duties, and owns the nursery they live in.

What differs between production and tests comes in through the door: the Raft node, the network, chance and disk are
made by whoever makes the server (`server/main.py`).
"""

from functools import partial
from typing import Any, Protocol

import trio

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
import server.endpoints.txn
import server.endpoints.usage  # noqa: F401  # each registers its methods
from base.chance import Chance
from base.clock import Clock, RealClock
from base.errors import ConfigInvalid
from base.log import get_logger
from base.network import Network, Stream, join_address
from base.telemetry import TELEMETRY
from fsm.machine import Machine
from rpc.caller import Caller
from rpc.foreign import ForeignServer
from rpc.listener import ListenerLimits, RPCListener
from rpc.pool import RPCPool
from rpc.tls import TLSContexts
from server.config import ServerConfig
from server.consensus import Consensus
from server.coordinate_batches import CoordinateCollector
from server.digests import DigestComparison
from server.dispatch import MARKS, Dispatcher
from server.elsewhere import Elsewhere, FarPool
from server.endpoints.registry import METHODS, STREAMS
from server.flooding import Flooding
from server.foreign_snapshot import SnapshotExchanges
from server.forwarding import Forwarding
from server.gossip import FAILED, JOIN, LEAVE, REAP, GossipPool
from server.joining import Joining, Pins
from server.leader.coordinates import CoordinateDuty
from server.leader.duties import LeaderDuties
from server.leaving import Leaving
from server.local import LocalDelegate
from server.raft.timings import Timings
from server.reads import Reads
from server.router import Router
from server.services import Services
from server.telemetry import ServerGauges
from structs.cluster import Member, Peer
from structs.members import server_facts

REAL_CLOCK = RealClock()
HEARTBEAT_S = Timings().heartbeat_s
GONE_GRACE_S = 0.5
"""A server that leaves refuses new calls, and answers within this what it has taken up."""

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
        gossip: GossipPool,
        wan: GossipPool | None = None,
        far: FarPool | None = None,
        raft: Node,
        machine: Machine,
        pins: Pins,
        pool: RPCPool,
        network: Network,
        tls: TLSContexts | None,
        chance: Chance,
        heartbeat_s: float = HEARTBEAT_S,
        clock: Clock = REAL_CLOCK,
    ) -> None:
        """Put the parts together; nothing runs yet. Needs a running trio loop for its clock.

        `gossip` is the pool of the datacenter, `wan` that of all datacenters' servers or None. Whoever makes them runs
        them and joins them to others. `far` calls servers of other datacenters, of both kinds; None: as `pool`.
        """
        self._config = config
        self.raft = raft
        self.machine = machine
        self.gossip = gossip
        self.wan = wan
        self._pool = pool
        self._peer = self_peer(config)
        self.joining = Joining(
            config=config, peer=self._peer, raft=raft, pool=pool, gossip=gossip, pins=pins,
            monotonic_s=trio.current_time,
        )  # fmt: skip
        coordinates = CoordinateCollector()
        self.duties = LeaderDuties(
            config=config, raft=raft, machine=machine, pool=pool, gossip=gossip, heartbeat_s=heartbeat_s,
            wall_unix_s=clock.wall_unix_s, more=[CoordinateDuty(raft, coordinates).run],
        )  # fmt: skip
        self.reads = Reads(
            raft=raft, machine=machine, rng=chance.generator("reads"), hold_s=config.rpc_hold_timeout_s,
            waiting_max=config.blocking_queries_max,
        )  # fmt: skip
        self.forwarding = Forwarding(
            raft=raft, reads=self.reads, pool=pool, rng=chance.generator("forwarding"),
            hold_s=config.rpc_hold_timeout_s, write_timeout_s=config.write_timeout_s,
        )  # fmt: skip
        self.router = Router(config.datacenter, chance.generator("router"))
        elsewhere = Elsewhere(
            own=config.datacenter, router=self.router, pool=far or pool, hold_s=config.rpc_hold_timeout_s,
            write_timeout_s=config.write_timeout_s,
        )  # fmt: skip
        services = Services(
            config=config, raft=raft, machine=machine, pool=pool, gossip=gossip, autopilot=self.duties.autopilot,
             sessions=self.duties.sessions, hello=self.joining.hello, coordinates=coordinates, wan=wan,
             router=self.router, elsewhere=elsewhere, query_rng=chance.generator("prepared_queries"),
        )  # fmt: skip
        self.dispatcher = Dispatcher(
            services=services, reads=self.reads, forwarding=self.forwarding, caller_is_server=_is_server
        )
        self.delegate = LocalDelegate(self.dispatcher)
        self.digests = DigestComparison(server_id=config.node_id, raft=raft, machine=machine, pool=pool)
        self.flooding = Flooding(datacenter=config.datacenter, lan=gossip, wan=wan) if wan is not None else None
        self.leaving = Leaving(
            config=config, raft=raft, gossip=gossip, wan=wan, pool=pool, refuse_calls=self.refuse_calls,
            begun=partial(setattr, services, "is_leaving", True),
        )  # fmt: skip
        self._subscribe()
        self.foreign_snapshots = SnapshotExchanges(self.dispatcher.serve_stream)
        self.listener = self._make_listener(network, tls)

    def _make_listener(self, network: Network, tls: TLSContexts | None) -> RPCListener:
        config = self._config
        return RPCListener(
            network,
            config.rpc_listen_host,
            config.rpc_listen_port,
            self.dispatcher.handle,
            stream_handler=self.dispatcher.serve_stream,
            raft_handler=self._serve_link,
            foreign=ForeignServer(self.dispatcher.handle_foreign, snapshot_handler=self.foreign_snapshots.serve),
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
            nursery.start_soon(self._measure)
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
            await nursery.start(self.duties.leadership.run)
            await nursery.start(self.joining.run)
            nursery.start_soon(self.digests.run)
            nursery.start_soon(self.forwarding.run_watch)
            if self.flooding is not None:
                nursery.start_soon(self.flooding.run)
            _log.info("serving", rpc=address, id=self._peer.server_id, bootstrapped=self.raft.bootstrapped())
            task_status.started()

    async def _measure(self) -> None:
        with TELEMETRY.reader(ServerGauges(self).read):
            await trio.sleep_forever()

    # What gossip says

    def _subscribe(self) -> None:
        self.gossip.subscribe(self._heard)
        if self.wan is not None:
            self.wan.subscribe(self._heard_wan)

    def _heard(self, kind: str, members: list[Member]) -> None:
        self.joining.heard(members)
        self.duties.heard(kind, members)
        self._doubt(kind, members)
        if self.flooding is not None and kind == JOIN:
            self.flooding.heard(members)

    def _heard_wan(self, kind: str, members: list[Member]) -> None:
        assert self.wan is not None
        self.router.update(self.wan.members())
        self._doubt(kind, members)

    def _doubt(self, kind: str, members: list[Member]) -> None:
        """Calls to a server that is gone should not wait until its connection is given up."""
        for member in members:
            facts = server_facts(member)
            if facts is None:
                continue
            if kind == FAILED:
                self._pool.doubt(facts.address)  # it may be gossip that is wrong: a sign of life saves the connection
            elif kind in (LEAVE, REAP):
                self._pool.hurry(facts.address, GONE_GRACE_S)

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
        """Hand over, say goodbye, get removed and drain; bounded in time as a whole and in each step."""
        await self.leaving.leave()


def _is_server(caller: Any) -> bool:
    return bool(caller.may_act_as_server)


def _server_only() -> frozenset[str]:
    names = [row.name for row in METHODS.values() if row.access.servers_only]
    names += [row.name for row in STREAMS.values() if row.access.servers_only]
    return frozenset([*names, *(mark + name for name in names for mark in MARKS)])
