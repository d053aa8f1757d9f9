"""mesh-server: options -> Server and its embedded agent. The one place where a server and an agent meet."""

import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from socket import socket

import trio

from agent.agent import Agent, AgentFacts, bind_dns, bind_http, bind_https, self_tags
from agent.config.runtime import RuntimeConfig
from agent.coordinates import CoordinateSender
from agent.gossip import Pool, lan_pool, wan_pool
from agent.local.wiring import local_services
from agent.main import banner
from agent.membership import GossipMembership
from agent.node_id import read_or_make
from agent.process import main_of
from agent.tls import internal_tls
from agent.wires import Wires
from base.chance import Chance
from base.disk import RealDisk, lock_folder
from base.elapsed import elapsed_s
from base.errors import ConfigInvalid, MeshError
from base.network import RealNetwork
from base.version import VERSION
from gossip.instructions import UserEventArrived
from rpc.foreign_pool import ForeignPool
from rpc.pool import RPCPool
from server.config import ServerConfig
from server.gossip import FAILED, LEAVE, REAP
from server.joining import Pins
from server.raft.node import RaftSettings
from server.raft.opening import RAFT_FOLDER, open_raft
from server.raft.snapshotting import SnapshotPolicy
from server.raft.timings import Timings
from server.server import Server, self_peer
from structs.autopilot import SECOND, AutopilotConfig
from structs.cluster import Member
from structs.event import NEW_LEADER

MEMORY_FOLDER = "/dev/shm"  # noqa: S108  a fresh folder of ours is made in it
USAGE = """Usage: mesh-server [options]

  Runs a server: it keeps the replicated state and answers the HTTP API.
  Options and configuration keys are listed in docs/operating/configuration.md; the usual ones are:

    -bootstrap-expect=N   -data-dir=PATH    -node=NAME        -bind=ADDRESS   -client=ADDRESS
    -retry-join=ADDRESS   -http-port=N      -server-port=N    -dev            -log-level=LEVEL
    -dns-port=N           -recursor=ADDRESS
    -config-file=PATH     -config-dir=PATH
"""


class ServerProcess:
    """One server process."""

    def __init__(self, config: RuntimeConfig) -> None:
        """Take the data directory and the sockets and read the log; raises ConfigInvalid, DataDamaged, DiskFailed."""
        if not config.server:
            raise ConfigInvalid("server is false in the configuration, but this is mesh-server: start mesh-agent")
        self._config = config
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if not config.data_dir:
            self._temporary = tempfile.TemporaryDirectory(prefix="mesh-dev-", dir=_memory_folder())
        self._folder = Path(self._temporary.name if self._temporary is not None else config.data_dir)
        disk = RealDisk()
        disk.make_folder(self._folder)
        self._lock = lock_folder(self._folder)
        self.node_id = read_or_make(disk, self._folder, configured=config.node_id)
        sockets = bind_http(config)
        https_sockets = bind_https(config)
        self._tls = internal_tls(config)
        network = RealNetwork()
        pool = RPCPool(network, tls=self._tls)
        chance = Chance.from_system()
        mine = server_config(config, node_id=self.node_id, data_dir=str(self._folder))
        settings = raft_settings(mine)
        opened = open_raft(
            data_folder=self._folder,
            disk=disk,
            self_peer=self_peer(mine),
            settings=settings,
            pool=pool,
            rng=chance.generator("raft"),
            clock=elapsed_s,
        )
        self._make_pools(config, server_tags(config, mine), network, chance)
        self.server = Server(
            mine,
            gossip=ServerPool(self._lan),
            wan=ServerPool(self._wan) if self._wan is not None else None,
            far=self._wires,
            raft=opened.node,
            machine=opened.machine,
            pins=Pins(disk, self._folder / RAFT_FOLDER),
            pool=pool,
            network=network,
            tls=self._tls,
            chance=chance,
            heartbeat_s=settings.timings.heartbeat_s,
        )
        if self._wan is not None:
            self._wan.subscribe(self._learn_wires)
        self._make_agent(config, chance, sockets=sockets, https_sockets=https_sockets)

    def _make_agent(
        self, config: RuntimeConfig, chance: Chance, *, sockets: list[socket], https_sockets: list[socket]
    ) -> None:
        """Put the agent over the server; raises ConfigInvalid."""
        membership = GossipMembership(
            lan=self._lan, wan=self._wan, statistics=partial(statistics, self.server), leave=self.server.leave
        )
        self._local = local_services(
            config,
            node_id=self.node_id,
            folder=self._folder,
            delegate=self.server.delegate,
            nodes_count=lambda: len(self._lan.members()),
            chance=chance,
        )
        self._facts = AgentFacts(config, node_id=self.node_id, membership=membership, local=self._local)
        self._lan.subscribe_events(self._leader_heard)
        self._lan.subscribe_events(self._facts.take_event)
        self._coordinates = CoordinateSender(
            delegate=self.server.delegate,
            source=self._lan,
            node=config.node_name,
            token=config.acl_token_default.reveal(),
            rng=chance.generator("coordinates"),
        )
        self.agent = Agent(
            config,
            delegate=self.server.delegate,
            facts=self._facts,
            sockets=sockets,
            https_sockets=https_sockets,
            dns_pairs=bind_dns(config),
            rng=chance.generator("dns"),
        )

    def _make_pools(self, config: RuntimeConfig, tags: dict[str, str], network: RealNetwork, chance: Chance) -> None:
        """Take the sockets of gossip, and what calls other datacenters; raises ConfigInvalid."""
        lan_tags = dict(tags)
        if config.gossip.wan is not None:
            lan_tags["wan_join_port"] = str(config.gossip.wan.advertise.port)
        self._lan = lan_pool(config, tags=lan_tags, folder=self._folder, network=network, chance=chance)
        self._wan = wan_pool(config, tags=tags, folder=self._folder, network=network, chance=chance)
        self._datacenters: dict[str, str] = {}
        """Address of a server in the WAN pool -> its datacenter."""
        # Connections of their own: what the WAN pool says of an address must not matter to calls in our datacenter.
        self._far = RPCPool(network, tls=self._tls, datacenter_of=self._datacenter_of)
        self._foreign = ForeignPool(network, tls=self._tls, datacenter_of=self._datacenter_of)
        self._wires = Wires(ours=self._far, foreign=self._foreign, datacenter=config.datacenter)

    async def run(self, *, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED) -> None:
        """See Program."""
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._far.run)
                await nursery.start(self._foreign.run)
                await nursery.start(self.server.run)
                await nursery.start(self._lan.run)
                if self._wan is not None:
                    await nursery.start(self._wan.run)
                await nursery.start(self._local.run)
                await nursery.start(self.agent.run)
                if self._config.gossip.coordinates:
                    nursery.start_soon(self._coordinates.run)
                task_status.started(banner("mesh server", self._config, self.node_id, dns=self.agent.dns_addresses))
        finally:
            self.server.machine.close()
            if self._temporary is not None:
                self._temporary.cleanup()

    def _datacenter_of(self, address: str) -> str:
        return self._datacenters.get(address, "")

    def _learn_wires(self, kind: str, members: list[Member]) -> None:
        assert self._wan is not None
        known = self._wan.members()
        self._datacenters = {member.rpc_address: member.tags.get("dc", "") for member in known if member.is_server}
        self._wires.learn(known)
        if kind in (FAILED, LEAVE, REAP):
            for member in members:
                self._wires.doubt(member.rpc_address)

    def _leader_heard(self, event: UserEventArrived) -> None:
        if event.name == NEW_LEADER:
            self._local.sync.server_up()

    async def leave(self) -> None:
        """See Program."""
        await self._facts.leave()

    async def wait_left(self) -> None:
        """See Program."""
        await self._facts.wait_left()

    def refuse_calls(self) -> None:
        """See Program."""
        self.server.refuse_calls()

    def offer_reload(self, reload: Callable[[], Awaitable[None]]) -> None:
        """See Program."""
        self._facts.offer_reload(reload)

    async def reload(self, config: RuntimeConfig) -> None:
        """See Program."""
        if self._tls is not None:
            self._tls.reload()
        await self.agent.reload(config)


class ServerPool:
    """One pool of gossip as the server sees it; see `server.gossip.GossipPool`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.members = pool.members
        self.self_member = pool.self_member
        self.set_tags = pool.set_tags
        self.subscribe = pool.subscribe
        self.leave = pool.leave
        self.force_leave = pool.force_leave_soon
        self.fire = pool.fire_soon
        self.coordinate = pool.coordinate
        self.coordinates = pool.coordinates
        self.change_keys = pool.gossip.keyring

    async def join(self, addresses: list[str]) -> int:
        """See GossipPool."""
        try:
            return (await self._pool.join(addresses))[0]
        except MeshError:
            return 0  # the pool has ended


def statistics(server: Server) -> dict[str, dict[str, str]]:
    """Return the sections of `Stats` that only servers have."""
    raft = server.raft
    leader = raft.leader()
    facts = raft.statistics()
    core = facts.core
    peers = raft.configuration()
    contact_s = raft.last_contact_s()
    return {
        "consul": {
            "bootstrap": str(server.bootstraps).lower(),
            "known_datacenters": str(len(server.router.datacenters(None, {}))),
            "leader": str(raft.is_leader()).lower(),
            "leader_addr": leader.address if leader is not None else "",
            "server": "true",
        },
        "raft": {
            "applied_index": str(server.machine.raft_index_visible),
            "commit_index": str(core.commit_index),
            "fsm_pending": "0",
            "last_contact": "0" if raft.is_leader() else _contact_text(contact_s),
            "last_log_index": str(core.last_index),
            "last_log_term": str(core.last_term),
            "last_snapshot_index": str(core.snapshot_index),
            "last_snapshot_term": str(core.snapshot_term),
            "latest_configuration": str([f"{peer.name} {peer.server_id} {peer.address}" for peer in peers]),
            "latest_configuration_index": str(raft.configuration_index),
            "loop_lag_p99_ms": f"{facts.lag_p99_s * 1000:.3f}",
            "num_peers": str(max(0, len(peers) - 1)),
            "protocol_version": "3",
            "protocol_version_max": "3",
            "protocol_version_min": "3",
            "snapshot_version_max": "1",
            "snapshot_version_min": "1",
            "state": core.state,
            "term": str(core.term),
        },
    }


def _contact_text(contact_s: float) -> str:
    return "never" if contact_s < 0 else f"{contact_s * 1000:.3f}ms"


def server_config(config: RuntimeConfig, *, node_id: str, data_dir: str) -> ServerConfig:
    """Return what a server needs of the whole configuration."""
    performance = config.performance
    limits = config.limits
    return ServerConfig(
        node_id=node_id,
        node_name=config.node_name,
        datacenter=config.datacenter,
        data_dir=data_dir,
        version=VERSION,
        rpc_listen_host=config.rpc_listen.host,
        rpc_listen_port=config.rpc_listen.port,
        advertise_host=config.advertise_address,
        bootstrap_expect=1 if config.dev else config.bootstrap_expect,
        raft_multiplier=performance.raft_multiplier,
        raft_trailing_logs=performance.raft_trailing_logs,
        raft_snapshot_threshold=performance.raft_snapshot_threshold,
        raft_snapshot_interval_s=performance.raft_snapshot_interval_s,
        rpc_hold_timeout_s=performance.rpc_hold_timeout_s,
        session_ttl_s_min=performance.session_ttl_s_min,
        leave_drain_s=performance.leave_drain_time_s,
        kv_value_bytes_max=limits.kv_value_bytes_max,
        rpc_connections_per_client_max=limits.rpc_connections_per_client_max,
        rpc_handshake_timeout_s=limits.rpc_handshake_timeout_s,
        meta=config.node_meta,
        autopilot=AutopilotConfig(
            cleanup_dead_servers=config.autopilot.cleanup_dead_servers,
            last_contact_threshold_ns=round(config.autopilot.last_contact_threshold_s * SECOND),
            max_trailing_logs=config.autopilot.max_trailing_logs,
            server_stabilization_time_ns=round(config.autopilot.server_stabilization_time_s * SECOND),
        ),
    )


def raft_settings(config: ServerConfig) -> RaftSettings:
    """Return what consensus needs of a server's configuration."""
    return RaftSettings(
        datacenter=config.datacenter,
        timings=Timings().multiplied(config.raft_multiplier),
        snapshots=SnapshotPolicy(
            threshold_count=config.raft_snapshot_threshold,
            interval_s=config.raft_snapshot_interval_s,
            trailing_count=config.raft_trailing_logs,
        ),
    )


def server_tags(config: RuntimeConfig, mine: ServerConfig) -> dict[str, str]:
    """Return what gossip tells of this server."""
    tags = self_tags(role="consul", node_id=mine.node_id, datacenter=mine.datacenter)
    tags["port"] = str(mine.rpc_listen_port)
    tags["raft_vsn"] = "3"
    if mine.bootstrap_expect > 1:
        tags["expect"] = str(mine.bootstrap_expect)
    elif mine.bootstrap_expect == 1:
        tags["bootstrap"] = "1"
    if config.internal_tls.ca_file or config.internal_tls.ca_path:
        tags["use_tls"] = "1"
    return tags


def _memory_folder() -> str | None:
    """Where nothing survives the machine: what development mode asks for."""
    return MEMORY_FOLDER if os.access(MEMORY_FOLDER, os.W_OK) else None


async def make(config: RuntimeConfig) -> ServerProcess:
    """Return the server that the configuration asks for."""
    return ServerProcess(config)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; ends the process."""
    sys.exit(main_of("server", make, USAGE, list(sys.argv[1:] if argv is None else argv)))


if __name__ == "__main__":
    main()
