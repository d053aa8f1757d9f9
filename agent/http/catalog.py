"""/v1/catalog: HTTP <-> Catalog.* calls. Source: HTTP API, section 2; modern deltas, section 5."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec.structs import replace

from acl.access import NOBODY, node_read, node_write, service_read
from agent.http.asking import ask, tell
from agent.http.catalog_body import parse_deregistration, parse_registration
from agent.http.filtering import list_answer, predicate_of
from agent.http.parameters import Query, checked_name, datacenter_of
from agent.http.registry import RequestContext, route
from agent.http.response import JSON_TYPE, Response, discovery_headers, json_response
from base.errors import InvalidRequest
from structs.afar import from_afar
from structs.catalog import (
    DatacentersReply,
    DeregisterRequest,
    ListNodesReply,
    ListNodesRequest,
    ListServicesReply,
    ListServicesRequest,
    NodeRequest,
    NodeServicesReply,
    QuerySource,
    RegisterRequest,
    ServiceNodesReply,
    ServiceRequest,
)
from structs.catalog_json import (
    NodeJSON,
    NodeServiceListJSON,
    NodeServicesJSON,
    ServiceJSON,
    ServiceNodeJSON,
    node_json,
    service_json,
    service_node_json,
)
from structs.cluster import Empty
from structs.json_codec import encode_json
from structs.query import QueryOptions, WriteOptions

T = TypeVar("T")
NEAR_AGENT = "_agent"
"""In `near`: the node of the agent that was asked."""


def source_of(context: RequestContext) -> QuerySource:
    """Return from where distances are measured (`near`), an empty source where they are not asked for."""
    near = context.query.get("near")
    if not near:
        return QuerySource()
    agent = context.agent
    name = agent.node_name if near == NEAR_AGENT else checked_name(near, "node name in near")
    return QuerySource(datacenter=agent.datacenter, node=name)


def node_meta_of(query: Query) -> dict[str, str]:
    """Return the pairs that a node's meta must have: `node-meta=key:value`, repeatable."""
    pairs = (text.partition(":") for text in query.values.get("node-meta", []))
    return {key: value for key, _, value in pairs}


@route("/v1/catalog/datacenters", "GET", access=NOBODY, is_write=False)
def datacenters(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the names of all known datacenters, the nearest first."""

    def finish(reply: DatacentersReply) -> Response:
        return json_response(reply.datacenters)

    return tell(context, "Catalog.ListDatacenters", Empty(), DatacentersReply, finish)


@route("/v1/catalog/nodes", "GET", access=node_read(), is_write=False)
def nodes(context: RequestContext) -> Response | Awaitable[Response]:
    """Return all nodes, by name. Blocking; consistency modes.

    `near`: the nearest to this node first, `_agent` being the agent's own. `node-meta=key:value`, repeatable: only
    nodes with these. `filter`: an expression over one node.
    """
    source, node_meta = source_of(context), node_meta_of(context.query)

    def build(options: QueryOptions) -> ListNodesRequest:
        return ListNodesRequest(node_meta=node_meta, source=source, options=options)

    finish = list_answer(context, "nodes", node_json, NodeJSON)
    return ask(context, "Catalog.ListNodes", build, ListNodesReply, finish, is_discovery=True)


@route("/v1/catalog/node/", "GET", access=node_read("node"), is_write=False)
def node(context: RequestContext) -> Response | Awaitable[Response]:
    """Return a node, named by its name or the beginning of its id, and its services; `null` if it is unknown.

    Blocking; consistency modes. `filter`: an expression over one service.
    """

    def shape(node: NodeJSON | None, services: list[ServiceJSON]) -> NodeServicesJSON | None:
        return None if node is None else NodeServicesJSON(node=node, services={row.service_id: row for row in services})

    return _ask_node(context, shape)


@route("/v1/catalog/node-services/", "GET", access=node_read("node"), is_write=False)
def node_services(context: RequestContext) -> Response | Awaitable[Response]:
    """Return a node and the list of its services; an unknown node is `null` and has none.

    Blocking; consistency modes. `filter`: an expression over one service.
    """

    def shape(node: NodeJSON | None, services: list[ServiceJSON]) -> NodeServiceListJSON:
        return NodeServiceListJSON(node=node, services=services)

    return _ask_node(context, shape)


def _ask_node(
    context: RequestContext, shape: Callable[[NodeJSON | None, list[ServiceJSON]], object]
) -> Response | Awaitable[Response]:
    """Return the answer about the node that the path names: `shape` of it and of its services that are wanted."""
    name = checked_name(context.remainder, "node name")
    keep = predicate_of(context, ServiceJSON)
    see = from_afar if context.translates(datacenter_of(context.query)) else _as_it_is

    def build(options: QueryOptions) -> NodeRequest:
        return NodeRequest(node=name, options=options)

    def finish(reply: NodeServicesReply) -> Response:
        rows = [service_json(see(service)) for service in reply.services]
        wanted = rows if keep is None else [row for row in rows if keep(row)]
        node = node_json(see(reply.node)) if reply.node is not None else None
        return json_response(shape(node, wanted), headers=discovery_headers(reply.meta))

    return ask(context, "Catalog.NodeServices", build, NodeServicesReply, finish, is_discovery=True)


def _as_it_is(item: T) -> T:
    return item


@route("/v1/catalog/services", "GET", access=service_read(), is_write=False)
def services(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the names of all services, each with the tags of all its instances together.

    Blocking; consistency modes. `node-meta=key:value`, repeatable: only instances on nodes with these. `filter`: only
    instances for which an expression over /v1/catalog/service's rows holds.
    """
    query, node_meta = context.query, node_meta_of(context.query)
    predicate_of(context, ServiceNodeJSON)
    expression = query.get("filter").strip()

    def build(options: QueryOptions) -> ListServicesRequest:
        return ListServicesRequest(node_meta=node_meta, options=options, filter=expression)

    def finish(reply: ListServicesReply) -> Response | Awaitable[Response]:
        if query.get("peer"):  # there are none
            return json_response({}, headers=discovery_headers(reply.meta))
        return context.services.answers.answer(reply.services, None, reply.meta, encode_json)

    return ask(context, "Catalog.ListServices", build, ListServicesReply, finish, is_discovery=True)


def service_request_of(context: RequestContext, *, connect: bool) -> ServiceRequest:
    """Return the instances that a path and its query ask for, without options; raises InvalidRequest."""
    return ServiceRequest(
        service=checked_name(context.remainder, "service name"),
        tags=context.query.values.get("tag", []),
        connect=connect,
        node_meta=node_meta_of(context.query),
        source=source_of(context),
    )


@route("/v1/catalog/service/", "GET", access=service_read("service"), is_write=False)
def service(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the instances of a service, each with its node, by node and id. Blocking; consistency modes.

    `tag`, repeatable: only instances with all of these. `near`, `node-meta`: as for /v1/catalog/nodes. `filter`: an
    expression over one row.
    """
    return _instances(context, connect=False)


@route("/v1/catalog/connect/", "GET", access=service_read("service"), is_write=False)
def connect(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the instances that take mesh connections for a service: its proxies, and itself where it is native.

    Otherwise as /v1/catalog/service.
    """
    return _instances(context, connect=True)


def _instances(context: RequestContext, *, connect: bool) -> Response | Awaitable[Response]:
    wanted = service_request_of(context, connect=connect)
    finish = list_answer(context, "instances", service_node_json, ServiceNodeJSON)

    def build(options: QueryOptions) -> ServiceRequest:
        return replace(wanted, options=options)

    return ask(context, "Catalog.ServiceNodes", build, ServiceNodesReply, finish, is_discovery=True)


@route("/v1/catalog/register", "PUT", access=node_write("command.node"), is_write=True)
def register(context: RequestContext) -> Response | Awaitable[Response]:
    """Register a node, perhaps a service of it, and checks; all of it or nothing. Agents do this by themselves.

    Body: `{"Node", "Address", "ID", "Datacenter", "TaggedAddresses", "NodeMeta", "Service", "Check", "Checks",
    "SkipNodeUpdate"}`.
    """
    try:
        command, datacenter = parse_registration(context.body)
    except InvalidRequest as error:
        raise InvalidRequest(f"Request decode failed: {error}") from error
    request = RegisterRequest(command=command, options=_options(context, datacenter))
    return tell(context, "Catalog.Register", request, Empty, _done)


@route("/v1/catalog/deregister", "PUT", access=node_write("command.node"), is_write=True)
def deregister(context: RequestContext) -> Response | Awaitable[Response]:
    """Remove a service of a node, else a check of it, else the node with everything on it.

    Body: `{"Node", "ServiceID", "CheckID", "Datacenter"}`. What is not there is no error.
    """
    try:
        command, datacenter = parse_deregistration(context.body)
    except InvalidRequest as error:
        raise InvalidRequest(f"Request decode failed: {error}") from error
    request = DeregisterRequest(command=command, options=_options(context, datacenter))
    return tell(context, "Catalog.Deregister", request, Empty, _done)


def _options(context: RequestContext, datacenter: str) -> WriteOptions:
    """Return the options of a write whose body may name a datacenter; the query's counts before it."""
    options = context.write_options()
    if datacenter and not datacenter_of(context.query):
        return WriteOptions(token=options.token, datacenter=context.foreign_datacenter(datacenter))
    return options


def _done(_: Empty) -> Response:
    return Response(200, b"true", JSON_TYPE)
