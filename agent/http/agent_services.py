"""/v1/agent/service*: this agent's own services. Source: HTTP API, section 1; modern deltas, section 5.

Registering and deregistering answer once the catalog has heard of it; where it can't be reached, that is only logged.
"""

import hashlib
import random
from collections.abc import Awaitable
from typing import Final

import msgspec
import trio

from acl.access import node_write, service_read, service_write
from agent.http.filtering import filtered_map
from agent.http.parameters import Query, checked_name, parse_bool
from agent.http.reader import BodyRule
from agent.http.registry import RequestContext, route
from agent.http.response import JSON_TYPE, Response, json_response, text_response
from agent.http.settings import HTTPSettings
from agent.local.definitions import service_from_api
from agent.local.services import LocalServices, aggregated
from base.durations import parse_duration_s
from base.errors import InvalidRequest, NotFound
from structs.catalog import CheckStatus, HealthCheck, NodeService
from structs.catalog_json import (
    AddressJSON,
    CheckJSON,
    ConnectJSON,
    ProxyJSON,
    WeightsJSON,
    addresses_json,
    check_json,
    connect_json,
    proxy_json,
    weights_json,
)
from structs.json_codec import decode_json, encode_json
from structs.registration import REGISTRATION_BYTES_MAX

JITTER_FRACTION: Final = 1 / 16
_CODES: Final = {"passing": 200, "warning": 429, "critical": 503, "maintenance": 503}
_jitter = random.Random()


class AgentServiceJSON(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service of an agent; tags, meta and weights are never null."""

    kind: str = msgspec.field(name="Kind")
    service_id: str = msgspec.field(name="ID")
    service: str = msgspec.field(name="Service")
    tags: list[str] = msgspec.field(name="Tags")
    meta: dict[str, str] = msgspec.field(name="Meta")
    port: int = msgspec.field(name="Port")
    address: str = msgspec.field(name="Address")
    tagged_addresses: dict[str, AddressJSON] | None = msgspec.field(name="TaggedAddresses", default=None)
    weights: WeightsJSON = msgspec.field(name="Weights")
    enable_tag_override: bool = msgspec.field(name="EnableTagOverride")
    create_index: int = msgspec.field(name="CreateIndex")
    modify_index: int = msgspec.field(name="ModifyIndex")
    content_hash: str = msgspec.field(name="ContentHash", default="")
    proxy_destination: str = msgspec.field(name="ProxyDestination")
    proxy: ProxyJSON | None = msgspec.field(name="Proxy", default=None)
    connect: ConnectJSON | None = msgspec.field(name="Connect")
    datacenter: str = msgspec.field(name="Datacenter")


class ServiceHealthJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A service and how it is."""

    status: str = msgspec.field(name="AggregatedStatus")
    service: AgentServiceJSON | None = msgspec.field(name="Service")
    checks: list[CheckJSON] | None = msgspec.field(name="Checks")


def agent_service_json(service: NodeService, *, datacenter: str, content_hash: str = "") -> AgentServiceJSON:
    """Return a service in its wire shape; `content_hash` "" leaves that out."""
    return AgentServiceJSON(
        kind=service.kind,
        service_id=service.service_id,
        service=service.service,
        tags=service.tags or [],
        meta=service.meta or {},
        port=service.port,
        address=service.address,
        tagged_addresses=addresses_json(service.tagged_addresses),
        weights=weights_json(service.weights),
        enable_tag_override=service.enable_tag_override,
        create_index=0,
        modify_index=0,
        content_hash=content_hash,
        proxy_destination=service.proxy_destination,
        proxy=proxy_json(service.proxy) if service.proxy is not None else None,
        connect=connect_json(service.connect) if service.connect.native else None,
        datacenter=datacenter,
    )


def content_hash_of(service: AgentServiceJSON) -> str:
    """Return what changes with everything that is shown of a service: 64 bits, hexadecimal."""
    return hashlib.blake2b(encode_json(service), digest_size=8).hexdigest()


def registration_rule(settings: HTTPSettings) -> BodyRule:
    """A registration may be as large as one that the servers take."""
    return BodyRule(
        max(REGISTRATION_BYTES_MAX, settings.limits.body_bytes_max),
        "Request body({bytes} bytes) too large, max size: {max} bytes.",
    )


def own_token(context: RequestContext) -> str:
    """Return the token that a request brings itself; the agent's is used where there is none, whenever it is needed."""
    return context.query.get("token") or context.request.head.token


def body_of(context: RequestContext) -> object:
    """Return the body as JSON; raises InvalidRequest."""
    try:
        return decode_json(context.body)
    except InvalidRequest as error:
        raise InvalidRequest(f"Request decode failed: {error}") from error


def wanted_maintenance(query: Query) -> bool:
    """Return what `enable` says; raises InvalidRequest."""
    if not query.has("enable"):
        raise InvalidRequest("Missing value for enable")
    text = query.get("enable")
    try:
        return parse_bool(text)
    except ValueError as error:
        raise InvalidRequest(f'Invalid value for enable: "{text}"') from error


@route("/v1/agent/services", "GET", access=service_read(), is_write=False)
def services(context: RequestContext) -> Response:
    """Return this agent's services by id. `filter`: an expression over one service."""
    datacenter = context.agent.datacenter
    found = context.agent.local.state.services
    rows = {service_id: agent_service_json(found[service_id].service, datacenter=datacenter) for service_id in found}
    return json_response(filtered_map(context, rows, AgentServiceJSON))


@route("/v1/agent/service/", "GET", access=service_read("service"), is_write=False)
def service(context: RequestContext) -> Response | Awaitable[Response]:
    """Return one of this agent's services by its id, with a hash of what is shown; 404 for an unknown one.

    `hash`: waits while that is the hash, for `wait` at most (a duration, 5 minutes by default, 10 at most).
    """
    service_id = checked_name(context.remainder, "service ID")
    answer, content_hash = _service_answer(context, service_id)
    if not context.query.get("hash") or context.query.get("hash") != content_hash:
        return answer
    wait_s = _wait_s(context)
    context.is_blocking = True
    return _when_changed(context, service_id, content_hash, wait_s)


def _wait_s(context: RequestContext) -> float:
    settings, text = context.settings, context.query.get("wait")
    try:
        wait_s = parse_duration_s(text) if text else 0.0
    except ValueError as error:
        raise InvalidRequest("Invalid wait time") from error
    wait_s = min(wait_s, settings.wait_s_max) if wait_s > 0 else settings.wait_default_s
    return wait_s * (1 + _jitter.random() * JITTER_FRACTION)


def _service_answer(context: RequestContext, service_id: str) -> tuple[Response, str]:
    entry = context.agent.local.state.services.get(service_id)
    if entry is None:
        raise NotFound(f"unknown service ID: {service_id}")
    shown = agent_service_json(entry.service, datacenter=context.agent.datacenter)
    content_hash = content_hash_of(shown)
    shown = msgspec.structs.replace(shown, content_hash=content_hash)
    return json_response(shown, headers=f"X-Consul-ContentHash: {content_hash}\r\n".encode()), content_hash


async def _when_changed(context: RequestContext, service_id: str, content_hash: str, wait_s: float) -> Response:
    state = context.agent.local.state
    shown = state.services[service_id].service
    changed = trio.Event()

    def look() -> None:
        """Changes of other services and of checks cost a comparison, and wake nobody."""
        entry = state.services.get(service_id)
        if entry is None or entry.service is not shown:
            changed.set()

    forget = state.subscribe(look)
    try:
        with trio.move_on_after(wait_s):
            while _service_answer(context, service_id)[1] == content_hash:
                shown, changed = state.services[service_id].service, trio.Event()
                await changed.wait()
    finally:
        forget()
    return _service_answer(context, service_id)[0]


@route("/v1/agent/service/register", "PUT", access=service_write("name"), is_write=True, rule_of=registration_rule)
async def register(context: RequestContext) -> Response:
    """Register a service with its checks; one with the same id is replaced.

    Checks with a known id keep their status. `replace-existing-checks`: other checks of the service go.
    """
    definition = service_from_api(body_of(context))
    await context.agent.local.register_service(
        definition, token=own_token(context), replaces_checks=context.query.has("replace-existing-checks")
    )
    return Response(200)


@route("/v1/agent/service/deregister/", "PUT", access=service_write("service"), is_write=True)
async def deregister(context: RequestContext) -> Response:
    """Deregister a service, by its id, and its checks. 404 for an unknown one."""
    await context.agent.local.deregister_service(context.remainder)
    return Response(200)


@route("/v1/agent/service/maintenance/", "PUT", access=service_write("service"), is_write=True)
async def service_maintenance(context: RequestContext) -> Response:
    """Make a service critical (`enable=true`, perhaps with a `reason`), or end that (`enable=false`)."""
    service_id = checked_name(context.remainder, "service ID")
    enable = wanted_maintenance(context.query)
    await context.agent.local.maintain_service(
        service_id, enable=enable, reason=context.query.get("reason"), token=own_token(context)
    )
    return Response(200)


@route("/v1/agent/maintenance", "PUT", access=node_write("node"), is_write=True)
async def maintenance(context: RequestContext) -> Response:
    """Make this node and everything on it critical (`enable=true`, perhaps with a `reason`), or end that."""
    enable = wanted_maintenance(context.query)
    await context.agent.local.maintain_node(enable=enable, reason=context.query.get("reason"), token=own_token(context))
    return Response(200)


@route("/v1/agent/health/service/id/", "GET", access=service_read("service"), is_write=False)
def health_by_id(context: RequestContext) -> Response:
    """Return a service of this agent, by its id, and the worst of its checks and the node's.

    Status: 200 passing, 429 warning, 503 critical or in maintenance, 404 unknown. `format=text`: only the word.
    """
    service_id = checked_name(context.remainder, "service ID")
    local = context.agent.local
    checks = local.state.checks_of_service(service_id)
    if checks is None:
        return _health_answer(
            context,
            404,
            f"ServiceId {service_id} not found",
            ServiceHealthJSON(status=CheckStatus.CRITICAL.value, service=None, checks=None),
        )
    shown = _health(context, local.state.services[service_id].service, checks)
    return _health_answer(context, _CODES[shown.status], shown.status, shown)


@route("/v1/agent/health/service/name/", "GET", access=service_read("service"), is_write=False)
def health_by_name(context: RequestContext) -> Response:
    """Return this agent's services of a name, each with the worst of its checks and the node's.

    Status: that of the worst one, as for `id`.
    """
    name = checked_name(context.remainder, "service name")
    found = [_health(context, service, checks) for service, checks in _named(context.agent.local, name)]
    if not found:
        return _health_answer(context, 404, f"ServiceName {name} Not Found", [])
    worst = max((shown.status for shown in found), key=_ORDER.index)
    return _health_answer(context, _CODES[worst], worst, found)


_ORDER: Final = ("passing", "warning", "critical", "maintenance")


def _named(local: LocalServices, name: str) -> list[tuple[NodeService, list[HealthCheck]]]:
    found = []
    for service_id, entry in local.state.services.items():
        checks = local.state.checks_of_service(service_id) if entry.service.service == name else None
        if checks is not None:
            found.append((entry.service, checks))
    return found


def _health(context: RequestContext, service: NodeService, checks: list[HealthCheck]) -> ServiceHealthJSON:
    return ServiceHealthJSON(
        status=aggregated(checks),
        service=agent_service_json(service, datacenter=context.agent.datacenter),
        checks=[check_json(check) for check in checks],
    )


def _health_answer(context: RequestContext, status: int, reason: str, body: object) -> Response:
    headers = b"X-Consul-Reason: %b\r\n" % reason.encode("utf-8", "replace")
    wants_text = context.query.get("format") == "text" or context.request.head.text(b"accept") == "text/plain"
    if wants_text:
        return text_response(status, reason, headers=headers)
    return Response(status, encode_json(body), JSON_TYPE, headers)
