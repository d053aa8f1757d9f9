"""Errors and their wire form, the definite bit included. No other file turns one into the other.

The wire form is a list `[class name, text, definite]`, packed. A definite bit is believed only if both sides agree:
whoever receives an error of a class it does not know keeps the bit, and with it what may be tried again.
"""

from typing import Final

import base.errors
from base.codec import Record, decode, encode
from base.errors import Internal, InvariantBroken, MeshError, OutcomeUnknown, Refused
from base.log import get_logger, trace_of

ERROR_TEXT_CHARACTERS_MAX: Final = 16 * 1024
"""An error is for reading; whatever is longer came from somebody's input."""

_log = get_logger("rpc")

_KINDS: Final[dict[str, type[MeshError]]] = {
    name: kind
    for name, kind in vars(base.errors).items()
    if isinstance(kind, type) and issubclass(kind, MeshError) and kind is not MeshError
}


class ProtocolViolated(MeshError):
    """The peer broke the rules of the wire: its connection is closed, and nothing else happens."""


class PeerRefused(MeshError):
    """The peer's certificate does not prove what this connection asks for."""

    definite = True


class WireError(Record, frozen=True, kw_only=True):
    """An error on the wire."""

    name: str
    text: str
    definite: bool


def to_wire(error: MeshError) -> list[object]:
    """Return the wire form; a class that is not of `base/errors.py` travels as its nearest base there."""
    name = next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _KINDS), "")
    return [name or type(error).__name__, str(error)[:ERROR_TEXT_CHARACTERS_MAX], error.definite]


def from_wire(form: list[object]) -> MeshError:
    """Return the error of a wire form; raises InvalidRequest if it is not one."""
    return error_from_body(encode(form))


def error_to_body(error: MeshError) -> bytes:
    """Return the body of an error frame."""
    return encode(to_wire(error))


def error_from_body(body: bytes) -> MeshError:
    """Return the error in the body of an error frame; raises InvalidRequest if there is none."""
    wire = decode(WireError, body)
    kind = _KINDS.get(wire.name)
    if kind is None or (kind.definite and not wire.definite):
        kind = Refused if wire.definite else OutcomeUnknown
    return kind(wire.text)


def as_mesh_error(error: Exception, method: str) -> MeshError:
    """Return what a caller may hear of `error`; raises InvariantBroken, which nobody may turn into an answer."""
    if isinstance(error, MeshError):
        return error
    if isinstance(error, InvariantBroken):
        raise error
    _log.error(f"defect in the handler of {method}", trace=trace_of(error))
    return Internal(f"internal error in {method}: {type(error).__name__}")
