"""Agent: the HTTP API on its sockets, and what an agent knows by itself; every process has one, servers too."""

import os
import platform
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Mapping

import trio

from agent.config.runtime import HostPort, Listen, RuntimeConfig
from agent.events import EventRing
from agent.http.inside import InsideClient
from agent.http.listener import HTTPListener, listen_tcp, listen_unix
from agent.http.registry import Delegate
from agent.http.settings import HTTPLimits, HTTPSettings
from agent.local.services import LocalServices
from agent.local.wiring import node_info, node_meta
from agent.membership import JOIN_WAN_TEXT, JoinReport, Membership
from agent.tls import tls_config
from agent.watches import Watches
from base.errors import ConfigInvalid, InvalidRequest, Refused
from base.limits import Seldom
from base.log import get_logger
from base.version import API_VERSION, PROTOCOL, PROTOCOL_MAX, PROTOCOL_MIN, VERSION
from gossip.instructions import UserEventArrived
from rpc.tls import TLSContexts
from structs.cluster import Member
from structs.coordinate import Coordinate

EVENT_IGNORED_S = 10.0
"""How often the log tells of events that make no sense: anybody in the cluster can send them."""

_log = get_logger("agent")


class AgentFacts:
    """What the agent knows by itself; `agent.http.registry.AgentInfo`."""

    def __init__(self, config: RuntimeConfig, *, node_id: str, membership: Membership, local: LocalServices) -> None:
        self._config = config
        self.local = local
        self._membership = membership
        self.node_id = node_id
        self.node_name = config.node_name
        self.datacenter = config.datacenter
        self.version = API_VERSION
        self.revision = f"mesh-{VERSION}"
        self.is_server = config.server
        self.coordinates_enabled = not config.raw.get("disable_coordinates", False)
        self.events = EventRing(node_name=config.node_name, services=local.event_services)
        self._events_ignored = Seldom(EVENT_IGNORED_S)
        self._leaving = trio.Lock()
        self._left = trio.Event()
        self._reload: Callable[[], Awaitable[None]] | None = None

    def self_member(self) -> Member:
        """See AgentInfo."""
        return self._membership.self_member()

    def members(self, *, wan: bool) -> list[Member] | Awaitable[list[Member]]:
        """See AgentInfo."""
        return self._membership.members(wan=wan)

    def coordinate(self) -> Coordinate | None:
        """See AgentInfo."""
        return self._membership.coordinate() if self.coordinates_enabled else None

    async def join(self, addresses: list[str], *, wan: bool) -> JoinReport:
        """See AgentInfo."""
        if wan and not self.is_server:
            raise Refused(JOIN_WAN_TEXT)
        return await self._membership.join(addresses, wan=wan)

    async def force_leave(self, name: str, *, prune: bool, wan: bool) -> bool:
        """See AgentInfo."""
        return await self._membership.force_leave(name, prune=prune, wan=wan)

    async def leave(self) -> None:
        """See AgentInfo. Whoever asks while it is under way, or later, waits for the first to come to its end."""
        async with self._leaving:
            if not self._left.is_set():
                await self._membership.leave()
                self._left.set()

    async def reload(self) -> None:
        """See AgentInfo."""
        if self._reload is None:
            raise Refused("this agent is not ready to read its configuration again")
        await self._reload()

    def offer_reload(self, reload: Callable[[], Awaitable[None]]) -> None:
        """Say how the configuration is read again; `reload` raises what is wrong with it."""
        self._reload = reload

    async def take_config(self, config: RuntimeConfig) -> None:
        """Take what may change from a configuration; raises what cannot be had of it, nothing has changed then."""
        await self.local.reload(config.local.definitions, config.local.outputs, node_info(config, node_id=self.node_id))
        self._config = config

    async def wait_left(self) -> None:
        """Return once this agent has left the cluster."""
        await self._left.wait()

    def take_event(self, event: UserEventArrived) -> None:
        """Keep a user event of gossip, if it is meant for us."""
        try:
            taken = self.events.receive(event.lamport_time, event.name, event.payload)
        except InvalidRequest as error:
            count = self._events_ignored.count(trio.current_time())
            if count:
                _log.warn("user event ignored", event=event.name, reason=str(error), count=count)
        else:
            if taken is not None:
                _log.debug("user event", event=taken.name, id=taken.event_id)

    def configuration(self) -> Mapping[str, object]:
        """See AgentInfo."""
        return self._config.raw

    def statistics(self) -> Mapping[str, Mapping[str, str]]:
        """See AgentInfo."""
        stats = {
            "agent": self.local.statistics(),
            "build": {"prerelease": "", "revision": self.revision, "version": self.version},
            "runtime": {
                "arch": platform.machine(),
                "cpu_count": str(os.cpu_count() or 1),
                "goroutines": str(trio.lowlevel.current_statistics().tasks_living),
                "max_procs": str(os.cpu_count() or 1),
                "os": sys.platform,
                "version": platform.python_version(),
            },
        }
        return {**stats, **self._membership.statistics()}

    def meta(self) -> Mapping[str, str]:
        """See AgentInfo."""
        return node_meta(self._config)


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
        settings = http_settings(config)
        self._watches = Watches(InsideClient(settings, delegate, facts), config.watches)
        self.http = HTTPListener(
            settings,
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
        async with trio.open_nursery() as nursery:
            await nursery.start(self.http.run)
            await nursery.start(self._watches.run)
            task_status.started()

    def reload(self, config: RuntimeConfig) -> None:
        """Read the certificates again and take the watches; everything else of the listeners needs a restart."""
        self._watches.replace(config.watches)
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
