"""Takes, sends, fetches and installs snapshots of a simulated server, on the product's own `SnapshotStore`.

The twin of `server/raft/snapshotting.py`, which needs threads and streams: the same steps in the same order, each an
event of its own, so that a crash can fall between any two, and at every failpoint and disk operation inside them.
"""

import random
from collections.abc import Callable
from functools import partial
from typing import Protocol

from base.disk import Disk
from base.errors import DataDamaged, MeshError, NotFound
from base.failpoints import failpoint
from server.raft.core import Core, FetchSnapshot
from server.raft.snapshots import Incoming, SnapshotMeta, SnapshotStore
from tests.sim.checks import Checker, Violation
from tests.sim.state import SimState
from tests.sim.world import Network

PIECES_COUNT = 4
"""A state arrives in so many pieces: enough for a crash or a break to fall between two."""
TAKE_STEP_S_MAX = 0.1
FETCH_BEGINS_MEAN_S = 0.1
PIECE_MEAN_S = 0.02
PREPARE_S_MAX = 0.2
SILENT_S = 0.05
"""What a link holds back, or a process that stands still, is looked for again after this long."""
STATE_BUSY_S = 0.02
"""Who wants to swap the state looks again after this long while it is copied."""


class Process(Protocol):
    """The server's life that this belongs to."""

    server_id: str
    state: SimState
    network: Network | None
    tell: Callable[[str], None]

    @property
    def core(self) -> Core | None:
        """None once the process has ended."""

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Run `action` in `delay_s`, if the process still lives then."""

    def between_rounds(self, action: Callable[[float], None]) -> None:
        """Run `action(now_s)` on the core with the next round."""

    def may_crash_at_snapshot(self) -> bool:
        """Draws whether to die now; True where it has."""


class SimSnapshotting:
    """One process's snapshots; it ends with the process, and the folders stay."""

    def __init__(
        self,
        process: Process,
        *,
        disk: Disk,
        store: SnapshotStore,
        newest: SnapshotMeta | None,
        rng: random.Random,
        checker: Checker,
    ) -> None:
        self.fetching = False
        """Whether a snapshot is on its way from another server to our state."""
        self._process = process
        self._disk = disk
        self._store = store
        self._newest = newest
        self._newest_damaged = False
        self._rng = rng
        self._checker = checker
        self._state_busy = False
        """The state is being copied, or about to be swapped: one of them at a time, as the product's lock has it."""

    # --- taking

    def take_if_due(self, threshold_count: int, trailing_count: int) -> None:
        """Begin to take a snapshot, if so many entries have come since the last."""
        behind = self._process.state.index - (self._newest.index if self._newest is not None else 0)
        if not self._state_busy and (behind >= threshold_count or self._newest_damaged):
            self._state_busy = True
            self._step(partial(self._copy, trailing_count))

    def _copy(self, trailing_count: int) -> None:
        core = self._process.core
        assert core is not None
        draft = self._store.begin()
        copy = self._process.state.copy()
        file = self._disk.open_file(draft.state_path, create=True)
        file.write(0, copy.data)
        file.close()
        configuration, configuration_index = core.configuration_at(copy.index_applied)
        failpoint("snapshot.copied")
        finish = partial(
            self._store.finish,
            draft,
            index=copy.index_applied,
            term=copy.term,
            configuration=configuration,
            configuration_index=configuration_index,
            digest=copy.digest,
        )
        self._step(partial(self._finish, finish, trailing_count))

    def _finish(self, finish: Callable[[], SnapshotMeta], trailing_count: int) -> None:
        meta = finish()
        self._checker.counts["snapshots"] += 1
        self._process.tell(f"{self._process.server_id} has taken snapshot {meta.name}")
        if self._process.may_crash_at_snapshot():
            return
        self._state_busy = False
        self._newest = meta
        self._newest_damaged = False

        def tell(now_s: float) -> None:
            core = self._process.core
            assert core is not None
            core.snapshot_taken(meta, trailing_count)

        self._process.between_rounds(tell)

    def _step(self, action: Callable[[], None]) -> None:
        self._process.later(self._rng.uniform(0.0, TAKE_STEP_S_MAX), action)

    # --- sending

    def send(self, index: int, term: int) -> tuple[SnapshotMeta, bytes]:
        """The newest snapshot, if it is at least (index, term); raises NotFound, DataDamaged."""
        meta = self._newest
        if meta is None or (meta.index, meta.term) < (index, term):
            raise NotFound(f"no snapshot at {index}-{term} or later")
        reader = self._store.open_state(meta)
        data = bytearray()
        try:
            while chunk := reader.read_chunk():
                data += chunk
        except DataDamaged:
            self._store.found_damaged(meta)
            self._newest_damaged = True
            raise
        return meta, bytes(data)

    # --- fetching

    def fetch(self, wanted: FetchSnapshot) -> None:
        """Fetch what a leader offered and install it; whatever goes wrong on the way, the next offer asks again."""
        network = self._process.network
        assert network is not None
        self._checker.counts["fetches"] += 1
        self.fetching = True
        epoch = network.connected_epoch(self._process.server_id, wanted.from_id)
        delay_s = self._rng.expovariate(1 / FETCH_BEGINS_MEAN_S)
        self._process.later(delay_s, partial(self._ask, wanted, epoch))

    def _ask(self, wanted: FetchSnapshot, epoch: int | None) -> None:
        network = self._process.network
        assert network is not None
        source = network.port(wanted.from_id)
        sending: SimSnapshotting | None = getattr(source, "snapshotting", None)
        if sending is None or not self._is_connected(wanted, epoch):
            self._give_up()
            return
        if network.is_silent(self._process.server_id, wanted.from_id) or self._is_held_back(wanted):
            self._process.later(SILENT_S, partial(self._ask, wanted, epoch))
            return
        try:
            meta, data = sending.send(wanted.index, wanted.term)
        except NotFound:
            self._give_up()
            return
        except DataDamaged:
            self._checker.counts["damaged snapshot refused"] += 1
            self._process.tell(f"{wanted.from_id} finds its snapshot damaged")
            self._give_up()
            return
        incoming = self._store.begin_incoming(meta)
        size = -(-len(data) // PIECES_COUNT)
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        self._take_piece(wanted, epoch, incoming, pieces)

    def _take_piece(self, wanted: FetchSnapshot, epoch: int | None, incoming: Incoming, pieces: list[bytes]) -> None:
        if not self._is_connected(wanted, epoch):
            incoming.discard()
            self._give_up()
            return
        if pieces and self._is_held_back(wanted):
            self._process.later(SILENT_S, partial(self._take_piece, wanted, epoch, incoming, pieces))
            return
        if pieces:
            incoming.append(pieces[0])
            following = partial(self._take_piece, wanted, epoch, incoming, pieces[1:])
            assert self._process.network is not None
            slowness = self._process.network.slowness(wanted.from_id, self._process.server_id)
            self._process.later(self._rng.expovariate(1 / PIECE_MEAN_S) * slowness, following)
            return
        meta = incoming.finish()
        if not self._process.may_crash_at_snapshot():
            self._prepare(meta)

    def _is_held_back(self, wanted: FetchSnapshot) -> bool:
        """Whether what the other server sends can't arrive now; it may later, unless the connection breaks."""
        network = self._process.network
        assert network is not None
        held_back = network.is_silent(wanted.from_id, self._process.server_id)
        held_back = held_back or getattr(network.port(wanted.from_id), "is_paused", False)
        if held_back:
            self._checker.counts["fetches held back"] += 1
        return held_back

    def _is_connected(self, wanted: FetchSnapshot, epoch: int | None) -> bool:
        network = self._process.network
        assert network is not None
        return epoch is not None and network.connected_epoch(self._process.server_id, wanted.from_id) == epoch

    def _prepare(self, meta: SnapshotMeta) -> None:
        if self._state_busy:
            self._process.later(STATE_BUSY_S, partial(self._prepare, meta))
            return
        path = self._store.state_path(meta)
        if not self._disk.exists(path):
            self._give_up()  # pruned already: newer ones are here
            return
        self._process.state.prepare(meta, self._disk.read(path))
        failpoint("snapshot.prepared")
        install = partial(self._process.between_rounds, partial(self._install, meta))
        self._state_busy = True
        self._process.later(self._rng.uniform(0.0, PREPARE_S_MAX), install)

    def _install(self, meta: SnapshotMeta, now_s: float) -> None:
        core = self._process.core
        assert core is not None
        self.fetching = self._state_busy = False
        try:
            installed = core.install(meta, now_s)
        except MeshError as error:
            raise Violation(f"install failed: {error}", kind="install") from error
        if installed:
            self._newest = meta
            self._newest_damaged = False
        self._checker.counts["installed" if installed else "install refused"] += 1
        self._process.tell(
            f"{self._process.server_id} {'has installed' if installed else 'does not need'} snapshot {meta.name}"
        )

    def _give_up(self) -> None:
        self.fetching = False

        def tell(now_s: float) -> None:
            core = self._process.core
            assert core is not None
            core.fetch_failed()

        self._process.between_rounds(tell)
