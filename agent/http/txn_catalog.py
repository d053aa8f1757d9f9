"""Operations of /v1/txn on nodes, services and checks, out of JSON and into it.

Source: modern deltas, sections 5 and 7. Everything raises InvalidRequest, naming the field, where a value has the wrong
type.
"""

from msgspec.structs import replace

from agent.http.catalog_body import CatalogFields, read_check, read_service
from structs.catalog import Node
from structs.catalog_json import check_json, node_json, service_json
from structs.json_codec import Fields, encode_json
from structs.txn import ServiceOnNode, TxnOp, TxnResult


def catalog_operation(entry: Fields) -> TxnOp | None:
    """Return the operation on a node, a service or a check that an entry holds, None if it holds none."""
    if entry.get("Node") is not None:
        fields = CatalogFields(entry.get("Node"), "Node")
        return TxnOp(verb=fields.text("Verb"), node=_node(_object(fields, "Node")))
    if entry.get("Service") is not None:
        fields = CatalogFields(entry.get("Service"), "Service")
        inner = _object(fields, "Service")
        service = replace(read_service(inner), modify_index=inner.uint64("ModifyIndex"))
        return TxnOp(verb=fields.text("Verb"), service=ServiceOnNode(node=fields.text("Node"), service=service))
    if entry.get("Check") is not None:
        fields = CatalogFields(entry.get("Check"), "Check")
        inner = _object(fields, "Check")
        check = replace(read_check(inner), modify_index=inner.uint64("ModifyIndex"))
        return TxnOp(verb=fields.text("Verb"), check=check)
    return None


def _object(fields: CatalogFields, name: str) -> CatalogFields:
    """Return the object in a field, one without anything in it where absent."""
    return CatalogFields(fields.get(name), f"{name}.{name}")


def _node(fields: CatalogFields) -> Node:
    return Node(
        node_id=fields.text("ID"),
        node=fields.text("Node"),
        address=fields.text("Address"),
        datacenter=fields.text("Datacenter"),
        tagged_addresses=fields.text_map("TaggedAddresses"),
        meta=fields.text_map("Meta"),
        modify_index=fields.uint64("ModifyIndex"),
    )


def catalog_result_json(result: TxnResult) -> bytes | None:
    """Return a result about a node, a service or a check, None if it is about a key."""
    if result.node is not None:
        return b'{"Node":%b}' % encode_json(node_json(result.node))
    if result.service is not None:
        return b'{"Service":%b}' % encode_json(service_json(result.service))
    if result.check is not None:
        return b'{"Check":%b}' % encode_json(check_json(result.check))
    return None
