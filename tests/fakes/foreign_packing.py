"""How a foreign member packs what it gossips: compression, checksums, seals, compounds.

Written after the specification. Nothing of `gossip/` is used here, so that only the wire is in common.
"""

import os
import struct
import zlib
from collections.abc import Sequence
from typing import Any, Protocol

import msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.fakes.foreign_wire import old

PING, INDIRECT_PING, ACK, SUSPECT, ALIVE, DEAD, PUSH_PULL, COMPOUND, USER = range(9)
COMPRESSED, ENCRYPTED, NACK, CRC, ERROR = range(9, 14)
LEAVE_INTENT, JOIN_INTENT, STATE, EVENT, QUERY, RESPONSE, CONFLICT, KEY_REQUEST, KEY_RESPONSE, RELAY = range(10)
"""Of the layer above, behind USER."""

VERSIONS = bytes((1, 5, 2, 2, 5, 4))
CLEAR, END = 256, 257
SEAL_VERSION = 1
NONCE_BYTES = 12
PACKET_BYTES = 1400
PARTS_MAX = 127


class NotForUs(Exception):
    """What cannot be opened or read."""


class RemoteError(Exception):
    """What the other side of a stream answered instead."""


def message(kind: int, fields: dict[str, Any]) -> bytes:
    """A type byte and a map."""
    return bytes((kind,)) + old(dict(sorted(fields.items())))


def fields_of(data: bytes) -> dict[str, Any]:
    """The map behind a type byte; keys are text, values stay as they are."""
    found = msgpack.unpackb(data[1:], raw=True, strict_map_key=False)
    return {key.decode(): value for key, value in found.items()}


def text(value: Any) -> str:
    """Raw as text; nil is empty."""
    return (value or b"").decode("utf-8", "surrogateescape")


def meta_of(tags: dict[str, str]) -> bytes:
    """Tags as they stand in a record."""
    return b"\xff" + old(tags)


def tags_of(meta: bytes) -> dict[str, str]:
    """The tags in a record."""
    if meta[:1] != b"\xff":
        return {"role": text(meta)}
    return {text(key): text(value) for key, value in msgpack.unpackb(meta[1:], raw=True, strict_map_key=False).items()}


# Compression


def shrunk(data: bytes) -> bytes:
    """LZW, bits packed least significant first."""
    bits = position = 0

    def put(code: int, width: int) -> None:
        nonlocal bits, position
        bits |= code << position
        position += width

    table: dict[bytes, int] = {}
    width, used = 9, END
    put(CLEAR, width)
    prefix = b""
    for byte in data:
        longer = prefix + bytes((byte,))
        if len(longer) == 1 or longer in table:
            prefix = longer
            continue
        put(table.get(prefix, prefix[0]), width)
        used += 1
        if used == 4095:
            put(CLEAR, width)
            table, width, used = {}, 9, END
        else:
            table[longer] = used
            width += used == 1 << width
        prefix = longer[-1:]
    if prefix:
        put(table.get(prefix, prefix[0]), width)
        used += 1
        width += used == 1 << width and width < 12
    put(END, width)
    return bits.to_bytes((position + 7) // 8, "little")


def grown(data: bytes) -> bytes:
    """The contrary of `shrunk`."""
    bits = int.from_bytes(data, "little")
    left = len(data) * 8
    table: dict[int, bytes] = {}
    width, used, last = 9, END, b""
    out = bytearray()
    while left >= width:
        code = bits & ((1 << width) - 1)
        bits >>= width
        left -= width
        if code == END:
            return bytes(out)
        if code == CLEAR:
            table, width, used, last = {}, 9, END, b""
            continue
        found = bytes((code,)) if code < CLEAR else table.get(code) or last + last[:1]
        if last:
            table[used] = last + found[:1]
        out += found
        last = found
        used += 1
        width += used == 1 << width and width < 12
    raise NotForUs("compressed data without an end")


def compressed(data: bytes) -> bytes:
    return message(COMPRESSED, {"Algo": 0, "Buf": shrunk(data)})


# Seals


def sealed(key: bytes, plain: bytes, aad: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return bytes((SEAL_VERSION,)) + nonce + AESGCM(key).encrypt(nonce, plain, aad)


def opened(keys: Sequence[bytes], data: bytes, aad: bytes) -> bytes:
    """What any of the keys opens; raises NotForUs."""
    for key in keys:
        try:
            plain = AESGCM(key).decrypt(data[1 : 1 + NONCE_BYTES], data[1 + NONCE_BYTES :], aad)
        except (InvalidTag, ValueError):
            continue
        return plain[: -plain[-1]] if data[0] == 0 else plain
    raise NotForUs("no key opens it")


# Packets


def compound(parts: Sequence[bytes]) -> bytes:
    if len(parts) == 1:
        return parts[0]
    lengths = b"".join(struct.pack(">H", len(part)) for part in parts)
    return bytes((COMPOUND, len(parts))) + lengths + b"".join(parts)


def packed(data: bytes, keys: Sequence[bytes], *, with_crc: bool) -> bytes:
    """A datagram, as a foreign member sends it: compressed where that helps."""
    smaller = compressed(data)
    data = min(data, smaller, key=len)
    if with_crc:
        data = struct.pack(">BI", CRC, zlib.crc32(data)) + data
    return sealed(keys[0], data, b"") if keys else data


def parts_of(data: bytes) -> list[bytes]:
    """The messages in a plain datagram without its checksum."""
    if data[0] == COMPRESSED:
        return parts_of(grown(fields_of(data)["Buf"]))
    if data[0] != COMPOUND:
        return [data]
    lengths = struct.unpack_from(f">{data[1]}H", data, 2)
    start = 2 + 2 * data[1]
    found: list[bytes] = []
    for length in lengths:
        found += parts_of(data[start : start + length])
        start += length
    return found


def unpacked(data: bytes, keys: Sequence[bytes]) -> list[bytes]:
    """The messages in a datagram; raises NotForUs."""
    if keys:
        data = opened(keys, data, b"")
    if data[0] == CRC and len(data) >= 5:
        (expected,) = struct.unpack_from(">I", data, 1)
        if zlib.crc32(data[5:]) != expected:
            raise NotForUs("a checksum that does not match")
        data = data[5:]
    return parts_of(data)


# Streams


class Source(Protocol):
    """A socket, or what stands in for one."""

    def recv(self, size: int, /) -> bytes:
        """Return the next bytes, b"" at the end."""
        ...


class Held:
    """Bytes that are all there already."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def recv(self, size: int, /) -> bytes:
        """See Source."""
        piece, self._data = self._data[:size], self._data[size:]
        return piece


class StreamMessage:
    """Reads one message of a stream, whatever it is wrapped in."""

    def __init__(self, source: Source, keys: Sequence[bytes]) -> None:
        """Raises EOFError where the stream ends first, NotForUs, and RemoteError for what the other side complains."""
        self._source = source
        self._data = b""
        self.was_sealed = False
        self.kind = self.raw(1)[0]
        if self.kind == ENCRYPTED:
            length = self.raw(4)
            sealed_body = self.raw(*struct.unpack(">I", length))
            self._become(opened(keys, sealed_body, bytes((ENCRYPTED,)) + length))
            self.was_sealed = True
        elif keys:
            raise NotForUs("plain, though there is a key")
        if self.kind == COMPRESSED:
            self._become(grown(self.value()["Buf"]))
        if self.kind == ERROR:
            raise RemoteError(text(self.value()["Error"]))

    def _become(self, plain: bytes) -> None:
        self._source = Held(plain)
        self._data = b""
        self.kind = self.raw(1)[0]

    def _more(self) -> None:
        piece = self._source.recv(1 << 16)
        if not piece:
            raise EOFError
        self._data += piece

    def raw(self, size: int) -> bytes:
        """So many bytes."""
        while len(self._data) < size:
            self._more()
        data, self._data = self._data[:size], self._data[size:]
        return data

    def value(self) -> dict[str, Any]:
        """The next map."""
        while True:
            reader = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=1 << 28)
            reader.feed(self._data)
            try:
                found = reader.unpack()
            except msgpack.OutOfData:
                self._more()
                continue
            self._data = self._data[reader.tell() :]
            return {key.decode(): item for key, item in found.items()}


def streamed(data: bytes, keys: Sequence[bytes]) -> bytes:
    """A message as it goes over a stream."""
    data = compressed(data)
    if not keys:
        return data
    head = struct.pack(">BI", ENCRYPTED, len(data) + 1 + NONCE_BYTES + 16)
    return head + sealed(keys[0], data, head)
