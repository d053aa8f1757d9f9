"""What a row of an archive must be to be taken: the checks of fsm/store/bulk.py, table by table.

Rows come from outside, so each is checked as far as later reads rely on it. Tables come in the order of their
numbers: what a row refers to is there already.
"""

from collections.abc import Callable
from typing import Any

from base.codec import Record, decode
from base.errors import InvalidRequest
from fsm.digest import DIGEST_BYTES
from fsm.store import autopilot as autopilot_rows
from fsm.store import keys, kv_rows, secondary, tombstones
from fsm.store.names import JOINT_BYTES, key
from fsm.store.tables import (
    AUTOPILOT,
    CHECKS,
    COORDINATES,
    INDEXES,
    KVS,
    NODES,
    PREPARED_QUERIES,
    SERVICES,
    SESSIONS,
    TOMBSTONES,
    Handles,
    Table,
)
from structs.autopilot import AutopilotConfig
from structs.catalog import CheckStatus, HealthCheck, Node, NodeService
from structs.coordinate import NodeCoordinate, is_possible
from structs.prepared_query import PreparedQuery
from structs.session import Session

COUNTER_BYTES = 8


class RowsRejected(Exception):
    """The rows are not rows of that table; the text says why."""


# Tables whose rows stand alone: body -> the highest index in it


def kv_highest(body: bytes) -> int:
    """Return ModifyIndex of a row of `kvs`."""
    kind = body[0] if body else -1
    if kind == kv_rows.KIND_PLAIN and len(body) >= kv_rows.PLAIN.size:
        _, create, modify = kv_rows.PLAIN.unpack_from(body)
    elif kind == kv_rows.KIND_FULL and len(body) >= kv_rows.FULL.size:
        _, create, modify, _, lock_index, session_bytes = kv_rows.FULL.unpack_from(body)
        session = body[kv_rows.FULL.size : kv_rows.FULL.size + session_bytes]
        if len(session) < session_bytes or not session.isascii():
            raise RowsRejected("a key's session is cut off or not ASCII")
        if session and (session.lower() != session or lock_index == 0):
            raise RowsRejected("a key is held by what is no session, or was never locked")
    else:
        raise RowsRejected("a key's row is cut off or of an unknown kind")
    if not 0 < create <= modify:
        raise RowsRejected(f"a key was created at {create} and modified at {modify}")
    return modify  # type: ignore[no-any-return]


def tombstone_highest(body: bytes) -> int:
    """Return the index of a row of `tombstones`."""
    if len(body) != tombstones.INDEX_BYTES:
        raise RowsRejected("a tombstone's row has the wrong size")
    return int.from_bytes(body, "big")


def counter_highest(body: bytes) -> int:
    """Return a counter."""
    if len(body) != COUNTER_BYTES:
        raise RowsRejected("a counter's row has the wrong size")
    return int.from_bytes(body, "big")


def _record_highest(kind: type[Record], table: Table) -> Callable[[bytes], int]:
    """Return the function for rows that are encoded records with both indexes."""

    def highest(body: bytes) -> int:
        try:
            record: Any = decode(kind, body)
        except InvalidRequest as error:
            raise RowsRejected(f"a row of {table.name} cannot be read: {error}") from error
        create, modify = record.create_index, record.modify_index
        if not 0 < create <= modify:
            raise RowsRejected(f"a row of {table.name} was created at {create} and modified at {modify}")
        return modify  # type: ignore[no-any-return]

    return highest


def _coordinate_highest(body: bytes) -> int:
    try:
        coordinate = decode(NodeCoordinate, body).coordinate
    except InvalidRequest as error:
        raise RowsRejected(f"a row of {COORDINATES.name} cannot be read: {error}") from error
    if not is_possible(coordinate):
        raise RowsRejected("a position where no node can be")
    return 0


HIGHEST: dict[int, Callable[[bytes], int]] = {
    KVS.number: kv_highest,
    TOMBSTONES.number: tombstone_highest,
    INDEXES.number: counter_highest,
    NODES.number: _record_highest(Node, NODES),
    SERVICES.number: _record_highest(NodeService, SERVICES),
    CHECKS.number: _record_highest(HealthCheck, CHECKS),
    COORDINATES.number: _coordinate_highest,
    AUTOPILOT.number: _record_highest(AutopilotConfig, AUTOPILOT),
    SESSIONS.number: _record_highest(Session, SESSIONS),
    PREPARED_QUERIES.number: _record_highest(PreparedQuery, PREPARED_QUERIES),
}

# Tables whose rows refer to others: whether key, body and what they name fit together


def _node_fits(txn: Any, handles: Handles, row_key: bytes, body: bytes) -> bool:
    node = decode(Node, body)
    if row_key != key(node.node):
        return False
    if not node.node_id:
        return True
    prefix = secondary.NODES_BY_ID + secondary.by_id(node.node_id) + JOINT_BYTES
    others = keys.scan(txn, handles.secondary, prefix)
    return all(entry[len(prefix) :] == row_key for entry, _ in others)


def _service_fits(txn: Any, handles: Handles, row_key: bytes, body: bytes) -> bool:
    node_key, _, id_key = row_key.partition(JOINT_BYTES)
    return id_key == key(decode(NodeService, body).service_id) and _has(txn, handles, NODES, node_key)


def _check_fits(txn: Any, handles: Handles, row_key: bytes, body: bytes) -> bool:
    check = decode(HealthCheck, body)
    if row_key != key(check.node, check.check_id) or not check.status:
        return False
    if not check.service_id:
        return _has(txn, handles, NODES, key(check.node))
    return _has(txn, handles, SERVICES, key(check.node, check.service_id))


def _coordinate_fits(txn: Any, handles: Handles, row_key: bytes, body: bytes) -> bool:
    found = decode(NodeCoordinate, body)
    return row_key == key(found.node, found.segment) and _has(txn, handles, NODES, key(found.node))


def _autopilot_fits(txn: Any, handles: Handles, row_key: bytes, body: bytes) -> bool:
    return row_key == autopilot_rows.KEY


def _session_fits(txn: Any, handles: Handles, row_key: bytes, body: bytes) -> bool:
    session = decode(Session, body)
    if row_key != key(session.session_id) or row_key != session.session_id.encode(errors="surrogatepass"):
        return False
    for check_id in session.check_ids:
        row = keys.get(txn, handles.pair(CHECKS), key(session.node, check_id))
        if row is None or decode(HealthCheck, memoryview(row)[:-DIGEST_BYTES]).status == CheckStatus.CRITICAL:
            return False
    return _has(txn, handles, NODES, key(session.node))


def _prepared_query_fits(txn: Any, handles: Handles, row_key: bytes, body: bytes) -> bool:
    query = decode(PreparedQuery, body)
    if not query.query_id or row_key != key(query.query_id):
        return False
    if query.session and not _has(txn, handles, SESSIONS, key(query.session)):
        return False
    if not query.name and not query.is_template:
        return True
    mark = secondary.QUERIES_BY_NAME if query.name else secondary.TEMPLATES_BY_NAME
    others = keys.scan(txn, handles.secondary, mark + key(query.name) + JOINT_BYTES)
    return next(iter(others), None) is None


def _has(txn: Any, handles: Handles, table: Table, row_key: bytes) -> bool:
    return keys.get(txn, handles.pair(table), row_key) is not None


FITS: dict[int, Callable[[Any, Handles, bytes, bytes], bool]] = {
    NODES.number: _node_fits,
    SERVICES.number: _service_fits,
    CHECKS.number: _check_fits,
    COORDINATES.number: _coordinate_fits,
    AUTOPILOT.number: _autopilot_fits,
    SESSIONS.number: _session_fits,
    PREPARED_QUERIES.number: _prepared_query_fits,
}

# Tables that refer to later ones: asked when everything is there


def holders_missing(txn: Any, handles: Handles) -> bool:
    """Return whether a key of this generation is held by a session that is not there."""
    pair = handles.secondary
    target: bytes | None = secondary.KEYS_BY_SESSION
    while target is not None and (item := keys.seek(txn, pair, target)) is not None:
        entry = item[0]
        if not entry.startswith(secondary.KEYS_BY_SESSION):
            break
        holder = entry[len(secondary.KEYS_BY_SESSION) : entry.index(JOINT_BYTES)]
        if not _has(txn, handles, SESSIONS, holder):
            return True
        target = keys.successor(secondary.KEYS_BY_SESSION + holder + JOINT_BYTES)
    return False
