"""The LMDB environment: read views, the one open write batch, and the row that says where the state stands.

The environment is never synced: it is a working copy, rebuilt at start from a snapshot and the log (docs/internals/
state_machine.md). One thread writes, the one that applies the log. Read views are consistent and may be opened in
any thread; they see the last committed batch, and must be closed soon, since pages they can see aren't reused.
"""

import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb

from base.codec import encode
from base.errors import DataDamaged, DiskFailed, MeshError, require
from fsm.digest import DIGEST_BYTES, DIGEST_MASK
from fsm.store import keys
from fsm.store.names import JOINT_BYTES
from fsm.store.state import STATE_KEY, State, combined_digest, opened_state, read_state_row
from fsm.store.tables import (
    DATABASES_PER_GENERATION,
    GENERATIONS,
    INDEXES,
    TABLES,
    Handles,
    Table,
    open_handles,
)

FILE_NAME = "state.mdb"
MAP_BYTES_DEFAULT = 64 << 30
"""Address space, not disk: the file grows as needed. Far above any state that fits a control plane."""
READERS_MAX = 1024
"""Read views open at one time. Each is short-lived; blocked queries hold none."""
SPARE_VIEWS = 64
"""Closed read transactions kept for reuse: saves the allocation."""
U64_MAX = (1 << 64) - 1

RESTORE_KEY = b"restore"
RING_PREFIX = b"digest/"


class StoreClosed(MeshError):
    """The store was closed or replaced; nothing was read."""

    definite = True


class View:
    """What reads and writes have in common: a transaction and the tables of the active generation in it."""

    __slots__ = ("handles", "store", "txn")

    store: "Store"
    txn: Any
    handles: Handles

    def get(self, table: Table, key: bytes) -> bytes | None:
        """Return the row (body and hash) at `key`, or None."""
        return keys.get(self.txn, self.handles.pair(table), key)

    def index_row(self, name: str) -> int:
        """Return a counter of the index table, 0 if it was never set."""
        row = keys.get(self.txn, self.handles.indexes, name.encode(errors="surrogatepass"))
        return int.from_bytes(row, "big") if row is not None else 0

    def rows_count(self, table: Table) -> int:
        """Return how many rows a table has, without looking at them; those with long keys are not counted."""
        return int(self.txn.stat(self.handles.pair(table).main)["entries"])

    def found(self, mark: bytes, value: bytes) -> Iterator[bytes]:
        """Yield the keys of rows that the second way `mark` finds by `value`, in order (fsm/store/secondary.py)."""
        prefix = mark + value + JOINT_BYTES
        for entry, _ in keys.scan(self.txn, self.handles.secondary, prefix):
            yield entry[len(prefix) :]


class ReadView(View):
    """One consistent look at the state. A context manager; closing twice is harmless."""

    __slots__ = ("restores_total", "state")

    def __init__(self, store: "Store") -> None:
        self.store = store
        # First the entry, then the look at `closing`: whoever closes does it the other way round.
        store.views_open.add(self)
        try:
            if store.closing:
                raise StoreClosed(f"the state in {store.path} is closed")
            self.restores_total = store.restores_total
            self.txn = txn = store.environment.begin()
        except (StoreClosed, lmdb.Error) as error:
            store.view_closed(self)
            if isinstance(error, lmdb.ReadersFullError):
                raise DiskFailed(f"more than {READERS_MAX} read views are open: {error}") from error
            raise
        # Another thread may be committing: the cached state counts only if it is that of our transaction.
        txn_id, state = store.committed
        if txn.id() != txn_id:
            state = read_state_row(txn, store.meta)
        self.state: State = state
        self.handles = store.generations[state.generation]

    def __enter__(self) -> "ReadView":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the view; its rows may not be used any more."""
        self.txn.abort()
        self.store.view_closed(self)

    @property
    def raft_index(self) -> int:
        """Raft index of the last applied entry that this view sees."""
        return self.state.raft_index

    @property
    def index(self) -> int:
        """The same as clients see it."""
        return self.state.raft_index + self.state.index_offset

    @property
    def term(self) -> int:
        """Term of that entry."""
        return self.state.term


class Batch(View):
    """The one write transaction: all entries between two commits. Every change of a row goes through here."""

    __slots__ = (
        "_counters",
        "_counters_hashed",
        "_undo",
        "digests",
        "generation",
        "index",
        "index_offset",
        "locks_lost",
        "raft_index",
        "replaced",
        "term",
        "touched_keys",
        "touched_trees",
    )

    def __init__(self, store: "Store", state: State) -> None:
        self.store = store
        try:
            self.txn = store.environment.begin(write=True)
        except lmdb.Error as error:
            raise DiskFailed(f"the state in {store.path} cannot be written: {error}") from error
        self.raft_index = state.raft_index
        self.term = state.term
        self.index_offset = state.index_offset
        self.index = state.raft_index + state.index_offset
        """Client index of the entry being applied; stamped on what it changes."""
        self.generation = state.generation
        self.handles = store.generations[state.generation]
        self.digests = [int.from_bytes(digest, "little") for digest in state.digests]
        self.touched_keys: dict[str, dict[bytes, None]] = {table.name: {} for table in TABLES}
        """What watches must hear of, by table name: ordered sets, so that waiters wake in the same order everywhere."""
        self.touched_trees: list[tuple[str, bytes]] = []
        """(table name, prefix) where so much changed that single keys aren't listed."""
        self.locks_lost: list[tuple[bytes, int]] = []
        """(key, lock delay in nanoseconds) of every lock that ended with its session."""
        self.replaced = False
        """Everything was replaced: watches are abandoned instead of matched."""
        self._counters: dict[str, int] = {}
        self._counters_hashed: dict[str, int] = {}
        self._undo: list[Callable[[], object]] | None = None

    # Rows

    def write(self, table: Table, key: bytes, body: bytes, old_row: bytes | None) -> None:
        """Store `body` at `key`; `old_row` is what `get` returns for it now."""
        digest = table.hasher.row(key, body)
        position = table.number - 1
        total = self.digests[position] + int.from_bytes(digest, "little")
        if old_row is not None:
            total -= int.from_bytes(old_row[-DIGEST_BYTES:], "little")
        self.digests[position] = total & DIGEST_MASK
        keys.put(self.txn, self.handles.pair(table), key, body + digest)
        if self._undo is not None:
            self._undo.append(lambda: self._put_back(table, key, old_row))
        if table.entries is not None:
            old = table.entries(key, old_row[:-DIGEST_BYTES]) if old_row is not None else []
            self.move_entries(old, table.entries(key, body))

    def remove(self, table: Table, key: bytes, old_row: bytes) -> None:
        """Delete `key`; `old_row` is what `get` returns for it now."""
        position = table.number - 1
        self.digests[position] = (self.digests[position] - int.from_bytes(old_row[-DIGEST_BYTES:], "little")) & (
            DIGEST_MASK
        )
        keys.delete(self.txn, self.handles.pair(table), key)
        if self._undo is not None:
            self._undo.append(lambda: self._put_back(table, key, old_row))
        if table.entries is not None:
            self.move_entries(table.entries(key, old_row[:-DIGEST_BYTES]), [])

    def clear(self, table: Table) -> None:
        """Delete every row; never inside a savepoint, since it could not be undone."""
        require(self._undo is None and table.entries is None, "a table cannot be cleared inside a savepoint")
        pair = self.handles.pair(table)
        self.txn.drop(pair.main, delete=False)
        self.txn.drop(pair.long, delete=False)
        self.digests[table.number - 1] = 0

    def write_derived(self, database: Any, key: bytes, value: bytes) -> None:
        """Store a row that follows from rows of tables and is therefore no part of the digest; `key` is new."""
        self.txn.put(key, value, db=database)
        if self._undo is not None:
            self._undo.append(lambda: self.txn.delete(key, db=database))

    def remove_derived(self, database: Any, key: bytes) -> None:
        """Delete such a row."""
        value = self.txn.pop(key, db=database)
        if self._undo is not None and value is not None:
            self._undo.append(lambda: self.txn.put(key, value, db=database))

    def move_entries(self, old: list[bytes], new: list[bytes]) -> None:
        """Make the second ways to a row what they must be now: `old` are there, `new` shall be."""
        pair = self.handles.secondary
        for entry in old:
            if entry not in new:
                keys.delete(self.txn, pair, entry)
                if self._undo is not None:
                    self._undo.append(partial(keys.put, self.txn, pair, entry, b""))
        for entry in new:
            if entry not in old:
                keys.put(self.txn, pair, entry, b"")
                if self._undo is not None:
                    self._undo.append(partial(keys.delete, self.txn, pair, entry))

    def _put_back(self, table: Table, key: bytes, old_row: bytes | None) -> None:
        pair = self.handles.pair(table)
        if old_row is None:
            keys.delete(self.txn, pair, key)
        else:
            keys.put(self.txn, pair, key, old_row)

    # Counters of the index table: kept in memory and written once a batch.

    def index_row(self, name: str) -> int:
        counter = self._counters.get(name)
        return super().index_row(name) if counter is None else counter

    def bump(self, name: str) -> None:
        """Set a counter to the index of the entry being applied."""
        counters = self._counters
        if name not in counters:
            self._counters_hashed[name] = super().index_row(name)
        counters[name] = self.index

    def drop_counter(self, name: str) -> None:
        """Remove a counter: it reads as 0."""
        if name not in self._counters:
            self._counters_hashed[name] = super().index_row(name)
        self._counters[name] = 0

    def raise_counter(self, name: str, index: int) -> None:
        """Set a counter to `index` if it is lower."""
        if self.index_row(name) < index:
            self._counters_hashed.setdefault(name, self.index_row(name))
            self._counters[name] = index

    def fold_counters(self) -> None:
        """Bring the digest of the index table up to date with the counters."""
        hashed, hasher = self._counters_hashed, INDEXES.hasher
        position = INDEXES.number - 1
        total = self.digests[position]
        for name, counter in self._counters.items():
            if hashed[name] == counter:
                continue
            key = name.encode()
            if hashed[name]:
                total -= int.from_bytes(hasher.row(key, hashed[name].to_bytes(8, "big")), "little")
            if counter:
                total += int.from_bytes(hasher.row(key, counter.to_bytes(8, "big")), "little")
            hashed[name] = counter
        self.digests[position] = total & DIGEST_MASK

    def digest_total(self) -> int:
        """Return the digest of everything at this moment."""
        self.fold_counters()
        return combined_digest(self.digests, self.index_offset)

    # Several operations, all or nothing

    def savepoint(self) -> "Savepoint":
        """Start recording; nested use is a defect."""
        require(self._undo is None, "a savepoint is already open")
        self._undo = []
        return Savepoint(self)

    # Generations

    def empty_generation(self, generation: int) -> None:
        """Delete everything in a generation that isn't the active one."""
        require(generation != self.generation and self._undo is None, "the active generation cannot be emptied")
        for database in self.store.generations[generation].databases():
            self.txn.drop(database, delete=False)

    def replace_generation(self, generation: int, digests: list[int]) -> None:
        """Make `generation` the active one, whose tables have these digests, and empty the one that was."""
        old, self.generation = self.generation, generation
        self.handles = self.store.generations[generation]
        self.digests = digests
        self.index = self.raft_index + self.index_offset
        self.replaced = True
        self._counters.clear()
        self._counters_hashed.clear()
        self.empty_generation(old)

    # End

    def state(self) -> State:
        """Return the row that describes this batch once it is committed."""
        self.fold_counters()
        return State(
            raft_index=self.raft_index,
            term=self.term,
            index_offset=self.index_offset,
            generation=self.generation,
            digests=tuple([total.to_bytes(DIGEST_BYTES, "little") for total in self.digests]),
        )

    def abort(self) -> None:
        """Drop everything since the last commit."""
        self.txn.abort()

    def commit(self) -> State:
        """Write counters and state, and commit; raises DiskFailed."""
        state = self.state()
        txn = self.txn
        try:
            for name, counter in self._counters.items():
                if counter:
                    keys.put(txn, self.handles.indexes, name.encode(), counter.to_bytes(8, "big"))
                else:
                    keys.delete(txn, self.handles.indexes, name.encode())
            txn.put(STATE_KEY, encode(state), db=self.store.meta)
            txn_id = txn.id()
            txn.commit()
        except lmdb.Error as error:
            raise DiskFailed(f"the state in {self.store.path} cannot be written: {error}") from error
        self.store.committed = (txn_id, state)
        self.store.restores_total += self.replaced
        return state


class Savepoint:
    """Takes back everything that happened to a batch since it was made: rows, digests, counters, touched keys."""

    __slots__ = ("_batch", "_counters", "_counters_hashed", "_digests", "_keys", "_lost_count", "_trees_count", "_undo")

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._undo: list[Callable[[], object]] = []
        batch._undo = self._undo
        self._digests = list(batch.digests)
        self._counters = dict(batch._counters)
        self._counters_hashed = dict(batch._counters_hashed)
        self._keys = batch.touched_keys
        self._trees_count = len(batch.touched_trees)
        self._lost_count = len(batch.locks_lost)
        batch.touched_keys = {name: {} for name in self._keys}

    def keep(self) -> None:
        """What was done stays."""
        batch = self._batch
        batch._undo = None
        for name, touched in batch.touched_keys.items():
            self._keys[name].update(touched)
        batch.touched_keys = self._keys

    def roll_back(self) -> None:
        """What was done is undone, newest first."""
        batch = self._batch
        batch._undo = None
        for step in reversed(self._undo):
            step()
        batch.digests = self._digests
        batch._counters = self._counters
        batch._counters_hashed = self._counters_hashed
        batch.touched_keys = self._keys
        del batch.touched_trees[self._trees_count :]
        del batch.locks_lost[self._lost_count :]


class Store:
    """The environment and its databases. Create one with `create` or `open`."""

    def __init__(self, path: Path, environment: lmdb.Environment) -> None:
        self.path = path
        self.environment = environment
        self.views_open: set[ReadView] = set()
        self.closing = False  # adding to views_open and removing are atomic: views are opened and closed in any thread
        self.restores_total = 0  # after each of them, what anybody remembers of rows is worth nothing
        self._close_lock = threading.Lock()
        self.meta: Any = environment.open_db(b"meta")
        self.generations = [open_handles(environment.open_db, number) for number in range(GENERATIONS)]
        with environment.begin() as txn:
            self.committed: tuple[int, State] = (txn.id(), opened_state(txn, self.meta, path))

    @classmethod
    def create(cls, directory: Path, *, map_bytes: int = MAP_BYTES_DEFAULT) -> "Store":
        """Start with nothing in `directory`, removing what an earlier process left there; raises DiskFailed."""
        discard(directory)
        return cls.open(directory, map_bytes=map_bytes)

    @classmethod
    def open(cls, directory: Path, *, map_bytes: int = MAP_BYTES_DEFAULT) -> "Store":
        """Open what is in `directory`, or start with nothing; raises DataDamaged, DiskFailed."""
        path = directory / FILE_NAME
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            environment = lmdb.open(
                str(path),
                map_size=map_bytes,
                subdir=False,
                readonly=False,
                metasync=False,
                sync=False,
                writemap=False,  # a stray pointer must not be able to write into the state
                map_async=False,
                mode=0o600,
                readahead=False,
                meminit=True,  # what was in memory before must not end up in snapshots
                max_readers=READERS_MAX,
                max_dbs=1 + GENERATIONS * DATABASES_PER_GENERATION,
                max_spare_txns=SPARE_VIEWS,
                lock=True,
            )
        except OSError as error:
            raise DiskFailed(f"the state directory {directory} cannot be used: {error}") from error
        except lmdb.Error as error:
            raise DataDamaged(f"{path} is not a readable state file: {error}") from error
        return cls(path, environment)

    @property
    def state(self) -> State:
        """The row of the last committed batch."""
        return self.committed[1]

    def read(self) -> ReadView:
        """Return a consistent view; use it as a context manager."""
        return ReadView(self)

    def write(self) -> Batch:
        """Open the one write transaction."""
        return Batch(self, self.state)

    def file_bytes(self) -> int:
        """Return the size of the file on disk."""
        return self.path.stat().st_size

    def close(self) -> None:
        """Close the environment as soon as no view is open any more; views in other threads go on until then."""
        self.closing = True
        self._close_if_unused()

    def view_closed(self, view: ReadView) -> None:
        """Forget a view; called by the view."""
        self.views_open.discard(view)
        if self.closing:
            self._close_if_unused()

    def _close_if_unused(self) -> None:
        # Unmapping the file under a thread that reads it would end the process.
        with self._close_lock:
            if not self.views_open:
                self.environment.close()


def discard(directory: Path) -> None:
    """Remove the working copy in `directory`, if there is one; raises DiskFailed."""
    try:
        for name in (FILE_NAME, FILE_NAME + "-lock"):
            (directory / name).unlink(missing_ok=True)
    except OSError as error:
        raise DiskFailed(f"the state directory {directory} cannot be cleared: {error}") from error


def remove(directory: Path) -> None:
    """Remove the folder of a working copy; raises DiskFailed. Views that are open keep the file until they end."""
    try:
        shutil.rmtree(directory)
    except OSError as error:
        raise DiskFailed(f"the state directory {directory} cannot be removed: {error}") from error
