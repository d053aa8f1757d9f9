"""Operations of /v1/txn on nodes, services and checks, out of JSON and into it.

Source: modern deltas, sections 5 and 7. Everything raises InvalidRequest, naming the field, where a
value has the wrong type.
"""

from msgspec.structs import replace

from agent.http.catalog_body import CatalogFields, check_of, service_of
from structs.catalog import HealthCheck, Node, NodeService
from structs.catalog_json import check_json, node_json, service_json
from structs.json_codec import Fields, encode_json
from structs.txn import ServiceOnNode, TxnOp, TxnResult


def catalog_operation(entry: Fields) -> TxnOp | None:
    """Return the operation on a node, a service or a check that an entry holds, None if it holds none."""
    if entry.get("Node") is not None:
        fields = entry.inner("Node")
        return TxnOp(verb=fields.text("Verb"), node=node_of(fields.inner("Node")))
    if entry.get("Service") is not None:
        fields = entry.inner("Service")
        service = ServiceOnNode(node=fields.text("Node"), service=_service_of(fields.get("Service")))
        return TxnOp(verb=fields.text("Verb"), service=service)
    if entry.get("Check") is not None:
        fields = entry.inner("Check")
        return TxnOp(verb=fields.text("Verb"), check=_check_of(fields.get("Check")))
    return None


def catalog_result_json(result: TxnResult) -> bytes | None:
    """Return a result about a node, a service or a check, None if it is about a key."""
    if result.node is not None:
        return b'{"Node":%b}' % encode_json(node_json(result.node))
    if result.service is not None:
        return b'{"Service":%b}' % encode_json(service_json(result.service))
    if result.check is not None:
        return b'{"Check":%b}' % encode_json(check_json(result.check))
    return None


def node_of(fields: Fields) -> Node:
    """Return the node in an object; its ModifyIndex is what "cas" compares."""
    return Node(
        node_id=fields.text("ID"),
        node=fields.text("Node"),
        address=fields.text("Address"),
        datacenter=fields.text("Datacenter"),
        tagged_addresses=fields.text_map("TaggedAddresses"),
        meta=fields.text_map("Meta"),
        modify_index=fields.uint64("ModifyIndex"),
    )


def _service_of(value: object) -> NodeService:
    fields = CatalogFields(value, "Service")
    return replace(service_of(fields), modify_index=fields.uint64("ModifyIndex"))


def _check_of(value: object) -> HealthCheck:
    fields = CatalogFields(value, "Check")
    return replace(check_of(fields), modify_index=fields.uint64("ModifyIndex"))
