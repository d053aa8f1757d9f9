"""Deleted keys, remembered until the reaper's index, so that the index of a prefix never falls when a key goes.

| table          | key                            | value                                                  |
| -------------- | ------------------------------ | ------------------------------------------------------ |
| tombstones     | the key or prefix deleted      | u8 kind (0 key, 1 prefix), u64 index, 16-byte hash     |
| tombstone_ages | u64 index, 24-byte hash of key | the key                                                |

Source: state store specification, section 4. One thing is better than there: the deletion of a whole prefix is also
found by queries for a longer prefix, whose index would otherwise fall.
"""

from struct import Struct

from fsm.digest import DIGEST_BYTES
from fsm.store import keys
from fsm.store.store import Batch, View
from fsm.store.tables import TOMBSTONES

KIND_KEY = 0
KIND_TREE = 1
BODY = Struct(">BQ")
ROW_BYTES = BODY.size + DIGEST_BYTES
AGE_INDEX_BYTES = 8


def bury(batch: Batch, key: bytes, *, tree: bool) -> None:
    """Remember that `key`, or everything under it, was deleted by the entry being applied."""
    old_row = batch.get(TOMBSTONES, key)
    ages = batch.handles.tombstone_ages
    age_key = keys.node_id(key)
    kind = KIND_TREE if tree else KIND_KEY
    if old_row is not None:
        old_kind, old_index = BODY.unpack_from(old_row)
        if old_index == batch.index:
            kind = max(kind, old_kind)
        batch.remove_derived(ages, old_index.to_bytes(AGE_INDEX_BYTES, "big") + age_key)
    batch.write(TOMBSTONES, key, BODY.pack(kind, batch.index), old_row)
    batch.write_derived(ages, batch.index.to_bytes(AGE_INDEX_BYTES, "big") + age_key, key)
    batch.bump(TOMBSTONES.name)


def index_under(view: View, prefix: bytes) -> int:
    """Return the highest index among tombstones whose key starts with `prefix`, or 0."""
    pair = view.handles.tombstones
    highest = 0
    for _, row in keys.scan(view.txn, pair, prefix):
        index = int.from_bytes(row[1 : BODY.size], "big")
        if index > highest:
            highest = index
    return highest


def index_above(view: View, prefix: bytes) -> int:
    """Return the highest index among deletions of whole prefixes that `prefix` lies under, or 0."""
    highest = 0
    for length in range(1, len(prefix)):
        row = view.get(TOMBSTONES, prefix[:length])
        if row is not None:
            kind, index = BODY.unpack_from(row)
            if kind == KIND_TREE and index > highest:
                highest = index
    return highest


def reap(batch: Batch, index: int, count_max: int) -> tuple[int, bool]:
    """Forget tombstones up to client index `index`, oldest first; return (how many, whether some remain)."""
    ages = batch.handles.tombstone_ages
    cursor = batch.txn.cursor(ages)
    doomed: list[tuple[bytes, bytes]] = []
    more = False
    for age_key, key in cursor.iternext(True, True):
        if int.from_bytes(age_key[:AGE_INDEX_BYTES], "big") > index:
            break
        if len(doomed) == count_max:
            more = True
            break
        doomed.append((age_key, key))
    for age_key, key in doomed:
        row = batch.get(TOMBSTONES, key)
        assert row is not None, "an age without its tombstone"
        batch.remove(TOMBSTONES, key, row)
        batch.remove_derived(ages, age_key)
    return len(doomed), more


def oldest_index(view: View) -> int:
    """Return the index of the oldest tombstone, or 0: tells the leader's reaper whether there is anything to do."""
    cursor = view.txn.cursor(view.handles.tombstone_ages)
    return int.from_bytes(cursor.key()[:AGE_INDEX_BYTES], "big") if cursor.first() else 0
