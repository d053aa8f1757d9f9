"""/v1/internal/ui: joined views for the web page. Source: HTTP API, section 15."""

from collections.abc import Awaitable
from typing import Any

import msgspec

from acl.access import node_read, service_read
from agent.http.asking import Build, Finish, ask
from agent.http.catalog_json import node_info_json
from agent.http.parameters import checked_name, refuse_filter
from agent.http.registry import RequestContext, route
from agent.http.response import Response, discovery_headers, json_response
from base.errors import NoLeader
from structs.catalog import CheckStatus, NodeDumpReply, NodeDumpRequest, NodeInfo, NodeRequest
from structs.query import Consistency, QueryOptions


class ServiceSummaryJSON(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One service name: where its instances are and how they stand. Checks of a node count for each service on it."""

    kind: str = msgspec.field(name="Kind", default="")
    name: str = msgspec.field(name="Name")
    tags: list[str] = msgspec.field(name="Tags")
    nodes: list[str] = msgspec.field(name="Nodes")
    passing_count: int = msgspec.field(name="ChecksPassing")
    warning_count: int = msgspec.field(name="ChecksWarning")
    critical_count: int = msgspec.field(name="ChecksCritical")


@route("/v1/internal/ui/nodes", "GET", access=node_read(), is_write=False)
def nodes(context: RequestContext) -> Response | Awaitable[Response]:
    """Return all nodes, each with its services and checks. Blocking; consistency modes."""
    refuse_filter(context.query)
    return _ask(context, "Internal.NodeDump", _build_dump, _nodes_answer)


def _build_dump(options: QueryOptions) -> NodeDumpRequest:
    return NodeDumpRequest(options=options)


def _nodes_answer(reply: NodeDumpReply) -> Response:
    return json_response([node_info_json(info) for info in reply.nodes], headers=discovery_headers(reply.meta))


@route("/v1/internal/ui/node/", "GET", access=node_read("node"), is_write=False)
def node(context: RequestContext) -> Response | Awaitable[Response]:
    """Return one node with its services and checks; 404 if it is unknown. Blocking; consistency modes."""
    name = checked_name(context.remainder, "node name")

    def build(options: QueryOptions) -> NodeRequest:
        return NodeRequest(node=name, options=options)

    return _ask(context, "Internal.NodeInfo", build, _node_answer)


def _node_answer(reply: NodeDumpReply) -> Response:
    headers = discovery_headers(reply.meta)
    if not reply.nodes:
        return Response(404, headers=headers)
    return json_response(node_info_json(reply.nodes[0]), headers=headers)


@route("/v1/internal/ui/services", "GET", access=service_read(), is_write=False)
def services(context: RequestContext) -> Response | Awaitable[Response]:
    """Return all services by name, each with its nodes and how many checks stand how. Blocking; consistency modes."""
    refuse_filter(context.query)
    return _ask(context, "Internal.NodeDump", _build_dump, _services_answer)


def _services_answer(reply: NodeDumpReply) -> Response:
    return json_response(summaries_of(reply.nodes), headers=discovery_headers(reply.meta))


def summaries_of(nodes: list[NodeInfo]) -> list[ServiceSummaryJSON]:
    """Return one summary a service name, by name."""
    gathered: dict[str, _Summary] = {}
    for info in nodes:
        on_node = [check.status for check in info.checks if not check.service_id]
        of_service: dict[str, list[str]] = {}
        for check in info.checks:
            if check.service_id:
                of_service.setdefault(check.service_id, []).append(check.status)
        seen = set()
        for service in info.services:
            summary = gathered.setdefault(service.service, _Summary())
            summary.kind = summary.kind or service.kind
            summary.tags.update(service.tags or ())
            summary.nodes[info.node.node] = None
            statuses = of_service.get(service.service_id, [])
            summary.statuses += statuses if service.service in seen else statuses + on_node
            seen.add(service.service)
    return [gathered[name].as_json(name) for name in sorted(gathered)]


class _Summary:
    """What is known of one service name so far."""

    __slots__ = ("kind", "nodes", "statuses", "tags")

    def __init__(self) -> None:
        self.kind = ""
        self.tags: set[str] = set()
        self.nodes: dict[str, None] = {}
        self.statuses: list[str] = []

    def as_json(self, name: str) -> ServiceSummaryJSON:
        return ServiceSummaryJSON(
            kind=self.kind,
            name=name,
            tags=sorted(self.tags),
            nodes=list(self.nodes),
            passing_count=self.statuses.count(CheckStatus.PASSING),
            warning_count=self.statuses.count(CheckStatus.WARNING),
            critical_count=self.statuses.count(CheckStatus.CRITICAL),
        )


def _ask(
    context: RequestContext, method: str, build: Build, finish: Finish[NodeDumpReply]
) -> Response | Awaitable[Response]:
    """Return the answer; while there is no leader that of any server, since the page is looked at then, too."""
    try:
        answer = ask(context, method, build, NodeDumpReply, finish)
    except NoLeader:
        return ask(context, method, _stale(build), NodeDumpReply, finish)
    return answer if isinstance(answer, Response) else _later(context, method, build, finish, answer)


async def _later(
    context: RequestContext, method: str, build: Build, finish: Finish[NodeDumpReply], answer: Awaitable[Response]
) -> Response:
    try:
        return await answer
    except NoLeader:
        again: Any = ask(context, method, _stale(build), NodeDumpReply, finish)
        return again if isinstance(again, Response) else await again


def _stale(build: Build) -> Build:
    return lambda options: build(msgspec.structs.replace(options, consistency=Consistency.STALE))
