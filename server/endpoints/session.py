"""Session.*: sessions on whose behalf keys are locked.

Source: HTTP API, section 6; state store specification, section 5; RPC wire format, section 9.
"""

from msgspec.structs import replace

from acl.access import session_read, session_write
from base.chance import uuid_from_system
from base.errors import Refused
from fsm.commands.registry import SESSION, Refusal, encode_command
from fsm.store import indexes, session
from fsm.store.names import key
from fsm.store.tables import SESSIONS
from server.endpoints.registry import Call, Kind, Query, method
from structs.catalog import NodeRequest
from structs.session import (
    NO_SESSION,
    SESSIONS_MAX,
    ListSessionsRequest,
    Session,
    SessionApplyReply,
    SessionApplyRequest,
    SessionCommand,
    SessionRequest,
    SessionsReply,
    SessionVerb,
    completed,
    is_session_id,
)


@method(
    "Session.Apply",
    request=SessionApplyRequest,
    reply=SessionApplyReply,
    access=session_write("session.node"),
    kind=Kind.WRITE,
)
async def apply(call: Call, request: SessionApplyRequest) -> SessionApplyReply:
    """Create a session, whose id is chosen here, or destroy one; to destroy what is not there is no error."""
    services = call.services
    if request.verb is SessionVerb.CREATE:
        wanted = completed(request.session, ttl_s_min=services.config.session_ttl_s_min)
        with services.machine.read() as view:
            if session.count(view) >= SESSIONS_MAX:
                raise Refused(f"too many sessions: there are {SESSIONS_MAX} already")
        wanted = replace(wanted, session_id=uuid_from_system())
        return await _proposed(call, SessionCommand(verb=SessionVerb.CREATE, session=wanted))
    session_id = request.session.session_id
    if not session_id:
        raise Refused(NO_SESSION)
    if not is_session_id(session_id):
        return SessionApplyReply(session_id="")  # nobody can have it
    with services.sessions.ending(session_id):
        return await _proposed(call, SessionCommand(verb=SessionVerb.DESTROY, session_ids=[session_id.lower()]))


async def _proposed(call: Call, command: SessionCommand) -> SessionApplyReply:
    services = call.services
    result = await services.raft.propose(encode_command(SESSION, command), timeout_s=services.config.write_timeout_s)
    if type(result) is Refusal:
        raise Refused(result.text)
    assert isinstance(result, SessionApplyReply)
    return result


@method("Session.Get", request=SessionRequest, reply=SessionsReply, access=session_read(), kind=Kind.READ)
def get(query: Query, request: SessionRequest) -> SessionsReply:
    """One session, or none."""
    if query.watch_set is not None:
        query.watch_set.key(SESSIONS.name, key(request.session_id))
    found = session.get(query.view, request.session_id)
    return _reply(query, [found] if found is not None else [])


@method("Session.List", request=ListSessionsRequest, reply=SessionsReply, access=session_read(), kind=Kind.READ)
def list_all(query: Query, request: ListSessionsRequest) -> SessionsReply:
    """All sessions, by id."""
    if query.watch_set is not None:
        query.watch_set.table(SESSIONS.name)
    return _reply(query, list(session.every(query.view)))


@method("Session.NodeSessions", request=NodeRequest, reply=SessionsReply, access=session_read("node"), kind=Kind.READ)
def of_node(query: Query, request: NodeRequest) -> SessionsReply:
    """The sessions of one node, by id."""
    if query.watch_set is not None:
        query.watch_set.table(SESSIONS.name)
    return _reply(query, session.of_node(query.view, request.node))


def _reply(query: Query, found: list[Session]) -> SessionsReply:
    return SessionsReply(sessions=found, meta=query.meta(indexes.of_tables(query.view, SESSIONS.name)))


@method("Session.Renew", request=SessionRequest, reply=SessionsReply, access=session_write(""), kind=Kind.LEADER)
async def renew(call: Call, request: SessionRequest) -> SessionsReply:
    """Give a session all of its TTL again, and return it; none if it is gone.

    Only the leader can, and only while it can prove that it leads. Nothing is written: the next leader gives every
    session all of its TTL anyway. So it may be repeated.
    """
    services = call.services
    if not services.raft.lease_valid():
        await services.raft.confirm_leadership(timeout_s=services.config.rpc_hold_timeout_s)
    found = services.sessions.renew(request.session_id)
    return SessionsReply(sessions=[found] if found is not None else [])
