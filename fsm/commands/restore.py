"""Replaces the whole state from an archive, by commands of the log: begin, chunks, commit (or abort).

Every table exists in two generations. `begin` empties the inactive one, chunks fill it, `commit` makes it the active
one if all that was announced has arrived, and only then is anything visible. So a restore needs no surgery in the
log, survives a change of leader (another begin starts over), and a snapshot taken in its middle carries it along.

The index offset is raised so far that the index of the commit is above every index of the archive: indexes that
clients have seen from the archived cluster are never given out a second time for something else.
"""

from hashlib import sha256

from base.codec import Record, decode, encode
from base.errors import InvalidRequest
from fsm.commands.refusal import Refusal
from fsm.digest import DIGEST_BYTES, DIGEST_MASK
from fsm.store import bulk
from fsm.store.bulk_rows import RowsRejected, holders_missing
from fsm.store.state import ZERO_DIGEST, for_every_table
from fsm.store.store import RESTORE_KEY, Batch
from fsm.store.tables import CHECKS, GENERATIONS, KVS, NODES, PREPARED_QUERIES, SERVICES, SESSIONS, TABLES, TOMBSTONES
from structs.archive import RestoreAbort, RestoreBegin, RestoreChunk, RestoreCommit, RestoreReply, RowChunk

CHAIN_START = bytes(32)


class Progress(Record, frozen=True, kw_only=True):
    """An unfinished restore, kept beside the state row."""

    restore_id: str
    index_highest: int
    """Of the archive and of all rows."""
    table_highest: tuple[int, ...] = (0,) * len(TABLES)
    """The highest index in the rows of each table."""
    table_before: int = 0
    key_before: bytes = b""
    """Where the last chunk ended."""
    chunks_count: int = 0
    rows_count: int = 0
    chain: bytes = CHAIN_START
    digests: tuple[bytes, ...] = (ZERO_DIGEST,) * len(TABLES)
    complaint: str = ""
    """Why a chunk was refused; then the commit is refused too."""


def chain_next(chain: bytes, payload: bytes) -> bytes:
    """Return the chain after one more chunk."""
    return sha256(chain + payload).digest()


def begin(batch: Batch, command: RestoreBegin) -> RestoreReply | Refusal:
    """Forget an unfinished restore and start one."""
    if not 0 <= command.index <= bulk.INDEX_MAX:
        return Refusal(text=f"the archive's index {command.index} is out of range")
    _forget(batch)
    _store(batch, Progress(restore_id=command.restore_id, index_highest=command.index))
    return RestoreReply()


def chunk(batch: Batch, command: RestoreChunk) -> RestoreReply | Refusal:
    """Add one chunk of rows. A chunk that is already there is accepted again and changes nothing."""
    progress = _progress(batch, command.restore_id)
    if isinstance(progress, Refusal):
        return progress
    if progress.complaint:
        return Refusal(text=progress.complaint)
    if command.position < progress.chunks_count:
        return RestoreReply(rows_count=progress.rows_count)
    if command.position > progress.chunks_count:
        return Refusal(text=f"chunk {command.position} of the restore came before chunk {progress.chunks_count}")
    handles = batch.store.generations[_inactive(batch)]
    try:
        rows = decode(RowChunk, command.payload)
        table, increase, highest = bulk.load(batch.txn, handles, rows, progress.table_before, progress.key_before)
    except (InvalidRequest, RowsRejected) as error:
        complaint = f"chunk {command.position} of the archive cannot be restored: {error}"
        _store(batch, Progress(restore_id=progress.restore_id, index_highest=0, complaint=complaint))
        return Refusal(text=complaint)
    digests = list(for_every_table(progress.digests))
    total = int.from_bytes(digests[table.number - 1], "little") + increase
    digests[table.number - 1] = (total & DIGEST_MASK).to_bytes(DIGEST_BYTES, "little")
    table_highest = list(_for_every_table(progress.table_highest))
    table_highest[table.number - 1] = max(table_highest[table.number - 1], highest)
    progress = Progress(
        restore_id=progress.restore_id,
        index_highest=max(progress.index_highest, highest),
        table_highest=tuple(table_highest),
        table_before=table.number,
        key_before=rows.keys[-1],
        chunks_count=progress.chunks_count + 1,
        rows_count=progress.rows_count + len(rows.keys),
        chain=chain_next(progress.chain, command.payload),
        digests=tuple(digests),
    )
    _store(batch, progress)
    return RestoreReply(rows_count=progress.rows_count)


def commit(batch: Batch, command: RestoreCommit) -> RestoreReply | Refusal:
    """Make the filled generation the state, if everything announced is there; otherwise change nothing."""
    progress = _progress(batch, command.restore_id)
    if isinstance(progress, Refusal):
        return progress
    if progress.complaint:
        return Refusal(text=progress.complaint)
    arrived = (progress.chunks_count, progress.rows_count, progress.chain)
    if arrived != (command.chunks_count, command.rows_count, command.chain):
        return Refusal(
            text=f"the restore is not what was announced: {progress.chunks_count} of {command.chunks_count} chunks, "
            f"{progress.rows_count} of {command.rows_count} rows"
        )
    if holders_missing(batch.txn, batch.store.generations[_inactive(batch)]):
        return Refusal(text="the archive cannot be restored: it has a key that is held by a session it doesn't have")
    batch.txn.delete(RESTORE_KEY, db=batch.store.meta)
    batch.index_offset = max(batch.index_offset, progress.index_highest + 1 - batch.raft_index)
    digests = for_every_table(progress.digests)
    batch.replace_generation(_inactive(batch), [int.from_bytes(digest, "little") for digest in digests])
    for table in (KVS, TOMBSTONES, NODES, SERVICES, CHECKS, SESSIONS, PREPARED_QUERIES):
        # An archive made by hand may lack counters; without them indexes of prefixes could fall.
        batch.raise_counter(table.name, _for_every_table(progress.table_highest)[table.number - 1])
    return RestoreReply(rows_count=progress.rows_count)


def abort(batch: Batch, command: RestoreAbort) -> RestoreReply | Refusal:
    """Forget this restore; refuses if it isn't the unfinished one."""
    progress = _progress(batch, command.restore_id)
    if isinstance(progress, Refusal):
        return progress
    _forget(batch)
    return RestoreReply()


def _inactive(batch: Batch) -> int:
    return (batch.generation + 1) % GENERATIONS


def _progress(batch: Batch, restore_id: str) -> Progress | Refusal:
    row = batch.txn.get(RESTORE_KEY, None, batch.store.meta)
    progress = decode(Progress, row) if row is not None else None
    if progress is None or progress.restore_id != restore_id:
        return Refusal(text="this restore is not in progress; another one may have replaced it")
    return progress


def _for_every_table(highest: tuple[int, ...]) -> tuple[int, ...]:
    """Return the same for all tables, though an older version with fewer of them began this restore."""
    return highest + (0,) * (len(TABLES) - len(highest))


def _store(batch: Batch, progress: Progress) -> None:
    batch.txn.put(RESTORE_KEY, encode(progress), db=batch.store.meta)


def _forget(batch: Batch) -> None:
    batch.txn.delete(RESTORE_KEY, db=batch.store.meta)
    batch.empty_generation(_inactive(batch))
