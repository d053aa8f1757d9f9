"""Sans-IO: how the records of catalog, keys and events look in JSON. Source: HTTP API, sections 1 to 9.

One table a record; `mesh/rows.py` reads and writes by them.
"""

from typing import Any

from mesh.rows import BASE64, DURATION_NS, DURATION_S, ListOf, MapOf, Shape, text_map
from structs.catalog import (
    CheckDefinition,
    ConnectProxy,
    HealthCheck,
    Node,
    NodeService,
    ServiceAddress,
    ServiceConnect,
    ServiceInstance,
    ServiceProxy,
    Upstream,
    Weights,
)
from structs.check_spec import CheckSpec
from structs.event import UserEvent
from structs.kv import KVEntry

NODE = Shape(
    Node,
    ID="node_id",
    Node="node",
    Address="address",
    Datacenter="datacenter",
    TaggedAddresses="tagged_addresses",
    Meta="meta",
    CreateIndex="create_index",
    ModifyIndex="modify_index",
)
SERVICE_ADDRESS = Shape(ServiceAddress, Address="address", Port="port")
WEIGHTS = Shape(Weights, Passing="passing", Warning="warning")
UPSTREAM = Shape(
    Upstream,
    DestinationType="destination_type",
    DestinationName="destination_name",
    Datacenter="datacenter",
    LocalBindAddress="local_bind_address",
    LocalBindPort="local_bind_port",
    Config="config",
)
PROXY = Shape(
    ServiceProxy,
    DestinationServiceName="destination_service_name",
    DestinationServiceID="destination_service_id",
    LocalServiceAddress="local_service_address",
    LocalServicePort="local_service_port",
    Config="config",
    Upstreams=("upstreams", ListOf(UPSTREAM)),
    Mode="mode",
    MeshGateway="mesh_gateway",
    Expose="expose",
    TransparentProxy="transparent_proxy",
    AccessLogs="access_logs",
    LocalServiceSocketPath="local_service_socket_path",
)
CONNECT = Shape(
    ServiceConnect,
    Native="native",
    Proxy=("proxy", Shape(ConnectProxy, Command="command", ExecMode="exec_mode", Config="config")),
)
SERVICE = Shape(
    NodeService,
    Kind="kind",
    ID="service_id",
    Service="service",
    Tags="tags",
    Address="address",
    Meta="meta",
    Port="port",
    EnableTagOverride="enable_tag_override",
    ProxyDestination="proxy_destination",
    Connect=("connect", CONNECT),
    TaggedAddresses=("tagged_addresses", MapOf(SERVICE_ADDRESS)),
    Weights=("weights", WEIGHTS),
    Proxy=("proxy", PROXY),
    CreateIndex="create_index",
    ModifyIndex="modify_index",
)
CHECK_DEFINITION = Shape(
    CheckDefinition,
    HTTP="http",
    TLSSkipVerify="tls_skip_verify",
    Header="header",
    Method="method",
    TCP="tcp",
    Interval=("interval_ns", DURATION_NS),
    Timeout=("timeout_ns", DURATION_NS),
    DeregisterCriticalServiceAfter=("deregister_after_ns", DURATION_NS),
    Body="body",
    TLSServerName="tls_server_name",
    DisableRedirects="disable_redirects",
    TCPUseTLS="tcp_use_tls",
    UDP="udp",
    GRPC="grpc",
    GRPCUseTLS="grpc_use_tls",
)
CHECK = Shape(
    HealthCheck,
    Node="node",
    CheckID="check_id",
    Name="name",
    Status="status",
    Notes="notes",
    Output="output",
    ServiceID="service_id",
    ServiceName="service_name",
    ServiceTags="service_tags",
    Definition=("definition", CHECK_DEFINITION),
    Type="kind",
    CreateIndex="create_index",
    ModifyIndex="modify_index",
)
INSTANCE = Shape(ServiceInstance, Node=("node", NODE), Service=("service", SERVICE), Checks=("checks", ListOf(CHECK)))
CHECK_SPEC = Shape(
    CheckSpec,
    CheckID="check_id",
    Name="name",
    Notes="notes",
    ServiceID="service_id",
    Status="status",
    TTL=("ttl_s", DURATION_S),
    Interval=("interval_s", DURATION_S),
    Timeout=("timeout_s", DURATION_S),
    DeregisterCriticalServiceAfter=("deregister_after_s", DURATION_S),
    HTTP="http",
    Method="method",
    Header="header",
    Body="body",
    DisableRedirects="disable_redirects",
    TCP="tcp",
    TCPUseTLS="tcp_use_tls",
    UDP="udp",
    GRPC="grpc",
    GRPCUseTLS="grpc_use_tls",
    H2PING="h2ping",
    H2PingUseTLS="h2ping_use_tls",
    TLSServerName="tls_server_name",
    TLSSkipVerify="tls_skip_verify",
    Args="args",
    DockerContainerID="docker_container_id",
    Shell="shell",
    AliasNode="alias_node",
    AliasService="alias_service",
    SuccessBeforePassing="success_before_passing",
    FailuresBeforeWarning="failures_before_warning",
    FailuresBeforeCritical="failures_before_critical",
    OutputMaxSize="output_bytes_max",
)
KV_ENTRY = Shape(
    KVEntry,
    Key="key",
    Value=("value", BASE64),
    Flags="flags",
    Session="session",
    LockIndex="lock_index",
    CreateIndex="create_index",
    ModifyIndex="modify_index",
)
EVENT = Shape(
    UserEvent,
    ID="event_id",
    Name="name",
    Payload=("payload", BASE64),
    NodeFilter="node_filter",
    ServiceFilter="service_filter",
    TagFilter="tag_filter",
    Version="version",
    LTime="lamport_time",
)

_OF_SERVICE = {name: "Service" + ("Name" if name == "Service" else name) for name in SERVICE.names}
_OF_SERVICE |= {"CreateIndex": "CreateIndex", "ModifyIndex": "ModifyIndex"}
_OF_NODE = {name: "NodeMeta" if name == "Meta" else name for name in NODE.names if not name.endswith("Index")}


def flat_instance(row: Any) -> ServiceInstance:
    """Return an instance from an object that has node and service side by side (`/v1/catalog/service`)."""
    row = text_map(row)
    return ServiceInstance(
        node=NODE.read({name: row.get(flat) for name, flat in _OF_NODE.items()}),
        service=SERVICE.read({name: row.get(flat) for name, flat in _OF_SERVICE.items()}),
    )
