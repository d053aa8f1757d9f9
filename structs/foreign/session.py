"""Session.*: sessions. Source: RPC wire format, sections 5 and 9."""

from typing import Any

from base.errors import Refused
from structs.foreign.catalog import NODE_REQUEST, NODE_SOURCE_PARTS
from structs.foreign.fields import (
    DURATION,
    TEXT,
    TEXTS,
    UNSIGNED,
    Absent,
    Constant,
    Field,
    Flat,
    Shape,
    Table,
    filled,
    list_of,
    optional,
    word_of,
)
from structs.foreign.options import DATACENTER, QUERY_META, QUERY_OPTIONS, WRITE_OPTIONS
from structs.foreign.row import ForeignMethod
from structs.query import QueryMeta, QueryOptions
from structs.session import (
    ListSessionsRequest,
    Session,
    SessionApplyReply,
    SessionApplyRequest,
    SessionBehavior,
    SessionRequest,
    SessionsReply,
    SessionVerb,
)


def _behavior(value: Any) -> SessionBehavior:
    text = TEXT.decode(value)
    try:
        return SessionBehavior(text or SessionBehavior.RELEASE)
    except ValueError as error:
        raise Refused(f"Invalid Behavior setting '{text}'") from error


SESSION = Table(
    Session,
    Field("ID", "session_id", TEXT),
    Field("Name", "name", TEXT),
    Field("Node", "node", TEXT),
    Field("Checks", "node_checks", filled(TEXTS, list)),
    Field("LockDelay", "lock_delay_ns", DURATION),
    Field("Behavior", "behavior", Shape(_behavior)),
    Field("TTL", "ttl", TEXT),
    Field("CreateIndex", "create_index", UNSIGNED),
    Field("ModifyIndex", "modify_index", UNSIGNED),
    Absent("service_checks", []),
)
APPLY = Table(
    SessionApplyRequest,
    Flat("options", WRITE_OPTIONS),
    Field("Op", "verb", word_of(SessionVerb, "session operation")),
    Field("Session", "session", SESSION.shape),
)
APPLIED = Shape(
    lambda value: SessionApplyReply(session_id=TEXT.decode(value)),
    lambda reply: reply.session_id,
)
ONE = Table(SessionRequest, Field("Session", "session_id", TEXT), Flat("options", QUERY_OPTIONS))
RENEWED_OPTIONS = Table(
    QueryOptions,
    DATACENTER,
    Field("Token", "token", TEXT),
    Constant("MinQueryIndex", 0),
    Constant("MaxQueryTime", 0),
    Constant("AllowStale", False),
    Constant("RequireConsistent", False),
    Constant("MaxStaleDuration", 0),
)
"""A renewal is never stale, and blocks for nobody."""
RENEW = Table(SessionRequest, Field("Session", "session_id", TEXT), Flat("options", RENEWED_OPTIONS))
LIST = Table(ListSessionsRequest, *NODE_SOURCE_PARTS, Flat("options", QUERY_OPTIONS))
SESSIONS = filled(list_of(optional(SESSION.shape)), list)
REPLY = Table(SessionsReply, Field("Sessions", "sessions", SESSIONS), Flat("meta", QUERY_META))


def _has_known_checks(request: SessionApplyRequest) -> bool:
    """Whether a session can be told whole: checks of services have no place there."""
    return not request.session.service_checks


def _renewed(reply: SessionsReply, request: SessionRequest) -> SessionsReply:
    """A renewal says nothing of a leader there, and its index is that of the session, 0 where there is none."""
    index = reply.sessions[0].modify_index if reply.sessions else 0
    return SessionsReply(sessions=reply.sessions, meta=QueryMeta(index=index, known_leader=False))


ROWS = (
    ForeignMethod(name="Session.Apply", method="Session.Apply", request=APPLY, reply=APPLIED,
                  reply_record=SessionApplyReply, fits=_has_known_checks),
    ForeignMethod(name="Session.Get", method="Session.Get", request=ONE, reply=REPLY.shape, reply_record=SessionsReply),
    ForeignMethod(name="Session.List", method="Session.List", request=LIST, reply=REPLY.shape,
                  reply_record=SessionsReply),
    ForeignMethod(name="Session.NodeSessions", method="Session.NodeSessions", request=NODE_REQUEST, reply=REPLY.shape,
                  reply_record=SessionsReply),
    ForeignMethod(name="Session.Renew", method="Session.Renew", request=RENEW, reply=REPLY.shape,
                  reply_record=SessionsReply, says=_renewed),
)  # fmt: skip
