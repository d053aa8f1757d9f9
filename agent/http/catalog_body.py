"""Sans-IO: registrations and deregistrations as clients send them.

Names of fields count in any case and unknown ones are ignored. Everything raises InvalidRequest, naming the field.
What a registration must have is decided in structs/registration.py.

Source: HTTP API, section 2; modern deltas, section 5.
"""

from collections.abc import Callable
from typing import TypeVar

from base.errors import InvalidRequest
from structs.catalog import (
    CheckDefinition,
    ConnectProxy,
    DeregisterCommand,
    HealthCheck,
    NodeService,
    RegisterCommand,
    ServiceAddress,
    ServiceConnect,
    ServiceProxy,
    Upstream,
    Weights,
)
from structs.json_codec import Fields, decode_json, kind_name

T = TypeVar("T")


class CatalogFields(Fields):
    """Fields of registrations: besides what all have, maps of anything and lists of maps."""

    def texts_map(self, name: str) -> dict[str, list[str]] | None:
        """Return a map of lists of strings, None where absent."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(name, "map of lists of strings", value)
        for items in value.values():
            if items is not None and not (isinstance(items, list) and all(isinstance(item, str) for item in items)):
                raise self._wrong(name, "map of lists of strings", value)
        return {key: items or [] for key, items in value.items()}

    def free_map(self, name: str) -> dict[str, object] | None:
        """Return a map of whatever its sender had, None where absent."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(name, "map", value)
        return value

    def inside(self, name: str, read: Callable[["CatalogFields"], T]) -> T | None:
        """Return `read` of the object there, None where absent."""
        value = self.get(name)
        return None if value is None else read(CatalogFields(value, f"{self._what}.{name}"))

    def each(self, name: str, read: Callable[["CatalogFields"], T]) -> list[T] | None:
        """Return `read` of each object in the list there, None where absent; null items are left out."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self._wrong(name, "list", value)
        return [
            read(CatalogFields(item, f"{self._what}.{name}[{position}]"))
            for position, item in enumerate(value)
            if item is not None
        ]

    def duration_ns(self, name: str) -> int:
        """Return nanoseconds, from Go's text or a number of them; an empty text is 0."""
        return 0 if self.get(name) == "" else super().duration_ns(name)


def parse_registration(body: bytes) -> tuple[RegisterCommand, str]:
    """Return the registration in a body and the datacenter that it names."""
    fields = _fields(body, "RegisterRequest")
    checks = fields.each("Checks", read_check) or []
    single = fields.inside("Check", read_check)
    command = RegisterCommand(
        node_id=fields.text("ID"),
        node=fields.text("Node"),
        address=fields.text("Address"),
        tagged_addresses=fields.text_map("TaggedAddresses"),
        node_meta=fields.text_map("NodeMeta"),
        service=fields.inside("Service", read_service),
        checks=checks if single is None else [*checks, single],
        skip_node_update=fields.boolean("SkipNodeUpdate"),
    )
    return command, fields.text("Datacenter")


def parse_deregistration(body: bytes) -> tuple[DeregisterCommand, str]:
    """Return the deregistration in a body and the datacenter that it names."""
    fields = _fields(body, "DeregisterRequest")
    command = DeregisterCommand(
        node=fields.text("Node"), service_id=fields.text("ServiceID"), check_id=fields.text("CheckID")
    )
    return command, fields.text("Datacenter")


def _fields(body: bytes, what: str) -> CatalogFields:
    value = decode_json(body)
    if not isinstance(value, dict):
        raise InvalidRequest(f"{what}: expected a map, got {kind_name(value)}")
    return CatalogFields(value, what)


def read_service(fields: CatalogFields) -> NodeService:
    """Return the service in an object, without indexes."""
    addresses = fields.get("TaggedAddresses")
    if addresses is not None and not isinstance(addresses, dict):
        raise InvalidRequest(f"TaggedAddresses: expected a map, got {kind_name(addresses)}")
    return NodeService(
        kind=fields.text("Kind"),
        service_id=fields.text("ID"),
        service=fields.text("Service"),
        tags=fields.texts("Tags"),
        address=fields.text("Address"),
        meta=fields.text_map("Meta"),
        port=fields.integer("Port"),
        enable_tag_override=fields.boolean("EnableTagOverride"),
        proxy_destination=fields.text("ProxyDestination"),
        connect=fields.inside("Connect", _connect) or ServiceConnect(),
        tagged_addresses=None
        if addresses is None
        else {name: _address(CatalogFields(item, f"TaggedAddresses.{name}")) for name, item in addresses.items()},
        weights=fields.inside("Weights", _weights) or Weights(),
        proxy=fields.inside("Proxy", _proxy),
    )


def _address(fields: CatalogFields) -> ServiceAddress:
    return ServiceAddress(address=fields.text("Address"), port=fields.integer("Port"))


def _weights(fields: CatalogFields) -> Weights:
    return Weights(passing=fields.integer("Passing"), warning=fields.integer("Warning"))


def _connect(fields: CatalogFields) -> ServiceConnect:
    return ServiceConnect(native=fields.boolean("Native"), proxy=fields.inside("Proxy", _managed_proxy))


def _managed_proxy(fields: CatalogFields) -> ConnectProxy:
    return ConnectProxy(
        command=fields.texts("Command"), exec_mode=fields.text("ExecMode"), config=fields.free_map("Config")
    )


def _proxy(fields: CatalogFields) -> ServiceProxy | None:
    proxy = ServiceProxy(
        destination_service_name=fields.text("DestinationServiceName"),
        destination_service_id=fields.text("DestinationServiceID"),
        local_service_address=fields.text("LocalServiceAddress"),
        local_service_port=fields.integer("LocalServicePort"),
        config=fields.free_map("Config"),
        upstreams=fields.each("Upstreams", _upstream),
        mode=fields.text("Mode"),
        mesh_gateway=fields.free_map("MeshGateway") or None,
        expose=fields.free_map("Expose") or None,
        transparent_proxy=fields.free_map("TransparentProxy") or None,
        access_logs=fields.free_map("AccessLogs") or None,
        local_service_socket_path=fields.text("LocalServiceSocketPath"),
    )
    return proxy if proxy != _NO_PROXY else None


_NO_PROXY = ServiceProxy()
"""What services are shown with that are no proxies; clients send back what they were shown."""


def _upstream(fields: CatalogFields) -> Upstream:
    return Upstream(
        destination_type=fields.text("DestinationType"),
        destination_name=fields.text("DestinationName"),
        datacenter=fields.text("Datacenter"),
        local_bind_address=fields.text("LocalBindAddress"),
        local_bind_port=fields.integer("LocalBindPort"),
        config=fields.free_map("Config"),
    )


def read_check(fields: CatalogFields) -> HealthCheck:
    """Return the check in an object, without indexes."""
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
        definition=fields.inside("Definition", _definition) or CheckDefinition(),
        kind=fields.text("Type"),
    )


def _definition(fields: CatalogFields) -> CheckDefinition:
    def duration_ns(name: str) -> int:
        return fields.duration_ns(name) or fields.duration_ns(f"{name}Duration")

    return CheckDefinition(
        http=fields.text("HTTP"),
        tls_skip_verify=fields.boolean("TLSSkipVerify"),
        header=fields.texts_map("Header"),
        method=fields.text("Method"),
        tcp=fields.text("TCP"),
        interval_ns=duration_ns("Interval"),
        timeout_ns=duration_ns("Timeout"),
        deregister_after_ns=duration_ns("DeregisterCriticalServiceAfter"),
        body=fields.text("Body"),
        tls_server_name=fields.text("TLSServerName"),
        disable_redirects=fields.boolean("DisableRedirects"),
        tcp_use_tls=fields.boolean("TCPUseTLS"),
        udp=fields.text("UDP"),
        grpc=fields.text("GRPC"),
        grpc_use_tls=fields.boolean("GRPCUseTLS"),
    )
