"""Hellos between servers: finding each other, bootstrapping once, and asking to be added.

Acts only: `bootstrap.py` decides about the first configuration, `roster.py` keeps who is there. Until this server is
part of a cluster it says hello to everybody it knows of every HELLO_FAST_S, and at once whenever something it
announces has changed; later every HELLO_S.
"""

from collections.abc import Callable
from pathlib import PurePath

import trio

from base import codec
from base.disk import Disk, write_atomically
from base.errors import ConfigInvalid, DataDamaged, InvalidRequest, MeshError, Refused
from base.log import get_logger
from server.bootstrap import Begin, Bootstrap, Complaint, Pin, Seen, Unpin, peer_of
from server.config import ServerConfig
from server.consensus import Consensus
from server.forwarding import Pool
from server.roster import ALIVE_S, Roster, node_id
from structs.cluster import HelloReply, HelloRequest, Member, MemberStatus, Peer

HELLO_FAST_S = 0.1
HELLO_SPACING_S = 0.01
"""Least time between two rounds, so that two servers that learn from each other do not spin."""
HELLO_S = 1.0
HELLO_TIMEOUT_S = 2.0
CONFLICT_S_MAX = ALIVE_S + 1.0
"""A server that moved is told of a conflict until its old address is forgotten; after this it is a real one."""
WAITING_NEWS_S = 10.0
"""How often a server that has no cluster yet says why."""
PIN_NAME = "bootstrap-pin"

_log = get_logger("server.joining")


class Pins:
    """The promise on disk: one line a server, written whole before it counts."""

    def __init__(self, disk: Disk, folder: PurePath) -> None:
        self._disk = disk
        self._folder = folder
        self._path = folder / PIN_NAME

    def read(self) -> list[str] | None:
        """Return the promised view, None if there is none; raises DataDamaged."""
        if not self._disk.exists(self._path):
            return None
        lines = self._disk.read(self._path).decode("utf-8", "replace").splitlines()
        try:
            for line in lines:
                peer_of(line)
        except ValueError as error:
            raise DataDamaged(f"{self._path} is not a list of servers: {error}") from error
        return lines

    def write(self, view: list[str]) -> None:
        """Make the promise durable; raises DiskFailed."""
        self._disk.make_folder(self._folder)
        write_atomically(self._disk, self._path, "".join(line + "\n" for line in view).encode())

    def remove(self) -> None:
        """Take the promise back; raises DiskFailed."""
        self._disk.unlink(self._path)
        self._disk.sync_folder(self._folder)


class Joining:
    """Owns the hellos of one server; `run` is its only task."""

    def __init__(
        self,
        *,
        config: ServerConfig,
        peer: Peer,
        raft: Consensus,
        pool: Pool,
        roster: Roster,
        pins: Pins,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._config = config
        self._peer = peer
        self._raft = raft
        self._pool = pool
        self._roster = roster
        self._pins = pins
        self._now = monotonic_s
        bootstrapped = raft.bootstrapped()
        self._bootstrap = Bootstrap(
            peer=peer, expect=config.bootstrap_expect, bootstrapped=bootstrapped, pin=pins.read()
        )
        self._rejoins = bootstrapped
        """Until a leader has named us: we may have left, or been removed, and never have heard of it. Who is removed
        while it runs stays out."""
        self._leaving = False
        self._seen_s: dict[str, float] = {}
        self._own_addresses = {peer.address}
        self._in_flight: set[str] = set()
        self._conflict_s: float | None = None
        self._complaint = ""
        self._news_s = monotonic_s() + WAITING_NEWS_S
        self._kick = trio.Event()
        self._announced: HelloRequest | None = None
        self.wants: dict[str, Peer] = {}
        """Servers that ask to be added, or have moved: for the leader's duty."""
        self.on_want: Callable[[], None] = lambda: None

    # What others ask

    def hello(self, request: HelloRequest) -> HelloReply:
        """Take in what another member said of itself and return our side; raises Refused, RateLimited."""
        self._take(request)
        return HelloReply(
            me=self.announcement(),
            members=self._roster.members(self._now()),
            leader=self._raft.leader(),
            servers=self._raft.configuration(),
        )

    def announcement(self) -> HelloRequest:
        """What this server says of itself now."""
        bootstrap = self._bootstrap
        configuration = [peer.server_id for peer in self._raft.configuration()]
        return HelloRequest(
            member=self._roster.self_member,
            server_id=self._peer.server_id,
            datacenter=self._config.datacenter,
            is_server=True,
            expect=self._config.bootstrap_expect,
            bootstrapped=bootstrap.bootstrapped,
            view=bootstrap.view,
            pinned=bootstrap.pinned,
            known=self._roster.heard_directly(self._now()),
            leaving=self._leaving,
            joining=not self._leaving and (bootstrap.joins or self._rejoins),
            configuration=configuration,
        )

    async def say_leaving(self) -> None:
        """Tell every server that this one leaves; returns when they know, or after a moment."""
        self._leaving = True
        member = self._roster.self_member
        self._roster.set_self(
            Member(
                name=member.name,
                address=member.address,
                port=member.port,
                tags=member.tags,
                status=MemberStatus.LEAVING,
            )
        )
        with trio.move_on_after(HELLO_TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                for address in self._targets():
                    nursery.start_soon(self._greet, address)

    # The task

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Say hello until cancelled. Raises ConfigInvalid when another server uses our node id."""
        task_status.started()
        async with trio.open_nursery() as nursery:
            while True:
                await self._settle()
                self._kick = trio.Event()
                for address in self._targets():
                    if address not in self._in_flight:
                        self._in_flight.add(address)
                        nursery.start_soon(self._greet, address)
                self._tell_waiting()
                self._roster.sweep(self._now())
                await trio.sleep(HELLO_SPACING_S)
                with trio.move_on_after(HELLO_S if self._is_settled() else HELLO_FAST_S):
                    await self._kick.wait()

    async def _settle(self) -> None:
        """Carry out what the bootstrap decision asks for, until it asks for nothing."""
        bootstrap = self._bootstrap
        if not bootstrap.bootstrapped and self._raft.bootstrapped():
            bootstrap.begun()  # the leader's log reached us before the other servers' hellos did
        if self._rejoins and self._raft.is_leader():
            self._rejoins = False
        now_s = self._now()
        for server_id, seen_s in list(self._seen_s.items()):
            if now_s - seen_s > ALIVE_S:
                del self._seen_s[server_id]
                bootstrap.lost(server_id)
        while (instruction := bootstrap.decide()) is not None:
            match instruction:
                case Pin(view=view):
                    self._pins.write(view)
                    bootstrap.pin_written(view)
                    _log.info("promised to bootstrap", servers=len(view))
                case Unpin():
                    self._pins.remove()
                    bootstrap.pin_removed()
                    _log.warn("promise to bootstrap withdrawn: the cluster exists without this server")
                case Begin(view=view):
                    try:
                        await self._raft.bootstrap([peer_of(line) for line in view])
                    except Refused:
                        if not self._raft.bootstrapped():
                            raise
                        # The log of a leader that began a moment ago came first: it says the same.
                    bootstrap.begun()
                    _log.info("bootstrapped", servers=", ".join(view))
                case Complaint(text=text):
                    if text != self._complaint:
                        self._complaint = text
                        _log.error(text)
                    break

    async def _greet(self, address: str) -> None:
        try:
            body = codec.encode(self.announcement())
            reply = await self._pool.call(address, "Cluster.Hello", body, timeout_s=HELLO_TIMEOUT_S)
            self._take_reply(address, codec.decode(HelloReply, reply))
            self._conflict_s = None
        except Refused as error:
            self._refused(str(error))
        except MeshError as error:
            _log.debug("hello failed", address=address, error=str(error))
        finally:
            self._in_flight.discard(address)

    def _take_reply(self, address: str, reply: HelloReply) -> None:
        me = reply.me
        if me.server_id == self._peer.server_id:
            self._own_addresses.add(address)
            if me.member.rpc_address != self._peer.address or me.member.name != self._peer.name:
                raise ConfigInvalid(
                    f"node id {me.server_id} is also used by {me.member.name} at {me.member.rpc_address}: "
                    "every server needs a data directory and a node id of its own"
                )
            return
        self._take(me)
        leads = reply.leader is not None and reply.leader.server_id == me.server_id
        if leads and any(peer.server_id == self._peer.server_id for peer in reply.servers):
            self._rejoins = False

    def _take(self, said: HelloRequest) -> None:
        if said.datacenter != self._config.datacenter:
            raise Refused(f"datacenter is {self._config.datacenter!r} here, not {said.datacenter!r}")
        if said.is_server and node_id(said.member) != said.server_id:
            raise InvalidRequest("a server's member and its hello name different ids")
        now_s = self._now()
        self._roster.heard(said.member, leaving=said.leaving, now_s=now_s)
        self._roster.heard_of(said.known, now_s)
        if not said.is_server:
            return
        peer = Peer(server_id=said.server_id, name=said.member.name, address=said.member.rpc_address)
        before = self._bootstrap.view, self._bootstrap.pinned, len(self._seen_s)
        self._seen_s[said.server_id] = now_s
        self._bootstrap.saw(
            Seen(
                peer=peer,
                expect=said.expect,
                bootstrapped=said.bootstrapped,
                view=said.view,
                pinned=said.pinned,
                configuration=said.configuration,
            )
        )
        if not self._bootstrap.bootstrapped:
            after = self._bootstrap.view, self._bootstrap.pinned, len(self._seen_s)
            if after != before or self._bootstrap.decide() is not None:
                self._kick.set()
        elif self._raft.is_leader() and not said.leaving:
            self._consider(peer, joining=said.joining)

    def _consider(self, peer: Peer, *, joining: bool) -> None:
        known = next((p for p in self._raft.configuration() if p.server_id == peer.server_id), None)
        if (known is None and joining) or (known is not None and known.address != peer.address):
            self.wants[peer.server_id] = peer
            self.on_want()
        else:
            self.wants.pop(peer.server_id, None)

    def displaced_by(self, peer: Peer) -> Peer | None:
        """The configured server at `peer`'s address under another id, if it is gone: its disk was lost or replaced."""
        alive = {node_id(member) for member in self._roster.servers(self._now(), alive_only=True)}
        return next(
            (
                old
                for old in self._raft.configuration()
                if old.address == peer.address and old.server_id not in alive | {peer.server_id, self._peer.server_id}
            ),
            None,
        )

    def _refused(self, text: str) -> None:
        now_s = self._now()
        if text != self._complaint or now_s >= self._news_s:
            self._complaint = text
            self._news_s = now_s + WAITING_NEWS_S
            _log.warn("hello refused", reason=text)
        if self._peer.server_id not in text:
            return
        if self._conflict_s is None:
            self._conflict_s = now_s
        elif now_s - self._conflict_s > CONFLICT_S_MAX:
            raise ConfigInvalid(f"{text}: every server needs a data directory and a node id of its own")

    def _targets(self) -> list[str]:
        addresses = dict.fromkeys(self._config.join)
        addresses.update(dict.fromkeys(m.rpc_address for m in self._roster.servers(self._now()) if m.is_server))
        addresses.update(dict.fromkeys(peer.address for peer in self._raft.configuration()))
        return [address for address in addresses if address not in self._own_addresses]

    def _tell_waiting(self) -> None:
        now_s = self._now()
        if not self._bootstrap.bootstrapped and now_s >= self._news_s:
            self._news_s = now_s + WAITING_NEWS_S
            _log.info("no cluster yet", reason=self._bootstrap.waiting_for())

    def _is_settled(self) -> bool:
        return self._bootstrap.bootstrapped and not self._rejoins
