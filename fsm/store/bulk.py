"""Fills the tables of a generation from archived rows, fast: whole chunks at a time, sorted rows appended.

Rows come from outside, so each is checked as far as later reads rely on it: keys here, the rest in bulk_rows.py.
"""

from typing import Any

from base.errors import require
from fsm.digest import DIGEST_MASK
from fsm.store import keys, tombstones
from fsm.store.bulk_rows import FITS, HIGHEST, RowsRejected
from fsm.store.tables import INDEXES, TABLES, TOMBSTONES, Handles, Table
from structs.archive import RowChunk
from structs.kv import KEY_BYTES_MAX

INDEX_MAX = (1 << 62) - 1
"""Highest index taken from an archive: leaves room to count on."""
KEY_BYTES_ACCEPTED_MAX = 2 * KEY_BYTES_MAX
"""Keys of archives may be longer than what is written today, within reason."""
TABLES_BY_NUMBER = {table.number: table for table in TABLES}


def load(txn: Any, handles: Handles, chunk: RowChunk, table_before: int, key_before: bytes) -> tuple[Table, int, int]:
    """Store a chunk of rows in an inactive generation; return (table, its digest's increase, highest index met).

    `table_before` and `key_before` say where the chunk before ended: rows come in order of table and key, so none can
    come twice. Raises RowsRejected; what of the chunk is stored then must not be used.
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
    _store(txn, handles.pair(table), names, bodies if table is INDEXES else rows)
    if table is TOMBSTONES:
        for name, body in zip(names, bodies, strict=True):
            txn.put(tombstones.age_key(body, name), name, db=handles.tombstone_ages)
    if table.number in FITS or table.entries_rare is not None:
        _check_and_derive(txn, handles, table, names, bodies)
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
    highest_of = HIGHEST[table.number]
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


def _check_and_derive(txn: Any, handles: Handles, table: Table, names: list[bytes], bodies: list[bytes]) -> None:
    """Refuse rows that name what isn't there, and make the second ways to the others."""
    fits = FITS.get(table.number)
    for name, body in zip(names, bodies, strict=True):
        if fits is not None and not fits(txn, handles, name, body):
            raise RowsRejected(f"a row of {table.name} doesn't fit its key or names what is not there: {name!r}")
        for entry in table.all_entries(name, body):
            keys.put(txn, handles.secondary, entry, b"")


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
