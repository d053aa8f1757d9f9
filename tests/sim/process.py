"""One simulated server: a real core on a real journal on a simulated disk, turned by the driver's rules."""

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import PurePath, PurePosixPath
from typing import Any

import msgspec

from base.errors import MeshError, NoLeader, Refused
from server.raft import membership
from server.raft.core import Core, FetchSnapshot, Outbox, RoleChange
from server.raft.journal import Journal
from server.raft.timings import Guards, Timings
from structs.cluster import Peer
from tests.fakes.disk import PowerLost, SimDisk, SimFile
from tests.sim.checks import Checker, ReadStart, Violation
from tests.sim.world import Network, Port, SimClock, World

FOLDER = PurePosixPath("/raft")
SEGMENT_BYTES = 32 * 1024


class SimSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between scenarios."""

    guards: Guards = Guards()
    order: bool = True
    """Promises wait for the sync, and the next round for both (H12, H13)."""
    durable: bool = True
    """Syncs really happen (H1)."""
    timings: Timings = Timings()
    snapshot_threshold: int = 25
    trailing_count: int = 8
    sync_mean_s: float = 0.002
    crash_in_sync: float = 0.004
    crash_at_snapshot: float = 0.1


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot: its facts, and the state itself."""

    index: int
    term: int
    configuration: list[Peer]
    configuration_index: int
    state: list[tuple[int, int, bytes]]


class Applier:
    """A state machine that keeps everything it was told."""

    def __init__(self, server_id: str, checker: Checker) -> None:
        self._server_id = server_id
        self._checker = checker
        self.state: list[tuple[int, int, bytes]] = []

    def apply(self, index: int, term: int, command: bytes) -> object:
        if self.state and index <= self.state[-1][0]:
            raise Violation(f"{self._server_id} applied index {index} twice")
        self.state.append((index, term, command))
        self._checker.applied_at(self._server_id, index, term, command, len(self.state))
        return index

    def load(self, meta: Meta) -> None:
        self.state = list(meta.state)


class ForgetfulFile(SimFile):
    """Its syncs return at once and do nothing, most of the time: what the library's own journal amounts to (H1)."""

    def sync(self) -> None:
        if self._disk.rng.random() < 0.05:
            super().sync()


class ForgetfulDisk(SimDisk):
    """Files that forget."""

    def open_file(self, path: PurePath, *, create: bool = False) -> SimFile:
        return ForgetfulFile(self, path, super().open_file(path, create=create)._file)


class _Read(msgspec.Struct):
    start: ReadStart
    registered_s: float
    expires_s: float


class SimServer(Port):
    """Survives its own crashes: `disk` and `snapshots` are what is left of it each time."""

    def __init__(
        self,
        world: World,
        peer: Peer,
        checker: Checker,
        settings: SimSettings,
        on_crash: Callable[["SimServer"], None],
        on_leader: Callable[["SimServer"], None],
    ) -> None:
        self._world = world
        self._checker = checker
        self._settings = settings
        self._on_crash = on_crash
        self._on_leader = on_leader
        self.peer = peer
        self.server_id = peer.server_id
        self.clock = SimClock(world)
        disk = SimDisk if settings.durable else ForgetfulDisk
        self.disk = disk(random.Random(world.rng.getrandbits(64)))
        self.snapshots: list[Meta] = []
        self.network: Network | None = None
        self.core: Core | None = None
        self.journal: Journal | None = None
        self.applier = Applier(self.server_id, checker)
        self.paused_until_s = 0.0
        self.sync_factor = 1.0
        self.removed = False
        self._life = 0
        self._events: deque[Callable[[float], None]] = deque()
        self._links: dict[str, int] = {}
        self._reads: list[_Read] = []
        self._busy = False
        self._round_due_s = float("inf")
        self._snapshotting = False

    # --- life

    @property
    def is_up(self) -> bool:
        return self.core is not None

    def start(self, *, bootstrap: list[Peer] | None = None) -> None:
        """Begin a process on what the disk holds."""
        self._life += 1
        rng = random.Random(self._world.rng.getrandbits(64))
        self.journal = journal = Journal.open(self.disk, FOLDER, segment_bytes=SEGMENT_BYTES, rng=rng)
        self._checker.voted(self.server_id, journal.getCurrentTerm(), journal.getVotedForNodeId())
        if bootstrap is not None:
            for command, index, term in membership.bootstrap_entries(bootstrap):
                journal.add(command, index, term)
            journal.sync()
        snapshot = max(self.snapshots, key=lambda meta: meta.index, default=None)
        self.applier = Applier(self.server_id, self._checker)
        if snapshot is not None:
            self.applier.load(snapshot)
        self.core = Core(
            self_peer=self.peer,
            journal=journal,
            snapshot=snapshot,
            override=None,
            applier=self.applier,
            rng=rng,
            now=self.clock.now_s(),
            timings=self._settings.timings,
            fresh_bootstrap=bootstrap is not None,
            guards=self._settings.guards,
        )
        self._busy = self._snapshotting = False
        self._round_due_s = float("inf")
        self._arm(0.0)

    def stop(self, *, power: bool) -> None:
        """The process ends; with `power` false the kernel still writes what it was given."""
        if self.core is None:
            return
        self.core = self.journal = None
        self._life += 1
        self._events.clear()
        self._links.clear()
        self._reads.clear()
        if power:
            self.disk.crash()
        else:
            self.disk.restart()
        assert self.network is not None
        self.network.break_all(self.server_id)
        self._checker.counts["crashes"] += 1

    def pause(self, duration_s: float) -> None:
        """The process is stopped and goes on later, its connections alive."""
        self.paused_until_s = self._world.time_s + duration_s
        self._world.after(duration_s, lambda: self._arm(0.0))

    @property
    def is_paused(self) -> bool:
        return self._world.time_s < self.paused_until_s

    # --- what arrives

    def connected(self, server_id: str, epoch: int) -> None:
        def handle(now_s: float) -> None:
            self._links[server_id] = epoch
            self._up().peer_connected(server_id, epoch, now_s)

        self._enqueue(handle)

    def disconnected(self, server_id: str, epoch: int) -> None:
        self._enqueue(lambda now_s: self._up().peer_disconnected(server_id, epoch, now_s))

    def message(self, server_id: str, epoch: int, message: list[Any]) -> None:
        self._enqueue(lambda now_s: self._up().receive(server_id, epoch, message, now_s))

    def propose(self, token: int) -> None:
        """A client asks for a write."""

        def handle(now_s: float) -> None:
            try:
                self._up().propose(b"%d" % token, token, now_s)
            except NoLeader:
                self._checker.refused(token)

        self._enqueue(handle)

    def change(self, operation: membership.Operation, peer: Peer) -> None:
        """An operator asks for a change of the configuration."""

        def handle(now_s: float) -> None:
            try:
                self._up().propose_membership(operation, peer, operation, now_s)
                self._checker.counts[f"{operation} asked"] += 1
            except (NoLeader, Refused):
                self._checker.counts["change refused"] += 1

        self._enqueue(handle)

    def transfer(self) -> None:
        """An operator asks for another leader."""

        def handle(now_s: float) -> None:
            try:
                self._up().transfer_leadership(None, now_s)
                self._checker.counts["transfers"] += 1
            except Refused:
                self._checker.counts["transfer refused"] += 1

        self._enqueue(handle)

    def read(self, mode: str) -> None:
        """A client asks for a read. It is answered by another task than the driver's, even while that syncs."""
        if self.core is None or self.is_paused:
            return
        start = self._checker.read_starts()
        now_s = self.clock.now_s()
        if mode == "default":
            if self.core.lease_valid(now_s):
                self._checker.read_ends(start, self.server_id, len(self.applier.state), mode)
        else:
            self._reads.append(_Read(start, now_s, now_s + 2.0))
            self._enqueue(lambda now_s: self._up().request_confirm(now_s))

    # --- the driver's rules

    def _up(self) -> Core:
        assert self.core is not None
        return self.core

    def _enqueue(self, event: Callable[[float], None]) -> None:
        if self.core is not None:
            self._events.append(event)
            self._arm(0.0)

    def _arm(self, delay_s: float) -> None:
        """Begin a round in `delay_s`, unless one is due earlier or under way."""
        if self.core is None or self._busy:
            return
        due_s = self._world.time_s + delay_s + 0.0002
        if due_s < self._round_due_s:
            self._round_due_s = due_s
            self._world.after(due_s - self._world.time_s, partial(self._round, self._life, due_s))

    def _round(self, life: int, due_s: float) -> None:
        if life != self._life or self._busy or due_s != self._round_due_s:
            return
        self._round_due_s = float("inf")
        if self.is_paused:
            return
        core, journal, settings = self._up(), self.journal, self._settings
        assert journal is not None
        now_s = self.clock.now_s()
        while self._events:
            self._events.popleft()(now_s)
        outbox = core.tick(now_s)
        self._inspect(outbox)
        self._send(outbox.entries)
        if not settings.order:
            self._send(outbox.promises)
        if not journal.dirty:
            self._finish(life, outbox)
            return
        self._busy = True
        write = journal.begin_sync()
        rng = self._world.rng
        if rng.random() < settings.crash_in_sync:
            self._world.after(rng.uniform(0, settings.sync_mean_s), partial(self._crash_in, life, write))
            return
        duration_s = rng.expovariate(1 / settings.sync_mean_s) * self.sync_factor
        self._world.after(duration_s, partial(self._synced, life, outbox, write))

    def _synced(self, life: int, outbox: Outbox, write: Callable[[], None]) -> None:
        if life != self._life:
            return
        if self.is_paused:
            self._world.after(self.paused_until_s - self._world.time_s, partial(self._synced, life, outbox, write))
            return
        write()
        journal = self.journal
        assert journal is not None
        self._checker.voted(self.server_id, journal.getCurrentTerm(), journal.getVotedForNodeId())
        self._busy = False
        self._finish(life, outbox)

    def _crash_in(self, life: int, write: Callable[[], None]) -> None:
        """Power fails somewhere in the middle of a sync."""
        if life != self._life:
            return
        self.disk.power_lost_at = self.disk.operations_count + self._world.rng.randrange(3)
        try:
            write()
        except PowerLost:
            self._checker.counts["torn syncs"] += 1
        self._on_crash(self)

    def _finish(self, life: int, outbox: Outbox) -> None:
        core = self._up()
        if self._settings.order:
            self._send(outbox.promises)
        if outbox.fetch is not None:
            self._begin_fetch(outbox.fetch)
        self._maybe_snapshot()
        if life != self._life:
            return
        self._arm(0.0 if self._events else self.clock.delay_until_s(core.next_wake_s(self.clock.now_s())))

    def _send(self, messages: list[tuple[str, list[Any]]]) -> None:
        assert self.network is not None
        for server_id, message in messages:
            self.network.send(self.server_id, server_id, self._links.get(server_id, 0), message)

    def _inspect(self, outbox: Outbox) -> None:
        core, checker = self._up(), self._checker
        for token, outcome in outbox.results:
            if core.is_leader and self.journal is not None and not outcome.discarded:
                # Results leave before this round's sync, as the driver does it: they must be durable here by now.
                index = outcome.result if isinstance(outcome.result, int) else core.configuration_index
                if index > self.journal.synced_index:
                    raise Violation(f"{self.server_id} settles {token!r} at {index} before it is durable")
            if isinstance(token, str):
                checker.counts[f"{token} settled"] += 1
                continue
            if outcome.discarded:
                checker.refused(token)
            else:
                assert isinstance(outcome.result, int)
                checker.acknowledged(token, outcome.result)
        if outbox.became is RoleChange.LEADER:
            checker.leader(self.server_id, core, self.journal)
            checker.counts["elections"] += 1
            self._on_leader(self)
        checker.progress(self.server_id, core)
        if self._reads:
            self._answer_reads(core)

    def _answer_reads(self, core: Core) -> None:
        now_s = self.clock.now_s()
        confirmed_s = core.confirmed_at(now_s)
        waiting = []
        for read in self._reads:
            if read.registered_s <= confirmed_s:
                self._checker.read_ends(read.start, self.server_id, len(self.applier.state), "consistent")
            elif now_s < read.expires_s:
                waiting.append(read)
        self._reads = waiting

    # --- snapshots

    def _maybe_snapshot(self) -> None:
        """A worker thread copies the state; then the folder is durable; then the loop hears of it."""
        core, state = self._up(), self.applier.state
        have = core.snapshot.index if core.snapshot is not None else 0
        if self._snapshotting or not state or state[-1][0] - have < self._settings.snapshot_threshold:
            return
        self._snapshotting = True
        index, term, _ = state[-1]
        peers, configuration_index = core.configuration_at(index)
        meta = Meta(
            index=index, term=term, configuration=peers, configuration_index=configuration_index, state=list(state)
        )
        self._world.after(self._world.rng.uniform(0.01, 0.3), partial(self._snapshot_durable, self._life, meta))

    def _snapshot_durable(self, life: int, meta: Meta) -> None:
        if life != self._life:
            return
        self._keep(meta)
        self._checker.counts["snapshots"] += 1

        def handle(now_s: float) -> None:
            self._snapshotting = False
            self._up().snapshot_taken(meta, self._settings.trailing_count)

        if self._world.rng.random() < self._settings.crash_at_snapshot:
            self._on_crash(self)
        else:
            self._enqueue(handle)

    def _keep(self, meta: Meta) -> None:
        self.snapshots = [*sorted(self.snapshots, key=lambda each: each.index)[-1:], meta]

    def _begin_fetch(self, fetch: FetchSnapshot) -> None:
        assert self.network is not None
        epoch = self.network.connected_epoch(self.server_id, fetch.from_id)
        delay_s = self._world.rng.expovariate(1 / 0.15)
        self._checker.counts["fetches"] += 1
        self._world.after(delay_s, partial(self._fetched, self._life, fetch, epoch))

    def _fetched(self, life: int, fetch: FetchSnapshot, epoch: int | None) -> None:
        if life != self._life:
            return
        assert self.network is not None
        source = self.network.source(fetch.from_id)
        alive = epoch is not None and self.network.connected_epoch(self.server_id, fetch.from_id) == epoch
        if not alive or not isinstance(source, SimServer) or not source.snapshots:
            self._enqueue(lambda now_s: self._up().fetch_failed())
            return
        meta = max(source.snapshots, key=lambda each: each.index)
        self._world.after(self._world.rng.uniform(0.0, 0.2), partial(self._fetch_durable, life, meta))

    def _fetch_durable(self, life: int, meta: Meta) -> None:
        if life != self._life:
            return
        self._keep(meta)
        if self._world.rng.random() < self._settings.crash_at_snapshot:
            self._on_crash(self)
            return

        def handle(now_s: float) -> None:
            try:
                installed = self._up().install(meta, now_s)
            except MeshError as error:
                raise Violation(f"install failed: {error}") from error
            self._checker.counts["installed" if installed else "install refused"] += 1

        self._enqueue(handle)
