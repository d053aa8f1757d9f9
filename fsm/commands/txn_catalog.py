"""Operations of transactions on nodes, services and checks. Source: modern deltas, section 7.

They do what a registration or deregistration of the same does, by the same functions, so that what is the same is not
written, and what cannot be is found out before anything is written. A check-and-set of index 0 sets what is not there;
a deletion that compares fails where nothing is there.
"""

from collections.abc import Callable
from typing import Any

from fsm.store import catalog, checks, nodes, services
from fsm.store.names import key
from fsm.store.store import Batch, View
from fsm.store.tables import CHECKS
from structs.catalog import HealthCheck, Node, RegisterCommand
from structs.txn import ServiceOnNode, TxnOp, TxnResult

NO_NODE = "Missing node registration"


class CatalogFailed(Exception):
    """One operation failed; the text is its `What`."""


Results = list[TxnResult]


def _register(batch: Batch, command: RegisterCommand) -> None:
    complaint = catalog.complaint(batch, command)
    if complaint:
        raise CatalogFailed(complaint)
    catalog.register(batch, command)


def _cas_matches(stored_index: int | None, wanted_index: int) -> bool:
    """Whether what is stored (None: nothing) is what the caller has seen."""
    return stored_index is None if wanted_index == 0 else stored_index == wanted_index


def _index_of(record: Any) -> int | None:
    return None if record is None else record.modify_index


# Nodes


def _get_node(view: View, wanted: Node) -> Results:
    found = nodes.by_id(view, wanted.node_id) if wanted.node_id else nodes.get(view, wanted.node)
    if found is None:
        raise CatalogFailed(f'node "{wanted.node or wanted.node_id}" doesn\'t exist')
    return [TxnResult(node=found)]


def _set_node(batch: Batch, wanted: Node) -> Results:
    command = RegisterCommand(
        node_id=wanted.node_id,
        node=wanted.node,
        address=wanted.address,
        datacenter=wanted.datacenter,
        tagged_addresses=wanted.tagged_addresses,
        node_meta=wanted.meta,
    )
    _register(batch, command)
    return [TxnResult(node=nodes.get(batch, wanted.node))]


def _cas_node(batch: Batch, wanted: Node) -> Results:
    if not _cas_matches(_index_of(nodes.get(batch, wanted.node)), wanted.modify_index):
        raise CatalogFailed(f'failed to set node "{wanted.node}", index is stale')
    return _set_node(batch, wanted)


def _delete_node(batch: Batch, wanted: Node) -> Results:
    catalog.delete_node(batch, wanted.node)
    return []


def _delete_node_cas(batch: Batch, wanted: Node) -> Results:
    if _index_of(nodes.get(batch, wanted.node)) != wanted.modify_index:
        raise CatalogFailed(f'failed to delete node "{wanted.node}", index is stale')
    return _delete_node(batch, wanted)


# Services


def _get_service(view: View, wanted: ServiceOnNode) -> Results:
    found = services.get(view, wanted.node, wanted.service.service_id)
    if found is None:
        raise CatalogFailed(f'service "{wanted.service.service_id}" on node "{wanted.node}" doesn\'t exist')
    return [TxnResult(service=found)]


def _set_service(batch: Batch, wanted: ServiceOnNode) -> Results:
    if nodes.get(batch, wanted.node) is None:
        raise CatalogFailed(NO_NODE)
    _register(batch, RegisterCommand(node=wanted.node, service=wanted.service, skip_node_update=True))
    return [TxnResult(service=services.get(batch, wanted.node, wanted.service.service_id))]


def _cas_service(batch: Batch, wanted: ServiceOnNode) -> Results:
    service = wanted.service
    if not _cas_matches(_index_of(services.get(batch, wanted.node, service.service_id)), service.modify_index):
        raise CatalogFailed(f'failed to set service "{service.service_id}" on node "{wanted.node}", index is stale')
    return _set_service(batch, wanted)


def _delete_service(batch: Batch, wanted: ServiceOnNode) -> Results:
    catalog.delete_service(batch, key(wanted.node, wanted.service.service_id))
    return []


def _delete_service_cas(batch: Batch, wanted: ServiceOnNode) -> Results:
    service = wanted.service
    if _index_of(services.get(batch, wanted.node, service.service_id)) != service.modify_index:
        raise CatalogFailed(f'failed to delete service "{service.service_id}" on node "{wanted.node}", index is stale')
    return _delete_service(batch, wanted)


# Checks


def _get_check(view: View, wanted: HealthCheck) -> Results:
    found = checks.get(view, wanted.node, wanted.check_id)
    if found is None:
        raise CatalogFailed(f'check "{wanted.check_id}" on node "{wanted.node}" doesn\'t exist')
    return [TxnResult(check=found)]


def _set_check(batch: Batch, wanted: HealthCheck) -> Results:
    if nodes.get(batch, wanted.node) is None:
        raise CatalogFailed(NO_NODE)
    _register(batch, RegisterCommand(node=wanted.node, checks=[wanted], skip_node_update=True))
    return [TxnResult(check=checks.get(batch, wanted.node, wanted.check_id))]


def _cas_check(batch: Batch, wanted: HealthCheck) -> Results:
    if not _cas_matches(_index_of(checks.get(batch, wanted.node, wanted.check_id)), wanted.modify_index):
        raise CatalogFailed(f'failed to set check "{wanted.check_id}" on node "{wanted.node}", index is stale')
    return _set_check(batch, wanted)


def _delete_check(batch: Batch, wanted: HealthCheck) -> Results:
    row_key = key(wanted.node, wanted.check_id)
    row = batch.get(CHECKS, row_key)
    if row is not None:
        checks.remove(batch, row_key, row)
    return []


def _delete_check_cas(batch: Batch, wanted: HealthCheck) -> Results:
    if _index_of(checks.get(batch, wanted.node, wanted.check_id)) != wanted.modify_index:
        raise CatalogFailed(f'failed to delete check "{wanted.check_id}" on node "{wanted.node}", index is stale')
    return _delete_check(batch, wanted)


Operation = Callable[[Any, Any], Results]
READS: dict[tuple[str, str], Operation] = {
    ("Node", "get"): _get_node,
    ("Service", "get"): _get_service,
    ("Check", "get"): _get_check,
}
"""(kind, verb) -> what reads it from a view."""
WRITES: dict[tuple[str, str], Operation] = {
    ("Node", "set"): _set_node,
    ("Node", "cas"): _cas_node,
    ("Node", "delete"): _delete_node,
    ("Node", "delete-cas"): _delete_node_cas,
    ("Service", "set"): _set_service,
    ("Service", "cas"): _cas_service,
    ("Service", "delete"): _delete_service,
    ("Service", "delete-cas"): _delete_service_cas,
    ("Check", "set"): _set_check,
    ("Check", "cas"): _cas_check,
    ("Check", "delete"): _delete_check,
    ("Check", "delete-cas"): _delete_check_cas,
}
"""(kind, verb) -> what does it to a batch."""


def run(view: View, op: TxnOp) -> Results:
    """Do one operation; only what reads if `view` is no batch. Raises CatalogFailed, having changed nothing."""
    kind, wanted = _subject(op)
    operation = READS.get((kind, op.verb))
    if operation is None and isinstance(view, Batch):
        operation = WRITES.get((kind, op.verb))
    if operation is None:
        raise CatalogFailed(f'unknown {kind} verb "{op.verb}"')
    return operation(view, wanted)


def _subject(op: TxnOp) -> tuple[str, Node | ServiceOnNode | HealthCheck]:
    if op.node is not None:
        return "Node", op.node
    if op.service is not None:
        return "Service", op.service
    assert op.check is not None, "an operation on a key"
    return "Check", op.check
