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


class NodeService(Record, frozen=True, kw_only=True):
    """One instance of a service, as its node has it. nil and empty lists and maps are kept apart."""

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


class ChecksInStateRequest(Record, frozen=True, kw_only=True):
    """RPC Health.ChecksInState; `state` may be "any"."""

    state: str
    node_meta: dict[str, str] = {}
    source: QuerySource = QuerySource()
    options: QueryOptions = QueryOptions()


class DatacentersReply(Record, frozen=True, kw_only=True):
    """RPC Catalog.ListDatacenters: nearest first, names break ties."""

    datacenters: list[str]
