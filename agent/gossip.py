"""The gossip pools of one process: made from the configuration, joined as it asks, and read by everybody else.

A client agent has one pool, the datacenter's; a server has a second one with the servers of all datacenters. This file
turns gossip's members into those of `structs/cluster.py`, and that is the only place where the two meet.
"""

import base64
import ipaddress
import random
import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import trio

from agent.config.runtime import GossipPoolSettings, Join, RuntimeConfig
from base.chance import Chance
from base.datagrams import SocketDatagrams, bind_both
from base.disk import RealDisk
from base.errors import ConfigInvalid, InvalidRequest
from base.log import get_logger
from base.network import BACKLOG, Network, SocketListener, join_address, split_address
from gossip import coordinate as gossip_coordinate
from gossip import instructions as ins
from gossip.config import LAN, USER_EVENT_BYTES_MAX, WAN, Settings, Timing
from gossip.driver import Deliver, GossipDriver
from gossip.files import GossipFiles
from gossip.instructions import Address
from gossip.machine import GossipMachine
from gossip.pool import GossipPool
from structs.cluster import Member, MemberStatus
from structs.coordinate import Coordinate
from structs.members import lan_merge_refused, wan_merge_refused

LAN_NAME: Final = "lan"
WAN_NAME: Final = "wan"
JOIN_PAUSE_S_MIN: Final = 0.1
"""Pause after the first failed try of retry_join; doubled up to `retry_interval`."""
NOBODY_WAITS: Final = 0
"""The number of operations whose end is of no interest."""
RESOLVED_MAX: Final = 64
"""Addresses taken from one name."""

Refusal = Callable[[Sequence[Member], Member, Sequence[Member]], str | None]
"""Why these members must not come in (None: they may), given ourselves and the servers that we know."""
Watcher = Callable[[str, list[Member]], None]
"""Takes "join", "leave", "failed", "update" or "reap", and whom it is about."""

_log = get_logger("gossip")


def member_of(member: ins.Member) -> Member:
    """Return gossip's member as everybody else knows it."""
    return Member(
        name=member.name,
        address=member.address.host,
        port=member.address.port,
        tags=member.tags,
        status=MemberStatus(member.status),
        versions=member.versions,
    )


def coordinate_of(found: gossip_coordinate.Coordinate) -> Coordinate:
    """Return gossip's coordinate as everybody else knows it."""
    return Coordinate(vec=list(found.vec), error=found.error, adjustment=found.adjustment, height=found.height)


def timing_of(settings: GossipPoolSettings, base: Timing) -> Timing:
    """Return a pool's pace: what can be configured, and what follows from being near or far."""
    return Timing(
        probe_interval_s=settings.probe_interval_s,
        probe_timeout_s=settings.probe_timeout_s,
        indirect_checks_count=base.indirect_checks_count,
        suspicion_multiplier=settings.suspicion_multiplier,
        retransmit_multiplier=settings.retransmit_multiplier,
        gossip_interval_s=settings.gossip_interval_s,
        gossip_nodes_count=settings.gossip_nodes_count,
        gossip_to_dead_s=base.gossip_to_dead_s,
        push_pull_interval_s=base.push_pull_interval_s,
        tcp_timeout_s=base.tcp_timeout_s,
        reconnect_timeout_s=settings.reconnect_timeout_s,
    )


class Pool:
    """One pool with its sockets, its files and its joins."""

    def __init__(
        self,
        name: str,
        settings: GossipPoolSettings,
        *,
        config: RuntimeConfig,
        member_name: str,
        tags: dict[str, str],
        folder: Path | None,
        network: Network,
        rng: random.Random,
        refusal: Refusal,
        resolves_conflicts: bool,
    ) -> None:
        """Take the sockets and read the keys; raises ConfigInvalid."""
        gossip = config.gossip
        self.name = name
        self._settings = settings
        self._network = network
        self._refusal = refusal
        timing = timing_of(settings, LAN if name == LAN_NAME else WAN)
        label = "local" if name == LAN_NAME else "remote"
        snapshot = folder / "serf" / f"{label}.snapshot" if folder is not None else None
        keyring = folder / "serf" / f"{label}.keyring" if folder is not None and gossip.keeps_keyring else None
        self._files = GossipFiles(RealDisk, snapshot=snapshot, keyring=keyring)
        key = base64.b64decode(gossip.key.reveal()) or None
        self._keyring = self._files.read_keyring(key)
        self._udp, self._tcp = _bind(settings)
        port = self._udp.getsockname()[1]
        self._machine_settings = Settings(
            name=member_name,
            host=settings.advertise.host,
            port=port if settings.listen.port == 0 else settings.advertise.port,
            tags=tags,
            timing=timing,
            encrypted=self._keyring is not None,
            rejoin_after_leave=gossip.rejoin_after_leave,
            resolves_conflicts=resolves_conflicts,
            coordinates=gossip.coordinates,
            # Foreign servers know nothing of our rule: hearing of ours, they would take them for peers of their own.
            looks_first=name == LAN_NAME,
        )
        self._verify = gossip.verify_incoming, gossip.verify_outgoing
        self._rng = rng
        self._gossip = GossipPool(self._make_driver, leave_propagate_s=timing.leave_propagate_s)
        self._gossip.subscribe(self._delivered)
        self._watchers: list[Watcher] = []
        self._event_watchers: list[Callable[[ins.UserEventArrived], None]] = []
        self._stopped = trio.Event()
        self._stop_text = ""
        self.encrypted = self._keyring is not None
        self._converted: tuple[tuple[ins.Member, ...], list[Member]] = ((), [])
        self._servers: tuple[tuple[ins.Member, ...], list[Member]] = ((), [])
        self._self_as_configured = Member(
            name=member_name, address=settings.advertise.host, port=self._machine_settings.port, tags=tags
        )

    def _make_driver(self, deliver: Deliver) -> GossipDriver:
        machine = GossipMachine(
            self._machine_settings,
            rng=self._rng,
            keys=list(self._keyring.keys) if self._keyring is not None else [],
            # Joins follow one another within one event, before anything is published: they need what is known now. So
            # many members may be announced at a time that those are measured by what is published.
            merge_refused=lambda members: self._refused(members, _servers_of(machine.members())),
            alive_refused=lambda member: self._refused([member], self._servers_published()),
        )
        networks = [ipaddress.ip_network(text) for text in self._settings.allowed_networks]
        return GossipDriver(
            pool=self.name,
            machine=machine,
            datagrams=SocketDatagrams(self._udp),
            listener=SocketListener(self._tcp, join_address(*self._tcp.getsockname()[:2])),
            network=self._network,
            files=self._files,
            keyring=self._keyring,
            tcp_timeout_s=self._machine_settings.timing.tcp_timeout_s,
            deliver=deliver,
            verify_incoming=self._verify[0],
            verify_outgoing=self._verify[1],
            is_allowed=partial(_is_within, networks) if networks else lambda host: True,
        )

    def _refused(self, members: Sequence[ins.Member], servers: list[Member]) -> str | None:
        """Apply the rules; called in the thread of gossip."""
        return self._refusal([member_of(each) for each in members], self._self_as_configured, servers)

    def _servers_published(self) -> list[Member]:
        published = self._gossip.members()
        if self._servers[0] is not published:
            self._servers = published, _servers_of(published)
        return self._servers[1]

    # Reading

    @property
    def gossip(self) -> GossipPool:
        """Events, queries and keys."""
        return self._gossip

    @property
    def own_name(self) -> str:
        """What this process is called in this pool."""
        return self._machine_settings.name

    def members(self) -> list[Member]:
        """Everybody known, ourselves included, by name."""
        published = self._gossip.members()
        if self._converted[0] is not published:
            self._converted = published, [member_of(member) for member in published]
        return list(self._converted[1])

    def self_member(self) -> Member:
        """Ourselves."""
        found = next((member for member in self.members() if member.name == self.own_name), None)
        if found is not None:
            return found
        return self._self_as_configured

    def subscribe(self, watcher: Watcher) -> None:
        """Call `watcher` whenever members come, go or change, in this loop."""
        self._watchers.append(watcher)

    def subscribe_events(self, watcher: Callable[[ins.UserEventArrived], None]) -> None:
        """Call `watcher` with each user event, in this loop."""
        self._event_watchers.append(watcher)

    def _delivered(self, instruction: ins.Instruction) -> None:
        match instruction:
            case ins.MembersChanged(kind=kind, members=members):
                converted = [member_of(member) for member in members]
                for watcher in self._watchers:
                    watcher(kind, converted)
            case ins.UserEventArrived():
                for take in self._event_watchers:
                    take(instruction)
            case ins.QueryArrived(query_id=query_id):
                self._gossip.answer(query_id, None)
            case ins.Stop(text=text):
                self._stop_text = text
                self._stopped.set()

    # Doing

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take part until cancelled; joins go on in the background. Raises ConfigInvalid where the start must fail."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._gossip.run)
            nursery.start_soon(self._watch_stop)
            await self._start_join(self._settings.join)
            nursery.start_soon(self._retry_join, self._settings.join)
            task_status.started()

    async def _watch_stop(self) -> None:
        await self._stopped.wait()
        raise ConfigInvalid(self._stop_text)

    async def join(self, addresses: Sequence[str]) -> tuple[int, dict[str, str]]:
        """Join through "host:port" texts; return how many answered, and what went wrong at the others."""
        wanted: dict[Address, str] = {}
        errors: dict[str, str] = {}
        for text in addresses:
            try:
                for address in await _resolve(text, self._settings.listen.port):
                    wanted[address] = text
            except (OSError, ValueError) as error:
                errors[text] = str(error)
        if not wanted:
            return 0, errors
        result = await self._gossip.join(list(wanted))
        for where, reason in result.errors.items():
            errors[where] = reason
        return result.contacted_count, errors

    async def _start_join(self, join: Join) -> None:
        if not join.start:
            return
        count, errors = await self.join(join.start)
        if not count:
            reasons = "; ".join(f"{address}: {text}" for address, text in errors.items())
            raise ConfigInvalid(f"cannot join the {self.name.upper()}: {reasons}")
        _log.info("joined", pool=self.name, contacted=count)

    async def _retry_join(self, join: Join) -> None:
        own = join_address(self._machine_settings.host, self._machine_settings.port)
        addresses = [address for address in join.retry if address != own]
        if not addresses:
            return
        pause_s = JOIN_PAUSE_S_MIN
        attempt = 0
        while True:
            attempt += 1
            count, errors = await self.join(addresses)
            if count:
                _log.info("joined", pool=self.name, contacted=count)
                return
            reasons = "; ".join(f"{address}: {text}" for address, text in errors.items())
            if join.retry_attempts_max and attempt >= join.retry_attempts_max:
                raise ConfigInvalid(f"agent: max join {self.name.upper()} retry exhausted, exiting: {reasons}")
            _log.warn("join failed, trying again", pool=self.name, pause_s=round(pause_s, 1), reason=reasons)
            await trio.sleep(pause_s)
            pause_s = min(join.retry_interval_s, pause_s * 2)

    async def leave(self) -> None:
        """Leave gracefully."""
        await self._gossip.leave()

    async def force_leave(self, name: str, *, prune: bool = False) -> None:
        """Turn a failed member into one that left; raises NotFound."""
        await self._gossip.force_leave(name, prune=prune)

    async def fire(self, name: str, payload: bytes, *, coalesce: bool = False) -> None:
        """Send a user event; raises InvalidRequest if it is too large."""
        await self._gossip.fire(name, payload, coalesce=coalesce)

    def force_leave_soon(self, name: str, *, prune: bool = False) -> None:
        """The same without waiting for it; a name that nobody has is nothing."""
        self._gossip.tell(ins.ForceLeaveWanted, operation=NOBODY_WAITS, name=name, prune=prune)

    def fire_soon(self, name: str, payload: bytes, *, coalesce: bool = False) -> None:
        """Send a user event without waiting; raises InvalidRequest if it is too large."""
        if len(name.encode()) + len(payload) > USER_EVENT_BYTES_MAX:
            raise InvalidRequest(f"user event exceeds limit of {USER_EVENT_BYTES_MAX} bytes")
        self._gossip.tell(ins.UserEventWanted, operation=NOBODY_WAITS, name=name, payload=payload, coalesce=coalesce)

    def set_tags(self, tags: dict[str, str]) -> None:
        """Tell everybody our new tags."""
        self._gossip.set_tags(tags)

    def statistics(self) -> dict[str, str]:
        """The section of `Stats`."""
        found = {name: str(value) for name, value in self._gossip.statistics().items()}
        return {**found, "encrypted": str(self.encrypted).lower()}

    def coordinate(self) -> Coordinate | None:
        """Where we are, None before the first second is over."""
        found = self._gossip.coordinate()
        return coordinate_of(found) if found is not None else None

    def coordinates(self) -> dict[str, Coordinate]:
        """Where others are, by name, as far as probes have told."""
        return {name: coordinate_of(found) for name, found in self._gossip.coordinates().items()}


def lan_pool(
    config: RuntimeConfig, *, tags: dict[str, str], folder: Path | None, network: Network, chance: Chance
) -> Pool:
    """Return the datacenter's pool; raises ConfigInvalid."""
    return Pool(
        LAN_NAME, config.gossip.lan, config=config, member_name=config.node_name, tags=tags, folder=folder,
        network=network, rng=chance.generator("gossip-lan"), refusal=_lan_refused,
        resolves_conflicts=not config.server,
    )  # fmt: skip


def wan_pool(
    config: RuntimeConfig, *, tags: dict[str, str], folder: Path | None, network: Network, chance: Chance
) -> Pool | None:
    """Return the pool of servers of all datacenters, None where it is off; raises ConfigInvalid."""
    if config.gossip.wan is None:
        return None
    return Pool(
        WAN_NAME, config.gossip.wan, config=config, member_name=f"{config.node_name}.{config.datacenter}", tags=tags,
        folder=folder, network=network, rng=chance.generator("gossip-wan"), refusal=_wan_refused,
        resolves_conflicts=False,
    )  # fmt: skip


def _lan_refused(members: Sequence[Member], mine: Member, known: Sequence[Member]) -> str | None:
    return lan_merge_refused(members, mine=mine, known=known)


def _wan_refused(members: Sequence[Member], mine: Member, known: Sequence[Member]) -> str | None:
    return wan_merge_refused(members)


def _servers_of(members: Sequence[ins.Member]) -> list[Member]:
    return [each for each in map(member_of, members) if each.is_server]


def _bind(settings: GossipPoolSettings) -> tuple[socket.socket, socket.socket]:
    listen = settings.listen
    try:
        udp, tcp = bind_both(listen.host, listen.port)
    except OSError as error:
        raise ConfigInvalid(f"cannot listen for gossip on {listen}: {error.strerror or error}") from error
    tcp.listen(BACKLOG)
    return udp, tcp


def _is_within(networks: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network], host: str) -> bool:
    address = ipaddress.ip_address(host)
    return any(address in network for network in networks)


async def _resolve(text: str, port_default: int) -> list[Address]:
    """Return the addresses of "host:port" or "host"; raises OSError, ValueError."""
    host, port = split_address(text, port_default=port_default)
    try:
        return [Address(str(ipaddress.ip_address(host)), port)]
    except ValueError:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        resolved = dict.fromkeys(Address(str(row[4][0]), port) for row in found)
        if not resolved:
            raise OSError(f"{host} has no address") from None
        return list(resolved)[:RESOLVED_MAX]
