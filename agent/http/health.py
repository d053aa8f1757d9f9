"""/v1/health: HTTP <-> Health.* calls. Source: HTTP API, section 3."""

from collections.abc import Awaitable

import msgspec

from acl.access import node_read
from agent.http.asking import ask
from agent.http.catalog import node_meta_of, source_of
from agent.http.parameters import checked_name, refuse_filter
from agent.http.registry import RequestContext, route
from agent.http.response import Response, discovery_headers, json_response
from base.durations import format_duration
from structs.catalog import CheckDefinition, ChecksInStateRequest, ChecksReply, HealthCheck, NodeRequest
from structs.query import QueryOptions

NANOSECONDS_PER_S = 1_000_000_000


class DefinitionJSON(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a check does; fields that are not set are left out."""

    http: str = msgspec.field(name="HTTP", default="")
    tls_skip_verify: bool = msgspec.field(name="TLSSkipVerify", default=False)
    header: dict[str, list[str]] | None = msgspec.field(name="Header", default=None)
    method: str = msgspec.field(name="Method", default="")
    tcp: str = msgspec.field(name="TCP", default="")
    interval: str = msgspec.field(name="Interval", default="")
    timeout: str = msgspec.field(name="Timeout", default="")
    deregister_after: str = msgspec.field(name="DeregisterCriticalServiceAfter", default="")


class CheckJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A check as clients see it; tags are never null."""

    node: str = msgspec.field(name="Node")
    check_id: str = msgspec.field(name="CheckID")
    name: str = msgspec.field(name="Name")
    status: str = msgspec.field(name="Status")
    notes: str = msgspec.field(name="Notes")
    output: str = msgspec.field(name="Output")
    service_id: str = msgspec.field(name="ServiceID")
    service_name: str = msgspec.field(name="ServiceName")
    service_tags: list[str] = msgspec.field(name="ServiceTags")
    definition: DefinitionJSON = msgspec.field(name="Definition")
    create_index: int = msgspec.field(name="CreateIndex")
    modify_index: int = msgspec.field(name="ModifyIndex")


def _duration_text(nanoseconds: int) -> str:
    return format_duration(nanoseconds / NANOSECONDS_PER_S) if nanoseconds else ""


def _definition_json(definition: CheckDefinition) -> DefinitionJSON:
    return DefinitionJSON(
        http=definition.http,
        tls_skip_verify=definition.tls_skip_verify,
        header=definition.header or None,
        method=definition.method,
        tcp=definition.tcp,
        interval=_duration_text(definition.interval_ns),
        timeout=_duration_text(definition.timeout_ns),
        deregister_after=_duration_text(definition.deregister_after_ns),
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
        definition=_definition_json(check.definition),
        create_index=check.create_index,
        modify_index=check.modify_index,
    )


def _checks_answer(reply: ChecksReply) -> Response:
    return json_response([check_json(check) for check in reply.checks], headers=discovery_headers(reply.meta))


@route("/v1/health/node/", "GET", access=node_read("node"), is_write=False)
def node(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the checks of a node and of its services. Blocking; consistency modes.

    `filter` is refused, since ignoring it would answer something else.
    """
    refuse_filter(context.query)
    name = checked_name(context.remainder, "node name")

    def build(options: QueryOptions) -> NodeRequest:
        return NodeRequest(node=name, options=options)

    return ask(context, "Health.NodeChecks", build, ChecksReply, _checks_answer, is_discovery=True)


@route("/v1/health/state/", "GET", access=node_read(), is_write=False)
def state(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the checks that are `passing`, `warning` or `critical`, or `any`. Blocking; consistency modes.

    `near`, `node-meta`: as for /v1/catalog/nodes. `filter` is refused, since ignoring it would answer something else.
    """
    refuse_filter(context.query)
    wanted = checked_name(context.remainder, "check state")
    source, node_meta = source_of(context), node_meta_of(context.query)

    def build(options: QueryOptions) -> ChecksInStateRequest:
        return ChecksInStateRequest(state=wanted, node_meta=node_meta, source=source, options=options)

    return ask(context, "Health.ChecksInState", build, ChecksReply, _checks_answer, is_discovery=True)
