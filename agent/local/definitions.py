"""Sans-IO. Definitions of services and checks, from the API, from configuration files and from disk.

Source: HTTP API, section 1; HTTP conventions, section 6; agent specification, sections 3 and 4; modern deltas,
section 5. The API ignores names that it does not know, files may not have any. What is refused is refused with
the texts that clients know.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from agent.local.fields import DefinitionFields
from base.codec import Record
from base.errors import InvalidRequest, Refused
from structs import metadata
from structs.catalog import (
    CONNECT_PROXY,
    CheckStatus,
    NodeService,
    RegisterCommand,
    ServiceAddress,
    ServiceConnect,
    ServiceProxy,
    Upstream,
    Weights,
)
from structs.check_spec import CheckSpec
from structs.registration import ADDRESSES_OF_ALL, check_name, completed

KINDS = frozenset({"", CONNECT_PROXY, "mesh-gateway", "ingress-gateway", "terminating-gateway", "api-gateway"})
STATUSES = frozenset(status.value for status in CheckStatus)
DNS_WEIGHT_MAX = 65_535
PORT_MAX = 65_535
DEREGISTER_AFTER_S_MIN = 60.0
"""Shorter times are raised to this: a service that restarts must not be forgotten meanwhile."""
SIDECAR_TEXT = (
    "Connect.SidecarService is not supported by this version: register the proxy as a service of kind connect-proxy"
)
MANAGED_TEXT = "Bad request: Managed proxy registration via the API is disallowed."

_CHECK_NAMES = (
    "id", "check_id", "name", "notes", "service_id", "status", "token", "ttl", "interval", "interval_duration",
    "timeout", "timeout_duration", "deregister_critical_service_after", "deregister_critical_service_after_duration",
    "http", "method", "header", "body", "disable_redirects", "tcp", "tcp_use_tls", "udp", "grpc", "grpc_use_tls",
    "h2ping", "h2ping_use_tls", "tls_server_name", "tls_skip_verify", "args", "script_args", "docker_container_id",
    "shell", "alias_node", "alias_service", "success_before_passing", "failures_before_warning",
    "failures_before_critical", "output_max_size", "namespace", "partition", "enterprise_meta",
)  # fmt: skip
_SERVICE_NAMES = (
    "kind", "id", "name", "service", "tags", "address", "tagged_addresses", "meta", "port", "check", "checks", "token",
    "enable_tag_override", "proxy_destination", "proxy", "connect", "weights", "namespace", "partition", "locality",
    "enterprise_meta", "socket_path",
)  # fmt: skip
"""What files may hold."""


class ServiceDefinition(Record, frozen=True, kw_only=True):
    """A service and the checks that came with it, ids and names filled in."""

    service: NodeService
    checks: list[CheckSpec] = []
    token: str = ""


class CheckDefinition(Record, frozen=True, kw_only=True):
    """A check that came alone."""

    spec: CheckSpec
    token: str = ""


class Definitions(Record, frozen=True, kw_only=True):
    """What configuration files define."""

    services: list[ServiceDefinition] = []
    checks: list[CheckDefinition] = []


def service_from_api(body: object) -> ServiceDefinition:
    """Return what a body of service/register defines; raises InvalidRequest (400), TooLarge (413)."""
    fields = _decoded(body, "Service")
    if fields.section("connect").get("proxy") is not None:
        raise InvalidRequest(MANAGED_TEXT)
    return _service(fields)


def check_from_api(body: object) -> CheckDefinition:
    """Return what a body of check/register defines; raises InvalidRequest, TooLarge."""
    return _check(_decoded(body, "Check"))


def service_from_file(row: Mapping[str, object]) -> ServiceDefinition:
    """Return what a `service` of a configuration file defines; raises InvalidRequest, TooLarge."""
    fields = DefinitionFields(row, "service")
    _refuse_unknown(fields, _SERVICE_NAMES)
    for check in [*fields.sections("check"), *fields.sections("checks")]:
        _refuse_unknown(check, _CHECK_NAMES)
    if fields.section("connect").get("proxy") is not None:
        raise InvalidRequest("service.connect.proxy: managed proxies are not supported")
    return _service(fields)


def check_from_file(row: Mapping[str, object]) -> CheckDefinition:
    """Return what a `check` of a configuration file defines; raises InvalidRequest, TooLarge."""
    fields = DefinitionFields(row, "check")
    _refuse_unknown(fields, _CHECK_NAMES)
    return _check(fields)


def _refuse_unknown(fields: DefinitionFields, known: tuple[str, ...]) -> None:
    unknown = fields.unknown(known)
    if unknown:
        raise InvalidRequest(f"{fields.what}: invalid config key {unknown[0]}")


def _decoded(body: object, what: str) -> DefinitionFields:
    try:
        return DefinitionFields(body, what)
    except InvalidRequest as error:
        raise InvalidRequest(f"Request decode failed: {error}") from error


def _service(fields: DefinitionFields) -> ServiceDefinition:
    try:
        service = _node_service(fields)
        rows = [row for row in (*fields.sections("check"), *fields.sections("checks")) if row]
        specs = [_spec(row) for row in rows]
        token = fields.text("token")
    except InvalidRequest as error:
        raise InvalidRequest(f"Request decode failed: {error}") from error
    service = checked_service(service)
    if fields.section("connect").get("sidecar_service") is not None:
        raise InvalidRequest(SIDECAR_TEXT)
    for spec in specs:
        _check_type(spec)
        if spec.status and spec.status not in STATUSES:
            raise InvalidRequest("Status for checks must 'passing', 'warning', 'critical'")
    named = [_numbered(spec, service, position, len(specs)) for position, spec in enumerate(specs, start=1)]
    _check_ids(named)
    return ServiceDefinition(service=service, checks=named, token=token)


def checked_service(service: NodeService) -> NodeService:
    """Return a service with its id, once nothing is wrong with it; raises InvalidRequest, TooLarge."""
    if not service.service:
        raise InvalidRequest("Missing service name")
    if service.address in ADDRESSES_OF_ALL:
        raise InvalidRequest("Invalid service address")
    complaint = metadata.complaint(service.meta, reserved_allowed=False)
    if complaint:
        raise InvalidRequest(f"Invalid Service Meta: {complaint}")
    if service.kind not in KINDS:
        raise InvalidRequest(f'Kind "{service.kind[:60]}" is unknown')
    complaint = _weights_complaint(service.weights)
    if complaint:
        raise InvalidRequest(f"Invalid Weights: {complaint}")
    if not 0 <= service.port <= PORT_MAX:
        raise InvalidRequest(f"Invalid service port: {service.port} is not from 0 to {PORT_MAX}")
    for name, address in (service.tagged_addresses or {}).items():
        if not 0 <= address.port <= PORT_MAX:
            raise InvalidRequest(f'Invalid port of tagged address "{name}": {address.port}')
    try:
        # What the servers would refuse is refused here, while the one who sent it still listens.
        full = completed(RegisterCommand(node="n", address="a", service=service), datacenter="").service
    except Refused as error:
        raise InvalidRequest(str(error)) from error
    assert full is not None
    return full


def _weights_complaint(weights: Weights) -> str:
    if weights.passing < 1:
        return "Passing must be greater than 0"
    if weights.warning < 0:
        return "Warning must be greater or equal than 0"
    if max(weights.passing, weights.warning) > DNS_WEIGHT_MAX:
        return f"DNS Weight must be between 0 and {DNS_WEIGHT_MAX}"
    return ""


def _node_service(fields: DefinitionFields) -> NodeService:
    proxy = fields.section("proxy")
    connect = fields.section("connect")
    weights = fields.section("weights")
    stands_for = _proxy(proxy) if proxy else None
    return NodeService(
        kind=fields.text("kind"),
        service_id=fields.text("id"),
        service=fields.text("name", "service"),
        tags=fields.texts("tags"),
        address=fields.text("address"),
        meta=fields.text_map("meta"),
        port=fields.integer("port"),
        enable_tag_override=fields.boolean("enable_tag_override"),
        proxy_destination=stands_for.destination_service_name if stands_for else fields.text("proxy_destination"),
        connect=ServiceConnect(native=connect.boolean("native")),
        tagged_addresses=_addresses(fields),
        weights=Weights(passing=weights.integer("passing"), warning=weights.integer("warning"))
        if fields.get("weights") is not None
        else Weights(),
        proxy=stands_for,
    )


def _addresses(fields: DefinitionFields) -> dict[str, ServiceAddress] | None:
    rows = fields.free_map("tagged_addresses")
    if rows is None:
        return None
    found: dict[str, ServiceAddress] = {}
    for name, row in rows.items():
        address = DefinitionFields(row, f"{fields.what}.tagged_addresses.{name}")
        found[name] = ServiceAddress(address=address.text("address"), port=address.integer("port"))
    return found


def _proxy(fields: DefinitionFields) -> ServiceProxy:
    upstreams = [
        Upstream(
            destination_type=row.text("destination_type"),
            destination_name=row.text("destination_name"),
            datacenter=row.text("datacenter"),
            local_bind_address=row.text("local_bind_address"),
            local_bind_port=row.integer("local_bind_port"),
            config=row.free_map("config"),
        )
        for row in fields.sections("upstreams")
    ]
    return ServiceProxy(
        destination_service_name=fields.text("destination_service_name", "destination_service"),
        destination_service_id=fields.text("destination_service_id"),
        local_service_address=fields.text("local_service_address"),
        local_service_port=fields.integer("local_service_port"),
        config=fields.free_map("config"),
        upstreams=upstreams or None,
        mode=fields.text("mode"),
        mesh_gateway=fields.free_map("mesh_gateway"),
        expose=fields.free_map("expose"),
        transparent_proxy=fields.free_map("transparent_proxy"),
        access_logs=fields.free_map("access_logs"),
        local_service_socket_path=fields.text("local_service_socket_path"),
    )


def _check(fields: DefinitionFields) -> CheckDefinition:
    try:
        spec = _spec(fields)
        token = fields.text("token")
    except InvalidRequest as error:
        raise InvalidRequest(f"Request decode failed: {error}") from error
    if not spec.name:
        raise InvalidRequest("Missing check name")
    if spec.status and spec.status not in STATUSES:
        raise InvalidRequest("Bad check status")
    spec = replace(spec, check_id=spec.check_id or spec.name)
    _check_type(spec)
    _check_ids([spec])
    return CheckDefinition(spec=spec, token=token)


def spec_from_disk(type_row: object, check_row: object) -> CheckSpec:
    """Return the check that a file in the data directory defines; raises InvalidRequest, TooLarge.

    Args: `type_row` says how it is found out, `check_row` is the check's row of the catalog.
    """
    spec, row = _spec(DefinitionFields(type_row, "ChkType")), DefinitionFields(check_row, "Check")
    spec = replace(
        spec,
        check_id=row.text("check_id", "id"),
        name=row.text("name"),
        notes=row.text("notes"),
        service_id=row.text("service_id"),
    )
    if spec.kind:
        _check_type(spec)  # checks of maintenance have none
    _check_ids([spec])
    return spec


def service_from_disk(row: object) -> NodeService:
    """Return the service that a file in the data directory defines; raises InvalidRequest, TooLarge."""
    return checked_service(_node_service(DefinitionFields(row, "Service")))


def _spec(fields: DefinitionFields) -> CheckSpec:
    """Return what a check's fields say, nothing filled in but what every check has."""
    after_s = fields.duration_s("deregister_critical_service_after", "deregister_critical_service_after_duration")
    return CheckSpec(
        check_id=fields.text("check_id", "id"),
        name=fields.text("name"),
        notes=fields.text("notes"),
        service_id=fields.text("service_id"),
        status=fields.text("status"),
        ttl_s=fields.duration_s("ttl"),
        interval_s=fields.duration_s("interval", "interval_duration"),
        timeout_s=max(fields.duration_s("timeout", "timeout_duration"), 0.0),
        deregister_after_s=max(after_s, DEREGISTER_AFTER_S_MIN) if after_s > 0 else 0.0,
        http=fields.text("http"),
        method=fields.text("method"),
        header=fields.headers("header"),
        body=fields.text("body"),
        disable_redirects=fields.boolean("disable_redirects"),
        tcp=fields.text("tcp"),
        tcp_use_tls=fields.boolean("tcp_use_tls"),
        udp=fields.text("udp"),
        grpc=fields.text("grpc"),
        grpc_use_tls=fields.boolean("grpc_use_tls"),
        h2ping=fields.text("h2ping"),
        h2ping_use_tls=fields.boolean("h2ping_use_tls", default=True),
        tls_server_name=fields.text("tls_server_name"),
        tls_skip_verify=fields.boolean("tls_skip_verify"),
        args=fields.texts("args", "script_args") or [],
        docker_container_id=fields.text("docker_container_id"),
        shell=fields.text("shell"),
        alias_node=fields.text("alias_node"),
        alias_service=fields.text("alias_service"),
        success_before_passing=max(fields.integer("success_before_passing"), 0),
        failures_before_warning=max(fields.integer("failures_before_warning"), 0),
        failures_before_critical=max(fields.integer("failures_before_critical"), 0),
        output_bytes_max=fields.integer("output_max_size"),
    )


def _check_type(spec: CheckSpec) -> None:
    complaint = _type_complaint(spec)
    if complaint:
        raise InvalidRequest(f"Invalid check: {complaint}")


def _type_complaint(spec: CheckSpec) -> str:
    ways = (spec.http, spec.tcp, spec.udp, spec.grpc, spec.h2ping, spec.docker_container_id or spec.args)
    asks, mirrors = any(ways), bool(spec.alias_node or spec.alias_service)
    if spec.interval_s > 0 and spec.ttl_s > 0:
        return "Interval and TTL cannot both be specified"
    if sum(map(bool, ways)) > 1 or (asks and (mirrors or spec.ttl_s > 0)):
        return "only one of HTTP, TCP, UDP, GRPC, H2PING, Args, Alias and TTL can be specified"
    if asks and spec.interval_s <= 0:
        return "Interval must be > 0 for Script, HTTP, or TCP checks"
    if mirrors and spec.interval_s > 0:
        return "Interval cannot be set for Alias checks"
    if mirrors and spec.ttl_s > 0:
        return "TTL must be not be set for Alias checks"
    if not asks and not mirrors and spec.ttl_s <= 0:
        return "TTL must be > 0 for TTL checks"
    if spec.docker_container_id and not spec.args:
        return "Args must be specified for Docker checks"
    if spec.output_bytes_max < 0:
        return "MaxOutputMaxSize must be positive"
    if spec.failures_before_warning > spec.failures_before_critical:
        return "FailuresBeforeWarning can't be higher than FailuresBeforeCritical"
    return ""


def _numbered(spec: CheckSpec, service: NodeService, position: int, count: int) -> CheckSpec:
    check_id = spec.check_id
    if not check_id:
        check_id = f"service:{service.service_id}" + (f":{position}" if count > 1 else "")
    return replace(
        spec,
        check_id=check_id,
        name=spec.name or f"Service '{service.service}' check",
        service_id=service.service_id,
    )


def _check_ids(specs: list[CheckSpec]) -> None:
    seen: set[str] = set()
    for spec in specs:
        if not spec.check_id:
            raise InvalidRequest("CheckID missing")
        check_name("Check ID", spec.check_id)
        check_name("Service ID", spec.service_id)
        if spec.check_id in seen:
            raise InvalidRequest(f'Invalid check: CheckID "{spec.check_id}" is used twice')
        seen.add(spec.check_id)
