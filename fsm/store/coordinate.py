"""Positions of nodes. Source: state store specification, sections 1 and 2.

| table       | key             | value                                    |
| ----------- | --------------- | ---------------------------------------- |
| coordinates | node, segment   | encoded `NodeCoordinate`, 16-byte hash   |

Rows have no index of their own: the counter of the table is that of every answer.
"""

from collections.abc import Iterator

from base.codec import decode, encode
from fsm.digest import DIGEST_BYTES
from fsm.store import keys
from fsm.store.names import JOINT_BYTES, key
from fsm.store.store import Batch, View
from fsm.store.tables import COORDINATES, NODES
from structs.coordinate import Coordinate, NodeCoordinate, is_possible


def of_row(row: bytes) -> NodeCoordinate:
    """Return a stored row as the record."""
    return decode(NodeCoordinate, memoryview(row)[:-DIGEST_BYTES])


def every(view: View) -> list[NodeCoordinate]:
    """Return all positions, by node and segment."""
    return [of_row(row) for _, row in keys.scan(view.txn, view.handles.pair(COORDINATES), b"")]


def of_node(view: View, node: str) -> list[NodeCoordinate]:
    """Return the positions of one node, by segment."""
    return [of_row(row) for _, row in _rows_of_node(view, key(node))]


def segments_of_node(view: View, node: str) -> dict[str, Coordinate | None]:
    """Return the positions of one node by segment: what distances are measured with."""
    return {found.segment: found.coordinate for found in of_node(view, node)}


def segments_by_node(view: View) -> dict[bytes, dict[str, Coordinate | None]]:
    """Return the positions of all nodes by key of the node and segment: for distances of many."""
    found: dict[bytes, dict[str, Coordinate | None]] = {}
    for row_key, row in keys.scan(view.txn, view.handles.pair(COORDINATES), b""):
        place = of_row(row)
        found.setdefault(row_key[: row_key.index(JOINT_BYTES)], {})[place.segment] = place.coordinate
    return found


def _rows_of_node(view: View, node_key: bytes) -> Iterator[tuple[bytes, bytes]]:
    return keys.scan(view.txn, view.handles.pair(COORDINATES), node_key + JOINT_BYTES)


def update(batch: Batch, updates: list[NodeCoordinate]) -> None:
    """Store positions; unknown nodes and impossible positions are skipped."""
    for update in updates:
        node_key = key(update.node)
        if not node_key or not is_possible(update.coordinate) or batch.get(NODES, node_key) is None:
            continue
        row_key = key(update.node, update.segment)
        old_row = batch.get(COORDINATES, row_key)
        body = encode(update)
        if old_row is None or old_row[:-DIGEST_BYTES] != body:
            batch.write(COORDINATES, row_key, body, old_row)
            batch.touched_keys[COORDINATES.name][row_key] = None
    batch.bump(COORDINATES.name)


def remove_node(batch: Batch, node_key: bytes) -> None:
    """Forget where a node is."""
    for row_key, row in list(_rows_of_node(batch, node_key)):
        batch.remove(COORDINATES, row_key, row)
        batch.touched_keys[COORDINATES.name][row_key] = None
        batch.bump(COORDINATES.name)
