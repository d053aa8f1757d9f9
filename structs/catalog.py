"""Nodes, their services and their checks: records, requests and the logged commands.

Source: state store specification, sections 1 to 3; HTTP API, sections 2 and 3; RPC wire format, section 5.
"""

from enum import StrEnum

from base.codec import Record
from structs.query import QueryMeta, QueryOptions, WriteOptions

SERF_CHECK_ID = "serfHealth"
SERF_CHECK_NAME = "Serf Health Status"
SERF_ALIVE_OUTPUT = "Agent alive and reachable"
SERF_FAILED_OUTPUT = "Agent not live or unreachable"
CONSUL_SERVICE = "consul"
"""Id and name of the service that every server is an instance of."""
CONNECT_PROXY = "connect-proxy"
"""Kind of a service that takes connections on behalf of its `proxy_destination`."""


class CheckStatus(StrEnum):
    """How a check stands."""

    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"


class Node(Record, frozen=True, kw_only=True):
    """One host. `node_id` is a UUID in lower case or ""."""

    node_id: str = ""
    node: str
    address: str = ""
    datacenter: str = ""
    tagged_addresses: dict[str, str] | None = None
    meta: dict[str, str] | None = None
    create_index: int = 0
    modify_index: int = 0


class ConnectProxy(Record, frozen=True, kw_only=True):
    """How a managed proxy is run; `config` is what its sender had."""

    command: list[str] | None = None
    exec_mode: str = ""
    config: dict[str, object] | None = None


class ServiceConnect(Record, frozen=True, kw_only=True):
    """What a service has to do with the mesh."""

    native: bool = False
    proxy: ConnectProxy | None = None


class ServiceAddress(Record, frozen=True, kw_only=True):
    """Where a service is reached in one network."""

    address: str = ""
    port: int = 0


class Weights(Record, frozen=True, kw_only=True):
    """How much of the load an instance takes, by its health (SRV records, prepared queries)."""

    passing: int = 1
    warning: int = 1


class Upstream(Record, frozen=True, kw_only=True):
    """A destination for which a proxy opens a listener on its host."""

    destination_type: str = ""
    destination_name: str = ""
    datacenter: str = ""
    local_bind_address: str = ""
    local_bind_port: int = 0
    config: dict[str, object] | None = None


class ServiceProxy(Record, frozen=True, kw_only=True):
    """What a proxy stands for. The fields from `mode` on are kept and given back without being read."""

    destination_service_name: str = ""
    destination_service_id: str = ""
    local_service_address: str = ""
    local_service_port: int = 0
    config: dict[str, object] | None = None
    upstreams: list[Upstream] | None = None
    mode: str = ""
    mesh_gateway: dict[str, object] | None = None
    expose: dict[str, object] | None = None
    transparent_proxy: dict[str, object] | None = None
    access_logs: dict[str, object] | None = None
    local_service_socket_path: str = ""


class NodeService(Record, frozen=True, kw_only=True):
    """One instance of a service, as its node has it. nil and empty lists and maps are kept apart.

    `proxy_destination` is always that of `proxy` where there is one (structs/registration.py sees to it).
    """

    kind: str = ""
    service_id: str
    service: str
    tags: list[str] | None = None
    address: str = ""
    meta: dict[str, str] | None = None
    port: int = 0
    enable_tag_override: bool = False
    proxy_destination: str = ""
    connect: ServiceConnect = ServiceConnect()
    create_index: int = 0
    modify_index: int = 0
    tagged_addresses: dict[str, ServiceAddress] | None = None
    weights: Weights = Weights()
    proxy: ServiceProxy | None = None


class CheckDefinition(Record, frozen=True, kw_only=True):
    """What a check does, for whoever runs it; durations in nanoseconds."""

    http: str = ""
    tls_skip_verify: bool = False
    header: dict[str, list[str]] | None = None
    method: str = ""
    tcp: str = ""
    interval_ns: int = 0
    timeout_ns: int = 0
    deregister_after_ns: int = 0
    body: str = ""
    tls_server_name: str = ""
    disable_redirects: bool = False
    tcp_use_tls: bool = False
    udp: str = ""
    grpc: str = ""
    grpc_use_tls: bool = False


class HealthCheck(Record, frozen=True, kw_only=True):
    """One check of a node (`service_id` "") or of a service on it."""

    node: str
    check_id: str
    name: str = ""
    status: str = ""
    notes: str = ""
    output: str = ""
    service_id: str = ""
    service_name: str = ""
    service_tags: list[str] | None = None
    definition: CheckDefinition = CheckDefinition()
    create_index: int = 0
    modify_index: int = 0
    kind: str = ""
    """Who decides its status: http, tcp, ttl, ...; "" where unknown."""


class RegisterCommand(Record, frozen=True, kw_only=True):
    """Logged: a node, perhaps one service of it, and any number of checks, as one transaction."""

    node_id: str = ""
    node: str
    address: str = ""
    datacenter: str = ""
    tagged_addresses: dict[str, str] | None = None
    node_meta: dict[str, str] | None = None
    service: NodeService | None = None
    checks: list[HealthCheck] = []
    skip_node_update: bool = False


class DeregisterCommand(Record, frozen=True, kw_only=True):
    """Logged: a service of a node, else a check of it, else the whole node."""

    node: str
    service_id: str = ""
    check_id: str = ""


class RegisterRequest(Record, frozen=True, kw_only=True):
    """RPC Catalog.Register."""

    command: RegisterCommand
    options: WriteOptions = WriteOptions()


class DeregisterRequest(Record, frozen=True, kw_only=True):
    """RPC Catalog.Deregister."""

    command: DeregisterCommand
    options: WriteOptions = WriteOptions()


class QuerySource(Record, frozen=True, kw_only=True):
    """From where distances are measured: a node (`near`), or the address of whoever asked."""

    datacenter: str = ""
    segment: str = ""
    node: str = ""
    address: str = ""


class ListNodesRequest(Record, frozen=True, kw_only=True):
    """RPC Catalog.ListNodes."""

    node_meta: dict[str, str] = {}
    source: QuerySource = QuerySource()
    options: QueryOptions = QueryOptions()


class ListNodesReply(Record, frozen=True, kw_only=True):
    """By name, or nearest first where a source was given."""

    nodes: list[Node]
    meta: QueryMeta = QueryMeta()


class NodeRequest(Record, frozen=True, kw_only=True):
    """RPC Catalog.NodeServices, Health.NodeChecks, Coordinate.Node."""

    node: str
    options: QueryOptions = QueryOptions()


class NodeServicesReply(Record, frozen=True, kw_only=True):
    """`node` None: unknown."""

    node: Node | None
    services: list[NodeService] = []
    meta: QueryMeta = QueryMeta()


class ChecksReply(Record, frozen=True, kw_only=True):
    """Of Health.NodeChecks and Health.ChecksInState."""

    checks: list[HealthCheck]
    meta: QueryMeta = QueryMeta()


class ListServicesRequest(Record, frozen=True, kw_only=True):
    """RPC Catalog.ListServices; `node_meta`: only instances on nodes that have all of it."""

    node_meta: dict[str, str] = {}
    options: QueryOptions = QueryOptions()
    filter: str = ""
    """Only instances for which this expression (base/expression.py) over `ServiceNodeJSON` holds; "": all."""


class ListServicesReply(Record, frozen=True, kw_only=True):
    """Names in order, each with the tags of all its instances together, in order."""

    services: dict[str, list[str]]
    meta: QueryMeta = QueryMeta()


class ServiceRequest(Record, frozen=True, kw_only=True):
    """RPC Catalog.ServiceNodes, Health.ServiceNodes and Health.ServiceChecks: the instances of one name.

    `tags`: all of them are needed, in any case. `connect`: those that take mesh connections for that name instead.
    `address`, where the name is "" (Catalog.ServiceNodes only): the instances that have this address of their own.
    """

    service: str
    tags: list[str] = []
    connect: bool = False
    node_meta: dict[str, str] = {}
    source: QuerySource = QuerySource()
    options: QueryOptions = QueryOptions()
    address: str = ""


class ServiceInstance(Record, frozen=True, kw_only=True):
    """An instance with its node and, of Health.ServiceNodes, the checks of the node and then its own."""

    node: Node
    service: NodeService
    checks: list[HealthCheck] = []


class ServiceNodesReply(Record, frozen=True, kw_only=True):
    """Of Catalog.ServiceNodes (without checks) and Health.ServiceNodes: by node and id, or nearest first."""

    instances: list[ServiceInstance]
    meta: QueryMeta = QueryMeta()


class ChecksInStateRequest(Record, frozen=True, kw_only=True):
    """RPC Health.ChecksInState; `state` may be "any"."""

    state: str
    node_meta: dict[str, str] = {}
    source: QuerySource = QuerySource()
    options: QueryOptions = QueryOptions()


class NodeInfo(Record, frozen=True, kw_only=True):
    """A node with everything on it."""

    node: Node
    services: list[NodeService] = []
    checks: list[HealthCheck] = []


class NodeDumpRequest(Record, frozen=True, kw_only=True):
    """RPC Internal.NodeDump."""

    options: QueryOptions = QueryOptions()


class NodeDumpReply(Record, frozen=True, kw_only=True):
    """Of Internal.NodeDump and Internal.NodeInfo (none where the node is unknown): by name."""

    nodes: list[NodeInfo]
    meta: QueryMeta = QueryMeta()


class DatacentersReply(Record, frozen=True, kw_only=True):
    """RPC Catalog.ListDatacenters: nearest first, names break ties."""

    datacenters: list[str]
