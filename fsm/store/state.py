"""The row that says where the state stands, and what of it this version can read."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from base.codec import Record, decode
from base.errors import DataDamaged, InvalidRequest
from fsm.digest import DIGEST_BYTES, DIGEST_MASK
from fsm.store.tables import TABLES

FORMAT = 1
"""Layout of the file. A server refuses any other: it would misread it. Another table is no other layout."""
STATE_KEY = b"state"
ZERO_DIGEST = bytes(DIGEST_BYTES)
OFFSET_WEIGHT = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Odd, so that every index offset adds something else to the digest."""


class State(Record, frozen=True, kw_only=True):
    """The row that says where the state stands; written with every batch, in the same transaction."""

    format: int = FORMAT
    raft_index: int = 0
    term: int = 0
    index_offset: int = 0
    """Client index = Raft index + this. Only restoring an archive raises it."""
    generation: int = 0
    digests: tuple[bytes, ...] = (ZERO_DIGEST,) * len(TABLES)
    """Of the active generation, one per table, little-endian."""

    def digest_total(self) -> int:
        """Return the digest of everything that is stored."""
        return combined_digest([int.from_bytes(digest, "little") for digest in self.digests], self.index_offset)


def combined_digest(digests: list[int], index_offset: int) -> int:
    """Return the digest of the state, given those of its tables."""
    return sum(digests) + index_offset * OFFSET_WEIGHT & DIGEST_MASK


def read_state_row(txn: Any, meta: Any) -> State:
    """Return the state row that a transaction sees, with a digest for every table; raises DataDamaged."""
    row = txn.get(STATE_KEY, None, meta)
    if row is None:
        return State()
    try:
        state = decode(State, row)
    except InvalidRequest as error:
        raise DataDamaged(f"the state row is damaged: {error}") from error
    return replace(state, digests=for_every_table(state.digests)) if len(state.digests) < len(TABLES) else state


def for_every_table(digests: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return digests as an older version wrote them, followed by those of the tables it didn't have."""
    return digests + (ZERO_DIGEST,) * (len(TABLES) - len(digests))


def opened_state(txn: Any, meta: Any, path: Path) -> State:
    """Return the state row of a file that is being opened; raises DataDamaged if it isn't for this version."""
    state = read_state_row(txn, meta)
    if state.format != FORMAT:
        raise DataDamaged(f"{path} has state format {state.format}; this version reads format {FORMAT}")
    if len(state.digests) > len(TABLES):
        raise DataDamaged(
            f"{path} has {len(state.digests)} tables, this version knows {len(TABLES)}: it was written by a newer "
            "version; install that version on this server"
        )
    return state
