"""Catalog.* and Health.*: nodes, services and checks. Source: RPC wire format, sections 5, 9.1 and 9.4."""

from typing import Any

from structs.catalog import (
    CheckDefinition,
    ChecksInStateRequest,
    ChecksReply,
    ConnectProxy,
    DatacentersReply,
    DeregisterCommand,
    DeregisterRequest,
    HealthCheck,
    ListNodesReply,
    ListNodesRequest,
    Node,
    NodeRequest,
    NodeService,
    NodeServicesReply,
    QuerySource,
    RegisterCommand,
    RegisterRequest,
    ServiceAddress,
    ServiceConnect,
    ServiceProxy,
    Upstream,
    Weights,
)
from structs.cluster import Empty
from structs.foreign.fields import (
    DURATION,
    FLAG,
    FREE,
    PROSE,
    SIGNED,
    TEXT,
    TEXT_MAP,
    TEXT_MAP_FILLED,
    TEXTS,
    UNSIGNED,
    Constant,
    Entry,
    Field,
    Flat,
    Part,
    Shape,
    Table,
    filled,
    list_of,
    map_of,
    optional,
)
from structs.foreign.options import NOTHING, QUERY_META, QUERY_OPTIONS, WRITE_OPTIONS
from structs.foreign.row import ForeignMethod
from structs.query import QueryMeta

INDEXES: tuple[Part, ...] = (
    Field("CreateIndex", "create_index", UNSIGNED),
    Field("ModifyIndex", "modify_index", UNSIGNED),
)
NODE = Table(
    Node,
    Field("ID", "node_id", TEXT),
    Field("Node", "node", TEXT),
    Field("Address", "address", TEXT),
    Field("Datacenter", "datacenter", TEXT),
    Field("TaggedAddresses", "tagged_addresses", TEXT_MAP),
    Field("Meta", "meta", TEXT_MAP),
    *INDEXES,
)
CONNECT_PROXY = Table(
    ConnectProxy,
    Field("Command", "command", TEXTS),
    Field("ExecMode", "exec_mode", TEXT),
    Field("Config", "config", map_of(FREE)),
)
SERVICE_CONNECT = Table(
    ServiceConnect, Field("Native", "native", FLAG), Field("Proxy", "proxy", optional(CONNECT_PROXY.shape))
)
SERVICE_ADDRESS = Table(ServiceAddress, Field("Address", "address", TEXT), Field("Port", "port", SIGNED))
WEIGHTS = Table(Weights, Field("Passing", "passing", SIGNED), Field("Warning", "warning", SIGNED))
GIVEN_WEIGHTS = Shape(lambda value: Weights() if value is None else WEIGHTS.decode(value), WEIGHTS.encode)
"""Older members send none."""
UPSTREAM = Table(
    Upstream,
    Field("DestinationType", "destination_type", TEXT),
    Field("DestinationName", "destination_name", TEXT),
    Field("Datacenter", "datacenter", TEXT),
    Field("LocalBindAddress", "local_bind_address", TEXT),
    Field("LocalBindPort", "local_bind_port", SIGNED),
    Field("Config", "config", map_of(FREE)),
)
SERVICE_PROXY = Table(
    ServiceProxy,
    Field("DestinationServiceName", "destination_service_name", TEXT),
    Field("DestinationServiceID", "destination_service_id", TEXT),
    Field("LocalServiceAddress", "local_service_address", TEXT),
    Field("LocalServicePort", "local_service_port", SIGNED),
    Field("Config", "config", map_of(FREE)),
    Field("Upstreams", "upstreams", list_of(UPSTREAM.shape)),
    Field("Mode", "mode", TEXT),
    Field("MeshGateway", "mesh_gateway", map_of(FREE)),
    Field("Expose", "expose", map_of(FREE)),
    Field("TransparentProxy", "transparent_proxy", map_of(FREE)),
    Field("AccessLogs", "access_logs", map_of(FREE)),
    Field("LocalServiceSocketPath", "local_service_socket_path", TEXT),
)
NODE_SERVICE = Table(
    NodeService,
    Field("Kind", "kind", TEXT),
    Field("ID", "service_id", TEXT),
    Field("Service", "service", TEXT),
    Field("Tags", "tags", TEXTS),
    Field("Address", "address", TEXT),
    Field("Meta", "meta", TEXT_MAP),
    Field("Port", "port", SIGNED),
    Field("EnableTagOverride", "enable_tag_override", FLAG),
    Field("ProxyDestination", "proxy_destination", TEXT),
    Field("Connect", "connect", SERVICE_CONNECT.shape),
    Field("TaggedAddresses", "tagged_addresses", map_of(SERVICE_ADDRESS.shape)),
    Field("Weights", "weights", GIVEN_WEIGHTS),
    Field("Proxy", "proxy", optional(SERVICE_PROXY.shape)),
    *INDEXES,
)
CHECK_DEFINITION = Table(
    CheckDefinition,
    Field("HTTP", "http", TEXT),
    Field("TLSSkipVerify", "tls_skip_verify", FLAG),
    Field("Header", "header", map_of(TEXTS)),
    Field("Method", "method", TEXT),
    Field("TCP", "tcp", TEXT),
    Field("Interval", "interval_ns", DURATION),
    Field("Timeout", "timeout_ns", DURATION),
    Field("DeregisterCriticalServiceAfter", "deregister_after_ns", DURATION),
    Field("Body", "body", TEXT),
    Field("TLSServerName", "tls_server_name", TEXT),
    Field("DisableRedirects", "disable_redirects", FLAG),
    Field("TCPUseTLS", "tcp_use_tls", FLAG),
    Field("UDP", "udp", TEXT),
    Field("GRPC", "grpc", TEXT),
    Field("GRPCUseTLS", "grpc_use_tls", FLAG),
)
HEALTH_CHECK = Table(
    HealthCheck,
    Field("Node", "node", TEXT),
    Field("CheckID", "check_id", TEXT),
    Field("Name", "name", TEXT),
    Field("Status", "status", TEXT),
    Field("Notes", "notes", PROSE),
    Field("Output", "output", PROSE),
    Field("ServiceID", "service_id", TEXT),
    Field("ServiceName", "service_name", TEXT),
    Field("ServiceTags", "service_tags", TEXTS),
    Field("Definition", "definition", CHECK_DEFINITION.shape),
    Field("Type", "kind", TEXT),
    *INDEXES,
)
CHECKS = filled(list_of(HEALTH_CHECK.shape), list)


class RegisteredChecks:
    """One check and a list of them there, one list here: the single one is the last."""

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """See Part."""
        checks = CHECKS.decode(value.get("Checks"))
        if value.get("Check") is not None:
            checks.append(HEALTH_CHECK.decode(value["Check"]))
        arguments["checks"] = checks

    def entries(self, prefix: str) -> list[Entry]:
        """See Part."""
        path = f"{prefix}checks"
        return [Entry("Check", path, _only_check), Entry("Checks", path, _several_checks)]

    def names(self) -> list[str]:
        """See Part."""
        return ["Check", "Checks"]


def _only_check(checks: list[HealthCheck]) -> dict[str, Any] | None:
    return HEALTH_CHECK.encode(checks[0]) if len(checks) == 1 else None


def _several_checks(checks: list[HealthCheck]) -> list[dict[str, Any]] | None:
    return [HEALTH_CHECK.encode(check) for check in checks] if len(checks) > 1 else None


REGISTER_COMMAND = Table(
    RegisterCommand,
    Field("Datacenter", "datacenter", TEXT),
    Field("ID", "node_id", TEXT),
    Field("Node", "node", TEXT),
    Field("Address", "address", TEXT),
    Field("TaggedAddresses", "tagged_addresses", TEXT_MAP),
    Field("NodeMeta", "node_meta", TEXT_MAP),
    Field("Service", "service", optional(NODE_SERVICE.shape)),
    RegisteredChecks(),
    Field("SkipNodeUpdate", "skip_node_update", FLAG),
)
DEREGISTER_COMMAND = Table(
    DeregisterCommand,
    Field("Node", "node", TEXT),
    Field("ServiceID", "service_id", TEXT),
    Field("CheckID", "check_id", TEXT),
)
REGISTER = Table(RegisterRequest, Flat("command", REGISTER_COMMAND), Flat("options", WRITE_OPTIONS))
DEREGISTER = Table(DeregisterRequest, Flat("command", DEREGISTER_COMMAND), Flat("options", WRITE_OPTIONS))

SOURCE = Table(
    QuerySource,
    Field("Datacenter", "datacenter", TEXT),
    Field("Segment", "segment", TEXT),
    Field("Node", "node", TEXT),
    Field("Ip", "address", TEXT),
)
NO_SOURCE = {"Datacenter": "", "Ip": "", "Node": "", "Segment": ""}
NODE_META = Field("NodeMetaFilters", "node_meta", TEXT_MAP_FILLED)
NODE_SOURCE_PARTS: tuple[Part, ...] = (Constant("NodeMetaFilters", None), Constant("Source", NO_SOURCE))
"""For requests that have neither of the two here."""
LIST_NODES = Table(ListNodesRequest, NODE_META, Field("Source", "source", SOURCE.shape), Flat("options", QUERY_OPTIONS))
NODE_REQUEST = Table(NodeRequest, Field("Node", "node", TEXT), Flat("options", QUERY_OPTIONS))
CHECKS_IN_STATE = Table(
    ChecksInStateRequest,
    NODE_META,
    Field("State", "state", TEXT),
    Field("Source", "source", SOURCE.shape),
    Flat("options", QUERY_OPTIONS),
)
NODES_REPLY = Table(
    ListNodesReply, Field("Nodes", "nodes", filled(list_of(NODE.shape), list)), Flat("meta", QUERY_META)
)
CHECKS_REPLY = Table(ChecksReply, Field("HealthChecks", "checks", CHECKS), Flat("meta", QUERY_META))
SERVICES_BY_ID = map_of(NODE_SERVICE.shape)


class ServicesOfNode:
    """A map with the node and its services by id; nil where the node is unknown."""

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """See Part."""
        inner = value.get("NodeServices")
        if not isinstance(inner, dict) or inner.get("Node") is None:
            arguments.update(node=None, services=[])
            return
        arguments["node"] = NODE.decode(inner["Node"])
        arguments["services"] = list((SERVICES_BY_ID.decode(inner.get("Services")) or {}).values())

    def entries(self, prefix: str) -> list[Entry]:
        """See Part."""
        return [Entry("NodeServices", prefix.rstrip("."), _services_of_node)]

    def names(self) -> list[str]:
        """See Part."""
        return ["NodeServices"]


def _services_of_node(reply: NodeServicesReply) -> dict[str, Any] | None:
    if reply.node is None:
        return None
    services = {service.service_id: NODE_SERVICE.encode(service) for service in reply.services}
    return {"Node": NODE.encode(reply.node), "Services": services}


NODE_SERVICES_REPLY = Table(NodeServicesReply, ServicesOfNode(), Flat("meta", QUERY_META))
_NAMES = filled(list_of(TEXT), list)
DATACENTERS = Shape(lambda value: DatacentersReply(datacenters=_NAMES.decode(value)), lambda reply: reply.datacenters)


def _unknown_node_has_no_index(reply: NodeServicesReply, request: NodeRequest) -> NodeServicesReply:
    if reply.node is not None:
        return reply
    meta = reply.meta
    return NodeServicesReply(
        node=None, meta=QueryMeta(known_leader=meta.known_leader, last_contact_ms=meta.last_contact_ms)
    )


ROWS = (
    ForeignMethod(name="Catalog.Register", method="Catalog.Register", request=REGISTER, reply=NOTHING.shape,
                  reply_record=Empty),
    ForeignMethod(name="Catalog.Deregister", method="Catalog.Deregister", request=DEREGISTER, reply=NOTHING.shape,
                  reply_record=Empty),
    ForeignMethod(name="Catalog.ListDatacenters", method="Catalog.ListDatacenters", request=NOTHING,
                  reply=DATACENTERS, reply_record=DatacentersReply, has_datacenter=False),
    ForeignMethod(name="Catalog.ListNodes", method="Catalog.ListNodes", request=LIST_NODES, reply=NODES_REPLY.shape,
                  reply_record=ListNodesReply),
    ForeignMethod(name="Catalog.NodeServices", method="Catalog.NodeServices", request=NODE_REQUEST,
                  reply=NODE_SERVICES_REPLY.shape, reply_record=NodeServicesReply, says=_unknown_node_has_no_index),
    ForeignMethod(name="Health.NodeChecks", method="Health.NodeChecks", request=NODE_REQUEST,
                  reply=CHECKS_REPLY.shape, reply_record=ChecksReply),
    ForeignMethod(name="Health.ChecksInState", method="Health.ChecksInState", request=CHECKS_IN_STATE,
                  reply=CHECKS_REPLY.shape, reply_record=ChecksReply),
)  # fmt: skip
