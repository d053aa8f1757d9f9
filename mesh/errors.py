"""Answers that are errors -> the error tree, and which of them may be tried again.

An agent of ours says in `X-Mesh-Outcome` whether a failed write was certainly refused. Where nobody says, a failed
write is unknown: it is reported, never repeated.
"""

from base.errors import (
    Internal,
    InvalidRequest,
    MeshError,
    NoLeader,
    NoServers,
    NotFound,
    NotReady,
    OutcomeUnknown,
    PermissionDenied,
    RateLimited,
    Refused,
    TooLarge,
    Unreachable,
)

TEXT_SHOWN_MAX = 2000
"""Characters of an error body that are repeated."""

_BY_STATUS: dict[int, type[MeshError]] = {
    400: InvalidRequest,
    401: PermissionDenied,
    403: PermissionDenied,
    404: NotFound,
    405: InvalidRequest,
    409: Refused,
    413: TooLarge,
    414: TooLarge,
    429: RateLimited,
    431: TooLarge,
}
_BY_TEXT: tuple[tuple[str, type[MeshError]], ...] = (
    ("No cluster leader", NoLeader),
    ("No known Consul servers", NoServers),
    ("Not ready to serve consistent reads", NotReady),
)
TRANSIENT = (NoLeader, NoServers, NotReady, RateLimited, Unreachable)
"""Definite, and gone after a while."""


def error_of(status: int, body: bytes, outcome: str, *, is_read: bool) -> MeshError:
    """Return the error that an answer means. `outcome` is the X-Mesh-Outcome header, "" where there is none."""
    text = body[: TEXT_SHOWN_MAX * 4].decode("utf-8", "replace").strip()[:TEXT_SHOWN_MAX]
    shown = f"Unexpected response code: {status} ({text})"
    kind = _BY_STATUS.get(status)
    if kind is None:
        kind = next((kind for phrase, kind in _BY_TEXT if phrase in text), None)
    if outcome == "unknown" and not is_read:
        return OutcomeUnknown(shown)
    if kind is not None:
        return kind(shown)
    if is_read:
        return Internal(shown)
    return Refused(shown) if outcome == "refused" else OutcomeUnknown(shown)


def may_repeat(error: MeshError, *, is_read: bool) -> bool:
    """Whether the same request may be sent again on the caller's behalf."""
    return isinstance(error, TRANSIENT) or (is_read and isinstance(error, OutcomeUnknown | Internal))
