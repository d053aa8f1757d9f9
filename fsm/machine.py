"""The state machine: a batch of log entries -> one LMDB transaction -> results, and the watches it touched.

It has no clock, no chance and no sockets: its state is a function of the entries. It is used by one thread.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Protocol

import lmdb

from base.errors import DiskFailed, require
from fsm import digest
from fsm.commands.registry import apply_command
from fsm.store.store import RING_PREFIX, Batch, ReadView, Store, StoreClosed
from fsm.store.tables import SESSIONS
from fsm.watch import WatchRegistry


class SessionListener(Protocol):
    """Whoever keeps time for sessions and lost locks. Called between batches; must be quick and must not raise."""

    def committed(self, sessions: Iterable[bytes], locks_lost: Sequence[tuple[bytes, int]]) -> None:
        """These sessions (keys of their rows) were created or ended; these keys lost their holder, with lock delays."""

    def replaced(self) -> None:
        """The whole state was replaced."""


class Machine:
    """Applies commands in the order of the log. Results may be given to clients after `commit_batch`, not before."""

    def __init__(self, store: Store, watches: WatchRegistry) -> None:
        self.store = store
        self.watches = watches
        self.session_listener: SessionListener | None = None
        self._adopt(store)

    def _adopt(self, store: Store) -> None:
        state = store.state
        self.store = store
        self._batch: Batch | None = None
        self.raft_index_applied: int = state.raft_index
        """The last entry applied, committed or in the open batch."""
        self.term_applied: int = state.term
        self._digests: OrderedDict[int, int] = OrderedDict()
        with store.environment.begin(db=store.meta) as txn:
            cursor = txn.cursor()
            rows = cursor.iternext(True, True) if cursor.set_range(RING_PREFIX) else []
            ring = [row for key, row in rows if key.startswith(RING_PREFIX)]
        for row in sorted(ring):
            self._digests[int.from_bytes(row[:8], "big")] = int.from_bytes(row[8:], "big")

    @property
    def raft_index_visible(self) -> int:
        """The last entry that readers see: the last one of the last committed batch."""
        return self.store.state.raft_index

    @property
    def index_applied(self) -> int:
        """Like `raft_index_visible`, as clients see it (Raft index + offset)."""
        state = self.store.state
        return state.raft_index + state.index_offset

    def apply(self, raft_index: int, term: int, command: bytes) -> object:
        """Apply one entry and return its result: a reply, an outcome or a Refusal.

        Raises InvariantBroken where the entry doesn't follow the last one or can't be read by this version, and
        DiskFailed; the process stops on either.
        """
        batch = self._advance(raft_index, term)
        try:
            result = apply_command(batch, command)
        except lmdb.Error as error:
            raise DiskFailed(f"the state in {self.store.path} cannot be written: {error}") from error
        if not raft_index % digest.INTERVAL_ENTRIES:
            self._remember_digest(batch, raft_index)
        return result

    def skip(self, raft_index: int, term: int) -> None:
        """Count an entry that holds no command (a leader's no-op, a membership change) as applied."""
        batch = self._advance(raft_index, term)
        if not raft_index % digest.INTERVAL_ENTRIES:
            self._remember_digest(batch, raft_index)

    def _advance(self, raft_index: int, term: int) -> Batch:
        before = self.raft_index_applied
        if raft_index <= before or term < self.term_applied:
            require(False, "an entry was applied out of order", raft_index, term, before, self.term_applied)
        batch = self._batch
        if batch is None:
            batch = self._batch = self.store.write()
        interval = digest.INTERVAL_ENTRIES
        if raft_index - 1 > before and (raft_index - 1) // interval > before // interval:
            # Entries without a command were not reported; the state at their indexes is the state of now.
            self._remember_digest(batch, (raft_index - 1) // interval * interval)
        batch.raft_index = self.raft_index_applied = raft_index
        batch.term = self.term_applied = term
        batch.index = raft_index + batch.index_offset
        return batch

    def _remember_digest(self, batch: Batch, raft_index: int) -> None:
        total = batch.digest_total()
        self._digests[raft_index] = total
        if len(self._digests) > digest.RING_COUNT:
            self._digests.popitem(last=False)
        slot = raft_index // digest.INTERVAL_ENTRIES % digest.RING_COUNT
        row = raft_index.to_bytes(8, "big") + total.to_bytes(digest.DIGEST_BYTES, "big")
        batch.txn.put(RING_PREFIX + b"%03d" % slot, row, db=batch.store.meta)

    def commit_batch(self) -> None:
        """Make the batch visible and wake whoever it concerns; does nothing without a batch. Raises DiskFailed."""
        batch = self._batch
        if batch is None:
            return
        self._batch = None
        batch.commit()
        listener = self.session_listener
        if batch.replaced:
            if listener is not None:
                listener.replaced()
            self.watches.abandon_all()
        else:
            sessions = batch.touched_keys[SESSIONS.name]
            if sessions and listener is not None:
                listener.committed(sessions, batch.locks_lost)
            self.watches.fire(batch.touched_keys, batch.touched_trees)

    def read(self) -> ReadView:
        """Return a consistent view of the last committed batch; use it as a context manager, and not for long.

        Safe in any thread. Raises StoreClosed after `close`.
        """
        store = self.store
        try:
            return store.read()
        except StoreClosed:
            if store is self.store:
                raise
            return self.store.read()  # it was replaced in this moment

    @property
    def digest_now(self) -> str:
        """The digest of the last committed batch, at `raft_index_visible`."""
        return digest.text(self.store.state.digest_total())

    def digest_at(self, raft_index: int) -> str | None:
        """Return the digest right after the entry `raft_index`, or None where it isn't known (any more)."""
        if raft_index > self.raft_index_visible:
            return None
        total = self._digests.get(raft_index)
        return digest.text(total) if total is not None else None

    def digests_known(self) -> list[int]:
        """Return the Raft indexes that `digest_at` can answer, ascending."""
        visible = self.raft_index_visible
        return [raft_index for raft_index in self._digests if raft_index <= visible]

    def replace_store(self, store: Store) -> None:
        """Go on with another store (an installed snapshot). The open batch is dropped and all watches are abandoned.

        The old store is closed once no view of it is open any more.
        """
        if self._batch is not None:
            self._batch.abort()
        old = self.store
        self._adopt(store)
        old.close()
        if self.session_listener is not None:
            self.session_listener.replaced()
        self.watches.abandon_all()

    def close(self) -> None:
        """Drop an uncommitted batch and close the store. The log still has what was dropped."""
        if self._batch is not None:
            self._batch.abort()
            self._batch = None
        self.store.close()
