"""Keys longer than LMDB takes, kept in order: where a key lives, and how to walk keys in byte order.

LMDB keys have at most 511 bytes, keys of ours up to 8 KiB. A table is therefore a pair of LMDB databases:

| database | LMDB key                                   | holds                                                      |
| -------- | ------------------------------------------ | ---------------------------------------------------------- |
| main     | key, 1..480 bytes                          | the row                                                    |
| main     | first 480 bytes + 00                       | b"": longer keys with these first bytes exist, see `long`  |
| long     | node id (24 bytes) + rest, 1..480 bytes    | the row                                                    |
| long     | node id + 480 bytes + 00                   | b"": still longer keys exist                               |

A node id is the 24-byte BLAKE2b hash of all the bytes in front of the rest, which number a multiple of 480. So a get
is one look-up whatever the length, the layout is a function of the keys that exist and of nothing else, and since a
marker sorts directly behind the key of exactly 480 bytes and before all that follow, a walk which descends at markers
meets keys in byte order.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

CHUNK_BYTES = 480
NODE_ID_BYTES = 24
"""A collision would mix up two prefixes; finding one takes some 2**96 tries."""
MARK = b"\x00"

LMDB_KEY_BYTES_MAX = 511
assert NODE_ID_BYTES + CHUNK_BYTES + len(MARK) <= LMDB_KEY_BYTES_MAX


class Pair(NamedTuple):
    """The two LMDB databases of one table."""

    main: Any
    long: Any


def node_id(prefix: bytes) -> bytes:
    """Return the id of the node that holds what follows `prefix`, or b"" for the main database."""
    return blake2b(prefix, digest_size=NODE_ID_BYTES).digest() if prefix else b""


def _split(key: bytes) -> tuple[bytes, bytes]:
    """Return (prefix, rest): the prefix is a multiple of the chunk size, the rest has 1..CHUNK_BYTES bytes."""
    cut = (len(key) - 1) // CHUNK_BYTES * CHUNK_BYTES if key else 0
    return key[:cut], key[cut:]


def get(txn: Any, pair: Pair, key: bytes) -> bytes | None:
    """Return the row at `key`, or None."""
    if len(key) <= CHUNK_BYTES:
        return txn.get(key, None, pair.main) if key else None
    prefix, rest = _split(key)
    return txn.get(node_id(prefix) + rest, None, pair.long)  # type: ignore[no-any-return]


def put(txn: Any, pair: Pair, key: bytes, row: bytes) -> None:
    """Store `row` at `key` (not empty)."""
    if len(key) <= CHUNK_BYTES:
        txn.put(key, row, db=pair.main)
        return
    prefix, rest = _split(key)
    txn.put(node_id(prefix) + rest, row, db=pair.long)
    while prefix:
        parent, chunk = _split(prefix)
        if not txn.put(node_id(parent) + chunk + MARK, b"", overwrite=False, db=pair.long if parent else pair.main):
            return  # the marker was there, and so are those above it
        prefix = parent


def delete(txn: Any, pair: Pair, key: bytes) -> None:
    """Remove `key`, which exists, and the markers that lead nowhere any more."""
    if len(key) <= CHUNK_BYTES:
        txn.delete(key, db=pair.main)
        return
    prefix, rest = _split(key)
    txn.delete(node_id(prefix) + rest, db=pair.long)
    cursor = txn.cursor(pair.long)
    while prefix:
        node = node_id(prefix)
        if cursor.set_range(node) and cursor.key().startswith(node):
            return
        parent, chunk = _split(prefix)
        txn.delete(node_id(parent) + chunk + MARK, db=pair.long if parent else pair.main)
        prefix = parent


def scan(txn: Any, pair: Pair, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, row) of every key that starts with `prefix`, in byte order. The table must not change meanwhile."""
    above, rest = _split(prefix)
    yield from _scan_node(txn, pair, above, rest)


def _scan_node(txn: Any, pair: Pair, above: bytes, rest: bytes) -> Iterator[tuple[bytes, bytes]]:
    node = node_id(above)
    start = node + rest
    node_bytes = len(node)
    mark_bytes = node_bytes + CHUNK_BYTES + len(MARK)
    cursor = txn.cursor(pair.long if above else pair.main)
    if not (cursor.set_range(start) if start else cursor.first()):
        return
    for place, row in cursor.iternext(True, True):
        if not place.startswith(start):
            return
        if len(place) == mark_bytes:
            yield from _scan_node(txn, pair, above + place[node_bytes:-1], b"")
        elif above:
            yield above + place[node_bytes:], row
        else:
            yield place, row


def seek(txn: Any, pair: Pair, target: bytes) -> tuple[bytes, bytes] | None:
    """Return (key, row) of the first key that is not before `target`, or None."""
    return _seek_node(txn, pair, b"", target)


def _seek_node(txn: Any, pair: Pair, above: bytes, target: bytes) -> tuple[bytes, bytes] | None:
    node = node_id(above)
    node_bytes = len(node)
    mark_bytes = node_bytes + CHUNK_BYTES + len(MARK)
    deeper = target[CHUNK_BYTES:]
    # A target of more than one chunk lies behind the entry which is exactly that chunk, at its marker or after it.
    start = node + target[:CHUNK_BYTES] + (MARK if deeper else b"")
    cursor = txn.cursor(pair.long if above else pair.main)
    found = cursor.set_range(start) if start else cursor.first()
    while found:
        place, row = cursor.item()
        if not place.startswith(node):
            return None
        key = above + place[node_bytes:]
        if len(place) != mark_bytes:
            return key, row
        below = _seek_node(txn, pair, key[:-1], deeper if place == start else b"")
        if below is not None:
            return below
        found = cursor.next()
    return None


def successor(prefix: bytes) -> bytes | None:
    """Return the smallest bytes behind everything that starts with `prefix`, or None if there are none."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else None
