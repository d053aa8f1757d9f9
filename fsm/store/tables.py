"""The list of tables. Every table exists twice, in generation 0 and 1; one of them is active (see commands/restore.py).

Table numbers are part of digests and archives and are never reused.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from fsm.digest import RowHasher
from fsm.store.keys import Pair

GENERATIONS = 2


class Table(NamedTuple):
    """What is fixed about one table of rows."""

    number: int
    """From 1; position in `State.digests` plus 1."""
    name: str
    hasher: RowHasher


KVS = Table(1, "kvs", RowHasher(1))
TOMBSTONES = Table(2, "tombstones", RowHasher(2))
INDEXES = Table(3, "indexes", RowHasher(3))
TABLES: tuple[Table, ...] = (KVS, TOMBSTONES, INDEXES)

assert [table.number for table in TABLES] == list(range(1, len(TABLES) + 1))


class Handles(NamedTuple):
    """The LMDB databases of one generation."""

    kvs: Pair
    tombstones: Pair
    tombstone_ages: Any
    """Derived from `tombstones`: index (u64, big-endian) + node id of the key -> key. Finds the oldest."""
    indexes: Any
    """Name of a counter -> u64, big-endian."""

    def pair(self, table: Table) -> Pair:
        """Return the databases of a table of rows with keys of any length."""
        return self.tombstones if table is TOMBSTONES else self.kvs

    def databases(self) -> list[Any]:
        """Return every LMDB database of the generation."""
        return [*self.kvs, *self.tombstones, self.tombstone_ages, self.indexes]


DATABASES_PER_GENERATION = 6


def open_handles(open_database: Callable[[bytes], Any], generation: int) -> Handles:
    """Open the databases of one generation through `open_database(name)`."""
    suffix = b".%d" % generation
    return Handles(
        kvs=Pair(open_database(b"kvs" + suffix), open_database(b"kvs.long" + suffix)),
        tombstones=Pair(open_database(b"tombstones" + suffix), open_database(b"tombstones.long" + suffix)),
        tombstone_ages=open_database(b"tombstones.ages" + suffix),
        indexes=open_database(b"indexes" + suffix),
    )
