"""Keys and values: reads over a view, writes over a batch. Source: state store specification, sections 3 and 4.

Rows are laid out in kv_rows.py; their indexes are client indexes (Raft index + offset).
"""

from fsm.digest import DIGEST_BYTES
from fsm.store import indexes, keys, secondary, tombstones
from fsm.store.kv_rows import (
    KIND_FULL,
    MODIFY_INDEX,
    decode_row,
    encode_body,
    entry_of,
    modify_index_of,
    session_of,
)
from fsm.store.store import Batch, View
from fsm.store.tables import KVS, TOMBSTONES
from structs.kv import KVEntry

NO_INDEX = bytes(8)
__all__ = ["decode_row", "encode_body", "entry_of", "modify_index_of"]  # of the rows, for whoever reads them

TOUCHED_KEYS_MAX = 1_000
"""Above this many keys deleted at once, watches are matched by the prefix: more wake-ups, but bounded work."""
DELETE_SLICE_COUNT = 256
DELETE_SLICE_BYTES = 4 << 20
"""A deletion of a prefix holds so many rows in memory at a time."""
FOLDED_VISITS_MAX = 10_000
"""Keys hidden behind folded prefixes that one listing looks at to find its exact index; see `list_keys`."""


# Reads


def get(view: View, key: str) -> tuple[KVEntry | None, int]:
    """Return one entry, or None, and the index of that answer."""
    row = view.get(KVS, key.encode())
    if row is None:
        return None, table_index(view)
    entry = entry_of(key, row)
    return entry, entry.modify_index


def table_index(view: View) -> int:
    """Return the index of the whole table, deletions included."""
    return indexes.of_tables(view, KVS.name, TOMBSTONES.name)


def list_entries(view: View, prefix: str) -> tuple[list[KVEntry], int]:
    """Return all entries whose key starts with `prefix`, in byte order, and the index of that answer."""
    prefix_bytes = prefix.encode()
    entries = []
    highest = 0
    for key, row in keys.scan(view.txn, view.handles.kvs, prefix_bytes):
        entry = entry_of(key.decode(), row)
        entries.append(entry)
        if entry.modify_index > highest:
            highest = entry.modify_index
    return entries, _prefix_index(view, prefix_bytes, highest)


def tree_bytes(view: View, prefix: str, enough_bytes: int) -> int:
    """Return how many bytes the keys and rows under `prefix` have, counting no further than beyond `enough_bytes`."""
    total = 0
    for key, row in keys.scan(view.txn, view.handles.kvs, prefix.encode()):
        total += len(key) + len(row)
        if total > enough_bytes:
            break
    return total


def _prefix_index(view: View, prefix: bytes, highest: int) -> int:
    """Return the index of a listing whose entries have `highest` as their highest ModifyIndex (0: no entries)."""
    if not prefix:
        return table_index(view)
    return max(highest, tombstones.index_under(view, prefix)) or table_index(view)


def list_keys(view: View, prefix: str, separator: str | None) -> tuple[list[str], int]:
    """Return keys under `prefix`, folded behind the next `separator`, in byte order, and the index of that answer.

    Folded-away keys are looked at for their ModifyIndex, up to FOLDED_VISITS_MAX of them; from there on the listing
    jumps over folded prefixes and its index is the table's: never lower than the exact one, so a watcher may be
    answered once too often but never too late.
    """
    prefix_bytes = prefix.encode()
    if not separator:
        found = []
        highest = NO_INDEX
        for key, row in keys.scan(view.txn, view.handles.kvs, prefix_bytes):
            found.append(key.decode())
            modified = row[MODIFY_INDEX]
            if modified > highest:
                highest = modified
        return found, _prefix_index(view, prefix_bytes, int.from_bytes(highest, "big"))
    return _list_folded(view, prefix_bytes, separator.encode())


def _list_folded(view: View, prefix: bytes, separator: bytes) -> tuple[list[str], int]:
    found: list[str] = []
    folded: bytes | None = None
    highest = NO_INDEX
    visits = 0
    for key, row in keys.scan(view.txn, view.handles.kvs, prefix):
        modified = row[MODIFY_INDEX]
        if modified > highest:
            highest = modified
        if folded is not None and key.startswith(folded):
            visits += 1
            if visits > FOLDED_VISITS_MAX:
                found.extend(_seek_folded(view, prefix, separator, keys.successor(folded)))
                return found, table_index(view)
            continue
        cut = key.find(separator, len(prefix))
        if cut < 0:
            folded = None
            found.append(key.decode())
        else:
            folded = key[: cut + len(separator)]
            found.append(folded.decode())
    return found, _prefix_index(view, prefix, int.from_bytes(highest, "big"))


def _seek_folded(view: View, prefix: bytes, separator: bytes, target: bytes | None) -> list[str]:
    """Go on with a folded listing at `target`, jumping over every folded prefix."""
    found = []
    while target is not None:
        item = keys.seek(view.txn, view.handles.kvs, target)
        if item is None or not item[0].startswith(prefix):
            break
        key = item[0]
        cut = key.find(separator, len(prefix))
        if cut < 0:
            found.append(key.decode())
            target = key + b"\x00"
        else:
            folded = key[: cut + len(separator)]
            found.append(folded.decode())
            target = keys.successor(folded)
    return found


# Writes


def cas_matches(old_row: bytes | None, cas_index: int) -> bool:
    """Return whether a compare-and-set may happen: 0 wants no such key, anything else that ModifyIndex."""
    if old_row is None:
        return cas_index == 0
    return cas_index != 0 and modify_index_of(old_row) == cas_index


def write(batch: Batch, key: bytes, value: bytes, flags: int, old_row: bytes | None) -> bytes:
    """Set value and flags of `key`; return the body now stored. Raises ValueError if flags don't fit.

    Session, lock index and CreateIndex are kept (a number that guards against late writers must not go back while the
    key lives), and a write that changes nothing leaves ModifyIndex and wakes nobody.
    """
    index = batch.index
    if old_row is None:
        body = encode_body(index, index, flags, 0, "", value)
    else:
        old = decode_row(old_row)
        if old.value == value and old.flags == flags:
            return old_row[:-DIGEST_BYTES]
        body = encode_body(old.create_index, index, flags, old.lock_index, old.session, value)
    batch.write(KVS, key, body, old_row)  # as `_put`: every plain write of the cluster comes by here
    batch.bump("kvs")
    batch.touched_keys["kvs"][key] = None
    return body


def _put(batch: Batch, key: bytes, body: bytes, old_row: bytes | None) -> None:
    batch.write(KVS, key, body, old_row)
    batch.bump("kvs")
    batch.touched_keys["kvs"][key] = None


def lock(batch: Batch, key: bytes, value: bytes, flags: int, session_id: str, old_row: bytes | None) -> bytes | None:
    """Give `key` to a session that exists and set it; return the body now stored, None if another one holds it.

    The lock index counts how often the key went from nobody to somebody. Whoever holds it already only sets it.
    """
    index = batch.index
    if old_row is None:
        body = encode_body(index, index, flags, 1, session_id, value)
    else:
        old = decode_row(old_row)
        if old.session == session_id:
            return write(batch, key, value, flags, old_row)
        if old.session:
            return None
        body = encode_body(old.create_index, index, flags, old.lock_index + 1, session_id, value)
    _put(batch, key, body, old_row)
    batch.move_entries([], [secondary.of_held_key(session_id, key)])
    return body


def unlock(batch: Batch, key: bytes, value: bytes, flags: int, session_id: str, old_row: bytes | None) -> bytes | None:
    """Take `key` from the session that holds it and set it; return the body now stored, None if it doesn't hold it."""
    if old_row is None:
        return None
    old = decode_row(old_row)
    if not old.session or old.session != session_id:
        return None
    body = encode_body(old.create_index, batch.index, flags, old.lock_index, "", value)
    _put(batch, key, body, old_row)
    batch.move_entries([secondary.of_held_key(old.session, key)], [])
    return body


def release(batch: Batch, key: bytes, old_row: bytes) -> None:
    """Take a held key from its session, which ends; value, flags and lock index stay."""
    old = decode_row(old_row)
    body = encode_body(old.create_index, batch.index, old.flags, old.lock_index, "", old.value)
    _put(batch, key, body, old_row)
    batch.move_entries([secondary.of_held_key(old.session, key)], [])


def delete(batch: Batch, key: bytes, old_row: bytes) -> None:
    """Delete an existing key, held or not, and remember that."""
    _remove(batch, key, old_row)
    tombstones.bury(batch, key)
    batch.bump("kvs")
    batch.touched_keys["kvs"][key] = None


def _remove(batch: Batch, key: bytes, old_row: bytes) -> None:
    batch.remove(KVS, key, old_row)
    if old_row[0] == KIND_FULL and (session := session_of(old_row)):
        batch.move_entries([secondary.of_held_key(session, key)], [])


def delete_tree(batch: Batch, prefix: bytes) -> int:
    """Delete every key that starts with `prefix`; return how many there were."""
    count = 0
    touched: list[bytes] = []
    while doomed := _first_rows(batch, prefix):
        for key, row in doomed:
            _remove(batch, key, row)
        count += len(doomed)
        if len(touched) <= TOUCHED_KEYS_MAX:
            touched.extend(key for key, _ in doomed)
    if not count:
        return 0
    tombstones.bury_tree(batch, prefix)
    batch.bump("kvs")
    if count <= TOUCHED_KEYS_MAX:
        batch.touched_keys["kvs"].update(dict.fromkeys(touched))
    else:
        batch.touched_trees.append(("kvs", prefix))
    return count


def _first_rows(batch: Batch, prefix: bytes) -> list[tuple[bytes, bytes]]:
    """Return the first rows under `prefix`: few enough to be held in memory whatever their values."""
    rows: list[tuple[bytes, bytes]] = []
    rows_bytes = 0
    for item in keys.scan(batch.txn, batch.handles.kvs, prefix):
        rows.append(item)
        rows_bytes += len(item[1])
        if len(rows) == DELETE_SLICE_COUNT or rows_bytes > DELETE_SLICE_BYTES:
            break
    return rows
