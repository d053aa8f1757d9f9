"""/v1/internal/ui: joined views for the web page. Source: HTTP API, section 15."""

from collections.abc import Awaitable
from typing import Any

import msgspec

from acl.access import node_read, service_read, session_read
from agent.http.asking import Build, Finish, ask
from agent.http.filtering import list_answer, predicate_of
from agent.http.parameters import checked_name
from agent.http.registry import RequestContext, route
from agent.http.response import Response, discovery_headers, json_response
from agent.http.session import SessionJSON, session_json
from base.errors import NoLeader
from structs.catalog import CheckStatus, NodeDumpReply, NodeDumpRequest, NodeInfo, NodeRequest
from structs.catalog_json import NodeInfoJSON, node_info_json
from structs.json_codec import encode_json
from structs.query import Consistency, QueryOptions
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
    return _ask(context, "Internal.NodeDump", _build_dump, finish)


def _build_dump(options: QueryOptions) -> NodeDumpRequest:
    return NodeDumpRequest(options=options)


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
    """Return all services by name, each with its nodes and how many checks stand how.

    Blocking; consistency modes; `filter`.
    """
    keep, text = predicate_of(context, ServiceSummaryJSON), context.query.get("filter")

    def make(nodes: list[NodeInfo]) -> bytes:
        rows = summaries_of(nodes)
        return encode_json(rows if keep is None else [row for row in rows if keep(row)])

    def finish(reply: NodeDumpReply) -> Response | Awaitable[Response]:
        return context.services.answers.answer(reply.nodes, (summaries_of, text), reply.meta, make)

    return _ask(context, "Internal.NodeDump", _build_dump, finish)


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
