"""Copies of the whole state as one file, taken while writes go on, and working stores made from them.

A copy is LMDB's own compacting copy of a read transaction: the copy alone knows which index it holds, and is asked
afterwards. Both directions block for as long as the disk takes; call them in a worker thread. Making the file
durable and checksumming it is the caller's business (server/raft/snapshots.py), for here is no rename.
"""

import os
import shutil
from pathlib import Path

import lmdb

from base.codec import Record
from base.errors import DataDamaged, DiskFailed
from fsm import digest
from fsm.store.state import opened_state
from fsm.store.store import FILE_NAME, MAP_BYTES_DEFAULT, Store, discard


class CopyFacts(Record, frozen=True, kw_only=True):
    """Where the state in a copy stands."""

    raft_index: int
    term: int
    index_offset: int
    digest: str
    file_bytes: int

    @property
    def index(self) -> int:
        """Index of the last entry as clients see it."""
        return self.raft_index + self.index_offset


def write_copy(store: Store, path: Path) -> CopyFacts:
    """Write a compact copy of the last committed state to `path` (new, not yet synced) and say what it holds.

    Safe in any thread while the store is written. Raises DiskFailed; a partial file is removed.
    """
    try:
        with store.read():  # keeps the store open until the copy is complete
            store.environment.copy(str(path), compact=True)
        path.chmod(0o600)
    except (lmdb.Error, OSError) as error:
        path.unlink(missing_ok=True)
        raise DiskFailed(f"the snapshot {path} cannot be written: {error}") from error
    return inspect_copy(path)


def inspect_copy(path: Path) -> CopyFacts:
    """Return what the copy at `path` holds, from its state row; raises DataDamaged if it isn't a copy of ours."""
    try:
        environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False, max_dbs=1, create=False)
    except (lmdb.Error, OSError) as error:
        raise DataDamaged(f"{path} is not a readable state file: {error}") from error
    try:
        meta = environment.open_db(b"meta", create=False)
        with environment.begin(db=meta) as txn:
            state = opened_state(txn, meta, path)
    except lmdb.Error as error:
        raise DataDamaged(f"{path} is not a readable state file: {error}") from error
    finally:
        environment.close()
    return CopyFacts(
        raft_index=state.raft_index,
        term=state.term,
        index_offset=state.index_offset,
        digest=digest.text(state.digest_total()),
        file_bytes=path.stat().st_size,
    )


def open_copy(path: Path, directory: Path, *, map_bytes: int = MAP_BYTES_DEFAULT) -> Store:
    """Make the copy at `path` the working store in `directory`, replacing what is there. The copy stays as it is.

    Raises DataDamaged, DiskFailed.
    """
    inspect_copy(path)
    discard(directory)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = directory / FILE_NAME
        shutil.copyfile(path, target)  # in the kernel, and without moving the blocks where the file system can
        os.chmod(target, 0o600)
    except OSError as error:
        raise DiskFailed(f"the state directory {directory} cannot be filled from {path}: {error}") from error
    return Store.open(directory, map_bytes=map_bytes)
