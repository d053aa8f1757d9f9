"""Sessions: leases that own locks."""

from collections.abc import Sequence
from typing import Any

from base.durations import format_duration
from mesh.call import Call, Noun, World, method, nothing, read_call, write_call
from mesh.query import DEFAULT_READ, Answer, Read
from mesh.reply import Reply
from mesh.rows import DURATION_NS, ListOf, Shape, text_map
from structs.session import ServiceCheck, Session, SessionBehavior

GONE = 404
"""The status of an answer about a session that is no more."""
NODE_CHECKS_DEFAULT = ("serfHealth",)


SESSION = Shape(
    Session,
    ID="session_id",
    Name="name",
    Node="node",
    LockDelay=("lock_delay_ns", DURATION_NS),
    Behavior="behavior",
    TTL="ttl",
    NodeChecks="node_checks",
    ServiceChecks=("service_checks", ListOf(Shape(ServiceCheck, ID="check_id", Namespace="namespace"))),
    CreateIndex="create_index",
    ModifyIndex="modify_index",
)


class Sessions(Noun[World]):
    """`client.session`."""

    @method
    def create(
        self,
        *,
        name: str = "",
        node: str = "",
        ttl_s: float = 0.0,
        lock_delay_s: float = 15.0,
        behavior: SessionBehavior = SessionBehavior.RELEASE,
        checks: Sequence[str] = NODE_CHECKS_DEFAULT,
    ) -> Call[str]:
        """Make a session and return its id. It ends with any of `checks`, or `ttl_s` (0: never) after its last renewal.

        `node` "": the agent's. `lock_delay_s`: for so long nobody gets a key that the session lost. `ttl_s` is 10 to
        86400 where servers have their usual settings. The end may come later than the time says, never sooner.
        """
        row: dict[str, Any] = {
            "Name": name,
            "LockDelay": format_duration(lock_delay_s),
            "Behavior": behavior.value,
            "NodeChecks": list(checks),
            "Checks": list(checks),
        }
        if node:
            row["Node"] = node
        if ttl_s:
            row["TTL"] = format_duration(ttl_s)
        return write_call("/v1/session/create", _session_id, value=row)

    @method
    def destroy(self, session_id: str) -> Call[None]:
        """End a session; no error if there is none. Keys it holds are released or deleted, without lock delay."""
        return write_call(f"/v1/session/destroy/{session_id}", nothing)

    @method
    def renew(self, session_id: str) -> Call[Session | None]:
        """Begin the time of a session anew; None: it is no more, and its locks are lost."""
        # Renewing twice is renewing: it may be sent again whatever became of the first.
        return write_call(f"/v1/session/renew/{session_id}", _renewed, accept=(GONE,), is_read=True)

    @method
    def info(self, session_id: str, read: Read = DEFAULT_READ) -> Call[Answer[Session | None]]:
        """Return one session, None where there is none."""
        return read_call(f"/v1/session/info/{session_id}", SESSION.first, read)

    @method
    def node(self, name: str, read: Read = DEFAULT_READ) -> Call[Answer[Sequence[Session]]]:
        """Return the sessions of a node."""
        return read_call(f"/v1/session/node/{name}", SESSION.rows, read)

    @method
    def list(self, read: Read = DEFAULT_READ) -> Call[Answer[Sequence[Session]]]:
        """Return all sessions."""
        return read_call("/v1/session/list", SESSION.rows, read)


def _session_id(reply: Reply) -> str:
    return str(text_map(reply.json()).get("ID", ""))


def _renewed(reply: Reply) -> Session | None:
    return None if reply.status == GONE else SESSION.first(reply.json())
