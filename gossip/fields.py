"""Sans-IO: records that stand on the wire as maps, and the readers and writers of their single values.

A record is one msgpack map of the old form with the keys that its `FIELDS` name, sorted as the foreign sender does.
Unknown keys are ignored and missing ones are zero; a value of the wrong kind or out of range is InvalidRequest.
"""

import ipaddress
import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, ClassVar, TypeVar

import msgspec

from base.codec import pack_old
from base.errors import InvalidRequest
from gossip.instructions import VERSIONS, Versions

U8_MAX = (1 << 8) - 1
U16_MAX = (1 << 16) - 1
U32_MAX = (1 << 32) - 1
LAMPORT_TIME_MAX = (1 << 63) - 1
"""The wire has 64 bits. A clock that follows a forged time must still be able to go on without leaving them."""
DURATION_NS_MAX = (1 << 63) - 1
NAME_BYTES_MAX = 255
"""Longer names are refused: a name travels in every message about its member."""
VERSIONS_COUNT = 6
LIST_ITEMS_MAX = 1024
"""Items of any list in a message: the longest, the user events of one push/pull, has 512."""
HOSTS_CACHED_MAX = 4096

Reader = Callable[[Any], Any]
Writer = Callable[[Any], Any]


class Fields(msgspec.Struct, frozen=True, kw_only=True):
    """A record that is a map on the wire; `FIELDS` says how each of its fields stands there."""

    FIELDS: ClassVar[dict[str, tuple[str, Reader, Writer]]] = {}
    """Field -> key on the wire, reader of a wire value, writer of a wire value."""


F = TypeVar("F", bound=Fields)


@cache
def _sorted_fields(kind: type[Fields]) -> list[tuple[str, str, Writer]]:
    return sorted((key, name, write) for name, (key, _, write) in kind.FIELDS.items())


def to_map(record: Fields) -> dict[str, Any]:
    """Return the map of a record, in the order of the wire."""
    return {key: write(getattr(record, name)) for key, name, write in _sorted_fields(type(record))}


def to_bytes(record: Fields) -> bytes:
    """Return the bytes of a record."""
    return pack_old(to_map(record))


def from_map(kind: type[F], fields: Any) -> F:
    """Return the record of a decoded map; raises InvalidRequest."""
    if not isinstance(fields, dict):
        raise InvalidRequest("a map expected")
    values = {name: read(fields[key]) for name, (key, read, _) in kind.FIELDS.items() if key in fields}
    return kind(**values)


# Readers and writers of single values


def same(value: Any) -> Any:
    """Write a value as it is."""
    return value


def text_of(value: Any) -> str:
    """Return a text of the wire; bytes that are no UTF-8 survive a round trip."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, str):
        return value
    raise InvalidRequest("text expected")


def wire_text(value: str) -> bytes:
    """Return what `text_of` reads; raises InvalidRequest for half characters that no bytes can stand for."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidRequest("a text with half a character in it") from error


def name_of(value: Any) -> str:
    """Return the name of a member: printable text, since it becomes a key, part of a path and a line in many lists."""
    name = text_of(value)
    if name.isprintable() and (len(name) if name.isascii() else len(name.encode())) <= NAME_BYTES_MAX:
        return name
    raise InvalidRequest("impossible member name")


def text_for_people(text: str) -> str:
    """Return a text of the wire as it may leave gossip: what is no UTF-8 in it is replaced."""
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def bytes_of(value: Any) -> bytes:
    """Return bytes of the wire; nil is empty."""
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    raise InvalidRequest("bytes expected")


def bytes_or_nil(value: bytes) -> bytes | None:
    """Write bytes; nil for none."""
    return value or None


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


def float_of(value: Any) -> float:
    """Return a finite number; whole ones may come as integers."""
    if type(value) in (int, float) and math.isfinite(value):
        return float(value)
    raise InvalidRequest("a finite number expected")


def list_of(read: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """Return a reader of lists whose items `read` reads; nil is empty."""

    def read_list(value: Any) -> list[Any]:
        if value is None:
            return []
        if isinstance(value, list):
            return [read(item) for item in value]
        raise InvalidRequest("a list expected")

    return read_list


def texts_of(value: Any) -> dict[str, str]:
    """Return a map of texts; nil is empty."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return {key: text_of(item) for key, item in value.items()}
    raise InvalidRequest("a map expected")


def wire_texts(value: dict[str, str]) -> dict[bytes, bytes]:
    """Return what `texts_of` reads, sorted by key."""
    return {wire_text(key): wire_text(value[key]) for key in sorted(value)}


def host_of(value: Any) -> str:
    """Return the text of an address of 4 or 16 bytes; "" for none."""
    raw = bytes_of(value)
    if len(raw) == 4:
        return ".".join(map(str, raw))
    if len(raw) == 16:
        return str(ipaddress.ip_address(raw))
    if raw:
        raise InvalidRequest(f"an address of {len(raw)} bytes")
    return ""


@lru_cache(HOSTS_CACHED_MAX)
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


u8 = unsigned(U8_MAX)
u16 = unsigned(U16_MAX)
u32 = unsigned(U32_MAX)
lamport_time_of = unsigned(LAMPORT_TIME_MAX)
duration_of = unsigned(DURATION_NS_MAX)
