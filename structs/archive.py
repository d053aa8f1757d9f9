"""The archive of `/v1/snapshot` and the commands that restore it. Source: servers specification, section 8."""

from base.codec import Record
from structs.cluster import Peer


class ArchiveMeta(Record, frozen=True, kw_only=True):
    """What `meta.json` says about the archive. Indexes are those that clients see."""

    snapshot_id: str
    index: int
    term: int
    peers: list[Peer] = []
    configuration_index: int = 0
    state_bytes: int = 0
    """Size of `state.bin`; filled in by whoever reads or writes the archive."""


class RestoreBegin(Record, frozen=True, kw_only=True):
    """Logged: start filling the inactive generation; an unfinished restore is forgotten."""

    restore_id: str
    """Chosen by the proposer (a UUID); the following commands must repeat it."""
    index: int
    """Client index of the archive: indexes given out after the restore are above it."""


class RestoreChunk(Record, frozen=True, kw_only=True):
    """Logged: one chunk of rows, as it stands in the archive. `position` counts from 0."""

    restore_id: str
    position: int
    payload: bytes


class RestoreCommit(Record, frozen=True, kw_only=True):
    """Logged: make what was filled in the state, if it is all there."""

    restore_id: str
    chunks_count: int
    rows_count: int
    chain: bytes
    """SHA-256 over (chain so far + payload), chunk by chunk, starting from 32 zero bytes."""


class RestoreAbort(Record, frozen=True, kw_only=True):
    """Logged: forget an unfinished restore."""

    restore_id: str


class RestoreReply(Record, frozen=True, kw_only=True):
    """What is there after a command of the family; a refused command answers a Refusal instead."""

    rows_count: int = 0


class RowChunk(Record, frozen=True, kw_only=True):
    """Rows of one table in ascending order of their keys; what a chunk of `state.bin` holds."""

    table: int
    """Number of the table, see fsm/store/tables.py."""
    keys: list[bytes]
    bodies: list[bytes]
    """As stored, without the hash at the end."""
