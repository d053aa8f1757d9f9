"""/v1/health: HTTP <-> Health.* calls. Source: HTTP API, section 3."""

from collections.abc import Awaitable

from msgspec.structs import replace

from acl.access import node_read, service_read
from agent.http.asking import Finish, ask
from agent.http.catalog import node_meta_of, service_request_of, source_of
from agent.http.filtering import list_answer
from agent.http.parameters import Query, checked_name, parse_bool
from agent.http.registry import RequestContext, route
from agent.http.response import Response
from base.errors import InvalidRequest
from structs.catalog import (
    ChecksInStateRequest,
    ChecksReply,
    CheckStatus,
    NodeRequest,
    ServiceInstance,
    ServiceNodesReply,
    ServiceRequest,
)
from structs.catalog_json import CheckJSON, InstanceJSON, check_json, instance_json
from structs.query import QueryOptions


def _checks_answer(context: RequestContext) -> Finish[ChecksReply]:
    return list_answer(context, "checks", check_json, CheckJSON)


@route("/v1/health/node/", "GET", access=node_read("node"), is_write=False)
def node(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the checks of a node and of its services. Blocking; consistency modes.

    `filter`: an expression over one check.
    """
    name = checked_name(context.remainder, "node name")

    def build(options: QueryOptions) -> NodeRequest:
        return NodeRequest(node=name, options=options)

    return ask(context, "Health.NodeChecks", build, ChecksReply, _checks_answer(context), is_discovery=True)


@route("/v1/health/state/", "GET", access=node_read(), is_write=False)
def state(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the checks that are `passing`, `warning` or `critical`, or `any`. Blocking; consistency modes.

    `near`, `node-meta`: as for /v1/catalog/nodes. `filter`: an expression over one check.
    """
    wanted = checked_name(context.remainder, "check state")
    source, node_meta = source_of(context), node_meta_of(context.query)

    def build(options: QueryOptions) -> ChecksInStateRequest:
        return ChecksInStateRequest(state=wanted, node_meta=node_meta, source=source, options=options)

    return ask(context, "Health.ChecksInState", build, ChecksReply, _checks_answer(context), is_discovery=True)


@route("/v1/health/checks/", "GET", access=service_read("service"), is_write=False)
def checks(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the checks of the instances of a service, without those of their nodes. Blocking; consistency modes.

    `near`, `node-meta`: as for /v1/catalog/nodes. `filter`: an expression over one check.
    """
    wanted = service_request_of(context, connect=False)

    def build(options: QueryOptions) -> ServiceRequest:
        return replace(wanted, tags=[], options=options)

    return ask(context, "Health.ServiceChecks", build, ChecksReply, _checks_answer(context), is_discovery=True)


@route("/v1/health/service/", "GET", access=service_read("service"), is_write=False)
def service(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the instances of a service, each with its node, the checks of that and its own.

    Blocking; consistency modes. `passing`: only instances all of whose checks are. `tag`, repeatable: only instances
    with all of these. `near`, `node-meta`: as for /v1/catalog/nodes. `filter`: an expression over one row.
    """
    return _instances(context, connect=False)


@route("/v1/health/connect/", "GET", access=service_read("service"), is_write=False)
def connect(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the instances that take mesh connections for a service: its proxies, and itself where it is native.

    Otherwise as /v1/health/service.
    """
    return _instances(context, connect=True)


def _instances(context: RequestContext, *, connect: bool) -> Response | Awaitable[Response]:
    wanted = service_request_of(context, connect=connect)
    only = _is_passing if _only_passing(context.query) else None
    finish = list_answer(context, "instances", instance_json, InstanceJSON, wanted=only)

    def build(options: QueryOptions) -> ServiceRequest:
        return replace(wanted, options=options)

    return ask(context, "Health.ServiceNodes", build, ServiceNodesReply, finish, is_discovery=True)


def _only_passing(query: Query) -> bool:
    """Return whether `passing` is there and doesn't say no; raises InvalidRequest."""
    if not query.has("passing"):
        return False
    value = query.get("passing")
    try:
        return not value or parse_bool(value)
    except ValueError as error:
        raise InvalidRequest("Invalid value for ?passing") from error


def _is_passing(instance: ServiceInstance) -> bool:
    return all(check.status == CheckStatus.PASSING for check in instance.checks)
