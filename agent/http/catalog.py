"""/v1/catalog: HTTP <-> Catalog.* calls. Source: HTTP API, section 2."""

from collections.abc import Awaitable

import msgspec

from acl.access import NOBODY, node_read
from agent.http.asking import ask, tell
from agent.http.parameters import Query, checked_name, refuse_filter
from agent.http.registry import RequestContext, route
from agent.http.response import JSON_TYPE, Response, discovery_headers, json_response
from structs.catalog import (
    DatacentersReply,
    ListNodesReply,
    ListNodesRequest,
    Node,
    NodeRequest,
    NodeService,
    NodeServicesReply,
    QuerySource,
)
from structs.cluster import Empty
from structs.query import QueryOptions

NEAR_AGENT = "_agent"
"""In `near`: the node of the agent that was asked."""


class NodeJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A node as clients see it. Maps that were never set are null."""

    node_id: str = msgspec.field(name="ID")
    node: str = msgspec.field(name="Node")
    address: str = msgspec.field(name="Address")
    datacenter: str = msgspec.field(name="Datacenter")
    tagged_addresses: dict[str, str] | None = msgspec.field(name="TaggedAddresses")
    meta: dict[str, str] | None = msgspec.field(name="Meta")
    create_index: int = msgspec.field(name="CreateIndex")
    modify_index: int = msgspec.field(name="ModifyIndex")


class ProxyJSON(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A managed proxy; what is not set is left out."""

    command: list[str] | None = msgspec.field(name="Command", default=None)
    exec_mode: str = msgspec.field(name="ExecMode", default="")
    config: dict[str, object] | None = msgspec.field(name="Config", default=None)


class ConnectJSON(msgspec.Struct, frozen=True, kw_only=True):
    """What a service has to do with the mesh."""

    native: bool = msgspec.field(name="Native")
    proxy: ProxyJSON | None = msgspec.field(name="Proxy")


class ServiceJSON(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service of a node. An empty kind is left out; tags are never null."""

    kind: str = msgspec.field(name="Kind", default="")
    service_id: str = msgspec.field(name="ID")
    service: str = msgspec.field(name="Service")
    tags: list[str] = msgspec.field(name="Tags")
    address: str = msgspec.field(name="Address")
    meta: dict[str, str] | None = msgspec.field(name="Meta")
    port: int = msgspec.field(name="Port")
    enable_tag_override: bool = msgspec.field(name="EnableTagOverride")
    proxy_destination: str = msgspec.field(name="ProxyDestination")
    connect: ConnectJSON = msgspec.field(name="Connect")
    create_index: int = msgspec.field(name="CreateIndex")
    modify_index: int = msgspec.field(name="ModifyIndex")


class NodeServicesJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A node and its services by id."""

    node: NodeJSON = msgspec.field(name="Node")
    services: dict[str, ServiceJSON] = msgspec.field(name="Services")


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
    proxy = service.connect.proxy
    return ServiceJSON(
        kind=service.kind,
        service_id=service.service_id,
        service=service.service,
        tags=service.tags or [],
        address=service.address,
        meta=service.meta,
        port=service.port,
        enable_tag_override=service.enable_tag_override,
        proxy_destination=service.proxy_destination,
        connect=ConnectJSON(
            native=service.connect.native,
            proxy=None
            if proxy is None
            else ProxyJSON(command=proxy.command or None, exec_mode=proxy.exec_mode, config=proxy.config or None),
        ),
        create_index=service.create_index,
        modify_index=service.modify_index,
    )


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
    nodes with these. `filter` is refused, since ignoring it would answer something else.
    """
    refuse_filter(context.query)
    source, node_meta = source_of(context), node_meta_of(context.query)

    def build(options: QueryOptions) -> ListNodesRequest:
        return ListNodesRequest(node_meta=node_meta, source=source, options=options)

    return ask(context, "Catalog.ListNodes", build, ListNodesReply, _nodes_answer, is_discovery=True)


def _nodes_answer(reply: ListNodesReply) -> Response:
    return json_response([node_json(node) for node in reply.nodes], headers=discovery_headers(reply.meta))


@route("/v1/catalog/node/", "GET", access=node_read("node"), is_write=False)
def node(context: RequestContext) -> Response | Awaitable[Response]:
    """Return a node, named by its name or the beginning of its id, and its services; `null` if it is unknown.

    Blocking; consistency modes. `filter` is refused, since ignoring it would answer something else.
    """
    refuse_filter(context.query)
    name = checked_name(context.remainder, "node name")

    def build(options: QueryOptions) -> NodeRequest:
        return NodeRequest(node=name, options=options)

    return ask(context, "Catalog.NodeServices", build, NodeServicesReply, _node_answer, is_discovery=True)


def _node_answer(reply: NodeServicesReply) -> Response:
    headers = discovery_headers(reply.meta)
    if reply.node is None:
        return Response(200, b"null", JSON_TYPE, headers)
    services = {service.service_id: service_json(service) for service in reply.services}
    return json_response(NodeServicesJSON(node=node_json(reply.node), services=services), headers=headers)
