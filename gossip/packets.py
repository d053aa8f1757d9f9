"""Sans-IO: what is around the messages of one datagram. Source: wire format, sections 2.2 to 2.5 and 3.1.

From the outside in: the seal, a checksum, compression, and then one message or several put together (a compound).
"Plain" is what is left when seal, checksum and the outermost compression are off; `split` takes that apart. Everything
a datagram may grow to is bounded: a small one must not cost much, whoever sent it.
"""

import struct
import zlib

from base.codec import OldReader, pack_old
from base.errors import InvalidRequest, TooLarge, require
from gossip import lzw
from gossip.config import PACKET_BYTES
from gossip.fields import LIST_ITEMS_MAX, U16_MAX, u8
from gossip.keyring import SEAL_OVERHEAD_BYTES, Keyring
from gossip.messages import Type

DATAGRAM_BYTES_MAX = 1 << 16
"""No datagram is longer."""
PLAIN_BYTES_MAX = 1 << 16
"""What one datagram may hold when all is unpacked. Senders fill at most 1400 bytes before they compress."""
PARTS_MAX = 127
"""Parts of one compound that is sent: foreign members misread more. Received ones may have 255."""
SPLIT_PARTS_MAX = 1024
"""Messages in one datagram, in compounds within compounds too."""
SPLIT_DEPTH_MAX = 4
"""Wrappers around one another; nobody sends more than a compressed compound with compressed parts."""
COMPRESS_BYTES_MIN = 128
"""Below this compression gains next to nothing, since its wrapper takes 13 bytes, and costs more time than the rest."""
COMPRESSED_BYTES_MAX = 4 << 20
"""On streams too. The worst of it takes a third of a second for each MiB; 90,000 members fit in."""
WRAPPER_KEY_BYTES_MAX = 64

COMPOUND_HEADER_BYTES = 2
PART_OVERHEAD_BYTES = 2
"""What each part costs besides itself: its length."""

_CRC_BYTES = 5
_ALGORITHM_LZW = 0


def room_bytes(*, used_bytes: int = 0, encrypted: bool) -> int:
    """Return how much is left for the parts of a compound, each with its overhead, beside `used_bytes` of them."""
    return PACKET_BYTES - COMPOUND_HEADER_BYTES - used_bytes - (SEAL_OVERHEAD_BYTES if encrypted else 0)


# Out


def compound(parts: list[bytes]) -> bytes:
    """Return one plain packet of 1 to PARTS_MAX messages; a message alone is sent as it is."""
    require(1 <= len(parts) <= PARTS_MAX, "parts of a compound", len(parts))
    if len(parts) == 1:
        return parts[0]
    sizes = [len(part) for part in parts]
    require(max(sizes) <= U16_MAX, "part too long for a compound", max(sizes))
    return struct.pack(f">BB{len(parts)}H", Type.COMPOUND, len(parts), *sizes) + b"".join(parts)


def compressed(message: bytes) -> bytes:
    """Return the message in its compressed wrapper."""
    return bytes((Type.COMPRESSED,)) + pack_old({"Algo": _ALGORITHM_LZW, "Buf": lzw.compress(message)})


def seal_packet(payload: bytes, keyring: Keyring | None, *, with_crc: bool, nonce: bytes) -> bytes:
    """Return the datagram of a plain packet; `nonce` is 12 random bytes, not looked at without a keyring."""
    if len(payload) >= COMPRESS_BYTES_MIN:
        smaller = compressed(payload)
        if len(smaller) < len(payload):
            payload = smaller
    if with_crc:
        payload = struct.pack(">BI", Type.CRC, zlib.crc32(payload)) + payload
    return keyring.seal(payload, b"", nonce) if keyring else payload


# In


def open_packet(data: bytes, keyring: Keyring | None, *, verify_incoming: bool = True) -> bytes:
    """Return the plain packet in a datagram.

    Raises InvalidRequest if no key opens it (without `verify_incoming` it is then taken for plain), if its checksum is
    wrong, or if it cannot be decompressed; TooLarge beyond PLAIN_BYTES_MAX.
    """
    if keyring:
        try:
            data = keyring.open(data, b"")
        except InvalidRequest:
            if verify_incoming:
                raise
    if data[:1] == _CRC and len(data) >= _CRC_BYTES:
        if zlib.crc32(data[_CRC_BYTES:]) != int.from_bytes(data[1:_CRC_BYTES], "big"):
            raise InvalidRequest("a packet with a wrong checksum")
        data = data[_CRC_BYTES:]
    if not data:
        raise InvalidRequest("an empty packet")
    if len(data) > PLAIN_BYTES_MAX:
        raise TooLarge(f"a packet of {len(data)} bytes")
    return decompressed(data, PLAIN_BYTES_MAX) if data[0] == Type.COMPRESSED else data


_CRC = bytes((Type.CRC,))


def decompressed(message: bytes | memoryview, bytes_max: int) -> bytes:
    """Return what is in a compressed wrapper; raises InvalidRequest, or TooLarge beyond `bytes_max`."""
    reader = OldReader(memoryview(message)[1:], list_items_max=LIST_ITEMS_MAX)
    algorithm, body = _ALGORITHM_LZW, b""
    for _ in range(reader.enter_map(LIST_ITEMS_MAX)):
        key = reader.read_raw(WRAPPER_KEY_BYTES_MAX)
        if key == b"Buf":
            body = reader.read_raw(COMPRESSED_BYTES_MAX)
        elif key == b"Algo":
            algorithm = u8(reader.read_within(WRAPPER_KEY_BYTES_MAX))
        else:
            reader.skip()
    if algorithm != _ALGORITHM_LZW:
        raise InvalidRequest(f"compression algorithm {algorithm}")
    return lzw.decompress(body, bytes_max)


def split(payload: bytes) -> list[bytes]:
    """Return the messages of a plain packet, each with its type byte, in their order.

    Parts that cannot be read are left out, and so are those behind a length that runs past the end; raises
    InvalidRequest if nothing is left, TooLarge if there are too many or they are too large.
    """
    budget = _Budget()
    messages: list[bytes] = []
    _collect(memoryview(payload), 0, budget, messages)
    if not messages:
        raise InvalidRequest("a packet without a message")
    return messages


class _Budget:
    """What one packet may still cost."""

    def __init__(self) -> None:
        self.parts_count = SPLIT_PARTS_MAX
        self.bytes_count = PLAIN_BYTES_MAX

    def take_part(self) -> None:
        self.parts_count -= 1
        if self.parts_count < 0:
            raise TooLarge(f"a packet of more than {SPLIT_PARTS_MAX} parts")


def _collect(message: memoryview, depth: int, budget: _Budget, messages: list[bytes]) -> None:
    """Append the messages within `message`, which is wrapped `depth` times."""
    budget.take_part()
    kind = message[0] if message else None
    if kind not in (Type.COMPOUND, Type.COMPRESSED):
        if message:
            messages.append(bytes(message))
    elif depth < SPLIT_DEPTH_MAX:
        for part in _parts(message) if kind == Type.COMPOUND else _content(message, budget):
            _collect(part, depth + 1, budget, messages)


def _parts(message: memoryview) -> list[memoryview]:
    count = message[1] if len(message) > 1 else 0
    position = COMPOUND_HEADER_BYTES + count * PART_OVERHEAD_BYTES
    if count == 0 or len(message) < position:
        return []
    parts = []
    for size in struct.unpack_from(f">{count}H", message, COMPOUND_HEADER_BYTES):
        if position + size > len(message):
            break
        parts.append(message[position : position + size])
        position += size
    return parts


def _content(message: memoryview, budget: _Budget) -> list[memoryview]:
    try:
        plain = decompressed(message, budget.bytes_count)
    except InvalidRequest:
        return []
    budget.bytes_count -= len(plain)
    return [memoryview(plain)]
