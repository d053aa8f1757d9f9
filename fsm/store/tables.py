"""The list of tables. Every table exists twice, in generation 0 and 1; one of them is active (see commands/restore.py).

Table numbers are part of digests and archives and are never reused. A table may be added at any time: a file of an
older version lacks its databases, which are then made empty, and an empty table adds nothing to digests and archives.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from fsm.digest import RowHasher
from fsm.store import kv_rows, secondary
from fsm.store.keys import Pair

GENERATIONS = 2


class Table(NamedTuple):
    """What is fixed about one table of rows."""

    number: int
    """From 1; position in `State.digests` plus 1."""
    name: str
    hasher: RowHasher
    entries: Callable[[bytes, bytes], list[bytes]] | None = None
    """(key, body) -> its entries among the second ways to find rows (fsm/store/secondary.py)."""
    entries_rare: Callable[[bytes, bytes], list[bytes]] | None = None
    """The same where few rows have any: whoever writes them keeps these through `Batch.move_entries`."""

    def all_entries(self, key: bytes, body: bytes) -> list[bytes]:
        """Return the entries of a row, whoever keeps them."""
        entries_of = self.entries or self.entries_rare
        return entries_of(key, body) if entries_of is not None else []


KVS = Table(1, "kvs", RowHasher(1), entries_rare=kv_rows.entries_of)
TOMBSTONES = Table(2, "tombstones", RowHasher(2))
INDEXES = Table(3, "indexes", RowHasher(3))
"""Name of a counter -> u64, big-endian; the only table whose rows don't end with their hash."""
NODES = Table(4, "nodes", RowHasher(4), secondary.of_node)
SERVICES = Table(5, "services", RowHasher(5), secondary.of_service)
CHECKS = Table(6, "checks", RowHasher(6), secondary.of_check)
COORDINATES = Table(7, "coordinates", RowHasher(7))
AUTOPILOT = Table(8, "autopilot-config", RowHasher(8))
SESSIONS = Table(9, "sessions", RowHasher(9), secondary.of_session)
PREPARED_QUERIES = Table(10, "prepared-queries", RowHasher(10), secondary.of_prepared_query)
TABLES: tuple[Table, ...] = (
    KVS,
    TOMBSTONES,
    INDEXES,
    NODES,
    SERVICES,
    CHECKS,
    COORDINATES,
    AUTOPILOT,
    SESSIONS,
    PREPARED_QUERIES,
)

assert [table.number for table in TABLES] == list(range(1, len(TABLES) + 1))


class Handles(NamedTuple):
    """The LMDB databases of one generation."""

    pairs: dict[int, Pair]
    """By table number."""
    kvs: Pair
    tombstones: Pair
    tombstone_ages: Any
    """Derived from `tombstones`: index (u64, big-endian) + node id of the key -> key. Finds the oldest."""
    indexes: Pair
    secondary: Pair
    """See fsm/store/secondary.py."""

    def pair(self, table: Table) -> Pair:
        """Return the databases of a table."""
        return self.pairs[table.number]

    def databases(self) -> list[Any]:
        """Return every LMDB database of the generation."""
        return [database for pair in (*self.pairs.values(), self.secondary) for database in pair] + [
            self.tombstone_ages
        ]


DATABASES_PER_GENERATION = 2 * len(TABLES) + 2 + 1


def open_handles(open_database: Callable[[bytes], Any], generation: int) -> Handles:
    """Open the databases of one generation through `open_database(name)`."""
    suffix = b".%d" % generation

    def open_pair(name: str) -> Pair:
        return Pair(open_database(name.encode() + suffix), open_database(name.encode() + b".long" + suffix))

    pairs = {table.number: open_pair(table.name) for table in TABLES}
    return Handles(
        pairs=pairs,
        kvs=pairs[KVS.number],
        tombstones=pairs[TOMBSTONES.number],
        tombstone_ages=open_database(b"tombstones.ages" + suffix),
        indexes=pairs[INDEXES.number],
        secondary=open_pair("secondary"),
    )
