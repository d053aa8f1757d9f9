"""Deleted keys, remembered until the reaper's index, so that the index of a prefix never falls when a key goes.

| table          | key                            | value                                                  |
| -------------- | ------------------------------ | ------------------------------------------------------ |
| tombstones     | the key or prefix deleted      | u64 index, 16-byte hash                                |
| tombstone_ages | u64 index, 24-byte hash of key | the key                                                |

Source: state store specification, section 4. One thing is better than there. A query for a prefix below a deleted tree
would still find older tombstones down there, and its index would fall. So the deletion of a tree forgets the
tombstones under it: its own one is newer for every query from above, and a query from below that finds neither
entries nor tombstones answers with the index of the table.
"""

from itertools import islice

from fsm.store import keys
from fsm.store.store import Batch, View
from fsm.store.tables import TOMBSTONES

INDEX_BYTES = 8
FORGET_SLICE_COUNT = 1_000


def age_key(index_bytes: bytes, key: bytes) -> bytes:
    """Return where the age of a tombstone stands."""
    return index_bytes + keys.node_id(key)


def bury(batch: Batch, key: bytes) -> None:
    """Remember that `key`, or everything under it, was deleted by the entry being applied."""
    old_row = batch.get(TOMBSTONES, key)
    ages = batch.handles.tombstone_ages
    if old_row is not None:
        batch.remove_derived(ages, age_key(old_row[:INDEX_BYTES], key))
    body = batch.index.to_bytes(INDEX_BYTES, "big")
    batch.write(TOMBSTONES, key, body, old_row)
    batch.write_derived(ages, age_key(body, key), key)
    batch.bump(TOMBSTONES.name)


def bury_tree(batch: Batch, prefix: bytes) -> None:
    """Remember that everything under `prefix` was deleted by the entry being applied; nothing is kept for b""."""
    while rows := list(islice(keys.scan(batch.txn, batch.handles.tombstones, prefix), FORGET_SLICE_COUNT)):
        for key, row in rows:
            batch.remove(TOMBSTONES, key, row)
            batch.remove_derived(batch.handles.tombstone_ages, age_key(row[:INDEX_BYTES], key))
    if prefix:
        bury(batch, prefix)


def index_under(view: View, prefix: bytes) -> int:
    """Return the highest index among tombstones whose key starts with `prefix`, or 0."""
    pair = view.handles.tombstones
    highest = 0
    for _, row in keys.scan(view.txn, pair, prefix):
        index = int.from_bytes(row[:INDEX_BYTES], "big")
        if index > highest:
            highest = index
    return highest


def reap(batch: Batch, index: int, count_max: int) -> tuple[int, bool]:
    """Forget tombstones up to client index `index`, oldest first; return (how many, whether some remain)."""
    ages = batch.handles.tombstone_ages
    cursor = batch.txn.cursor(ages)
    doomed: list[tuple[bytes, bytes]] = []
    more = False
    for age, key in cursor.iternext(True, True):
        if int.from_bytes(age[:INDEX_BYTES], "big") > index:
            break
        if len(doomed) == count_max:
            more = True
            break
        doomed.append((age, key))
    for age, key in doomed:
        row = batch.get(TOMBSTONES, key)
        assert row is not None, "an age without its tombstone"
        batch.remove(TOMBSTONES, key, row)
        batch.remove_derived(ages, age)
    return len(doomed), more


def oldest_index(view: View) -> int:
    """Return the index of the oldest tombstone, or 0: tells the leader's reaper whether there is anything to do."""
    cursor = view.txn.cursor(view.handles.tombstone_ages)
    return int.from_bytes(cursor.key()[:INDEX_BYTES], "big") if cursor.first() else 0
