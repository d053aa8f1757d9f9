"""Sans-IO: messages of the kernel's netfilter, packed and read. Source: netlink(7), linux/netfilter/nfnetlink.h.

message     u32 size | u16 type | u16 flags | u32 sequence | u32 port | family u8, version u8, resource u16 (>) | ...
attribute   u16 size | u16 type | data, padded to 4 bytes      numbers inside are big-endian
"""

import errno
import struct
from collections.abc import Iterator
from typing import Final

import msgspec

NETLINK_NETFILTER: Final = 12

REQUEST: Final = 0x1
ACK: Final = 0x4
DUMP: Final = 0x300
CREATE: Final = 0x400
APPEND: Final = 0x800

ERROR: Final = 2
"""Also the acknowledgement: then the error is 0."""
DONE: Final = 3

BATCH_BEGIN: Final = 0x10
BATCH_END: Final = 0x11

NESTED: Final = 0x8000
ATTRIBUTE_TYPE_MASK: Final = 0x3FFF

_HEADER = struct.Struct("=IHHII")
_GENERIC = struct.Struct(">BBH")
_ATTRIBUTE = struct.Struct("=HH")


class Received(msgspec.Struct, frozen=True):
    """One message of the kernel."""

    kind: int
    sequence: int
    payload: bytes
    """Without headers, except for ERROR."""

    def raise_for_error(self) -> None:
        """Raise the OSError that an ERROR message carries, if it does."""
        if self.kind == ERROR:
            (code,) = struct.unpack_from("=i", self.payload)
            if code:
                raise OSError(-code, f"the kernel's packet filter says {errno.errorcode.get(-code, str(-code))}")


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute."""
    size = _ATTRIBUTE.size + len(data)
    return _ATTRIBUTE.pack(size, kind) + data + bytes(-size % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds others."""
    return attribute(kind | NESTED, b"".join(attributes))


def number(kind: int, value: int) -> bytes:
    """An attribute that is a number of 32 bits."""
    return attribute(kind, struct.pack(">I", value))


def text(kind: int, value: str) -> bytes:
    """An attribute that is a string, ended by a zero."""
    return attribute(kind, value.encode("ascii") + b"\0")


def message(kind: int, flags: int, sequence: int, body: bytes, *, family: int, resource: int = 0) -> bytes:
    """One whole message."""
    size = _HEADER.size + _GENERIC.size + len(body)
    return _HEADER.pack(size, kind, flags, sequence, 0) + _GENERIC.pack(family, 0, resource) + body


def messages(data: bytes) -> Iterator[Received]:
    """The messages in one datagram."""
    while len(data) >= _HEADER.size:
        size, kind, _, sequence, _ = _HEADER.unpack_from(data)
        begin = _HEADER.size if kind in (ERROR, DONE) else _HEADER.size + _GENERIC.size
        yield Received(kind, sequence, data[begin:size])
        data = data[(size + 3) & ~3 :]


def elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and data of each attribute, in order."""
    while len(data) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(data)
        yield kind & ATTRIBUTE_TYPE_MASK, data[_ATTRIBUTE.size : size]
        data = data[(size + 3) & ~3 :]


def attributes(data: bytes) -> dict[int, bytes]:
    """The same where each type comes at most once."""
    return dict(elements(data))
