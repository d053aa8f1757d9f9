"""Sans-IO: nodes, services and checks as clients see them, declared in the order in which their fields are written.

Maps that were never set are null, unless said otherwise. Source: HTTP API, sections 2, 3, 15; modern deltas, section 5.
"""

import msgspec

from base.durations import format_duration
from structs.catalog import (
    CheckDefinition,
    ConnectProxy,
    HealthCheck,
    Node,
    NodeInfo,
    NodeService,
    ServiceAddress,
    ServiceConnect,
    ServiceInstance,
    ServiceProxy,
    Upstream,
    Weights,
)

NANOSECONDS_PER_S = 1_000_000_000


class NodeJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A node."""

    node_id: str = msgspec.field(name="ID")
    node: str = msgspec.field(name="Node")
    address: str = msgspec.field(name="Address")
    datacenter: str = msgspec.field(name="Datacenter")
    tagged_addresses: dict[str, str] | None = msgspec.field(name="TaggedAddresses")
    meta: dict[str, str] | None = msgspec.field(name="Meta")
    create_index: int = msgspec.field(name="CreateIndex")
    modify_index: int = msgspec.field(name="ModifyIndex")


class ManagedProxyJSON(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A managed proxy; what is not set is left out."""

    command: list[str] | None = msgspec.field(name="Command", default=None)
    exec_mode: str = msgspec.field(name="ExecMode", default="")
    config: dict[str, object] | None = msgspec.field(name="Config", default=None)


class ConnectJSON(msgspec.Struct, frozen=True, kw_only=True):
    """What a service has to do with the mesh."""

    native: bool = msgspec.field(name="Native")
    proxy: ManagedProxyJSON | None = msgspec.field(name="Proxy")


class AddressJSON(msgspec.Struct, frozen=True, kw_only=True):
    """Where a service is reached in one network."""

    address: str = msgspec.field(name="Address")
    port: int = msgspec.field(name="Port")


class WeightsJSON(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the load an instance takes."""

    passing: int = msgspec.field(name="Passing")
    warning: int = msgspec.field(name="Warning")


class UpstreamJSON(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A destination of a proxy; what is not set is left out."""

    destination_type: str = msgspec.field(name="DestinationType", default="")
    destination_name: str = msgspec.field(name="DestinationName", default="")
    datacenter: str = msgspec.field(name="Datacenter", default="")
    local_bind_address: str = msgspec.field(name="LocalBindAddress", default="")
    local_bind_port: int = msgspec.field(name="LocalBindPort", default=0)
    config: dict[str, object] | None = msgspec.field(name="Config", default=None)


class ProxyJSON(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a proxy stands for; of a service that is none, three empty fields are shown."""

    destination_service_name: str = msgspec.field(name="DestinationServiceName", default="")
    destination_service_id: str = msgspec.field(name="DestinationServiceID", default="")
    local_service_address: str = msgspec.field(name="LocalServiceAddress", default="")
    local_service_port: int = msgspec.field(name="LocalServicePort", default=0)
    local_service_socket_path: str = msgspec.field(name="LocalServiceSocketPath", default="")
    mode: str = msgspec.field(name="Mode")
    config: dict[str, object] | None = msgspec.field(name="Config", default=None)
    upstreams: list[UpstreamJSON] | None = msgspec.field(name="Upstreams", default=None)
    mesh_gateway: dict[str, object] = msgspec.field(name="MeshGateway")
    expose: dict[str, object] = msgspec.field(name="Expose")
    transparent_proxy: dict[str, object] | None = msgspec.field(name="TransparentProxy", default=None)
    access_logs: dict[str, object] | None = msgspec.field(name="AccessLogs", default=None)


NO_PROXY = ProxyJSON(mode="", mesh_gateway={}, expose={})
NOT_CONNECTED = ConnectJSON(native=False, proxy=None)
NATIVE = ConnectJSON(native=True, proxy=None)
WEIGHTS_USUAL = WeightsJSON(passing=1, warning=1)


class ServiceJSON(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service of a node. An empty kind and empty tagged addresses are left out; tags are never null."""

    kind: str = msgspec.field(name="Kind", default="")
    service_id: str = msgspec.field(name="ID")
    service: str = msgspec.field(name="Service")
    tags: list[str] = msgspec.field(name="Tags")
    address: str = msgspec.field(name="Address")
    tagged_addresses: dict[str, AddressJSON] | None = msgspec.field(name="TaggedAddresses", default=None)
    meta: dict[str, str] | None = msgspec.field(name="Meta")
    port: int = msgspec.field(name="Port")
    weights: WeightsJSON = msgspec.field(name="Weights")
    enable_tag_override: bool = msgspec.field(name="EnableTagOverride")
    proxy_destination: str = msgspec.field(name="ProxyDestination")
    proxy: ProxyJSON = msgspec.field(name="Proxy")
    connect: ConnectJSON = msgspec.field(name="Connect")
    create_index: int = msgspec.field(name="CreateIndex")
    modify_index: int = msgspec.field(name="ModifyIndex")


class ServiceNodeJSON(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An instance and its node in one. Empty tagged addresses are left out; tags and meta of it are never null."""

    node_id: str = msgspec.field(name="ID")
    node: str = msgspec.field(name="Node")
    address: str = msgspec.field(name="Address")
    datacenter: str = msgspec.field(name="Datacenter")
    tagged_addresses: dict[str, str] | None = msgspec.field(name="TaggedAddresses")
    node_meta: dict[str, str] | None = msgspec.field(name="NodeMeta")
    kind: str = msgspec.field(name="ServiceKind")
    service_id: str = msgspec.field(name="ServiceID")
    service: str = msgspec.field(name="ServiceName")
    tags: list[str] = msgspec.field(name="ServiceTags")
    service_address: str = msgspec.field(name="ServiceAddress")
    service_tagged_addresses: dict[str, AddressJSON] | None = msgspec.field(name="ServiceTaggedAddresses", default=None)
    weights: WeightsJSON = msgspec.field(name="ServiceWeights")
    meta: dict[str, str] = msgspec.field(name="ServiceMeta")
    port: int = msgspec.field(name="ServicePort")
    enable_tag_override: bool = msgspec.field(name="ServiceEnableTagOverride")
    proxy_destination: str = msgspec.field(name="ServiceProxyDestination")
    proxy: ProxyJSON = msgspec.field(name="ServiceProxy")
    connect: ConnectJSON = msgspec.field(name="ServiceConnect")
    create_index: int = msgspec.field(name="CreateIndex")
    modify_index: int = msgspec.field(name="ModifyIndex")


class DefinitionJSON(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a check does; fields that are not set are left out."""

    http: str = msgspec.field(name="HTTP", default="")
    tls_server_name: str = msgspec.field(name="TLSServerName", default="")
    tls_skip_verify: bool = msgspec.field(name="TLSSkipVerify", default=False)
    header: dict[str, list[str]] | None = msgspec.field(name="Header", default=None)
    method: str = msgspec.field(name="Method", default="")
    body: str = msgspec.field(name="Body", default="")
    disable_redirects: bool = msgspec.field(name="DisableRedirects", default=False)
    tcp: str = msgspec.field(name="TCP", default="")
    tcp_use_tls: bool = msgspec.field(name="TCPUseTLS", default=False)
    udp: str = msgspec.field(name="UDP", default="")
    grpc: str = msgspec.field(name="GRPC", default="")
    grpc_use_tls: bool = msgspec.field(name="GRPCUseTLS", default=False)
    interval: str = msgspec.field(name="Interval", default="")
    timeout: str = msgspec.field(name="Timeout", default="")
    deregister_after: str = msgspec.field(name="DeregisterCriticalServiceAfter", default="")


NO_DEFINITION = DefinitionJSON()


class CheckJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A check; tags are never null. `Type` says how its status is found out."""

    node: str = msgspec.field(name="Node")
    check_id: str = msgspec.field(name="CheckID")
    name: str = msgspec.field(name="Name")
    status: str = msgspec.field(name="Status")
    notes: str = msgspec.field(name="Notes")
    output: str = msgspec.field(name="Output")
    service_id: str = msgspec.field(name="ServiceID")
    service_name: str = msgspec.field(name="ServiceName")
    service_tags: list[str] = msgspec.field(name="ServiceTags")
    kind: str = msgspec.field(name="Type")
    definition: DefinitionJSON = msgspec.field(name="Definition")
    create_index: int = msgspec.field(name="CreateIndex")
    modify_index: int = msgspec.field(name="ModifyIndex")


class InstanceJSON(msgspec.Struct, frozen=True, kw_only=True):
    """An instance, its node, the checks of the node and its own."""

    node: NodeJSON = msgspec.field(name="Node")
    service: ServiceJSON = msgspec.field(name="Service")
    checks: list[CheckJSON] = msgspec.field(name="Checks")


class NodeServicesJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A node and its services by id."""

    node: NodeJSON = msgspec.field(name="Node")
    services: dict[str, ServiceJSON] = msgspec.field(name="Services")


class NodeServiceListJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A node, null where it is unknown, and its services in order."""

    node: NodeJSON | None = msgspec.field(name="Node")
    services: list[ServiceJSON] = msgspec.field(name="Services")


class NodeInfoJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A node with everything on it, for the web page."""

    node_id: str = msgspec.field(name="ID")
    node: str = msgspec.field(name="Node")
    address: str = msgspec.field(name="Address")
    tagged_addresses: dict[str, str] | None = msgspec.field(name="TaggedAddresses")
    meta: dict[str, str] | None = msgspec.field(name="Meta")
    services: list[ServiceJSON] = msgspec.field(name="Services")
    checks: list[CheckJSON] = msgspec.field(name="Checks")


def node_json(node: Node) -> NodeJSON:
    """Return a node in its wire shape."""
    return NodeJSON(
        node_id=node.node_id,
        node=node.node,
        address=node.address,
        datacenter=node.datacenter,
        tagged_addresses=node.tagged_addresses,
        meta=node.meta,
        create_index=node.create_index,
        modify_index=node.modify_index,
    )


def service_json(service: NodeService) -> ServiceJSON:
    """Return a service in its wire shape."""
    return ServiceJSON(
        kind=service.kind,
        service_id=service.service_id,
        service=service.service,
        tags=service.tags or [],
        address=service.address,
        tagged_addresses=addresses_json(service.tagged_addresses),
        meta=service.meta,
        port=service.port,
        weights=weights_json(service.weights),
        enable_tag_override=service.enable_tag_override,
        proxy_destination=service.proxy_destination,
        proxy=proxy_json(service.proxy),
        connect=connect_json(service.connect),
        create_index=service.create_index,
        modify_index=service.modify_index,
    )


def service_node_json(instance: ServiceInstance) -> ServiceNodeJSON:
    """Return an instance and its node as one flat object."""
    node, service = instance.node, instance.service
    return ServiceNodeJSON(
        node_id=node.node_id,
        node=node.node,
        address=node.address,
        datacenter=node.datacenter,
        tagged_addresses=node.tagged_addresses,
        node_meta=node.meta,
        kind=service.kind,
        service_id=service.service_id,
        service=service.service,
        tags=service.tags or [],
        service_address=service.address,
        service_tagged_addresses=addresses_json(service.tagged_addresses),
        weights=weights_json(service.weights),
        meta=service.meta or {},
        port=service.port,
        enable_tag_override=service.enable_tag_override,
        proxy_destination=service.proxy_destination,
        proxy=proxy_json(service.proxy),
        connect=connect_json(service.connect),
        create_index=service.create_index,
        modify_index=service.modify_index,
    )


def check_json(check: HealthCheck) -> CheckJSON:
    """Return a check in its wire shape."""
    return CheckJSON(
        node=check.node,
        check_id=check.check_id,
        name=check.name,
        status=check.status,
        notes=check.notes,
        output=check.output,
        service_id=check.service_id,
        service_name=check.service_name,
        service_tags=check.service_tags or [],
        kind=check.kind,
        definition=definition_json(check.definition),
        create_index=check.create_index,
        modify_index=check.modify_index,
    )


def instance_json(instance: ServiceInstance) -> InstanceJSON:
    """Return an instance with its node and checks in its wire shape."""
    return InstanceJSON(
        node=node_json(instance.node),
        service=service_json(instance.service),
        checks=[check_json(check) for check in instance.checks],
    )


def node_info_json(info: NodeInfo) -> NodeInfoJSON:
    """Return a node with everything on it in its wire shape."""
    node = info.node
    return NodeInfoJSON(
        node_id=node.node_id,
        node=node.node,
        address=node.address,
        tagged_addresses=node.tagged_addresses,
        meta=node.meta,
        services=[service_json(service) for service in info.services],
        checks=[check_json(check) for check in info.checks],
    )


def weights_json(weights: Weights) -> WeightsJSON:
    """Return weights in their wire shape."""
    if weights.passing == 1 and weights.warning == 1:
        return WEIGHTS_USUAL
    return WeightsJSON(passing=weights.passing, warning=weights.warning)


def addresses_json(addresses: dict[str, ServiceAddress] | None) -> dict[str, AddressJSON] | None:
    """Return the addresses of a service by network; None where there are none."""
    if not addresses:
        return None
    return {name: AddressJSON(address=each.address, port=each.port) for name, each in addresses.items()}


def connect_json(connect: ServiceConnect) -> ConnectJSON:
    """Return what a service has to do with the mesh in its wire shape."""
    proxy = connect.proxy
    if proxy is None:
        return NATIVE if connect.native else NOT_CONNECTED
    return ConnectJSON(native=connect.native, proxy=managed_proxy_json(proxy))


def managed_proxy_json(proxy: ConnectProxy) -> ManagedProxyJSON:
    """Return a managed proxy in its wire shape."""
    return ManagedProxyJSON(command=proxy.command or None, exec_mode=proxy.exec_mode, config=proxy.config or None)


def proxy_json(proxy: ServiceProxy | None) -> ProxyJSON:
    """Return what a proxy stands for in its wire shape."""
    if proxy is None:
        return NO_PROXY
    return ProxyJSON(
        destination_service_name=proxy.destination_service_name,
        destination_service_id=proxy.destination_service_id,
        local_service_address=proxy.local_service_address,
        local_service_port=proxy.local_service_port,
        local_service_socket_path=proxy.local_service_socket_path,
        mode=proxy.mode,
        config=proxy.config or None,
        upstreams=[upstream_json(upstream) for upstream in proxy.upstreams] if proxy.upstreams else None,
        mesh_gateway=proxy.mesh_gateway or {},
        expose=proxy.expose or {},
        transparent_proxy=proxy.transparent_proxy or None,
        access_logs=proxy.access_logs or None,
    )


def upstream_json(upstream: Upstream) -> UpstreamJSON:
    """Return a destination of a proxy in its wire shape."""
    return UpstreamJSON(
        destination_type=upstream.destination_type,
        destination_name=upstream.destination_name,
        datacenter=upstream.datacenter,
        local_bind_address=upstream.local_bind_address,
        local_bind_port=upstream.local_bind_port,
        config=upstream.config or None,
    )


_UNSET = CheckDefinition()


def definition_json(definition: CheckDefinition) -> DefinitionJSON:
    """Return what a check does in its wire shape."""
    if definition == _UNSET:
        return NO_DEFINITION
    return DefinitionJSON(
        http=definition.http,
        tls_server_name=definition.tls_server_name,
        tls_skip_verify=definition.tls_skip_verify,
        header=definition.header or None,
        method=definition.method,
        body=definition.body,
        disable_redirects=definition.disable_redirects,
        tcp=definition.tcp,
        tcp_use_tls=definition.tcp_use_tls,
        udp=definition.udp,
        grpc=definition.grpc,
        grpc_use_tls=definition.grpc_use_tls,
        interval=_duration_text(definition.interval_ns),
        timeout=_duration_text(definition.timeout_ns),
        deregister_after=_duration_text(definition.deregister_after_ns),
    )


def _duration_text(nanoseconds: int) -> str:
    return format_duration(nanoseconds / NANOSECONDS_PER_S) if nanoseconds else ""
