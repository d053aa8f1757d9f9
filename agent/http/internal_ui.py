"""/v1/internal/ui: joined views for the web page. Source: HTTP API, section 15."""

from collections.abc import Awaitable
from typing import Any

import msgspec

from acl.access import node_read, service_read, session_read
from agent.http.asking import Build, Finish, Reply, ask
from agent.http.filtering import list_answer
from agent.http.parameters import checked_name
from agent.http.registry import RequestContext, route
from agent.http.response import Response, discovery_headers, json_response
from agent.http.session import SessionJSON, session_json
from base.errors import NoLeader
from structs.catalog import NodeDumpReply, NodeDumpRequest, NodeRequest
from structs.catalog_json import NodeInfoJSON, node_info_json
from structs.query import Consistency, QueryOptions
from structs.service_summary import ServiceSummary, ServiceSummaryReply
from structs.session import ListSessionsRequest, SessionDumpReply


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
    """Return all nodes, each with its services and checks. Blocking; consistency modes; `filter`."""
    finish = list_answer(context, "nodes", node_info_json, NodeInfoJSON)
    return _ask(context, "Internal.NodeDump", _build_dump, NodeDumpReply, finish)


def _build_dump(options: QueryOptions) -> NodeDumpRequest:
    return NodeDumpRequest(options=options)


@route("/v1/internal/ui/node/", "GET", access=node_read("node"), is_write=False)
def node(context: RequestContext) -> Response | Awaitable[Response]:
    """Return one node with its services and checks; 404 if it is unknown. Blocking; consistency modes."""
    name = checked_name(context.remainder, "node name")

    def build(options: QueryOptions) -> NodeRequest:
        return NodeRequest(node=name, options=options)

    return _ask(context, "Internal.NodeInfo", build, NodeDumpReply, _node_answer)


def _node_answer(reply: NodeDumpReply) -> Response:
    headers = discovery_headers(reply.meta)
    if not reply.nodes:
        return Response(404, headers=headers)
    return json_response(node_info_json(reply.nodes[0]), headers=headers)


@route("/v1/internal/ui/services", "GET", access=service_read(), is_write=False)
def services(context: RequestContext) -> Response | Awaitable[Response]:
    """Return all services by name, each with its nodes and how many checks stand how.

    Blocking; consistency modes; `filter`.
    """
    finish = list_answer(context, "services", _json, ServiceSummaryJSON)
    return _ask(context, "Internal.ServiceSummary", _build_dump, ServiceSummaryReply, finish)


def _json(summary: ServiceSummary) -> ServiceSummaryJSON:
    return ServiceSummaryJSON(
        kind=summary.kind,
        name=summary.name,
        tags=summary.tags,
        nodes=summary.nodes,
        passing_count=summary.passing_count,
        warning_count=summary.warning_count,
        critical_count=summary.critical_count,
    )


def _ask(
    context: RequestContext, method: str, build: Build, reply: type[Reply], finish: Finish[Reply]
) -> Response | Awaitable[Response]:
    """Return the answer; while there is no leader that of any server, since the page is looked at then, too."""
    try:
        answer = ask(context, method, build, reply, finish)
    except NoLeader:
        return ask(context, method, _stale(build), reply, finish)
    return answer if isinstance(answer, Response) else _later(context, method, build, reply, finish, answer)


async def _later(
    context: RequestContext,
    method: str,
    build: Build,
    reply: type[Reply],
    finish: Finish[Reply],
    answer: Awaitable[Response],
) -> Response:
    try:
        return await answer
    except NoLeader:
        again: Any = ask(context, method, _stale(build), reply, finish)
        return again if isinstance(again, Response) else await again


def _stale(build: Build) -> Build:
    return lambda options: build(msgspec.structs.replace(options, consistency=Consistency.STALE))


class HeldKeysJSON(SessionJSON, frozen=True, kw_only=True):
    """A session with what it holds."""

    keys: list[str] = msgspec.field(name="Keys")
    keys_count: int = msgspec.field(name="KeysCount")


@route("/v1/internal/ui/sessions", "GET", access=session_read(), is_write=False)
def sessions(context: RequestContext) -> Response | Awaitable[Response]:
    """Return all sessions, each with the first of the keys that it holds and their number. Blocking."""

    def build(options: QueryOptions) -> ListSessionsRequest:
        return ListSessionsRequest(options=options)

    return ask(context, "Internal.SessionDump", build, SessionDumpReply, _sessions_answer, is_discovery=True)


def _sessions_answer(reply: SessionDumpReply) -> Response:
    rows = [
        HeldKeysJSON(**msgspec.structs.asdict(session_json(row.session)), keys=row.keys, keys_count=row.keys_count)
        for row in reply.sessions
    ]
    return json_response(rows, headers=discovery_headers(reply.meta))
