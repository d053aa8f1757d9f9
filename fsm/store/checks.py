"""Checks of nodes and of services on them. Source: state store specification, sections 1 and 2.

| table  | key              | value                                 |
| ------ | ---------------- | ------------------------------------- |
| checks | node, check id   | encoded `HealthCheck`, 16-byte hash   |

A check whose `service_id` is "" is one of the node and counts for every service on it. All others belong to an
instance, which exists, and have its name and tags as they were when the check was last registered.

`_write` and `remove` are the only places where a check turns critical or goes away. What hangs on checks, as sessions
do, ends there and nowhere else.
"""

from collections.abc import Iterator

from msgspec.structs import replace

from base.codec import decode, encode
from fsm.digest import DIGEST_BYTES
from fsm.store import keys, secondary, services, session
from fsm.store.names import JOINT_BYTES, key
from fsm.store.store import Batch, View
from fsm.store.tables import CHECKS, SERVICES
from structs.catalog import CheckStatus, HealthCheck, NodeService

STATE_ANY = "any"


def of_row(row: bytes) -> HealthCheck:
    """Return a stored row as the record."""
    return decode(HealthCheck, memoryview(row)[:-DIGEST_BYTES])


def get(view: View, node: str, check_id: str) -> HealthCheck | None:
    """Return one check, or None."""
    row = view.get(CHECKS, key(node, check_id))
    return of_row(row) if row is not None else None


def of_node(view: View, node: str) -> list[HealthCheck]:
    """Return all checks on a node, by id: its own and those of its services."""
    return [of_row(row) for _, row in rows_of_node(view, key(node))]


def rows_of_node(view: View, node_key: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, row) of all checks on a node."""
    return keys.scan(view.txn, view.handles.pair(CHECKS), node_key + JOINT_BYTES)


def of_instance(view: View, node: str, service_id: str) -> list[HealthCheck]:
    """Return the checks of one instance, or of the node itself where `service_id` is ""."""
    return [of_row(_row(view, row_key)) for row_key in keys_of_instance(view, key(node, service_id))]


def keys_of_instance(view: View, service_key: bytes) -> Iterator[bytes]:
    """Yield the keys of the checks of an instance, given the key of its row."""
    return view.found(secondary.CHECKS_BY_OWNER, service_key)


def of_service(view: View, name: str) -> list[HealthCheck]:
    """Return the checks that name this service, by node and id."""
    return [of_row(_row(view, row_key)) for row_key in view.found(secondary.CHECKS_BY_SERVICE, key(name))]


def in_state(view: View, state: str) -> Iterator[HealthCheck]:
    """Yield the checks whose status is `state` ("any": all), by node and id."""
    if state == STATE_ANY:
        for _, row in keys.scan(view.txn, view.handles.pair(CHECKS), b""):
            yield of_row(row)
        return
    for row_key in view.found(secondary.CHECKS_BY_STATUS, secondary.by_status(state)):
        yield of_row(_row(view, row_key))


def _row(view: View, row_key: bytes) -> bytes:
    row = view.get(CHECKS, row_key)
    assert row is not None, "an entry without its row"
    return row


def completed(check: HealthCheck, node: str, service: NodeService | None) -> HealthCheck:
    """Return a check as it is stored, without indexes: with a status, and with what its node and service are called."""
    return replace(
        check,
        node=node,
        status=check.status or CheckStatus.CRITICAL.value,
        service_name=check.service_name if service is None else service.service,
        service_tags=check.service_tags if service is None else service.tags,
        create_index=0,
        modify_index=0,
    )


def is_changed_by(old: HealthCheck | None, check: HealthCheck) -> bool:
    """Return whether storing a completed check changes anything; indexes don't count."""
    return old is None or check != replace(old, create_index=0, modify_index=0)


def ensure(batch: Batch, node: str, check: HealthCheck) -> None:
    """Store a check on a node and a service that exist, unless it is the same already; `node` as it is spelt."""
    service = services.get(batch, node, check.service_id) if check.service_id else None
    check = completed(check, node, service)
    row_key = key(node, check.check_id)
    old_row = batch.get(CHECKS, row_key)
    old = of_row(old_row) if old_row is not None else None
    if is_changed_by(old, check):
        _write(batch, row_key, check, old, old_row)


def _write(batch: Batch, row_key: bytes, check: HealthCheck, old: HealthCheck | None, old_row: bytes | None) -> None:
    create_index = old.create_index if old is not None else batch.index
    row = replace(check, create_index=create_index, modify_index=batch.index)
    batch.write(CHECKS, row_key, encode(row), old_row)
    _touched(batch, row_key)
    _bump_services(batch, row_key, check)
    if old is not None and key(old.service_id) != key(check.service_id):
        _bump_services(batch, row_key, old)
    elif old is not None and key(old.service_name) != key(check.service_name):
        services.bump_name(batch, old.service_name)
    if check.status == CheckStatus.CRITICAL:
        session.end_with_check(batch, row_key)


def remove(batch: Batch, row_key: bytes, row: bytes) -> None:
    """Delete a check."""
    batch.remove(CHECKS, row_key, row)
    _touched(batch, row_key)
    check = of_row(row)
    _bump_services(batch, row_key, check)
    if not check.service_id:
        batch.bump(SERVICES.name)
    session.end_with_check(batch, row_key)


def bump_names(batch: Batch, node_key: bytes) -> None:
    """What answers hold about the names that checks on a node have changes: the node is part of them."""
    for _, row in list(rows_of_node(batch, node_key)):
        services.bump_name(batch, of_row(row).service_name)


def _touched(batch: Batch, row_key: bytes) -> None:
    batch.bump(CHECKS.name)
    batch.touched_keys[CHECKS.name][row_key] = None


def _node_key(row_key: bytes) -> bytes:
    return row_key[: row_key.index(JOINT_BYTES)]


def _bump_services(batch: Batch, row_key: bytes, check: HealthCheck) -> None:
    """Move the counters of the services whose health a check is part of."""
    node_key = _node_key(row_key)
    if not check.service_id:
        services.bump_node(batch, node_key)
        services.bump_name(batch, check.service_name)
        return
    row = batch.get(SERVICES, node_key + JOINT_BYTES + key(check.service_id))
    assert row is not None, "a check without its service"
    service = services.of_row(row)
    services.bump(batch, service)
    if key(check.service_name) != key(service.service):  # the service has got another name since
        services.bump_name(batch, check.service_name)
