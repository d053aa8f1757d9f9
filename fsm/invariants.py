"""What must hold between rows, tables, counters and digests. Walks everything: for tests, or an operator in doubt."""

from collections.abc import Iterator

from base.errors import require
from fsm import invariants_catalog
from fsm.digest import DIGEST_BYTES, DIGEST_MASK
from fsm.store import keys, kv, session, tombstones
from fsm.store.store import ReadView
from fsm.store.tables import INDEXES, KVS, TABLES, TOMBSTONES, Table


def check(view: ReadView) -> None:
    """Raise InvariantBroken unless every relation holds."""
    for table in TABLES:
        _check_layout(view, table)
    _check_kvs(view)
    _check_tombstones(view)
    _check_counters(view)
    _check_secondary(view)
    invariants_catalog.check(view)
    stored = [int.from_bytes(digest, "little") for digest in view.state.digests]
    require(recomputed_digests(view) == stored, "the digests kept row by row are not those of the rows", stored)


def rows(view: ReadView, table: Table) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, body) of every row of a table, in order of keys."""
    for key, row in keys.scan(view.txn, view.handles.pair(table), b""):
        yield key, row if table is INDEXES else row[:-DIGEST_BYTES]


def logical_dump(view: ReadView) -> dict[str, list[tuple[bytes, bytes]]]:
    """Return every row of every table: what must be equal on all servers at one index. For tests: it takes memory."""
    return {table.name: list(rows(view, table)) for table in TABLES}


def recomputed_digests(view: ReadView) -> list[int]:
    """Return the digests of all tables from scratch."""
    return [table.hasher.total(rows(view, table)) & DIGEST_MASK for table in TABLES]


def _check_layout(view: ReadView, table: Table) -> None:
    """Keys come in strict order, every row is found by its key, and no row or marker is out of reach."""
    pair = view.handles.pair(table)
    before = b""
    long_count = 0
    prefixes: set[bytes] = set()
    for key, row in keys.scan(view.txn, pair, b""):
        require(key > before, "keys are out of order", table.name, before, key)
        require(view.get(table, key) == row, "a row isn't found by its key", table.name, key)
        if table is not INDEXES:
            digest = table.hasher.row(key, row[:-DIGEST_BYTES])
            require(digest == row[-DIGEST_BYTES:], "a row's hash is wrong", table.name, key)
        before = key
        if len(key) > keys.CHUNK_BYTES:
            long_count += 1
            last = (len(key) - 1) // keys.CHUNK_BYTES
            prefixes.update(key[: keys.CHUNK_BYTES * chunk] for chunk in range(1, last + 1))
    marks_below = sum(1 for prefix in prefixes if len(prefix) > keys.CHUNK_BYTES)
    require(
        view.txn.stat(pair.long)["entries"] == long_count + marks_below,
        "the long keys have rows or markers that no walk meets",
        table.name,
    )


def _check_kvs(view: ReadView) -> None:
    for key, row in keys.scan(view.txn, view.handles.kvs, b""):
        entry = kv.entry_of(key.decode(), row)
        require(0 < entry.create_index <= entry.modify_index <= view.index, "index order", entry, view.index)
        if entry.session:
            holder = session.get(view, entry.session)
            spelt = holder.session_id if holder is not None else None
            require(spelt == entry.session, "a key held by a session that is not there, or spelt otherwise", entry)
            require(entry.lock_index > 0, "a held key that was never locked", entry)


def _check_tombstones(view: ReadView) -> None:
    found = set()
    for key, row in keys.scan(view.txn, view.handles.tombstones, b""):
        index = int.from_bytes(row[: tombstones.INDEX_BYTES], "big")
        require(0 < index <= view.index, "a tombstone from the future", key, index)
        found.add((tombstones.age_key(row[: tombstones.INDEX_BYTES], key), key))
    ages = set(view.txn.cursor(view.handles.tombstone_ages).iternext(True, True))
    require(found == ages, "tombstones and their ages differ", len(found), len(ages))


def _check_counters(view: ReadView) -> None:
    highest_kv = max((kv.modify_index_of(row) for _, row in keys.scan(view.txn, view.handles.kvs, b"")), default=0)
    require(view.index_row(KVS.name) >= highest_kv, "a key is newer than its table", highest_kv)
    highest_tombstone = tombstones.index_under(view, b"")
    require(view.index_row(TOMBSTONES.name) >= highest_tombstone, "a tombstone is newer than its table")
    for name, body in rows(view, INDEXES):
        require(0 < int.from_bytes(body, "big") <= view.index, "a counter from the future", name)


def _check_secondary(view: ReadView) -> None:
    """The second ways to rows are those that follow from the rows, no more and no less."""
    expected: set[bytes] = set()
    for table in TABLES:
        expected.update(entry for key, body in rows(view, table) for entry in table.all_entries(key, body))
    found = {entry for entry, _ in keys.scan(view.txn, view.handles.secondary, b"")}
    require(found == expected, "rows and the second ways to them differ", sorted(found ^ expected)[:3])
