"""Agent: the HTTP API on its sockets, and what an agent knows by itself; every process has one, servers too."""

import os
import platform
import random
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

import trio

from agent.cache.cache import Cache
from agent.checks.dial import forget_certificates
from agent.config.runtime import HostPort, Listen, RuntimeConfig
from agent.dns.listener import DNSListener, Pair, address_of
from agent.dns.listener import bind_dns as bind_pair
from agent.dns.lookups import CacheLookups
from agent.dns.responder import Responder
from agent.events import EventRing
from agent.http.inside import InsideClient
from agent.http.listener import HTTPListener, listen_tcp, listen_unix
from agent.http.registry import Delegate
from agent.http.settings import HTTPLimits, HTTPSettings
from agent.local.services import LocalServices
from agent.local.wiring import node_info, node_meta
from agent.membership import JOIN_WAN_TEXT, JoinReport, Membership
from agent.metrics import Collector
from agent.remote_exec import RemoteExecutor
from agent.tls import tls_config
from agent.watches import Watches
from base.errors import ConfigInvalid, InvalidRequest, Refused
from base.limits import Seldom
from base.log import get_logger
from base.telemetry import TELEMETRY, gauge, gauges
from base.version import API_VERSION, PROTOCOL, PROTOCOL_MAX, PROTOCOL_MIN, VERSION
from gossip.instructions import UserEventArrived
from rpc.tls import TLSContexts
from structs.cluster import Member, MemberStatus
from structs.coordinate import Coordinate

EVENT_IGNORED_S = 10.0
"""How often the log tells of events that make no sense: anybody in the cluster can send them."""

_log = get_logger("agent")
_connections = gauge("http.connections")
_refused = gauge("http.connections_refused")
_expired = gauge("http.connections_expired")
_defects = gauge("http.defects")
_dns_defects = gauge("dns.defects")
_dns_dropped = gauge("dns.dropped")
_dns_lookups = gauge("dns.lookups")
_dns_queries = gauge("dns.queries")
_dns_connections = gauge("dns.connections")

_cache = {
    "entries_count": gauge("cache.entries"),
    "bytes_count": gauge("cache.bytes"),
    "waiters_count": gauge("cache.waiters"),
    "fetches_count": gauge("cache.fetches"),
    "hits_count": gauge("cache.hits"),
    "misses_count": gauge("cache.misses"),
    "bypasses_count": gauge("cache.bypasses"),
    "evictions_count": gauge("cache.evictions"),
    "expirations_count": gauge("cache.expirations"),
    "failures_count": gauge("cache.failures"),
}
"""Fields of CacheStatistics."""
_members = gauges("members.lan", "status")
_POOL = {
    "health_score": gauge("memberlist.health.score"),
    "event_queue": gauge("serf.queue.Event"),
    "intent_queue": gauge("serf.queue.Intent"),
    "query_queue": gauge("serf.queue.Query"),
}
"""Fields of `Stats.serf_lan` that are numbers worth a line over time."""
_MEMBERS = {status: _members.labelled(status.name.lower()) for status in MemberStatus if status}


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
        """See AgentInfo. Some options have a second name: the one that clients look for."""
        ports = self._config.ports
        return {
            **self._config.raw,
            "DNSPort": ports.dns,
            "GRPCPort": ports.grpc,
            "GRPCTLSPort": ports.grpc_tls,
            "HTTPPort": ports.http,
            "HTTPSPort": ports.https,
            "SerfPortLAN": ports.serf_lan,
            "SerfPortWAN": ports.serf_wan,
            "ServerPort": ports.server,
        }

    def read_gauges(self) -> None:
        """Measure how many members there are."""
        statuses = Counter(member.status for member in self._membership.members(wan=False))
        for status, handle in _MEMBERS.items():
            handle.set(statuses[status])
        pool = self._membership.statistics().get("serf_lan", {})
        for name, handle in _POOL.items():
            if name in pool:
                handle.set(float(pool[name]))

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
        use_cache=config.http_use_cache,
        translate_wan_addresses=config.translate_wan_addresses,
        discovery_stale_s_max=config.discovery_stale_s_max,
        ui_content_path=config.ui_content_path,
        ui_folder=config.ui_folder,
        pretty_always=config.dev,
        debug_enabled=config.dev or bool(config.raw["enable_debug"]),
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


def bind_dns(config: RuntimeConfig) -> list[Pair]:
    """Return the sockets of DNS, UDP and TCP for each address; raises ConfigInvalid naming the one it cannot have."""
    pairs: list[Pair] = []
    for address in config.dns_listen:
        try:
            pairs.append(bind_pair(address.host, address.port))
        except OSError as error:
            for bound, listening in pairs:
                bound.close()
                listening.close()
            raise ConfigInvalid(
                f"cannot listen for DNS on {address} (UDP and TCP): {error.strerror or error};"
                " ports.dns (-dns-port) moves it, -1 turns it off"
            ) from error
    return pairs


class Agent:
    """The HTTP API and the DNS of one process, and the cache that both answer from."""

    def __init__(
        self,
        config: RuntimeConfig,
        *,
        delegate: Delegate,
        facts: AgentFacts,
        sockets: list[socket.socket],
        https_sockets: list[socket.socket],
        dns_pairs: Sequence[Pair] = (),
        rng: random.Random | None = None,
    ) -> None:
        """Serve HTTP on `sockets` and, over TLS, on `https_sockets`, and DNS on `dns_pairs`.

        `rng` orders the answers of DNS. Raises ConfigInvalid for unusable certificates.
        """
        self._config = config
        self._facts = facts
        TELEMETRY.configure(config.telemetry)
        self.cache = Cache(delegate)
        self.dns_addresses = [address_of(pair) for pair in dns_pairs]
        lookups = CacheLookups(config.dns, delegate=delegate, cache=self.cache)
        responder = Responder(config.dns, lookups, rng=rng or random.Random(), wall_unix_s=time.time)
        self.dns = DNSListener(config.dns.limits, responder, dns_pairs)
        self._tls = TLSContexts(tls_config(config.https_tls)) if https_sockets else None
        self._remote_exec: RemoteExecutor | None = None
        if not config.raw.get("disable_remote_exec", True):
            token = config.acl_token_default.reveal()
            self._remote_exec = RemoteExecutor(delegate=delegate, node=facts.node_name, token=token)
            facts.events.on_execution = self._remote_exec.offer
        settings = http_settings(config)
        self.watches = Watches(InsideClient(settings, delegate, facts), config.watches)
        self.http = HTTPListener(
            settings,
            delegate,
            facts,
            sockets,
            tls_sockets=https_sockets,
            tls_context=self._https_context,
            cache=self.cache,
        )

    def _https_context(self) -> ssl.SSLContext | None:
        return self._tls.https_context if self._tls is not None else None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            if self._remote_exec is not None:
                nursery.start_soon(self._remote_exec.run)
            await nursery.start(Collector().run)
            await nursery.start(self.cache.run)
            await nursery.start(self.dns.run)
            with TELEMETRY.reader(self._read_gauges):
                await nursery.start(self.http.run)
                await nursery.start(self.watches.run)
                task_status.started()
                await trio.sleep_forever()

    def _read_gauges(self) -> None:
        facts = self.http.statistics()
        _connections.set(facts.connections_count)
        _refused.set(facts.connections_refused_count)
        _expired.set(facts.expired_count)
        _defects.set(facts.defects_count)
        told = self.dns.statistics()
        _dns_queries.set(told.queries_count)
        _dns_lookups.set(told.lookups_count)
        _dns_dropped.set(told.dropped_count)
        _dns_defects.set(told.defects_count)
        _dns_connections.set(told.connections_count)
        kept = self.cache.statistics()
        for name, figure in _cache.items():
            figure.set(getattr(kept, name))
        self._facts.read_gauges()

    async def reload(self, config: RuntimeConfig) -> None:
        """Read certificates again, and take definitions, watches and filters of metrics; the rest needs a restart.

        Raises what cannot be had of it: then nothing but certificates has changed.
        """
        if self._tls is not None:
            self._tls.reload()
        forget_certificates()
        await self._facts.take_config(config)
        TELEMETRY.configure(config.telemetry)
        self.watches.replace(config.watches)


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
