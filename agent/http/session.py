"""/v1/session: HTTP <-> Session.* calls. Source: HTTP API, section 6; HTTP conventions, section 6; modern deltas, 7."""

from collections.abc import Awaitable

import msgspec

from acl.access import session_read, session_write
from agent.http.asking import ask, tell
from agent.http.parameters import checked_name
from agent.http.registry import RequestContext, route
from agent.http.response import JSON_TYPE, Response, json_response, meta_headers
from base.durations import parse_duration_s
from base.errors import InvalidRequest, NotFound, Refused
from structs.catalog import SERF_CHECK_ID, NodeRequest
from structs.json_codec import Fields, decode_json, kind_name
from structs.query import QueryOptions
from structs.session import (
    LOCK_DELAY_NS_DEFAULT,
    SECOND_NS,
    ListSessionsRequest,
    ServiceCheck,
    Session,
    SessionApplyReply,
    SessionApplyRequest,
    SessionBehavior,
    SessionRequest,
    SessionsReply,
    SessionVerb,
)

SESSION = "session"
LOCK_DELAY_SECONDS_BELOW = 1000
"""A smaller number of nanoseconds is meant to be one of seconds."""
_TRUE = Response(200, b"true", JSON_TYPE)


class ServiceCheckJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A check of a service."""

    check_id: str = msgspec.field(name="ID")
    namespace: str = msgspec.field(name="Namespace")


class SessionJSON(msgspec.Struct, frozen=True, kw_only=True):
    """A session as clients see it: the checks of the node stand under their old and their new name."""

    session_id: str = msgspec.field(name="ID")
    name: str = msgspec.field(name="Name")
    node: str = msgspec.field(name="Node")
    checks: list[str] | None = msgspec.field(name="Checks")
    node_checks: list[str] = msgspec.field(name="NodeChecks")
    service_checks: list[ServiceCheckJSON] | None = msgspec.field(name="ServiceChecks")
    lock_delay_ns: int = msgspec.field(name="LockDelay")
    behavior: str = msgspec.field(name="Behavior")
    ttl: str = msgspec.field(name="TTL")
    create_index: int = msgspec.field(name="CreateIndex")
    modify_index: int = msgspec.field(name="ModifyIndex")


def session_json(session: Session) -> SessionJSON:
    """Return a session in its wire shape."""
    service_checks = [
        ServiceCheckJSON(check_id=check.check_id, namespace=check.namespace) for check in session.service_checks
    ]
    return SessionJSON(
        session_id=session.session_id,
        name=session.name,
        node=session.node,
        checks=session.node_checks or None,
        node_checks=session.node_checks,
        service_checks=service_checks or None,
        lock_delay_ns=session.lock_delay_ns,
        behavior=session.behavior,
        ttl=session.ttl,
        create_index=session.create_index,
        modify_index=session.modify_index,
    )


@route("/v1/session/create", "PUT", access=session_write("session.node"), is_write=True)
def create(context: RequestContext) -> Response | Awaitable[Response]:
    """Create a session; answers `{"ID"}`. Without a body: on this agent's node, bound to its `serfHealth`.

    Body: `{"Name", "Node", "Checks", "NodeChecks", "ServiceChecks": [{"ID"}], "LockDelay", "Behavior", "TTL"}`.
    `LockDelay`: a duration or nanoseconds, below 1000 seconds; 15 s by default, 60 s at most. `Behavior`: `release` or
    `delete`. `TTL`: a duration from `session_ttl_min` to 24 h, none by default.
    """
    wanted = parse_session(context.body, node_default=context.agent.node_name)
    request = SessionApplyRequest(verb=SessionVerb.CREATE, session=wanted, options=context.write_options())
    return tell(context, "Session.Apply", request, SessionApplyReply, _created)


def _created(reply: SessionApplyReply) -> Response:
    return json_response({"ID": reply.session_id})


def parse_session(body: bytes, *, node_default: str) -> Session:
    """Return the session that a body asks for; raises InvalidRequest, or Refused for a behaviour that there is not."""
    try:
        fields = Fields(decode_json(body) if body.strip() else None, "session")
        checks = [_texts(fields, name) for name in ("Checks", "NodeChecks")]
        given = [found for found in checks if found is not None]
        return Session(
            session_id="",
            name=fields.text("Name"),
            node=fields.text("Node") or node_default,
            node_checks=[check for found in given for check in found] if given else [SERF_CHECK_ID],
            service_checks=_service_checks(fields),
            lock_delay_ns=_lock_delay_ns(fields),
            behavior=behavior_of(fields.text("Behavior")),
            ttl=fields.text("TTL"),
        )
    except InvalidRequest as error:
        raise InvalidRequest(f"Request decode failed: {error}") from error


def behavior_of(text: str) -> SessionBehavior:
    """Return what a text stands for, "" for the default; raises Refused."""
    try:
        return SessionBehavior(text or SessionBehavior.RELEASE)
    except ValueError as error:
        raise Refused(f"Invalid Behavior setting '{text}'") from error


def _texts(fields: Fields, name: str) -> list[str] | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidRequest(f"session.{name}: expected a list of strings")
    return value


def _service_checks(fields: Fields) -> list[ServiceCheck]:
    value = fields.get("ServiceChecks")
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequest(f"session.ServiceChecks: expected a list, got {kind_name(value)}")
    rows = [Fields(item, "ServiceChecks") for item in value]
    return [ServiceCheck(check_id=row.text("ID"), namespace=row.text("Namespace")) for row in rows]


def _lock_delay_ns(fields: Fields) -> int:
    value = fields.get("LockDelay")
    if value is None:
        return LOCK_DELAY_NS_DEFAULT
    if isinstance(value, str):
        try:
            value = round(parse_duration_s(value) * SECOND_NS)
        except ValueError as error:
            raise InvalidRequest(f"session.LockDelay: {error}") from error
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"session.LockDelay: expected type 'duration', got {kind_name(value)}")
    delay = int(value) * (SECOND_NS if value < LOCK_DELAY_SECONDS_BELOW else 1)
    if not 0 <= delay < 1 << 63:
        raise InvalidRequest("session.LockDelay: not a duration from 0 on")
    return delay


@route("/v1/session/destroy/", "PUT", access=session_write("session.node"), is_write=True)
def destroy(context: RequestContext) -> Response | Awaitable[Response]:
    """End a session: its keys are released or deleted. Answers `true`, also where there is no such session."""
    session_id = checked_name(context.remainder, SESSION)
    request = SessionApplyRequest(
        verb=SessionVerb.DESTROY, session=Session(session_id=session_id), options=context.write_options()
    )
    return tell(context, "Session.Apply", request, SessionApplyReply, lambda _: _TRUE)


@route("/v1/session/renew/", "PUT", access=session_write("session.node"), is_write=True)
def renew(context: RequestContext) -> Response | Awaitable[Response]:
    """Give a session all of its TTL again; answers `[session]`, or 404 where there is none (any more)."""
    session_id = checked_name(context.remainder, SESSION)
    write = context.write_options()
    # Never stale: only the leader knows what is left of a TTL.
    options = QueryOptions(token=write.token, datacenter=write.datacenter)
    request = SessionRequest(session_id=session_id, options=options)

    def finish(reply: SessionsReply) -> Response:
        if not reply.sessions:
            raise NotFound(f"Session id '{session_id}' not found")
        return json_response([session_json(found) for found in reply.sessions])

    return tell(context, "Session.Renew", request, SessionsReply, finish)


@route("/v1/session/info/", "GET", access=session_read(), is_write=False)
def info(context: RequestContext) -> Response | Awaitable[Response]:
    """Return `[session]`, or `[]` where there is none. Blocking; consistency modes."""
    session_id = checked_name(context.remainder, SESSION)

    def build(options: QueryOptions) -> SessionRequest:
        return SessionRequest(session_id=session_id, options=options)

    return ask(context, "Session.Get", build, SessionsReply, _sessions_answer)


@route("/v1/session/node/", "GET", access=session_read("node"), is_write=False)
def node(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the sessions of a node, by id. Blocking; consistency modes."""
    name = checked_name(context.remainder, "node name")

    def build(options: QueryOptions) -> NodeRequest:
        return NodeRequest(node=name, options=options)

    return ask(context, "Session.NodeSessions", build, SessionsReply, _sessions_answer)


@route("/v1/session/list", "GET", access=session_read(), is_write=False)
def list_(context: RequestContext) -> Response | Awaitable[Response]:
    """Return all sessions, by id. Blocking; consistency modes."""

    def build(options: QueryOptions) -> ListSessionsRequest:
        return ListSessionsRequest(options=options)

    return ask(context, "Session.List", build, SessionsReply, _sessions_answer)


def _sessions_answer(reply: SessionsReply) -> Response:
    return json_response([session_json(found) for found in reply.sessions], headers=meta_headers(reply.meta))
