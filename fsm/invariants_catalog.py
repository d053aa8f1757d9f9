"""What must hold between nodes, services, checks, positions, sessions and their counters. Part of fsm/invariants.py."""

from typing import Any

from base.errors import require
from fsm.store import autopilot, checks, coordinate, keys, nodes, prepared_query, services, session
from fsm.store.names import JOINT_BYTES, key, lower
from fsm.store.store import ReadView
from fsm.store.tables import AUTOPILOT, CHECKS, COORDINATES, INDEXES, NODES, PREPARED_QUERIES, SERVICES, SESSIONS, Table
from structs.catalog import CheckStatus
from structs.coordinate import is_possible

SERVICE_COUNTER_PREFIX = services.counter_of("")


def check(view: ReadView) -> None:
    """Raise InvariantBroken unless every relation holds."""
    _check_nodes(view)
    _check_services(view)
    _check_checks(view)
    _check_coordinates(view)
    _check_sessions(view)
    _check_prepared_queries(view)
    config = autopilot.get(view)
    if config is not None:
        _check_indexes(view, AUTOPILOT, config)


def _rows(view: ReadView, table: Table) -> Any:
    return keys.scan(view.txn, view.handles.pair(table), b"")


def _check_indexes(view: ReadView, table: Table, record: Any) -> None:
    require(0 < record.create_index <= record.modify_index <= view.index, "index order", table.name, record, view.index)


def _check_counter(view: ReadView, table: Table, highest: int) -> None:
    require(view.index_row(table.name) >= highest, "a row is newer than its table", table.name, highest)


def _check_nodes(view: ReadView) -> None:
    owners: dict[str, str] = {}
    highest = 0
    for row_key, row in _rows(view, NODES):
        node = nodes.of_row(row)
        _check_indexes(view, NODES, node)
        highest = max(highest, node.modify_index)
        require(row_key == key(node.node), "a node isn't where its name says", row_key, node)
        if node.node_id:
            owner = owners.setdefault(node.node_id.lower(), node.node)
            require(owner == node.node, "two nodes have one id", node.node_id, owner, node.node)
    _check_counter(view, NODES, highest)


def _check_services(view: ReadView) -> None:
    newest: dict[str, int] = {}
    for row_key, row in _rows(view, SERVICES):
        service = services.of_row(row)
        _check_indexes(view, SERVICES, service)
        node_key, _, id_key = row_key.partition(JOINT_BYTES)
        require(id_key == key(service.service_id), "a service isn't where its id says", row_key, service)
        node = view.get(NODES, node_key)
        require(node is not None, "a service without its node", row_key)
        name = services.counter_of(service.service)
        newest[name] = max(newest.get(name, 0), service.modify_index)
    _check_counter(view, SERVICES, max(newest.values(), default=0))
    for name, highest in newest.items():
        require(view.index_row(name) >= highest, "an instance is newer than its service", name, highest)
    for name_bytes, _ in keys.scan(view.txn, view.handles.pair(INDEXES), SERVICE_COUNTER_PREFIX.encode()):
        require(name_bytes.decode() in newest, "a counter of a service without instances", name_bytes)


def _check_checks(view: ReadView) -> None:
    highest = 0
    for row_key, row in _rows(view, CHECKS):
        check = checks.of_row(row)
        _check_indexes(view, CHECKS, check)
        highest = max(highest, check.modify_index)
        node_key, _, id_key = row_key.partition(JOINT_BYTES)
        require(id_key == key(check.check_id), "a check isn't where its id says", row_key, check)
        require(key(check.node) == node_key, "a check isn't on the node it names", row_key, check)
        require(check.status, "a check without a status", check)
        require(view.get(NODES, node_key) is not None, "a check without its node", row_key)
        if check.service_id:
            service_row = view.get(SERVICES, node_key + JOINT_BYTES + key(check.service_id))
            require(service_row is not None, "a check without its service", row_key, check)
    _check_counter(view, CHECKS, highest)


def _check_coordinates(view: ReadView) -> None:
    for row_key, row in _rows(view, COORDINATES):
        found = coordinate.of_row(row)
        require(row_key == key(found.node, found.segment), "a position isn't where its node says", row_key, found)
        require(is_possible(found.coordinate), "a position where no node can be", found)
        require(view.get(NODES, key(found.node)) is not None, "a position without its node", row_key)


def _check_sessions(view: ReadView) -> None:
    highest = 0
    for row_key, row in _rows(view, SESSIONS):
        found = session.of_row(row)
        _check_indexes(view, SESSIONS, found)
        highest = max(highest, found.modify_index)
        require(
            row_key == found.session_id.encode() == key(found.session_id), "a session isn't where its id says", found
        )
        require(view.get(NODES, key(found.node)) is not None, "a session without its node", found)
        for check_id in found.check_ids:
            check = checks.get(view, found.node, check_id)
            require(check is not None, "a session without its check", found, check_id)
            require(check is None or check.status != CheckStatus.CRITICAL, "a session that its check has ended", found)
    _check_counter(view, SESSIONS, highest)


def _check_prepared_queries(view: ReadView) -> None:
    owners: dict[str, str] = {}
    highest = 0
    for row_key, row in _rows(view, PREPARED_QUERIES):
        query = prepared_query.of_row(row)
        _check_indexes(view, PREPARED_QUERIES, query)
        highest = max(highest, query.modify_index)
        require(row_key == key(query.query_id), "a query isn't where its id says", row_key, query)
        if query.name or query.is_template:
            owner = owners.setdefault(lower(query.name), query.query_id)
            require(owner == query.query_id, "two queries have one name", query.name, owner, query.query_id)
        if query.session:
            require(view.get(SESSIONS, key(query.session)) is not None, "a query without its session", query)
    _check_counter(view, PREPARED_QUERIES, highest)
