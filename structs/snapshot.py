"""Saving and restoring the whole state as one archive. Source: HTTP API, section 12; raft and servers, section 9.

Both RPCs are streams (`agent/delegate.py`). Save: the first chunk is an encoded `SnapshotSaveReply`, every further one
is the next piece of the archive, b"" ends it. Restore: the caller sends the archive in pieces, calls `finish()`, and
then receives one chunk, an encoded `SnapshotRestoreReply`, once the state is replaced. Either side raises errors.
"""

from base.codec import Record
from structs.query import QueryMeta, QueryOptions, WriteOptions

ARCHIVE_CHUNK_BYTES = 256 * 1024
"""Pieces in which an archive travels: large enough to be cheap, small enough to interleave with other calls."""


class SnapshotSaveRequest(Record, frozen=True, kw_only=True):
    """RPC Snapshot.Save. `options` decide which server may answer, as for any read."""

    options: QueryOptions = QueryOptions()


class SnapshotSaveReply(Record, frozen=True, kw_only=True):
    """`meta.index` is the index of the state in the archive."""

    meta: QueryMeta


class SnapshotRestoreRequest(Record, frozen=True, kw_only=True):
    """RPC Snapshot.Restore: always answered by the leader."""

    options: WriteOptions = WriteOptions()


class SnapshotRestoreReply(Record, frozen=True, kw_only=True):
    """`index` is the index at which the restored state became visible."""

    index: int


class FetchSnapshotRequest(Record, frozen=True, kw_only=True):
    """RPC Raft.FetchSnapshot, between servers: the snapshot (index, term) or a newer one.

    The first chunk of the answer is an encoded `server.raft.snapshots.SnapshotMeta`, the others are the file.
    """

    index: int
    term: int
