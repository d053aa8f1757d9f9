"""Until there is a cluster: hellos between the servers that gossip shows, and the first configuration.

Acts only: `bootstrap.py` decides. A server that has no configuration yet says hello to every living server of its
datacenter every HELLO_FAST_S, and at once whenever something it announces has changed. Who is part of a cluster only
answers; who finds one waits for its leader, which adds every server that it sees (`leader/autopilot.py`).
"""

from collections.abc import Callable, Sequence
from pathlib import PurePath

import trio

from base import codec
from base.disk import Disk, write_atomically
from base.errors import DataDamaged, MeshError, Refused
from base.limits import Turns
from base.log import get_logger
from server.bootstrap import Begin, Bootstrap, Complaint, Pin, Seen, Unpin, expectation_conflict, peer_of
from server.config import ServerConfig
from server.consensus import Consensus
from server.forwarding import Pool
from server.gossip import GossipPool
from server.members import servers_of
from structs.cluster import BootstrapHello, Member, MemberStatus, Peer
from structs.members import node_id

HELLO_FAST_S = 0.1
HELLO_SPACING_S = 0.01
"""Least time between two rounds, so that two servers that learn from each other do not spin."""
HELLO_S = 1.0
HELLO_TIMEOUT_S = 2.0
TARGETS_MAX = 64
"""Members greeted in one round, of those that say they are servers."""
HEARD_S = 3.0
"""What a server said of itself counts for so long."""
WAITING_NEWS_S = 10.0
"""How often a server that has no cluster yet says why."""
VIEW_CHARS_MAX = 16 * 1024
"""A hundred servers. What strangers say is kept for `HEARD_S`."""
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
    """Owns the hellos of one server; `run` is its only task, and ends once the server is part of a cluster."""

    def __init__(
        self,
        *,
        config: ServerConfig,
        peer: Peer,
        raft: Consensus,
        pool: Pool,
        gossip: GossipPool,
        pins: Pins,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._config = config
        self._peer = peer
        self._raft = raft
        self._pool = pool
        self._gossip = gossip
        self._now = monotonic_s
        self._pins = pins
        self._bootstrap = Bootstrap(
            peer=peer, expect=config.bootstrap_expect, bootstrapped=raft.bootstrapped(), pin=pins.read()
        )
        self._seen_s: dict[str, float] = {}
        self._in_flight: set[str] = set()
        self._turns = Turns(TARGETS_MAX)
        self._complaint = ""
        self._news_s = monotonic_s() + WAITING_NEWS_S
        self._kick = trio.Event()

    # What others ask

    def hello(self, request: BootstrapHello) -> BootstrapHello:
        """Take in what another server said of itself and return our side; raises Refused."""
        self._take(request)
        return self.announcement()

    def announcement(self) -> BootstrapHello:
        """What this server says of itself now."""
        bootstrap = self._bootstrap
        self._notice_log()
        return BootstrapHello(
            peer=self._peer,
            datacenter=self._config.datacenter,
            expect=self._config.bootstrap_expect,
            bootstrapped=bootstrap.bootstrapped,
            view=bootstrap.view,
            pinned=bootstrap.pinned,
            configuration=[peer.server_id for peer in self._raft.configuration()],
        )

    def heard(self, members: Sequence[Member]) -> None:
        """Gossip speaks of these: who is gone is no candidate, and who came is greeted at once."""
        for member in members:
            server_id = node_id(member)
            if member.status is not MemberStatus.ALIVE and self._seen_s.pop(server_id, None) is not None:
                self._bootstrap.lost(server_id)
        self._kick.set()

    # The task

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Say hello until this server is part of a cluster."""
        task_status.started()
        async with trio.open_nursery() as nursery:
            while True:
                await self._settle()
                if self._bootstrap.bootstrapped:
                    return
                self._kick = trio.Event()
                for address in self._targets():
                    if address not in self._in_flight:
                        self._in_flight.add(address)
                        nursery.start_soon(self._greet, address)
                self._tell_waiting()
                await trio.sleep(HELLO_SPACING_S)
                with trio.move_on_after(HELLO_S if self._bootstrap.joins else HELLO_FAST_S):
                    await self._kick.wait()

    def _notice_log(self) -> None:
        """The leader's log may reach us before the other servers' hellos do."""
        if not self._bootstrap.bootstrapped and self._raft.bootstrapped():
            self._bootstrap.begun()

    async def _settle(self) -> None:
        """Carry out what the bootstrap decision asks for, until it asks for nothing."""
        bootstrap = self._bootstrap
        self._notice_log()
        now_s = self._now()
        for server_id, seen_s in list(self._seen_s.items()):
            if now_s - seen_s > HEARD_S:
                del self._seen_s[server_id]
                bootstrap.lost(server_id)
        while (instruction := bootstrap.decide()) is not None:
            match instruction:
                case Pin(view=view):
                    if not self._may_pin():
                        return
                    self._pins.write(view)
                    bootstrap.pin_written(view)
                    _log.info("promised to bootstrap", servers=len(view))
                case Unpin():
                    self._pins.remove()
                    bootstrap.pin_removed()
                    _log.warn("promise to bootstrap withdrawn: the cluster exists without this server")
                case Begin(view=view):
                    await self._begin(view)
                case Complaint(text=text):
                    self._complain(text)
                    return

    async def _begin(self, view: list[str]) -> None:
        try:
            await self._raft.bootstrap([peer_of(line) for line in view])
        except Refused:
            if not self._raft.bootstrapped():
                raise
            # The log of a leader that began a moment ago came first: it says the same.
        self._bootstrap.begun()
        _log.info("bootstrapped", servers=", ".join(view))

    def _may_pin(self) -> bool:
        """Whether nobody that gossip shows expects anything else; some of them may not have answered yet."""
        expect = self._config.bootstrap_expect
        servers = servers_of(self._gossip.members(), self._config.datacenter, alive_only=True)
        text = expectation_conflict(expect, [facts for facts in servers if facts.server_id != self._peer.server_id])
        if text is not None:
            self._complain(text)
        return text is None

    def _complain(self, text: str) -> None:
        if text != self._complaint:
            self._complaint = text
            _log.error(text)

    async def _greet(self, address: str) -> None:
        try:
            body = codec.encode(self.announcement())
            reply = await self._pool.call(address, "Cluster.Hello", body, timeout_s=HELLO_TIMEOUT_S)
            said = codec.decode(BootstrapHello, reply)
            if self._pool.proves_server(address):
                self._take(said)
            else:
                self._complain(f"{said.peer.name} ({address}) is no server: its certificate is not a server's")
        except Refused as error:
            self._complain(f"hello refused: {error}")
        except MeshError as error:
            _log.debug("hello failed", address=address, error=str(error))
        finally:
            self._in_flight.discard(address)

    def _take(self, said: BootstrapHello) -> None:
        if said.datacenter != self._config.datacenter:
            raise Refused(f"datacenter is {self._config.datacenter!r} here, not {said.datacenter!r}")
        if said.peer.server_id == self._peer.server_id:
            raise Refused(
                f"node id {said.peer.server_id} is also used by {said.peer.name} at {said.peer.address}: every server "
                "needs a data directory and a node id of its own"
            )
        if sum(map(len, [*said.view, *said.configuration])) > VIEW_CHARS_MAX:
            raise Refused(f"a view of more than {VIEW_CHARS_MAX} characters")
        if self._bootstrap.bootstrapped:
            return
        before = self._bootstrap.view, self._bootstrap.pinned, len(self._seen_s)
        self._seen_s[said.peer.server_id] = self._now()
        self._bootstrap.saw(
            Seen(
                peer=said.peer,
                expect=said.expect,
                bootstrapped=said.bootstrapped,
                view=said.view,
                pinned=said.pinned,
                configuration=said.configuration,
            )
        )
        after = self._bootstrap.view, self._bootstrap.pinned, len(self._seen_s)
        if after != before or self._bootstrap.decide() is not None:
            self._kick.set()

    def _targets(self) -> list[str]:
        """Living servers of our datacenter, as gossip has them."""
        servers = servers_of(self._gossip.members(), self._config.datacenter, alive_only=True)
        return self._turns.pick(facts.address for facts in servers if facts.server_id != self._peer.server_id)

    def _tell_waiting(self) -> None:
        now_s = self._now()
        if now_s >= self._news_s:
            self._news_s = now_s + WAITING_NEWS_S
            _log.info("no cluster yet", reason=self._bootstrap.waiting_for())
