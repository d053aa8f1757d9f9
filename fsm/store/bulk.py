"""Fills the tables of a generation from archived rows, fast: whole chunks at a time, sorted rows appended.

Rows come from outside, so each is checked here as far as later reads rely on it.
"""

from typing import Any

from base.errors import require
from fsm.digest import DIGEST_MASK
from fsm.store import keys, kv, tombstones
from fsm.store.tables import INDEXES, KVS, TOMBSTONES, Handles, Table
from structs.archive import RowChunk
from structs.kv import KEY_BYTES_MAX

INDEX_MAX = (1 << 62) - 1
"""Highest index taken from an archive: leaves room to count on."""
KEY_BYTES_ACCEPTED_MAX = 2 * KEY_BYTES_MAX
"""Keys of archives may be longer than what is written today, within reason."""
COUNTER_BYTES = 8
TABLES_BY_NUMBER = {table.number: table for table in (KVS, TOMBSTONES, INDEXES)}


class RowsRejected(Exception):
    """The rows are not rows of that table; the text says why."""


def load(txn: Any, handles: Handles, chunk: RowChunk, table_before: int, key_before: bytes) -> tuple[Table, int, int]:
    """Store a chunk of rows in an inactive generation; return (table, its digest's increase, highest index met).

    `table_before` and `key_before` say where the chunk before ended: rows come in order of table and key, so none can
    come twice. Raises RowsRejected; then nothing of the chunk is stored.
    """
    table = TABLES_BY_NUMBER.get(chunk.table)
    if table is None:
        raise RowsRejected(f"table number {chunk.table} is unknown")
    names, bodies = chunk.keys, chunk.bodies
    if not names or len(names) != len(bodies):
        raise RowsRejected("a chunk without rows, or a row without a body")
    _check_keys(names)
    if (table.number, names[0]) <= (table_before, key_before):
        raise RowsRejected("keys are not in ascending order")
    rows, total, highest = _digested(table, names, bodies)
    if highest > INDEX_MAX:
        raise RowsRejected(f"index {highest} is out of range")
    if table is INDEXES:
        for name, body in zip(names, bodies, strict=True):
            txn.put(name, body, db=handles.indexes)
        return table, total, highest
    _store(txn, handles.pair(table), names, rows)
    if table is TOMBSTONES:
        for name, body in zip(names, bodies, strict=True):
            txn.put(tombstones.age_key(body, name), name, db=handles.tombstone_ages)
    return table, total, highest


def _check_keys(names: list[bytes]) -> None:
    lengths = [len(name) for name in names]
    if min(lengths) == 0 or max(lengths) > KEY_BYTES_ACCEPTED_MAX:
        raise RowsRejected("a key is empty or too long")
    try:
        # With a NUL between them, a sequence cut at the end of a key isn't valid: one decoding checks them all.
        b"\x00".join(names).decode()
    except UnicodeDecodeError as error:
        raise RowsRejected("a key is not UTF-8") from error
    if not all(map(bytes.__lt__, names, names[1:])):
        raise RowsRejected("keys are not in ascending order")


def _digested(table: Table, names: list[bytes], bodies: list[bytes]) -> tuple[list[bytes], int, int]:
    """Return the rows with their hashes, the sum of those and the highest index in them."""
    highest_of = _HIGHEST[table.number]
    hash_row = table.hasher.row
    number_of = int.from_bytes
    rows = []
    total = highest = 0
    for name, body in zip(names, bodies, strict=True):
        index = highest_of(body)
        if index > highest:
            highest = index
        digest = hash_row(name, body)
        total += number_of(digest, "little")
        rows.append(body + digest)
    return rows, total & DIGEST_MASK, highest


def _kv_highest(body: bytes) -> int:
    kind = body[0] if body else -1
    if kind == kv.KIND_PLAIN and len(body) >= kv.PLAIN.size:
        _, create, modify = kv.PLAIN.unpack_from(body)
    elif kind == kv.KIND_FULL and len(body) >= kv.FULL.size:
        _, create, modify, _, _, session_bytes = kv.FULL.unpack_from(body)
        session = body[kv.FULL.size : kv.FULL.size + session_bytes]
        if len(session) < session_bytes or not session.isascii():
            raise RowsRejected("a key's session is cut off or not ASCII")
    else:
        raise RowsRejected("a key's row is cut off or of an unknown kind")
    if not 0 < create <= modify:
        raise RowsRejected(f"a key was created at {create} and modified at {modify}")
    return modify  # type: ignore[no-any-return]


def _tombstone_highest(body: bytes) -> int:
    if len(body) != tombstones.INDEX_BYTES:
        raise RowsRejected("a tombstone's row has the wrong size")
    return int.from_bytes(body, "big")


def _counter_highest(body: bytes) -> int:
    if len(body) != COUNTER_BYTES:
        raise RowsRejected("a counter's row has the wrong size")
    return int.from_bytes(body, "big")


_HIGHEST = {KVS.number: _kv_highest, TOMBSTONES.number: _tombstone_highest, INDEXES.number: _counter_highest}


def _store(txn: Any, pair: keys.Pair, names: list[bytes], rows: list[bytes]) -> None:
    """Store ascending rows that lie behind all rows stored so far."""
    if len(max(names, key=len)) <= keys.CHUNK_BYTES:
        # Appending packs the pages full; elsewhere a page is split in halves.
        items = list(zip(names, rows, strict=True))
        _taken, added = txn.cursor(pair.main).putmulti(items, dupdata=False, overwrite=False, append=True)
        require(added == len(items), "ascending rows could not be appended", added, len(items))
        return
    for name, row in zip(names, rows, strict=True):
        keys.put(txn, pair, name, row)
