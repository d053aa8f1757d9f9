"""Sans-IO: requests, answers and error texts of the foreign wire. Source: RPC wire format, sections 3 and 8.

A message is two values of the old msgpack end to end: a header, and the argument or the body. There is no length, so a
message ends where its second value ends.
"""

from typing import Any, Final

from base.codec import Mistyped, OldFeed, Truncated, pack_old
from base.errors import (
    Internal,
    InvalidRequest,
    MeshError,
    NoLeader,
    NotReady,
    OutcomeUnknown,
    PermissionDenied,
    RateLimited,
    Refused,
)
from rpc.errors import ERROR_TEXT_CHARACTERS_MAX

KIB: Final = 1024
MIB: Final = 1024 * KIB

REQUEST_BYTES_MAX: Final = 2 * MIB + 64 * KIB
"""One argument: four of the largest values, or a registration with a thousand checks."""
REQUEST_ITEMS_MAX: Final = 8 * KIB
"""One list or map of an argument."""
REQUEST_CONTAINERS_MAX: Final = 16 * KIB
"""Lists and maps of an argument: each costs far more memory here than on the wire."""
REPLY_BYTES_MAX: Final = 64 * MIB
"""One body: 50,000 instances with their nodes and checks are 51 MB there. A session keeps no more, see rpc/kept.py."""
REPLY_ITEMS_MAX: Final = MIB
REPLY_CONTAINERS_MAX: Final = MIB
METHOD_BYTES_MAX: Final = 128
SEQ_MAX: Final = (1 << 64) - 1
EMPTY_MAP: Final = b"\x80"

ARGUMENT_ERROR_PREFIX: Final = "codec.decoder: "
"""An argument that cannot be decoded is answered so, and then its stream is closed."""
CALL_ERROR_PREFIX: Final = "rpc error making call: "
DIAL_ERROR_PREFIX: Final = "rpc error getting client: "
RATE_LIMITED_TEXT: Final = "RPC rate limit exceeded"
"""Looked for by foreign agents, which then answer 429."""


class Request:
    """One call as it was received."""

    __slots__ = ("argument", "method", "seq")

    def __init__(self, seq: int, method: str, argument: Any) -> None:
        self.seq = seq
        self.method = method
        self.argument = argument


class MessageReader:
    """Pairs of values out of the bytes of one stream."""

    __slots__ = ("_feed", "_header")

    def __init__(self, feed: OldFeed) -> None:
        self._feed = feed
        self._header: Any = None

    @property
    def bytes_kept(self) -> int:
        """Bytes of messages that are not complete."""
        return self._feed.bytes_kept

    def feed(self, data: bytes) -> None:
        """Take what was received; raises TooLarge."""
        self._feed.feed(data)

    def let_go(self) -> None:
        """Forget what was fed: nothing more is read."""
        self._feed.let_go()

    def next(self) -> tuple[dict[Any, Any], Any] | None:
        """Return the next header and value, None until there is more.

        Raises HeaderMalformed, and InvalidRequest or TooLarge for the second value (`header` names its call). Then the
        reader is of no more use.
        """
        if not self._feed.bytes_kept:
            return None
        try:
            if self._header is None:
                try:
                    header = self._feed.read()
                except Truncated:
                    raise
                except MeshError as error:
                    raise HeaderMalformed(f"rpc: {error}") from error
                if not isinstance(header, dict):
                    raise HeaderMalformed("rpc: a header that is no map")
                self._header = header
            value = self._feed.read()
        except Truncated:
            return None
        header, self._header = self._header, None
        return header, value

    @property
    def header(self) -> dict[Any, Any]:
        """The header whose value is awaited, or could not be read; empty if there is none."""
        return self._header or {}


class HeaderMalformed(InvalidRequest):
    """What begins a message is no header: nothing after it can be understood."""


def request_reader() -> MessageReader:
    """Return a reader of what callers send."""
    return MessageReader(
        OldFeed(value_bytes_max=REQUEST_BYTES_MAX, items_max=REQUEST_ITEMS_MAX, containers_max=REQUEST_CONTAINERS_MAX)
    )


def reply_reader() -> MessageReader:
    """Return a reader of what servers answer."""
    return MessageReader(
        OldFeed(value_bytes_max=REPLY_BYTES_MAX, items_max=REPLY_ITEMS_MAX, containers_max=REPLY_CONTAINERS_MAX)
    )


def request_of(header: dict[Any, Any], argument: Any) -> Request:
    """Return the call of a header; raises HeaderMalformed."""
    seq = header.get("Seq", 0)
    name = header.get("ServiceMethod", b"")
    if type(seq) is not int or not 0 <= seq <= SEQ_MAX or type(name) is not bytes or len(name) > METHOD_BYTES_MAX:
        raise HeaderMalformed("rpc: a header whose fields are of the wrong types")
    return Request(seq, name.decode("utf-8", "replace"), argument)


def encode_request(seq: int, method: str, argument: Any) -> bytes:
    """Return the bytes of a call."""
    return pack_old({"Seq": seq, "ServiceMethod": method}) + pack_old(argument)


def encode_answer_head(seq: int, method: str) -> bytes:
    """Return what stands before the packed body of an answer."""
    return pack_old({"Error": "", "Seq": seq, "ServiceMethod": method})


def encode_failure(seq: int, method: str, text: str) -> bytes:
    """Return the bytes of an error; behind it stands a body that nobody reads."""
    return pack_old({"Error": text, "Seq": seq, "ServiceMethod": method}) + EMPTY_MAP


def error_of_answer(header: dict[Any, Any]) -> MeshError | None:
    """Return the error that a header of an answer tells of, None if it tells of none; raises HeaderMalformed."""
    text = header.get("Error", b"")
    if type(text) is not bytes:
        raise HeaderMalformed("rpc: an error that is no text")
    return error_of_text(text.decode("utf-8", "replace")) if text else None


# Errors ------------------------------------------------------------------------------------------------------------


def text_of_error(error: MeshError) -> str:
    """Return what a foreign caller hears of an error: never empty, and with the words it looks for."""
    text = str(error)[:ERROR_TEXT_CHARACTERS_MAX] or type(error).__name__
    if isinstance(error, Mistyped) and not text.startswith(ARGUMENT_ERROR_PREFIX):
        return ARGUMENT_ERROR_PREFIX + text
    if isinstance(error, RateLimited) and RATE_LIMITED_TEXT not in text:
        return f"{RATE_LIMITED_TEXT}: {text}"
    return text


TEXTS: Final[tuple[tuple[str, type[MeshError]], ...]] = (
    ("leadership lost while committing log", OutcomeUnknown),
    ("No cluster leader", NoLeader),
    ("node is not the leader", NoLeader),
    ("Not ready to serve consistent reads", NotReady),
    ("Permission denied", PermissionDenied),
    ("ACL not found", PermissionDenied),
    (RATE_LIMITED_TEXT, RateLimited),
    ("rpc: can't find ", Refused),
    ("rpc: service/method request ill-formed", Refused),
    ("No path to datacenter", Refused),
    (ARGUMENT_ERROR_PREFIX, Refused),
    ("was not found in the Raft configuration", Refused),
    ("invalid session", Refused),
    ("Must provide ", Refused),
    ("Missing ", Refused),
    ("Unknown service", Refused),
    ("Unknown check", Refused),
    ("stream closed", OutcomeUnknown),
    ("session shutdown", OutcomeUnknown),
    ("connection reset", OutcomeUnknown),
    ("EOF", OutcomeUnknown),
)
"""Words in an error; the first row that is found counts. What has a definite class is said before anything is changed.
What a server's own connection to its leader broke with is not definite, and of all other texts nothing is known."""


def error_of_text(text: str) -> MeshError:
    """Return the error that a foreign server's text means, with the prefix that its own callers would see."""
    kind = next((kind for words, kind in TEXTS if words in text), Internal)
    return kind(CALL_ERROR_PREFIX + text[:ERROR_TEXT_CHARACTERS_MAX])
