"""Sans-IO: the messages of the membership layer, as records and as bytes. Source: wire format, sections 2.1 and 4.

A message is one type byte and one msgpack map of the old form with the keys below, sorted by name as the foreign sender
does. Unknown keys are ignored and missing ones are zero; a value of the wrong kind or out of range is InvalidRequest,
and so are bytes that are no map at all.
"""

import ipaddress
from collections.abc import Callable
from enum import IntEnum
from typing import Any, ClassVar, TypeVar

import msgspec

from base.codec import OldReader, pack_old
from base.errors import InvalidRequest
from gossip.instructions import VERSIONS, Versions

U16_MAX = (1 << 16) - 1
U32_MAX = (1 << 32) - 1
NAME_BYTES_MAX = 255
"""Longer names are refused: a name travels in every message about its member."""
VERSIONS_COUNT = 6


class Type(IntEnum):
    """The first byte of a message."""

    PING = 0
    INDIRECT_PING = 1
    ACK = 2
    SUSPECT = 3
    ALIVE = 4
    DEAD = 5
    PUSH_PULL = 6
    COMPOUND = 7
    USER = 8
    COMPRESSED = 9
    ENCRYPTED = 10
    NACK = 11
    CRC = 12
    ERROR = 13


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message; `FIELDS` says how each of its fields stands on the wire."""

    TYPE: ClassVar[Type]
    FIELDS: ClassVar[dict[str, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]]] = {}
    """Field -> key on the wire, reader of a wire value, writer of a wire value."""


M = TypeVar("M", bound=Message)


# Readers and writers of single values


def text_of(value: Any) -> str:
    """Return a text of the wire; bytes that are no UTF-8 survive a round trip."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return value
    raise InvalidRequest("text expected")


def wire_text(value: str) -> bytes:
    """Return what `text_of` reads."""
    return value.encode("utf-8", "surrogateescape")


def name_of(value: Any) -> str:
    """Return the name of a member."""
    name = text_of(value)
    if len(name) > NAME_BYTES_MAX or "\n" in name:
        raise InvalidRequest("impossible member name")
    return name


def bytes_of(value: Any) -> bytes:
    """Return bytes of the wire; nil is empty."""
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    raise InvalidRequest("bytes expected")


def unsigned(most: int) -> Callable[[Any], int]:
    """Return a reader of numbers from 0 to `most`."""

    def read(value: Any) -> int:
        if type(value) is int and 0 <= value <= most:
            return value
        raise InvalidRequest(f"a number from 0 to {most} expected")

    return read


def flag_of(value: Any) -> bool:
    """Return a truth value; 0 and 1 will do."""
    if value in (True, False):
        return bool(value)
    raise InvalidRequest("true or false expected")


def host_of(value: Any) -> str:
    """Return the text of an address of 4 or 16 bytes; "" for none."""
    raw = bytes_of(value)
    if not raw:
        return ""
    if len(raw) not in (4, 16):
        raise InvalidRequest(f"an address of {len(raw)} bytes")
    return str(ipaddress.ip_address(raw))


def wire_host(host: str) -> bytes:
    """Return the bytes of an IP address: 4 for IPv4, always (wire format, section 2)."""
    return ipaddress.ip_address(host).packed if host else b""


def versions_of(value: Any) -> Versions:
    """Return the six version numbers of a member; anything shorter is refused."""
    raw = bytes_of(value)
    if len(raw) != VERSIONS_COUNT:
        raise InvalidRequest(f"{len(raw)} version numbers instead of {VERSIONS_COUNT}")
    return tuple(raw)  # type: ignore[return-value]


def versions_or_ours(value: Any) -> Versions:
    """Return version numbers; ours where the sender has none, so that nobody is refused for a field left out."""
    return versions_of(value) if value else VERSIONS


u16 = unsigned(U16_MAX)
u32 = unsigned(U32_MAX)


def _same(value: Any) -> Any:
    return value


# Messages


class Ping(Message, frozen=True, kw_only=True):
    """Are you there? `node` is whom it is meant for; "" anybody."""

    TYPE = Type.PING
    FIELDS = {"sequence": ("SeqNo", u32, _same), "node": ("Node", name_of, wire_text)}
    sequence: int = 0
    node: str = ""


class IndirectPing(Message, frozen=True, kw_only=True):
    """Ask that one for me; tell me if it does not answer either, where `nack`."""

    TYPE = Type.INDIRECT_PING
    FIELDS = {
        "sequence": ("SeqNo", u32, _same),
        "target": ("Target", host_of, wire_host),
        "port": ("Port", u16, _same),
        "node": ("Node", name_of, wire_text),
        "nack": ("Nack", flag_of, _same),
    }
    sequence: int = 0
    target: str = ""
    port: int = 0
    node: str = ""
    nack: bool = False


class Ack(Message, frozen=True, kw_only=True):
    """I am here; a direct one carries the sender's coordinate."""

    TYPE = Type.ACK
    FIELDS = {"sequence": ("SeqNo", u32, _same), "payload": ("Payload", bytes_of, lambda value: value or None)}
    sequence: int = 0
    payload: bytes = b""


class Nack(Message, frozen=True, kw_only=True):
    """I am here, but it did not answer me either."""

    TYPE = Type.NACK
    FIELDS = {"sequence": ("SeqNo", u32, _same)}
    sequence: int = 0


class Suspect(Message, frozen=True, kw_only=True):
    """`sender` could not reach `node`."""

    TYPE = Type.SUSPECT
    FIELDS = {
        "incarnation": ("Incarnation", u32, _same),
        "node": ("Node", name_of, wire_text),
        "sender": ("From", name_of, wire_text),
    }
    incarnation: int = 0
    node: str = ""
    sender: str = ""


class Dead(Message, frozen=True, kw_only=True):
    """`node` is gone; `sender` "" (or the node itself): it left."""

    TYPE = Type.DEAD
    FIELDS = Suspect.FIELDS
    incarnation: int = 0
    node: str = ""
    sender: str = ""


class Alive(Message, frozen=True, kw_only=True):
    """`node` is there, with these facts."""

    TYPE = Type.ALIVE
    FIELDS = {
        "incarnation": ("Incarnation", u32, _same),
        "node": ("Node", name_of, wire_text),
        "host": ("Addr", host_of, wire_host),
        "port": ("Port", u16, _same),
        "meta": ("Meta", bytes_of, _same),
        "versions": ("Vsn", versions_or_ours, bytes),
    }
    incarnation: int = 0
    node: str = ""
    host: str = ""
    port: int = 0
    meta: bytes = b""
    versions: Versions = VERSIONS


class ErrorMessage(Message, frozen=True, kw_only=True):
    """On streams: what was wrong with the request."""

    TYPE = Type.ERROR
    FIELDS = {"text": ("Error", text_of, wire_text)}
    text: str = ""


KINDS: dict[Type, type[Message]] = {
    kind.TYPE: kind for kind in (Ping, IndirectPing, Ack, Nack, Suspect, Dead, Alive, ErrorMessage)
}


_TYPES = frozenset(KINDS)


def encode(message: Message) -> bytes:
    """Return type byte and body."""
    fields = sorted((key, write(getattr(message, name))) for name, (key, _, write) in message.FIELDS.items())
    return bytes((message.TYPE,)) + pack_old(dict(fields))


def decode(data: bytes | memoryview) -> Message:
    """Return the message; raises InvalidRequest for types that are not in KINDS, too."""
    kind = KINDS.get(Type(data[0])) if data and data[0] in _TYPES else None
    if kind is None:
        raise InvalidRequest(f"message type {data[0] if data else 'missing'}")
    return from_map(kind, OldReader(data[1:]).read())


def from_map(kind: type[M], fields: Any) -> M:
    """Return the record of a decoded map; raises InvalidRequest."""
    if not isinstance(fields, dict):
        raise InvalidRequest("a map expected")
    values = {name: read(fields[key]) for name, (key, read, _) in kind.FIELDS.items() if key in fields}
    return kind(**values)
