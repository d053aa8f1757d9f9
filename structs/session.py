"""Sessions, on whose behalf keys are locked: records, requests and the logged command.

Source: state store specification, section 5; HTTP API, section 6; RPC wire format, section 5; modern deltas, section 7.
"""

import string
from enum import StrEnum

from base.codec import Record, encode
from base.durations import format_duration, parse_duration_s
from base.errors import InvalidRequest, Refused, TooLarge
from structs.query import QueryMeta, QueryOptions, WriteOptions
from structs.registration import check_name

SECOND_NS = 1_000_000_000
LOCK_DELAY_NS_DEFAULT = 15 * SECOND_NS
LOCK_DELAY_NS_MAX = 60 * SECOND_NS
"""More is kept as it was asked for, and counts as this."""
TTL_S_MIN_DEFAULT = 10.0
TTL_S_MAX = 24 * 3600.0
CHECKS_MAX = 512
"""Checks of one session: each is looked at when it is created, and is one more way to it afterwards."""
SESSION_BYTES_MAX = 64 * 1024
"""One session, encoded. It is an entry of the log."""
SESSIONS_MAX = 262_144
"""Of one datacenter; each takes about a kilobyte and a timer."""
DESTROYED_MAX = 256
"""Sessions that one command destroys."""
NO_SESSION = "Missing session"
_UUID_CHARACTERS = 36
_DASHES = (8, 13, 18, 23)
_HEXADECIMAL = frozenset(string.hexdigits)


class SessionBehavior(StrEnum):
    """What becomes of the keys that a session holds when it ends."""

    RELEASE = "release"
    DELETE = "delete"


class ServiceCheck(Record, frozen=True, kw_only=True):
    """A check of a service on the session's node. The namespace is kept and means nothing."""

    check_id: str
    namespace: str = ""


class Session(Record, frozen=True, kw_only=True):
    """One session. `session_id` is a UUID in lower case; `ttl` is Go's text as the client wrote it, "" for none."""

    session_id: str
    name: str = ""
    node: str = ""
    node_checks: list[str] = []
    service_checks: list[ServiceCheck] = []
    lock_delay_ns: int = 0
    """For so long after the session was invalidated nobody gets its keys; explicit releases don't count."""
    behavior: SessionBehavior = SessionBehavior.RELEASE
    ttl: str = ""
    create_index: int = 0
    modify_index: int = 0

    @property
    def ttl_s(self) -> float:
        """Seconds of `ttl`; 0: it does not end by itself."""
        try:
            return max(0.0, parse_duration_s(self.ttl)) if self.ttl else 0.0
        except ValueError:
            return 0.0  # only an archive made by hand can have it

    @property
    def check_ids(self) -> list[str]:
        """Ids of all checks whose fall ends the session."""
        return [*self.node_checks, *(check.check_id for check in self.service_checks)]


class SessionVerb(StrEnum):
    """What a command does."""

    CREATE = "create"
    DESTROY = "destroy"


class SessionCommand(Record, frozen=True, kw_only=True):
    """Logged: creates `session`, whose id the proposer has chosen, or destroys those of `session_ids` that exist."""

    verb: SessionVerb
    session: Session | None = None
    session_ids: list[str] = []


class SessionApplyRequest(Record, frozen=True, kw_only=True):
    """RPC Session.Apply: create (`session` without id) or destroy (only the id counts)."""

    verb: SessionVerb
    session: Session
    options: WriteOptions = WriteOptions()


class SessionApplyReply(Record, frozen=True, kw_only=True):
    """The id of what was created, "" after a destruction."""

    session_id: str


class SessionRequest(Record, frozen=True, kw_only=True):
    """RPC Session.Get and Session.Renew: one session."""

    session_id: str
    options: QueryOptions = QueryOptions()


class ListSessionsRequest(Record, frozen=True, kw_only=True):
    """RPC Session.List: all sessions."""

    options: QueryOptions = QueryOptions()


class SessionsReply(Record, frozen=True, kw_only=True):
    """Sessions by id."""

    sessions: list[Session]
    meta: QueryMeta = QueryMeta()


class HeldKeys(Record, frozen=True, kw_only=True):
    """What one session holds: the first keys in order, and how many there are, counted up to a bound."""

    session: Session
    keys: list[str]
    keys_count: int


class SessionDumpReply(Record, frozen=True, kw_only=True):
    """RPC Internal.SessionDump: sessions by id with what they hold."""

    sessions: list[HeldKeys]
    meta: QueryMeta = QueryMeta()


def is_session_id(text: str) -> bool:
    """Return whether this can be the id of a session."""
    if len(text) != _UUID_CHARACTERS or any(text[position] != "-" for position in _DASHES):
        return False
    digits = text.replace("-", "")
    return len(digits) == _UUID_CHARACTERS - len(_DASHES) and _HEXADECIMAL.issuperset(digits)


def completed(session: Session, *, ttl_s_min: float) -> Session:
    """Return a wanted session as it is logged, but for its id; raises MeshErrors if it can never be.

    Asked at the border, never in a replay.
    """
    if not session.node:
        raise Refused("Must provide Node")
    check_name("Node name", session.node)
    check_ids = session.check_ids
    if len(check_ids) > CHECKS_MAX:
        raise TooLarge(f"a session has too many checks ({len(check_ids)} > {CHECKS_MAX})")
    for check_id in check_ids:
        check_name("Check ID", check_id)
    if session.lock_delay_ns < 0:
        raise Refused("Invalid LockDelay: it is negative")
    _check_ttl(session.ttl, ttl_s_min)
    wanted = Session(
        session_id="",
        name=session.name,
        node=session.node,
        node_checks=list(dict.fromkeys(session.node_checks)),
        service_checks=list({check.check_id: check for check in session.service_checks}.values()),
        lock_delay_ns=session.lock_delay_ns,
        behavior=session.behavior,
        ttl=session.ttl,
    )
    try:
        size = len(encode(wanted))
    except InvalidRequest as error:
        raise InvalidRequest(f"the request holds what is {error}") from error
    if size > SESSION_BYTES_MAX:
        raise TooLarge(f"the session is too large ({size} > {SESSION_BYTES_MAX} bytes)")
    return wanted


def _check_ttl(text: str, ttl_s_min: float) -> None:
    if not text:
        return
    try:
        ttl_s = parse_duration_s(text)
    except ValueError as error:
        raise Refused(f"Session TTL '{text[:64]}' invalid: {error}") from error
    if ttl_s != 0 and not ttl_s_min <= ttl_s <= TTL_S_MAX:
        bounds = f"[{format_duration(ttl_s_min)}={format_duration(TTL_S_MAX)}]"
        raise Refused(f"Invalid Session TTL '{round(ttl_s * SECOND_NS)}', must be between {bounds}")
