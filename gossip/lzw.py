"""Sans-IO: the compression of gossip: LZW of 8-bit literals, bits packed from the least significant one.

Theory of operation. Codes 0 to 255 are bytes, 256 (clear) empties the table, 257 ends the data, 258 and above stand for
strings seen before: what the code before stood for, and one byte more. Codes are 9 bits wide; the n-th code after a
clear is the last of its width if 257 + n is 512, 1024 or 2048. The writer clears when it has given out the code before
4095; a reader that is not told to goes on with a full table. Source: wire format, section 2.3.

Everything passes through here, so it is written for speed. Codes are packed and unpacked 256 at a time by shifting all
of them at once inside one large number: `_pack` starts with a code in each 16-bit lane, moves every second code to its
left neighbour, then every second pair to its left neighbour, and so on, eight times; `_unpack` goes the other way.
"""

import struct
from collections.abc import Iterator
from itertools import islice

from base.errors import InvalidRequest, TooLarge

_CLEAR, _END, _FIRST = 256, 257, 258
_WIDTH_MIN, _WIDTH_MAX = 9, 12
_TABLE_SIZE = 1 << _WIDTH_MAX
_CODES_PER_CLEAR = _TABLE_SIZE - 1 - _END
"""After so many codes the writer clears its table."""
_LEVELS = 8
_BLOCK = 1 << _LEVELS
"""Codes that are packed at once."""
_LANE = 16
_LANES = struct.Struct(f"<{_BLOCK}H")


def _masks(width: int) -> list[tuple[int, int]]:
    """For each level: the mask of the fields that stay, and how far the others move."""
    masks = []
    for level in range(_LEVELS):
        field, lane = (1 << (width << level)) - 1, _LANE << (level + 1)
        mask = 0
        for position in range(0, _LANE * _BLOCK, lane):
            mask |= field << position
        masks.append((mask, (_LANE - width) << level))
    return masks


_MASKS = {width: _masks(width) for width in range(_WIDTH_MIN, _WIDTH_MAX + 1)}


def _pack(codes: list[int], width: int) -> int:
    """Return up to a block of codes as one number, the first code lowest."""
    lanes = int.from_bytes(struct.pack(f"<{len(codes)}H", *codes), "little")
    for mask, shift in _MASKS[width]:
        stay = lanes & mask
        lanes = stay | (lanes ^ stay) >> shift
    return lanes


def _unpack(packed: int, width: int) -> tuple[int, ...]:
    """Return a block of codes of one number; those above its bits are zero."""
    for mask, shift in reversed(_MASKS[width]):
        stay = packed & mask
        packed = stay | (packed ^ stay) << shift
    return _LANES.unpack(packed.to_bytes(_LANES.size, "little"))


def compress(data: bytes) -> bytes:
    """Return the compressed bytes; the same as the foreign writer's."""
    return _written(_codes(data))


def _codes(data: bytes) -> list[int]:
    """Return all codes, but for clear and end. Codes that are known are kept shifted, ready for the next byte."""
    codes: list[int] = []
    emit = codes.append
    table: dict[int, int] = {}
    known = table.get
    fresh, fresh_max = _FIRST << 8, (_TABLE_SIZE - 1) << 8
    rest = iter(data)
    prefix = next(rest, -1) << 8
    if prefix < 0:
        return codes
    for byte in rest:
        key = prefix | byte
        longer = known(key)
        if longer:
            prefix = longer
            continue
        emit(prefix >> 8)
        prefix = byte << 8
        if fresh < fresh_max:
            table[key] = fresh
            fresh += 256
        else:
            table.clear()
            fresh = _FIRST << 8
    emit(prefix >> 8)
    return codes


def _written(codes: list[int]) -> bytes:
    """Return the bytes of the codes with a clear in front of each tableful and the end behind them."""
    pieces: list[bytes] = []
    pending, pending_bits = _CLEAR, _WIDTH_MIN
    start = 0
    codes = [*codes, _END]
    while start < len(codes):
        used = start % _CODES_PER_CLEAR
        width = (_END + used).bit_length()
        count = min(_BLOCK, (1 << width) - _END - used, _CODES_PER_CLEAR - used)
        block = codes[start : start + count]
        pending |= _pack(block, width) << pending_bits
        pending_bits += width * len(block)
        start += len(block)
        if start % _CODES_PER_CLEAR == 0 and start < len(codes):
            pending |= _CLEAR << pending_bits
            pending_bits += _WIDTH_MAX
        whole = pending.to_bytes((pending_bits + 7) >> 3, "little")
        pending_bits &= 7
        pending = whole[-1] if pending_bits else 0
        pieces.append(whole[:-1] if pending_bits else whole)
    if pending_bits:
        pieces.append(bytes((pending,)))
    return b"".join(pieces)


class _Bits:
    """The compressed bytes as a row of bits."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self._bits = len(data) * 8
        self._position = 0

    def take(self, width: int, count: int) -> Iterator[int]:
        """Return the next codes, `count` or as many as are left; raises InvalidRequest if there is none."""
        start = self._position
        count = min(count, (self._bits - start) // width)
        if count <= 0:
            raise InvalidRequest("compressed data end too early")
        self._position = end = start + count * width
        packed = int.from_bytes(self._data[start >> 3 : (end + 7) >> 3], "little") >> (start & 7)
        return islice(_unpack(packed & ((1 << count * width) - 1), width), count)

    def put_back(self, width: int, codes: Iterator[int]) -> None:
        """Those were not of that width."""
        self._position -= width * sum(1 for _ in codes)


_TABLE = [*(bytes((byte,)) for byte in range(256)), b"", b""]
"""What a code stands for; nothing for clear and end."""


def decompress(data: bytes | memoryview, bytes_max: int) -> bytes:
    """Return the plain bytes; raises InvalidRequest for what no writer writes, TooLarge beyond `bytes_max`.

    Memory is bounded by `bytes_max` and the table (7 MiB at the very worst), time by the size of the data and
    `bytes_max`. What follows the end is ignored.
    """
    bits = _Bits(data)
    pieces: list[bytes] = []
    size_bytes = 0
    table, width, last = _TABLE.copy(), _WIDTH_MIN, b""
    codes: Iterator[int] = iter(())
    special = 0
    while special != _END:
        if special == _CLEAR:
            bits.put_back(width, codes)
            table, width, last = _TABLE.copy(), _WIDTH_MIN, b""
        if len(table) == 1 << width and width < _WIDTH_MAX:
            width += 1
        room = (1 << width) - len(table)
        codes = bits.take(width, min(room, _BLOCK) if room else _BLOCK)
        parts: list[bytes] = []
        special, last = _expand(codes, table, last, parts)
        size_bytes += sum(map(len, parts))
        if size_bytes > bytes_max:
            raise TooLarge(f"compressed data of more than {bytes_max} bytes")
        pieces.append(b"".join(parts))
    return b"".join(pieces)


def _expand(codes: Iterator[int], table: list[bytes], last: bytes, parts: list[bytes]) -> tuple[int, bytes]:
    """Look up codes until there are none left (0) or one is clear or end; return that, and what the last stood for."""
    emit, learn = parts.append, table.append
    learning = len(table) < _TABLE_SIZE
    while True:
        try:
            for code in codes:
                chunk = table[code]
                if not chunk:
                    if code == _END or len(table) >= 1 << _WIDTH_MIN:
                        return code, last
                    # Codes stay as wide as they are. A hostile row of clears must not cost more than one of letters.
                    del table[_FIRST:]
                    last = b""
                    continue
                emit(chunk)
                if last and learning:
                    learn(last + chunk[:1])
                last = chunk
            return 0, last
        except IndexError:
            # Seldom: the code being learned, which stands for the last string and its own first byte.
            if code != len(table) or not last:
                raise InvalidRequest("compressed data with an impossible code") from None
            last += last[:1]
            emit(last)
            learn(last)
