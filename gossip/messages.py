"""Sans-IO: the messages of the membership layer, as records and as bytes. Source: wire format, sections 2.1 and 4.

A message is one type byte and one msgpack map of the old form with the keys below, sorted by name as the foreign sender
does. Unknown keys are ignored and missing ones are zero; a value of the wrong kind or out of range is InvalidRequest,
and so are bytes that are no map at all.
"""

from enum import IntEnum
from typing import ClassVar

from base.codec import OldReader
from base.errors import InvalidRequest
from gossip.fields import (
    LIST_ITEMS_MAX,
    Fields,
    bytes_of,
    bytes_or_nil,
    flag_of,
    from_map,
    host_of,
    name_of,
    same,
    text_of,
    to_bytes,
    u16,
    u32,
    versions_or_ours,
    wire_host,
    wire_text,
)
from gossip.instructions import VERSIONS, Versions


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


class Message(Fields, frozen=True, kw_only=True):
    """One message."""

    TYPE: ClassVar[Type]


class Ping(Message, frozen=True, kw_only=True):
    """Are you there? `node` is whom it is meant for; "" anybody."""

    TYPE = Type.PING
    FIELDS = {"sequence": ("SeqNo", u32, same), "node": ("Node", name_of, wire_text)}
    sequence: int = 0
    node: str = ""


class IndirectPing(Message, frozen=True, kw_only=True):
    """Ask that one for me; tell me if it does not answer either, where `nack`."""

    TYPE = Type.INDIRECT_PING
    FIELDS = {
        "sequence": ("SeqNo", u32, same),
        "target": ("Target", host_of, wire_host),
        "port": ("Port", u16, same),
        "node": ("Node", name_of, wire_text),
        "nack": ("Nack", flag_of, same),
    }
    sequence: int = 0
    target: str = ""
    port: int = 0
    node: str = ""
    nack: bool = False


class Ack(Message, frozen=True, kw_only=True):
    """I am here; a direct one carries the sender's coordinate."""

    TYPE = Type.ACK
    FIELDS = {"sequence": ("SeqNo", u32, same), "payload": ("Payload", bytes_of, bytes_or_nil)}
    sequence: int = 0
    payload: bytes = b""


class Nack(Message, frozen=True, kw_only=True):
    """I am here, but it did not answer me either."""

    TYPE = Type.NACK
    FIELDS = {"sequence": ("SeqNo", u32, same)}
    sequence: int = 0


class Suspect(Message, frozen=True, kw_only=True):
    """`sender` could not reach `node`."""

    TYPE = Type.SUSPECT
    FIELDS = {
        "incarnation": ("Incarnation", u32, same),
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
        "incarnation": ("Incarnation", u32, same),
        "node": ("Node", name_of, wire_text),
        "host": ("Addr", host_of, wire_host),
        "port": ("Port", u16, same),
        "meta": ("Meta", bytes_of, same),
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


def encode(message: Message) -> bytes:
    """Return type byte and body."""
    return bytes((message.TYPE,)) + to_bytes(message)


def decode(data: bytes | memoryview) -> Message:
    """Return the message; raises InvalidRequest for types that are not in KINDS, too."""
    kind = _KINDS_BY_BYTE.get(data[0]) if data else None
    if kind is None:
        raise InvalidRequest(f"message type {data[0] if data else 'missing'}")
    return from_map(kind, OldReader(memoryview(data)[1:], list_items_max=LIST_ITEMS_MAX).read())


_KINDS_BY_BYTE: dict[int, type[Message]] = {int(kind): message for kind, message in KINDS.items()}
