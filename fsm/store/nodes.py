"""Nodes: one row each. Source: state store specification, sections 1 and 2.

| table | key                     | value                                        |
| ----- | ----------------------- | -------------------------------------------- |
| nodes | name (see names.py)     | encoded `Node`, 16-byte hash                 |

Two nodes never have the same id. Which node an id belongs to is found by `by_id`.
"""

import string
from collections.abc import Iterator

from msgspec.structs import replace

from base.codec import decode, encode
from fsm.digest import DIGEST_BYTES
from fsm.store import keys, secondary
from fsm.store.names import key
from fsm.store.store import Batch, View
from fsm.store.tables import NODES
from structs.catalog import Node, RegisterCommand

ID_PREFIX_CHARACTERS_MIN = 2
"""A shorter beginning of an id names nobody."""
HEXADECIMAL = frozenset(string.hexdigits)


def of_row(row: bytes) -> Node:
    """Return a stored row as the record."""
    return decode(Node, memoryview(row)[:-DIGEST_BYTES])


def get(view: View, name: str) -> Node | None:
    """Return a node by its name in any case, or None."""
    node_key = key(name)
    row = view.get(NODES, node_key) if node_key else None
    return of_row(row) if row is not None else None


def by_id(view: View, node_id: str) -> Node | None:
    """Return the node that has this whole id, or None."""
    for node_key in view.found(secondary.NODES_BY_ID, secondary.by_id(node_id)):
        return at(view, node_key)
    return None


def by_id_prefix(view: View, text: str) -> Node | None:
    """Return the only node whose id begins like this, in hexadecimal digits, or None; an odd last one is ignored."""
    digits = _id_digits(text)
    if not digits:
        return None
    entry_prefix = secondary.NODES_BY_ID + secondary.by_id(digits)
    found: Node | None = None
    for entry, _ in keys.scan(view.txn, view.handles.secondary, entry_prefix):
        if found is not None:
            return None
        # Ids have no joint in them: what stands behind the first one is the key of the row.
        found = at(view, secondary.row_key(entry))
    return found


def may_be_id_prefix(text: str) -> bool:
    """Return whether `text` could be the beginning of an id."""
    return bool(_id_digits(text))


def _id_digits(text: str) -> str:
    """Return the part of `text` to look for among ids, "" if it can't be the beginning of one."""
    digits = text.replace("-", "")
    if len(digits) < ID_PREFIX_CHARACTERS_MIN or not HEXADECIMAL.issuperset(digits):
        return ""
    return digits[: len(digits) // 2 * 2]


def at(view: View, node_key: bytes) -> Node:
    """Return the node at a key that something stored leads to."""
    row = view.get(NODES, node_key)
    assert row is not None, "an entry without its row"
    return of_row(row)


def every(view: View, meta: dict[str, str]) -> Iterator[Node]:
    """Yield the nodes that have all of `meta`, by name."""
    for _, row in keys.scan(view.txn, view.handles.pair(NODES), b""):
        node = of_row(row)
        if not meta or has_meta(node, meta):
            yield node


def has_meta(node: Node, meta: dict[str, str]) -> bool:
    """Return whether a node has all these pairs, case and all."""
    own = node.meta or {}
    return all(own.get(name) == value for name, value in meta.items())


def wanted(command: RegisterCommand) -> Node:
    """Return the node as a registration wants it, without indexes."""
    return Node(
        node_id=command.node_id,
        node=command.node,
        address=command.address,
        datacenter=command.datacenter,
        tagged_addresses=command.tagged_addresses,
        meta=command.node_meta,
    )


def is_changed_by(old: Node | None, command: RegisterCommand) -> bool:
    """Return whether a registration writes the row of a node, given what is stored."""
    if old is None:
        return True
    if command.skip_node_update:
        return False
    return wanted(command) != replace(old, create_index=0, modify_index=0)


def put(batch: Batch, node: Node, create_index: int) -> None:
    """Store a node as changed by the entry being applied; `create_index` 0: it is new."""
    node_key = key(node.node)
    row = replace(node, create_index=create_index or batch.index, modify_index=batch.index)
    batch.write(NODES, node_key, encode(row), batch.get(NODES, node_key))
    _touched(batch, node_key)


def remove(batch: Batch, node_key: bytes, row: bytes) -> None:
    """Delete the row of a node and nothing else."""
    batch.remove(NODES, node_key, row)
    _touched(batch, node_key)


def _touched(batch: Batch, node_key: bytes) -> None:
    batch.bump(NODES.name)
    batch.touched_keys[NODES.name][node_key] = None
