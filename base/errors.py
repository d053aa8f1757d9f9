"""The root of the error tree: every error says whether the operation may have happened.

*Definite* means: it did not happen and will not happen. Only definite errors, and errors of reads, are ever
retried on a caller's behalf. When in doubt an error is not definite.

The text of an error is what a client sees, so texts that clients match on are kept word for word
(`docs/compatibility.md`). `rpc/errors.py` turns errors into their wire form and back, `agent/http/errors.py`
into status codes; no other file maps them.
"""

from typing import ClassVar


class MeshError(Exception):
    """Abstract root. `str(error)` is the text for the client."""

    definite: ClassVar[bool] = False


class InvalidRequest(MeshError):
    """The request can never succeed as it is written (HTTP 400)."""

    definite = True


class NotFound(MeshError):
    """What the request names does not exist (HTTP 404)."""

    definite = True


class TooLarge(MeshError):
    """A body, value or frame over its limit (HTTP 413)."""

    definite = True


class PermissionDenied(MeshError):
    """The caller may not do this (HTTP 403)."""

    definite = True


class RateLimited(MeshError):
    """Over a limit that passes with time (HTTP 429)."""

    definite = True


class Refused(MeshError):
    """The state machine or a leader's check refused the operation; nothing was changed (HTTP 500)."""

    definite = True


class NoLeader(MeshError):
    """No server could take the request; it never entered a log (HTTP 500)."""

    definite = True

    def __init__(self, text: str = "No cluster leader") -> None:
        super().__init__(text)


class NotReady(MeshError):
    """A new leader has not applied the entries of earlier terms yet; only reads meet this (HTTP 500)."""

    definite = True

    def __init__(self, text: str = "Not ready to serve consistent reads") -> None:
        super().__init__(text)


class NoServers(MeshError):
    """A client agent knows no server to ask (HTTP 500)."""

    definite = True

    def __init__(self, text: str = "No known Consul servers") -> None:
        super().__init__(text)


class Unreachable(MeshError):
    """A connection could not be made, or broke before the request left (HTTP 500)."""

    definite = True


class OutcomeUnknown(MeshError):
    """The operation may or may not have happened, or may happen yet (HTTP 500)."""

    definite = False


class Internal(MeshError):
    """A defect met while answering one request; the outcome is not known (HTTP 500)."""

    definite = False


class DiskFailed(MeshError):
    """A write or sync failed. The process stops: after a failed sync nothing about the file can be trusted."""

    definite = False


class DataDamaged(MeshError):
    """A file on disk is not what was written, and it cannot be proved harmless. The server refuses to start."""

    definite = True


class ConfigInvalid(MeshError):
    """The configuration cannot be used; names the key and the source."""

    definite = True


class InvariantBroken(Exception):
    """A defect of ours that may have corrupted state. Never caught: the process stops."""


def require(condition: object, text: str, *details: object) -> None:
    """Raise InvariantBroken unless `condition` holds; unlike `assert` it survives every interpreter option."""
    if not condition:
        raise InvariantBroken(f"{text}: {details!r}" if details else text)
