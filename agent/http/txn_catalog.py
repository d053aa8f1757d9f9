"""Operations of /v1/txn on nodes, services and checks, out of JSON and into it.

Source: modern deltas, sections 5 and 7. Everything raises InvalidRequest, naming the field, where a
value has the wrong type.
"""

from typing import Any

from agent.http.catalog_json import check_json, node_json, service_json
from base.errors import InvalidRequest
from structs.catalog import (
    CheckDefinition,
    ConnectProxy,
    HealthCheck,
    Node,
    NodeService,
    ServiceAddress,
    ServiceConnect,
    ServiceProxy,
    Upstream,
    Weights,
)
from structs.json_codec import Fields, encode_json, kind_name
from structs.txn import ServiceOnNode, TxnOp, TxnResult


def catalog_operation(entry: Fields) -> TxnOp | None:
    """Return the operation on a node, a service or a check that an entry holds, None if it holds none."""
    if entry.get("Node") is not None:
        fields = entry.inner("Node")
        return TxnOp(verb=fields.text("Verb"), node=node_of(fields.inner("Node")))
    if entry.get("Service") is not None:
        fields = entry.inner("Service")
        service = ServiceOnNode(node=fields.text("Node"), service=service_of(fields.inner("Service")))
        return TxnOp(verb=fields.text("Verb"), service=service)
    if entry.get("Check") is not None:
        fields = entry.inner("Check")
        return TxnOp(verb=fields.text("Verb"), check=check_of(fields.inner("Check")))
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


def service_of(fields: Fields) -> NodeService:
    """Return the service in an object."""
    connect = fields.inner("Connect")
    weights = fields.get("Weights")
    proxy = fields.get("Proxy")
    return NodeService(
        kind=fields.text("Kind"),
        service_id=fields.text("ID"),
        service=fields.text("Service"),
        tags=fields.texts("Tags"),
        address=fields.text("Address"),
        meta=fields.text_map("Meta"),
        port=fields.int64("Port"),
        enable_tag_override=fields.boolean("EnableTagOverride"),
        proxy_destination=fields.text("ProxyDestination") or fields.inner("Proxy").text("DestinationServiceName"),
        connect=ServiceConnect(
            native=connect.boolean("Native"),
            proxy=_managed_proxy_of(connect.inner("Proxy")) if connect.get("Proxy") is not None else None,
        ),
        modify_index=fields.uint64("ModifyIndex"),
        tagged_addresses=_addresses_of(fields),
        weights=Weights() if weights is None else _weights_of(fields.inner("Weights")),
        proxy=None if proxy is None or not _says_anything(proxy) else _proxy_of(fields.inner("Proxy")),
    )


def _says_anything(value: object) -> bool:
    """Whether there is anything but what clients show for services that are no proxies."""
    return any(map(_says_anything, value.values())) if isinstance(value, dict) else bool(value)


def _weights_of(fields: Fields) -> Weights:
    return Weights(passing=fields.int64("Passing"), warning=fields.int64("Warning"))


def _addresses_of(fields: Fields) -> dict[str, ServiceAddress] | None:
    raw = _map_of(fields, "TaggedAddresses")
    if raw is None:
        return None
    found = {}
    for name, value in raw.items():
        inner = Fields(value, f"TaggedAddresses.{name}")
        found[name] = ServiceAddress(address=inner.text("Address"), port=inner.int64("Port"))
    return found


def _map_of(fields: Fields, name: str) -> dict[str, Any] | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, dict):
        raise InvalidRequest(f"{name}: expected type 'map', got {kind_name(value)}")
    return value


def _managed_proxy_of(fields: Fields) -> ConnectProxy:
    return ConnectProxy(
        command=fields.texts("Command"), exec_mode=fields.text("ExecMode"), config=_map_of(fields, "Config")
    )


def _proxy_of(fields: Fields) -> ServiceProxy:
    upstreams = fields.get("Upstreams")
    if upstreams is not None and not isinstance(upstreams, list):
        raise InvalidRequest(f"Upstreams: expected type 'list', got {kind_name(upstreams)}")
    return ServiceProxy(
        destination_service_name=fields.text("DestinationServiceName"),
        destination_service_id=fields.text("DestinationServiceID"),
        local_service_address=fields.text("LocalServiceAddress"),
        local_service_port=fields.int64("LocalServicePort"),
        config=_map_of(fields, "Config"),
        upstreams=None if upstreams is None else [_upstream_of(Fields(each, "Upstreams")) for each in upstreams],
        mode=fields.text("Mode"),
        mesh_gateway=_map_of(fields, "MeshGateway"),
        expose=_map_of(fields, "Expose"),
        transparent_proxy=_map_of(fields, "TransparentProxy"),
        access_logs=_map_of(fields, "AccessLogs"),
        local_service_socket_path=fields.text("LocalServiceSocketPath"),
    )


def _upstream_of(fields: Fields) -> Upstream:
    return Upstream(
        destination_type=fields.text("DestinationType"),
        destination_name=fields.text("DestinationName"),
        datacenter=fields.text("Datacenter"),
        local_bind_address=fields.text("LocalBindAddress"),
        local_bind_port=fields.int64("LocalBindPort"),
        config=_map_of(fields, "Config"),
    )


def check_of(fields: Fields) -> HealthCheck:
    """Return the check in an object."""
    return HealthCheck(
        node=fields.text("Node"),
        check_id=fields.text("CheckID"),
        name=fields.text("Name"),
        status=fields.text("Status"),
        notes=fields.text("Notes"),
        output=fields.text("Output"),
        service_id=fields.text("ServiceID"),
        service_name=fields.text("ServiceName"),
        service_tags=fields.texts("ServiceTags"),
        definition=_definition_of(fields.inner("Definition")),
        modify_index=fields.uint64("ModifyIndex"),
        kind=fields.text("Type"),
    )


def _definition_of(fields: Fields) -> CheckDefinition:
    header = _map_of(fields, "Header")
    return CheckDefinition(
        http=fields.text("HTTP"),
        tls_skip_verify=fields.boolean("TLSSkipVerify"),
        header=None if header is None else {name: Fields(header, "Header").texts(name) or [] for name in header},
        method=fields.text("Method"),
        tcp=fields.text("TCP"),
        interval_ns=_duration_ns(fields, "Interval"),
        timeout_ns=_duration_ns(fields, "Timeout"),
        deregister_after_ns=_duration_ns(fields, "DeregisterCriticalServiceAfter"),
        body=fields.text("Body"),
        tls_server_name=fields.text("TLSServerName"),
        disable_redirects=fields.boolean("DisableRedirects"),
        tcp_use_tls=fields.boolean("TCPUseTLS"),
        udp=fields.text("UDP"),
        grpc=fields.text("GRPC"),
        grpc_use_tls=fields.boolean("GRPCUseTLS"),
    )


def _duration_ns(fields: Fields, name: str) -> int:
    """Some clients add `Duration` to the names."""
    return fields.duration_ns(name) or fields.duration_ns(f"{name}Duration")
