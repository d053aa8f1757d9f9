"""One simulated server: a real core on a real journal on a simulated disk, turned by the driver's rules."""

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import PurePath
from typing import Any, Protocol

import msgspec

from base import codec
from base.errors import DataDamaged, DiskFailed, NoLeader, Refused
from base.failpoints import failpoint
from server.raft import membership
from server.raft.core import Core, Outbox, RoleChange
from server.raft.journal import Journal
from server.raft.recovery import recover
from server.raft.snapshots import SnapshotStore
from server.raft.timings import Guards, Timings
from structs.cluster import Peer
from tests.fakes.disk import PowerLost, SimDisk, SimFile
from tests.sim.checks import Checker, ReadStart, Violation
from tests.sim.disk_faults import FOLDER, SNAPSHOTS_FOLDER, DiskFaults, Part
from tests.sim.snapshotting import SimSnapshotting
from tests.sim.state import Applied, ListState, MachineState, SimState, kv_command, plain_command
from tests.sim.world import Network, Port, SimClock, World

SYNC_OPERATIONS_COUNT = 2
"""Of a disk, in one sync of a journal: a write and its sync."""
SEGMENT_OPERATIONS_COUNT = 10
"""The same where a segment is full: the next one made, the old one sealed, and then the batch."""
POWER_FAILS = 0.7
"""So many of the sudden ends take the power; at the others the kernel lives on, with what was never synced."""
SYNC_S_MAX = 5.0
"""However slow a disk is: a sync must end before the run does."""


class SimSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between scenarios."""

    guards: Guards = Guards()
    order: bool = True
    """Promises wait for the sync, and the next round for both (H12, H13)."""
    durable: bool = True
    """Syncs really happen (H1)."""
    real_state: bool = False
    """Commands go to the product's state machine on LMDB, instead of to a list."""
    timings: Timings = Timings()
    snapshot_threshold: int = 25
    trailing_count: int = 8
    segment_bytes: int = 8 * 1024
    """Of the journal: small, so that segments are sealed, begun and unlinked all the time."""
    sync_mean_s: float = 0.002
    crash_in_sync: float = 0.004
    crash_at_snapshot: float = 0.1


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


class Operator(Protocol):
    """Who looks after a server; see `operators.py`."""

    def permits_damage(self, server: "SimServer") -> bool:
        """Whether the disk of this one may be damaged now."""

    def replace(self, server: "SimServer") -> None:
        """This one has refused to start."""


class OnCrash(Protocol):
    """Told that a server has died of itself: must call `stop`, and `start` some time later."""

    def __call__(self, server: "SimServer", *, power: bool | None = None) -> None:
        """`power`: whether that is lost; None leaves it open."""


class SimServer(Port):
    """Survives its own crashes: `disk` is what is left of it each time.

    Ends with `stop`, and by itself where power is lost or the disk fails inside something that it does: then `on_crash`
    is told. Where its disk is damaged it refuses to start, once and for all, and the operator is told.
    """

    def __init__(
        self,
        world: World,
        peer: Peer,
        checker: Checker,
        settings: SimSettings,
        on_crash: OnCrash,
        on_leader: Callable[["SimServer"], None],
    ) -> None:
        self._world = world
        self._checker = checker
        self._settings = settings
        self._on_crash = on_crash
        self._on_leader = on_leader
        self.operator: Operator | None = None
        """Who puts another in its place, if anybody. Without, nothing may damage the disk."""
        self.tell: Callable[[str], None] = lambda text: None
        """Called with a short sentence when something happens here that no schedule says."""
        self.peer = peer
        self.server_id = peer.server_id
        self._rng = world.rng_of(self.server_id)
        self._commands_rng = world.rng_of(f"commands at {self.server_id}")
        self.clock = SimClock(world, self.server_id)
        disk = SimDisk if settings.durable else ForgetfulDisk
        self.disk = disk(world.rng_of(f"disk of {self.server_id}"))
        self.faults = DiskFaults(self.disk, world, checker)
        self.network: Network | None = None
        self.core: Core | None = None
        self.journal: Journal | None = None
        self.state = self._empty_state()
        self.snapshotting: SimSnapshotting | None = None
        self.paused_until_s = 0.0
        self.sync_factor = 1.0
        self.retired = False
        """Damaged: it has refused to start, and never will again."""
        self._calm = False
        self._running = False
        self._life = 0
        self._events: deque[Callable[[float], None]] = deque()
        self._links: dict[str, int] = {}
        self._reads: list[_Read] = []
        self._busy = False
        self._round_due_s = float("inf")

    # --- life

    @property
    def is_up(self) -> bool:
        return self.core is not None

    def start(self, *, bootstrap: list[Peer] | None = None) -> None:
        """Begin a process on what the disk holds, unless one runs or the disk is damaged."""
        if self._running or self.retired:
            return
        self._life += 1
        self._running = True
        self._guarded(partial(self._open, bootstrap))

    def _open(self, bootstrap: list[Peer] | None) -> None:
        """The same steps as `server/raft/opening.py`."""
        disk = self.disk
        rng = random.Random(self._rng.getrandbits(64))
        try:
            journal = Journal.open(disk, FOLDER, segment_bytes=self._settings.segment_bytes, rng=rng)
            self._checker.voted(self.server_id, journal.getCurrentTerm(), journal.getVotedForNodeId())
            store = SnapshotStore(disk, SNAPSHOTS_FOLDER)
            newest = store.newest_intact(journal.first_index)
            recovery = recover(disk, FOLDER, log_last_index=journal.last_index)
        except DataDamaged as damage:
            self._refuse_to_start(damage)
            return
        if bootstrap is not None:
            for command, index, term in membership.bootstrap_entries(bootstrap):
                journal.add(command, index, term)
            journal.sync()
        self.state = self._empty_state()
        if newest is not None:
            self.state.prepare(newest, disk.read(store.state_path(newest)))
            self.state.load(newest)
        self.snapshotting = SimSnapshotting(
            self, disk=disk, store=store, newest=newest, rng=self._rng, checker=self._checker
        )
        self.journal = journal
        self.core = Core(
            self_peer=self.peer,
            journal=journal,
            snapshot=newest,
            override=recovery.override,
            applier=self.state,
            rng=rng,
            now=self.clock.now_s(),
            timings=self._settings.timings,
            fresh_bootstrap=bootstrap is not None,
            guards=self._settings.guards,
        )
        self._busy = False
        self._round_due_s = float("inf")
        self._arm(0.0)

    def _empty_state(self) -> SimState:
        kind = MachineState if self._settings.real_state else ListState
        return kind(self.server_id, self._checker)

    def _refuse_to_start(self, damage: DataDamaged) -> None:
        if not self.faults.damaged:
            raise Violation(f"{self.server_id} refuses to start and nothing is damaged: {damage}", kind="refused")
        self._running = False
        self.retired = True
        assert self.operator is not None
        self._checker.counts["refused to start"] += 1
        self.tell(f"{self.server_id} refuses to start: {damage}")
        self.operator.replace(self)

    def fresh(self, peer: Peer) -> "SimServer":
        """Another server in the same surroundings, with an empty disk, that has not been started."""
        server = SimServer(self._world, peer, self._checker, self._settings, self._on_crash, self._on_leader)
        server.tell = self.tell
        server._calm = self._calm
        return server

    def stop(self, *, power: bool) -> None:
        """The process ends; with `power` false the kernel still has what it was given."""
        if not self._running:
            return
        self._running = False
        self.core = self.journal = self.snapshotting = None
        self._life += 1
        self._events.clear()
        self._links.clear()
        self._reads.clear()
        self.state.close()
        if power:
            self.disk.crash()
        else:
            self.disk.restart()
        assert self.network is not None
        self.network.break_all(self.server_id)
        self._checker.counts["crashes"] += 1

    def _guarded(self, action: Callable[[], None]) -> None:
        """Run a part of the process; it dies where the power or the disk fails meanwhile."""
        try:
            self.faults.run(action)
        except PowerLost as lost:
            power = self.faults.power_fails
            what = "power lost" if power else "killed"
            self._checker.counts[f"{what} at {str(lost).rpartition(' ')[0]}"] += 1
            self.tell(f"{self.server_id}: {what} at {lost}")
            self._on_crash(self, power=power)
        except DiskFailed as error:
            full = "disk is full" in str(error)
            self._checker.counts["disk full" if full else "disk failed"] += 1
            if full:
                self.faults.was_full()
            self.tell(f"{self.server_id} stops: {error}")
            self._on_crash(self)

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run `action` in `delay_s`, as a part of this process, if it still lives then; a paused one goes on later."""
        self._world.after(delay_s, partial(self._go_on, self._life, action))

    def _go_on(self, life: int, action: Callable[[], None]) -> None:
        if life != self._life:
            return
        if self.is_paused:
            self._world.after(self.paused_until_s - self._world.time_s, partial(self._go_on, life, action))
        else:
            self._guarded(action)

    def pause(self, duration_s: float) -> None:
        """The process is stopped and goes on later, its connections alive."""
        self.paused_until_s = self._world.time_s + duration_s
        self._world.after(duration_s, lambda: self._arm(0.0))

    @property
    def is_paused(self) -> bool:
        return self._world.time_s < self.paused_until_s

    def calm(self) -> None:
        """The faults are over: nothing that is armed strikes, there is space, and it doesn't crash by itself."""
        self._calm = True
        self.faults.disarm()

    def flip_bit(self, part: Part, rng: random.Random) -> bool:
        """Damage a bit on the disk; False where that must not be now, or there is nothing to damage.

        Not while a snapshot is being installed: it is checked when it has arrived, and its working copy made then.
        """
        installing = self.snapshotting is not None and self.snapshotting.fetching
        if installing or self.operator is None or not self.operator.permits_damage(self):
            return False
        return self.faults.flip_bit(part, rng)

    def may_crash_at_snapshot(self) -> bool:
        """Draws whether to die where a snapshot is durable and the core hasn't heard of it; True where it has died."""
        if self._calm or self._rng.random() >= self._settings.crash_at_snapshot:
            return False
        self._on_crash(self)
        return True

    # --- what arrives

    def connected(self, server_id: str, epoch: int) -> None:
        def handle(now_s: float) -> None:
            self._links[server_id] = epoch
            self._up().peer_connected(server_id, epoch, now_s)

        self.between_rounds(handle)

    def disconnected(self, server_id: str, epoch: int) -> None:
        self.between_rounds(lambda now_s: self._up().peer_disconnected(server_id, epoch, now_s))

    def message(self, server_id: str, epoch: int, data: bytes) -> None:
        self.between_rounds(lambda now_s: self._up().receive(server_id, epoch, codec.unpack(data), now_s))

    def propose(self, token: int) -> None:
        """A client asks for a write."""
        command = plain_command(token)
        if self._settings.real_state:
            command = kv_command(self._commands_rng, token, self._checker.index_applied_max)
        self._checker.proposes(token, command)

        def handle(now_s: float) -> None:
            try:
                self._up().propose(command, token, now_s)
            except NoLeader:
                self._checker.refused(token)

        self.between_rounds(handle)

    def change(self, operation: membership.Operation, peer: Peer) -> None:
        """An operator asks for a change of the configuration."""

        def handle(now_s: float) -> None:
            try:
                self._up().propose_membership(operation, peer, operation, now_s)
                self._checker.counts[f"{operation} asked"] += 1
            except (NoLeader, Refused):
                self._checker.counts["change refused"] += 1

        self.between_rounds(handle)

    def transfer(self) -> None:
        """An operator asks for another leader."""

        def handle(now_s: float) -> None:
            try:
                self._up().transfer_leadership(None, now_s)
                self._checker.counts["transfers"] += 1
            except Refused:
                self._checker.counts["transfer refused"] += 1

        self.between_rounds(handle)

    def read(self, mode: str) -> None:
        """A client asks for a read. It is answered by another task than the driver's, even while that syncs."""
        if self.core is None or self.is_paused:
            return
        start = self._checker.read_starts()
        now_s = self.clock.now_s()
        if mode == "default":
            if self.core.lease_valid(now_s):
                self._checker.read_ends(start, self.server_id, self.state.position, mode)
        else:
            self._reads.append(_Read(start, now_s, now_s + 2.0))
            self.between_rounds(lambda now_s: self._up().request_confirm(now_s))

    # --- the driver's rules

    def _up(self) -> Core:
        assert self.core is not None
        return self.core

    def between_rounds(self, event: Callable[[float], None]) -> None:
        """Run `event(now_s)` with the next round."""
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
        if not self.is_paused:
            self._guarded(self._turn)

    def _turn(self) -> None:
        core, journal, settings = self._up(), self.journal, self._settings
        assert journal is not None
        now_s = self.clock.now_s()
        while self._events:
            self._events.popleft()(now_s)
        outbox = core.tick(now_s)
        self.state.commit()
        self._inspect(outbox)
        self._send(outbox.entries)
        if not settings.order:
            self._send(outbox.promises)
        if not journal.dirty:
            self._finish(outbox)
            return
        self._busy = True
        write = journal.begin_sync()
        failpoint("driver.before_sync")
        rng = self._rng
        if rng.random() < settings.crash_in_sync and not self._calm:
            self.later(rng.uniform(0, settings.sync_mean_s), partial(self._tear, write))
            return
        duration_s = min(SYNC_S_MAX, rng.expovariate(1 / settings.sync_mean_s) * self.sync_factor)
        self.later(duration_s, partial(self._synced, outbox, write))

    def _synced(self, outbox: Outbox, write: Callable[[], None]) -> None:
        write()
        failpoint("driver.after_sync")
        journal = self.journal
        assert journal is not None
        self._checker.voted(self.server_id, journal.getCurrentTerm(), journal.getVotedForNodeId())
        self._busy = False
        self._finish(outbox)

    def _tear(self, write: Callable[[], None]) -> None:
        """Power fails somewhere in the middle of a sync, or right after it; or only the process is killed there."""
        operations_count = self._rng.choice((SYNC_OPERATIONS_COUNT, SEGMENT_OPERATIONS_COUNT))
        power = self._rng.random() < POWER_FAILS
        self.faults.crash_at_operation(self._rng.randrange(operations_count + 1), power=power)
        write()
        raise PowerLost("end of a sync")

    def _finish(self, outbox: Outbox) -> None:
        core, snapshotting, settings = self._up(), self.snapshotting, self._settings
        assert snapshotting is not None
        if settings.order:
            self._send(outbox.promises)
        if outbox.fetch is not None:
            snapshotting.fetch(outbox.fetch)
        snapshotting.take_if_due(settings.snapshot_threshold, settings.trailing_count)
        self._arm(0.0 if self._events else self.clock.delay_until_s(core.next_wake_s(self.clock.now_s())))

    def _send(self, messages: list[tuple[str, list[Any]]]) -> None:
        assert self.network is not None
        for server_id, message in messages:
            self.network.send(self.server_id, server_id, self._links.get(server_id, 0), codec.pack(message))

    def _inspect(self, outbox: Outbox) -> None:
        core, checker = self._up(), self._checker
        self._world.note(f"{self.server_id} {core.term} {core.commit_index} {core.applied_index} {core.last_index}")
        assert self.journal is not None
        elected = outbox.became is RoleChange.LEADER
        if core.is_leader and core.commit_index > self.journal.synced_index and not elected:
            # What a leader commits it settles before this round's sync, as the driver does: it must be durable by now.
            # Only who begins to lead a group of one counts that term's first entry at once: it says nothing to anybody.
            raise Violation(f"{self.server_id} commits {core.commit_index} before it is durable", kind="not durable")
        for token, outcome in outbox.results:
            if isinstance(token, str):
                checker.counts[f"{token} settled"] += 1
                continue
            if outcome.discarded:
                checker.refused(token)
            else:
                assert isinstance(outcome.result, Applied)
                checker.acknowledged(token, *outcome.result)
        if elected:
            checker.leader(self.server_id, core, self.journal)
            checker.counts["elections"] += 1
            self._on_leader(self)
        checker.progress(self.server_id, core)
        checker.log(self.server_id, self.journal)
        if self._reads:
            self._answer_reads(core)

    def _answer_reads(self, core: Core) -> None:
        now_s = self.clock.now_s()
        confirmed_s = core.confirmed_at(now_s)
        waiting = []
        for read in self._reads:
            if read.registered_s <= confirmed_s:
                self._checker.read_ends(read.start, self.server_id, self.state.position, "consistent")
            elif now_s < read.expires_s:
                waiting.append(read)
        self._reads = waiting
