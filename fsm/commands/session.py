"""Applies the creation and the end of sessions. Source: state store specification, section 5."""

from fsm.commands.refusal import Refusal
from fsm.store import checks, nodes, session
from fsm.store.names import key
from fsm.store.store import Batch, View
from structs.catalog import CheckStatus
from structs.session import Session, SessionApplyReply, SessionCommand, SessionVerb

DESTROYED = SessionApplyReply(session_id="")
NO_NODE = "Missing node registration"


def apply(batch: Batch, command: SessionCommand) -> SessionApplyReply | Refusal:
    """Create a session, or destroy some; those that are not there are no error."""
    if command.verb is SessionVerb.DESTROY:
        for session_id in command.session_ids:
            session.destroy(batch, key(session_id))
        return DESTROYED
    wanted = command.session
    text = "a session without content" if wanted is None else complaint(batch, wanted)
    if wanted is None or text:
        return Refusal(text=text)
    session.create(batch, wanted)
    return SessionApplyReply(session_id=wanted.session_id)


def complaint(view: View, wanted: Session) -> str:
    """Return why a session cannot be created, or ""."""
    if not wanted.session_id:
        return "Missing Session ID"
    if session.get(view, wanted.session_id) is not None:
        return f"session {wanted.session_id} exists already"
    if nodes.get(view, wanted.node) is None:
        return NO_NODE
    for check_id in wanted.check_ids:
        check = checks.get(view, wanted.node, check_id) if check_id else None
        if check is None:
            return f"Missing check '{check_id}' registration"
        if check.status == CheckStatus.CRITICAL:
            return f"Check '{check_id}' is in critical state"
    return ""
