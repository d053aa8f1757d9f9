"""/v1/query: HTTP <-> PreparedQuery.* calls. Source: HTTP API, section 8; HTTP conventions, sections 1 to 3."""

import re
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import msgspec
from msgspec.structs import replace

from acl.access import NOBODY, query_read, query_write
from agent.http.asking import ask, tell
from agent.http.catalog import NEAR_AGENT
from agent.http.errors import refused
from agent.http.parameters import checked_name, parse_bool
from agent.http.registry import RequestContext, route
from agent.http.response import Response, discovery_headers, json_response, meta_headers, text_response
from base.errors import InvalidRequest, MeshError, Refused
from structs.afar import from_afar
from structs.catalog import QuerySource, ServiceInstance
from structs.catalog_json import InstanceJSON, instance_json
from structs.json_codec import Fields, decode_json
from structs.prepared_query import (
    LIMIT_MAX,
    NOT_FOUND_TEXT,
    ExecuteReply,
    ExecuteRequest,
    ExplainReply,
    ListPreparedQueriesRequest,
    PreparedQueriesReply,
    PreparedQuery,
    PreparedQueryApplyReply,
    PreparedQueryApplyRequest,
    PreparedQueryOp,
    PreparedQueryRequest,
    QueryFailover,
    QueryTemplate,
    ServiceQuery,
)
from structs.query import QueryOptions

EXECUTE, EXPLAIN = "/execute", "/explain"
ALLOW_QUERY = b"Allow: OPTIONS,GET,PUT,DELETE\r\n"
ALLOW_ASKED = b"Allow: OPTIONS,GET\r\n"
NANOSECONDS_PER_MS = 1_000_000
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII).fullmatch
_UNSUPPORTED = ("Peer", "SamenessGroup", "ServiceMeta")
"""Of the service part. Storing a query without them would answer something else than was asked for."""


class TemplateJSON(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a query a template."""

    kind: str = msgspec.field(name="Type")
    regexp: str = msgspec.field(name="Regexp")
    remove_empty_tags: bool = msgspec.field(name="RemoveEmptyTags")


class FailoverJSON(msgspec.Struct, frozen=True, kw_only=True):
    """Where else to look."""

    nearest_n: int = msgspec.field(name="NearestN")
    datacenters: list[str] | None = msgspec.field(name="Datacenters")


class ServiceQueryJSON(msgspec.Struct, frozen=True, kw_only=True):
    """Which instances are wanted. Lists and maps that were never set are null."""

    service: str = msgspec.field(name="Service")
    failover: FailoverJSON = msgspec.field(name="Failover")
    only_passing: bool = msgspec.field(name="OnlyPassing")
    ignore_check_ids: list[str] | None = msgspec.field(name="IgnoreCheckIDs")
    near: str = msgspec.field(name="Near")
    tags: list[str] | None = msgspec.field(name="Tags")
    node_meta: dict[str, str] | None = msgspec.field(name="NodeMeta")
    connect: bool = msgspec.field(name="Connect")


class DNSJSON(msgspec.Struct, frozen=True, kw_only=True):
    """What DNS answers carry."""

    ttl: str = msgspec.field(name="TTL")


class PreparedQueryJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A query as clients see it."""

    query_id: str = msgspec.field(name="ID")
    name: str = msgspec.field(name="Name")
    session: str = msgspec.field(name="Session")
    token: str = msgspec.field(name="Token")
    template: TemplateJSON = msgspec.field(name="Template")
    service: ServiceQueryJSON = msgspec.field(name="Service")
    dns: DNSJSON = msgspec.field(name="DNS")
    create_index: int = msgspec.field(name="CreateIndex")
    modify_index: int = msgspec.field(name="ModifyIndex")


class ExecuteJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an execution."""

    service: str = msgspec.field(name="Service")
    nodes: list[InstanceJSON] = msgspec.field(name="Nodes")
    dns: DNSJSON = msgspec.field(name="DNS")
    datacenter: str = msgspec.field(name="Datacenter")
    failovers: int = msgspec.field(name="Failovers")
    index: int = msgspec.field(name="Index")
    last_contact_ns: int = msgspec.field(name="LastContact")
    known_leader: bool = msgspec.field(name="KnownLeader")
    consistency: str = msgspec.field(name="ConsistencyLevel")


class ExplainJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The query that a name leads to."""

    query: PreparedQueryJSON = msgspec.field(name="Query")
    index: int = msgspec.field(name="Index")
    last_contact_ns: int = msgspec.field(name="LastContact")
    known_leader: bool = msgspec.field(name="KnownLeader")
    consistency: str = msgspec.field(name="ConsistencyLevel")


def query_json(query: PreparedQuery) -> PreparedQueryJSON:
    """Return a query in its wire shape."""
    template, service, failover = query.template, query.service, query.service.failover
    return PreparedQueryJSON(
        query_id=query.query_id,
        name=query.name,
        session=query.session,
        token=query.token,
        template=TemplateJSON(kind=template.kind, regexp=template.regexp, remove_empty_tags=template.remove_empty_tags),
        service=ServiceQueryJSON(
            service=service.service,
            failover=FailoverJSON(nearest_n=failover.nearest_n, datacenters=failover.datacenters),
            only_passing=service.only_passing,
            ignore_check_ids=service.ignore_check_ids,
            near=service.near,
            tags=service.tags,
            node_meta=service.node_meta,
            connect=service.connect,
        ),
        dns=DNSJSON(ttl=query.dns_ttl),
        create_index=query.create_index,
        modify_index=query.modify_index,
    )


def parse_query(body: bytes) -> PreparedQuery:
    """Return the query in a body, without id unless it has one; raises InvalidRequest."""
    try:
        fields = Fields(decode_json(body), "query")
        service = fields.inner("Service")
        failover = service.inner("Failover")
        template = fields.inner("Template")
        unsupported = [name for name in _UNSUPPORTED if service.get(name)]
        if failover.get("Targets"):
            unsupported.append("Failover.Targets")
        if unsupported:
            raise InvalidRequest(f"{unsupported[0]} of a prepared query is not supported")
        return PreparedQuery(
            query_id=fields.text("ID"),
            name=fields.text("Name"),
            session=fields.text("Session"),
            token=fields.text("Token"),
            template=QueryTemplate(
                kind=template.text("Type"),
                regexp=template.text("Regexp"),
                remove_empty_tags=template.boolean("RemoveEmptyTags"),
            ),
            service=ServiceQuery(
                service=service.text("Service"),
                failover=QueryFailover(
                    nearest_n=failover.integer("NearestN"), datacenters=failover.texts("Datacenters")
                ),
                only_passing=service.boolean("OnlyPassing"),
                ignore_check_ids=service.texts("IgnoreCheckIDs"),
                near=service.text("Near"),
                tags=service.texts("Tags"),
                node_meta=service.text_map("NodeMeta"),
                connect=service.boolean("Connect"),
            ),
            dns_ttl=fields.inner("DNS").text("TTL"),
        )
    except InvalidRequest as error:
        raise InvalidRequest(f"Request decode failed: {error}") from error


# Queries as such


@route("/v1/query", "POST", access=query_write("query.name"), is_write=True)
def create(context: RequestContext) -> Response | Awaitable[Response]:
    """Create a query and return its id: `{"ID"}`.

    Body: `{"Name", "Session", "Token", "Template": {"Type": "name_prefix_match", "Regexp", "RemoveEmptyTags"},
    "Service": {"Service", "Failover": {"NearestN", "Datacenters"}, "OnlyPassing", "IgnoreCheckIDs", "Near", "Tags",
    "NodeMeta", "Connect"}, "DNS": {"TTL"}}`.
    """

    def finish(reply: PreparedQueryApplyReply) -> Response:
        return json_response({"ID": reply.query_id})

    return _apply(context, PreparedQueryOp.CREATE, parse_query(context.body), finish)


@route("/v1/query", "GET", access=query_read(), is_write=False)
def list_queries(context: RequestContext) -> Response | Awaitable[Response]:
    """Return all queries, by id. Blocking; consistency modes."""

    def build(options: QueryOptions) -> ListPreparedQueriesRequest:
        return ListPreparedQueriesRequest(options=options)

    return ask(context, "PreparedQuery.List", build, PreparedQueriesReply, _queries_answer)


def _queries_answer(reply: PreparedQueriesReply) -> Response:
    return json_response([query_json(query) for query in reply.queries], headers=meta_headers(reply.meta))


@route("/v1/query/", "GET", access=query_read(), is_write=False)
def read(context: RequestContext) -> Response | Awaitable[Response]:
    """Return one query by its id, in a list. Blocking; consistency modes. 404 `Query not found`.

    `/v1/query/<id or name>/execute` returns the healthy instances that the query is about, of another datacenter if
    there are none here and the query says where else to look. `near`: the nearest to this node first, `_agent` being
    the agent's own and `_ip` the one that has the caller's address (`X-Forwarded-For` counts); `limit`: no more than
    so many; `connect=true`: those that take mesh connections. Consistency modes; does not block.

    `/v1/query/<name>/explain` returns the query that the name leads to, a template filled in.
    """
    name = context.remainder
    if name.endswith(EXECUTE):
        return _or_not_found(lambda: _execute(context, checked_name(name.removesuffix(EXECUTE), "query name")))
    if name.endswith(EXPLAIN):
        return _or_not_found(lambda: _explain(context, checked_name(name.removesuffix(EXPLAIN), "query name")))
    query_id = checked_name(name, "query ID")

    def build(options: QueryOptions) -> PreparedQueryRequest:
        return PreparedQueryRequest(query_id=query_id, options=options)

    return _or_not_found(lambda: ask(context, "PreparedQuery.Get", build, PreparedQueriesReply, _query_answer))


def _query_answer(reply: PreparedQueriesReply) -> Response:
    if not reply.queries:
        return text_response(404, NOT_FOUND_TEXT, headers=meta_headers(reply.meta))
    return _queries_answer(reply)


@route("/v1/query/", "PUT", access=query_write("query.name"), is_write=True)
def update(context: RequestContext) -> Response | Awaitable[Response]:
    """Replace a query as a whole; the body is that of a new one."""
    query_id = _written_id(context)
    if isinstance(query_id, Response):
        return query_id
    query = parse_query(context.body) if context.body else PreparedQuery()
    return _apply(context, PreparedQueryOp.UPDATE, replace(query, query_id=query_id), _done)


@route("/v1/query/", "DELETE", access=query_write("query.name"), is_write=True)
def delete(context: RequestContext) -> Response | Awaitable[Response]:
    """Delete a query."""
    query_id = _written_id(context)
    if isinstance(query_id, Response):
        return query_id
    return _apply(context, PreparedQueryOp.DELETE, PreparedQuery(query_id=query_id), _done)


@route("/v1/query/", "OPTIONS", access=NOBODY, is_write=False)
def options(context: RequestContext) -> Response:
    """Return in `Allow` what can be done with a query, or with its execution."""
    asked = context.remainder.endswith((EXECUTE, EXPLAIN))
    return Response(200, headers=ALLOW_ASKED if asked else ALLOW_QUERY)


def _written_id(context: RequestContext) -> str | Response:
    """Return the id at the end of the path, or the refusal of a write to what can only be read."""
    if context.remainder.endswith((EXECUTE, EXPLAIN)):
        response = refused(405, f"method {context.method} not allowed", is_write=True)
        response.headers += ALLOW_ASKED
        return response
    return checked_name(context.remainder, "query ID")


def _apply(
    context: RequestContext,
    op: PreparedQueryOp,
    query: PreparedQuery,
    finish: Callable[[PreparedQueryApplyReply], Response],
) -> Response | Awaitable[Response]:
    request = PreparedQueryApplyRequest(op=op, query=query, options=context.write_options())
    return tell(context, "PreparedQuery.Apply", request, PreparedQueryApplyReply, finish)


def _done(reply: PreparedQueryApplyReply) -> Response:
    return Response(200)


# What comes of them


def _execute(context: RequestContext, name: str) -> Response | Awaitable[Response]:
    def finish(reply: ExecuteReply) -> Response:
        translates = context.translates(reply.datacenter)
        return _execute_answer(reply, [from_afar(one) for one in reply.instances] if translates else reply.instances)

    return ask(context, "PreparedQuery.Execute", _asking(context, name), ExecuteReply, finish)


def _explain(context: RequestContext, name: str) -> Response | Awaitable[Response]:
    return ask(context, "PreparedQuery.Explain", _asking(context, name), ExplainReply, _explain_answer)


def _asking(context: RequestContext, name: str) -> Callable[[QueryOptions], ExecuteRequest]:
    query, agent = context.query, context.agent
    near = query.get("near")
    if near:
        near = agent.node_name if near == NEAR_AGENT else checked_name(near, "node name in near")
    request = ExecuteRequest(
        name=name,
        limit=_limit(query.get("limit")),
        connect=_flag("connect", query.get("connect")),
        source=QuerySource(datacenter=agent.datacenter, node=near, address=caller_address(context)),
        agent=QuerySource(datacenter=agent.datacenter, node=agent.node_name),
    )

    def build(options: QueryOptions) -> ExecuteRequest:
        return replace(request, options=replace(options, index_min=0, wait_s=0.0))

    return build


def _limit(text: str) -> int:
    """Return how many are wanted at most, 0 for all; raises Refused (status 500, as clients know it)."""
    if not text:
        return 0
    if not _INTEGER(text):
        raise Refused(f'Bad limit: strconv.Atoi: parsing "{text}": invalid syntax')
    return max(0, min(int(text), LIMIT_MAX))


def _flag(name: str, text: str) -> bool:
    """Return what a text says, absent: no; raises Refused (status 500, as clients know it)."""
    try:
        return bool(text) and parse_bool(text)
    except ValueError as error:
        raise Refused(f"Error parsing '{name}' value: {error}") from error


def caller_address(context: RequestContext) -> str:
    """Return the IP address of who asked, "" where it is not known: what a proxy says of it, else the connection's."""
    forwarded = context.request.head.text(b"x-forwarded-for").partition(",")[0].strip()
    for text in (forwarded, context.peer):
        try:
            return str(ip_address(text))
        except ValueError:
            continue
    return ""


def _execute_answer(reply: ExecuteReply, instances: list[ServiceInstance]) -> Response:
    meta = reply.meta
    body = ExecuteJSON(
        service=reply.service,
        nodes=[instance_json(instance) for instance in instances],
        dns=DNSJSON(ttl=reply.dns_ttl),
        datacenter=reply.datacenter,
        failovers=reply.failovers,
        index=meta.index,
        last_contact_ns=meta.last_contact_ms * NANOSECONDS_PER_MS,
        known_leader=meta.known_leader,
        consistency=meta.consistency,
    )
    return json_response(body, headers=discovery_headers(meta))


def _explain_answer(reply: ExplainReply) -> Response:
    meta = reply.meta
    body = ExplainJSON(
        query=query_json(reply.query),
        index=meta.index,
        last_contact_ns=meta.last_contact_ms * NANOSECONDS_PER_MS,
        known_leader=meta.known_leader,
        consistency=meta.consistency,
    )
    return json_response(body, headers=discovery_headers(meta))


def _or_not_found(answer: Callable[[], Response | Awaitable[Response]]) -> Response | Awaitable[Response]:
    """Return the answer, 404 where the query is unknown: some servers tell it as an error without a kind."""
    try:
        result = answer()
    except MeshError as error:
        return _not_found(error)
    return result if isinstance(result, Response) else _or_not_found_later(result)


async def _or_not_found_later(answer: Awaitable[Response]) -> Response:
    try:
        return await answer
    except MeshError as error:
        return _not_found(error)


def _not_found(error: MeshError) -> Response:
    if NOT_FOUND_TEXT not in str(error):
        raise error
    return text_response(404, NOT_FOUND_TEXT)
