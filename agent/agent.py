"""Agent: the HTTP API on its sockets, and for client agents the hellos that keep it and the servers acquainted.

`Agent` is what every process has, a server's embedded one too: listeners, a delegate, and facts about itself.
`ClientLink` is what only a client agent has: the pool, the server list, and the hello task.
"""

import os
import platform
import random
import socket
import ssl
import sys
from collections.abc import Awaitable, Mapping
from typing import Protocol

import trio

from agent.config.runtime import HostPort, Listen, RuntimeConfig
from agent.delegate import RemoteDelegate
from agent.http.listener import HTTPListener, listen_tcp, listen_unix
from agent.http.registry import Delegate
from agent.http.settings import HTTPLimits, HTTPSettings
from agent.servers import ServerList
from agent.tls import tls_config
from base import codec
from base.errors import ConfigInvalid, MeshError
from base.limits import TokenBucket
from base.log import get_logger
from base.version import API_VERSION, PROTOCOL, PROTOCOL_MAX, PROTOCOL_MIN, VERSION
from rpc.pool import RPCPool
from rpc.tls import TLSContexts
from structs.cluster import HelloReply, HelloRequest, Member, MemberStatus

HELLO_S = 1.0
HELLO_FAST_S = 0.1
HELLOS_FAST_COUNT = 50
HELLO_TIMEOUT_S = 2.0
LEAVE_TIMEOUT_S = 3.0
LEAVE_ATTEMPTS_MAX = 10

_log = get_logger("agent")


class Membership(Protocol):
    """Who is there, as far as this process knows."""

    def self_member(self) -> Member:
        """Return this node as the others see it."""
        ...

    def members(self) -> list[Member]:
        """Return everybody, ourselves included."""
        ...

    def statistics(self) -> dict[str, dict[str, str]]:
        """Return sections of `Stats` that only servers, or only clients, have."""
        ...


class AgentFacts:
    """What the agent knows by itself; `agent.http.registry.AgentInfo`."""

    def __init__(self, config: RuntimeConfig, *, node_id: str, membership: Membership) -> None:
        self._config = config
        self._membership = membership
        self.node_id = node_id
        self.node_name = config.node_name
        self.datacenter = config.datacenter
        self.version = API_VERSION
        self.revision = f"mesh-{VERSION}"
        self.is_server = config.server

    def self_member(self) -> Member:
        """See AgentInfo."""
        return self._membership.self_member()

    def members(self) -> list[Member] | Awaitable[list[Member]]:
        """See AgentInfo."""
        return self._membership.members()

    def configuration(self) -> Mapping[str, object]:
        """See AgentInfo."""
        return self._config.raw

    def statistics(self) -> Mapping[str, Mapping[str, str]]:
        """See AgentInfo."""
        stats = {
            "agent": {"check_monitors": "0", "check_ttls": "0", "checks": "0", "services": "0"},
            "build": {"prerelease": "", "revision": self.revision, "version": self.version},
            "runtime": {
                "arch": platform.machine(),
                "cpu_count": str(os.cpu_count() or 1),
                "goroutines": str(trio.lowlevel.current_statistics().tasks_living),
                "max_procs": str(os.cpu_count() or 1),
                "os": sys.platform,
                "version": platform.python_version(),
            },
            "serf_lan": serf_statistics(self._membership.members()),
        }
        stats.update(self._membership.statistics())
        return stats

    def meta(self) -> Mapping[str, str]:
        """See AgentInfo."""
        return {"consul-network-segment": "", **self._config.node_meta}


def serf_statistics(members: list[Member]) -> dict[str, str]:
    """Return the membership section of `Stats`."""
    return {
        "encrypted": "false",
        "failed": str(sum(member.status is MemberStatus.FAILED for member in members)),
        "health_score": "0",
        "left": str(sum(member.status is MemberStatus.LEFT for member in members)),
        "members": str(len(members)),
    }


def http_settings(config: RuntimeConfig) -> HTTPSettings:
    """Return what the HTTP listener is told."""
    limits = config.limits
    return HTTPSettings(
        limits=HTTPLimits(
            head_bytes_max=limits.http_head_bytes_max,
            value_bytes_max=limits.kv_value_bytes_max,
            txn_bytes_max=limits.txn_body_bytes_max,
            connections_per_client_max=limits.http_connections_per_client_max,
        ),
        response_headers=config.response_headers,
        block_endpoints=config.block_endpoints,
        pretty_always=config.dev,
        token_default=config.acl_token_default.reveal(),
        wait_default_s=limits.query_wait_s_default,
        wait_s_max=limits.query_wait_s_max,
    )


def bind_http(config: RuntimeConfig) -> list[socket.socket]:
    """Return listening sockets for the HTTP API; raises ConfigInvalid naming the address that cannot be had."""
    return _bind_all("HTTP", config.http_listen)


def bind_https(config: RuntimeConfig) -> list[socket.socket]:
    """Return listening sockets for the API over TLS; raises ConfigInvalid."""
    return _bind_all("HTTPS", config.https_listen)


def _bind_all(what: str, addresses: tuple[Listen, ...]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    for address in addresses:
        try:
            if isinstance(address, HostPort):
                sockets.append(listen_tcp(address.host, address.port))
            else:
                sockets.append(listen_unix(address.path))
        except OSError as error:
            for sock in sockets:
                sock.close()
            raise ConfigInvalid(f"cannot listen for {what} on {address}: {error.strerror or error}") from error
    return sockets


class Agent:
    """The HTTP API of one process."""

    def __init__(
        self,
        config: RuntimeConfig,
        *,
        delegate: Delegate,
        facts: AgentFacts,
        sockets: list[socket.socket],
        https_sockets: list[socket.socket],
    ) -> None:
        """Serve on `sockets` and, over TLS, on `https_sockets`; raises ConfigInvalid for unusable certificates."""
        self._config = config
        self._tls = TLSContexts(tls_config(config.https_tls)) if https_sockets else None
        self.http = HTTPListener(
            http_settings(config),
            delegate,
            facts,
            sockets,
            tls_sockets=https_sockets,
            tls_context=self._https_context,
        )

    def _https_context(self) -> ssl.SSLContext | None:
        return self._tls.https_context if self._tls is not None else None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        await self.http.run(task_status=task_status)

    def reload(self, config: RuntimeConfig) -> None:
        """Read the certificates again; everything else of the listeners needs a restart."""
        if self._tls is not None:
            self._tls.reload()


def self_tags(*, role: str, node_id: str, datacenter: str) -> dict[str, str]:
    """Return the tags that every member has."""
    return {
        "role": role,
        "id": node_id,
        "dc": datacenter,
        "build": f"{API_VERSION}:mesh-{VERSION}",
        "vsn": str(PROTOCOL),
        "vsn_min": str(PROTOCOL_MIN),
        "vsn_max": str(PROTOCOL_MAX),
        "segment": "",
    }


class ClientLink:
    """A client agent's side of the cluster: which servers there are, and telling them that we are here."""

    def __init__(self, config: RuntimeConfig, *, node_id: str, pool: RPCPool, rng: random.Random) -> None:
        self._config = config
        self._node_id = node_id
        self._pool = pool
        self.servers = ServerList([*config.join.start, *config.join.retry], rng)
        limits = config.limits
        rate = None
        if limits.rpc_rate_per_s >= 0:
            rate = TokenBucket(rate_per_s=limits.rpc_rate_per_s, burst=limits.rpc_burst_max, now_s=trio.current_time())
        self.delegate = RemoteDelegate(
            pool=pool, servers=self.servers, rng=rng, hold_s=config.performance.rpc_hold_timeout_s, rate=rate
        )
        self._members: list[Member] = []
        self._leader = ""
        """As the last server that answered a hello knew it."""
        self._leaving = False
        self._joined = False
        self._hellos_failed_count = 0
        self._hellos_count = 0

    # Membership

    def self_member(self) -> Member:
        """See Membership."""
        return Member(
            name=self._config.node_name,
            address=self._config.advertise_address,
            port=self._config.ports.serf_lan,
            tags=self_tags(role="node", node_id=self._node_id, datacenter=self._config.datacenter),
            status=MemberStatus.LEAVING if self._leaving else MemberStatus.ALIVE,
        )

    def members(self) -> list[Member]:
        """See Membership."""
        mine = self.self_member()
        return [mine, *(member for member in self._members if member.tags.get("id") != self._node_id)]

    def statistics(self) -> dict[str, dict[str, str]]:
        """See Membership."""
        return {"consul": {"known_servers": str(len(self.servers)), "server": "false"}}

    # Tasks

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the servers' list fresh until cancelled. Raises ConfigInvalid where our node id is taken."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.delegate.run)
            task_status.started()
            while True:
                reached = await self._greet()
                # While a cluster is forming, what one server knows of the others is out of date in a moment; a
                # formed one that lost its leader must not be pressed by all of its agents.
                settled = reached and (self.servers.leader or self._hellos_count > HELLOS_FAST_COUNT)
                await trio.sleep(HELLO_S if settled else HELLO_FAST_S)

    async def leave(self) -> None:
        """Tell a server that this agent leaves; gives up after LEAVE_TIMEOUT_S."""
        self._leaving = True
        with trio.move_on_after(LEAVE_TIMEOUT_S):
            for _ in range(LEAVE_ATTEMPTS_MAX):
                if await self._greet() or not self._joined:
                    return
                await trio.sleep(HELLO_FAST_S)

    async def _greet(self) -> bool:
        address = self.servers.pick(leader_wanted=False)
        if address is None:
            return False
        request = HelloRequest(
            member=self.self_member(),
            server_id=self._node_id,
            datacenter=self._config.datacenter,
            is_server=False,
            leaving=self._leaving,
        )
        try:
            body = codec.encode(request)
            data = await self._pool.call(address, "Cluster.Hello", body, timeout_s=HELLO_TIMEOUT_S)
            reply = codec.decode(HelloReply, data)
        except MeshError as error:
            self.servers.failed(address)
            self._pool.doubt(address)
            self._hellos_failed_count += 1
            if self._hellos_failed_count in (1, 10, 100) or self._hellos_failed_count % 600 == 0:
                _log.warn("no answer from a server", address=address, error=str(error))
            return False
        if not self._joined:
            self._joined = True
            _log.info("joined", server=reply.me.member.name, address=address)
        self._hellos_failed_count = 0
        self._hellos_count += 1
        self._members = reply.members
        leader = reply.leader.address if reply.leader else ""
        if self._leader and self._leader != leader:
            self._pool.doubt(self._leader)  # it may stand still; calls under way would wait long to find that out
        self._leader = leader
        self.servers.update(_server_addresses(reply), leader, trio.current_time())
        return True


def _server_addresses(reply: HelloReply) -> list[str]:
    """Return the RPC addresses of servers that are alive, or all that are known if none is."""
    alive: list[str] = []
    others: list[str] = []
    for member in reply.members:
        if member.is_server:
            (alive if member.status is MemberStatus.ALIVE else others).append(member.rpc_address)
    return alive or others
