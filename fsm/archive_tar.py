"""The little of tar (POSIX ustar) and gzip (RFC 1952) that archives need, strict and with bounds.

Only plain files are accepted: no links, folders, extensions or sparse files. Anything else is an InvalidRequest.
"""

import zlib
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, BinaryIO

from base.errors import InvalidRequest

BLOCK = 512
END = bytes(2 * BLOCK)
END_BYTES_MAX = 1 << 20
"""Zeros accepted behind the last member: tar programs fill up to a record of 10 KiB or more."""
GZIP_WINDOW_BITS = 31
"""zlib's way to say: gzip framing, 32 KiB window."""
READ_BYTES = 256 * 1024
MEMBERS_MAX = 16
NAME_BYTES_MAX = 100
USTAR_SIZE_MAX = 8**11 - 1

_NOT_GZIP = "the archive is not a gzip file, or it is damaged"
_CUT_OFF = "the archive is cut off"


def header(name: str, size: int) -> bytes:
    """Return the header block of a plain file."""
    assert size <= USTAR_SIZE_MAX
    assert len(name) < NAME_BYTES_MAX
    block = bytearray(BLOCK)

    def field(start: int, data: bytes) -> None:
        block[start : start + len(data)] = data

    field(0, name.encode("ascii"))
    field(100, b"0000600\0")
    field(108, b"0000000\0")
    field(116, b"0000000\0")
    field(124, b"%011o\0" % size)
    field(136, b"00000000000\0")  # no time: the same state gives the same archive
    field(148, b" " * 8)
    field(156, b"0")
    field(257, b"ustar\x0000")
    field(148, b"%06o\0 " % sum(block))
    return bytes(block)


def padding(size: int) -> bytes:
    """Return the zeros behind the data of a file of `size` bytes."""
    return bytes(-size % BLOCK)


def member(name: str, data: bytes) -> bytes:
    """Return a whole small member."""
    return header(name, len(data)) + data + padding(len(data))


class Inflater:
    """Reads the inside of a gzip file of one or more members, with a bound on what comes out."""

    def __init__(self, file: BinaryIO, bytes_max: int) -> None:
        self._file = file
        self._left = bytes_max
        self._inflate = zlib.decompressobj(GZIP_WINDOW_BITS)
        self._raw = b""
        self._ready = bytearray()
        self._fresh = True
        self._sum: Any = None
        self.position = 0
        """Bytes given out so far."""

    def start_sum(self) -> None:
        """From here on, sum up what is read."""
        self._sum = sha256()

    def end_sum(self) -> str:
        """Return the SHA-256 of what was read since `start_sum`."""
        digest: str = self._sum.hexdigest()
        self._sum = None
        return digest

    def read(self, size: int) -> bytes:
        """Return exactly `size` bytes; raises InvalidRequest where there aren't as many."""
        data = self.read_up_to(size)
        if len(data) != size:
            raise InvalidRequest(_CUT_OFF)
        return data

    def read_up_to(self, size: int) -> bytes:
        """Return `size` bytes, or fewer at the end."""
        ready = self._ready
        while len(ready) < size and self._more():
            pass
        data = bytes(ready[:size])
        del ready[:size]
        self.position += len(data)
        if self._sum is not None:
            self._sum.update(data)
        return data

    def _more(self) -> bool:
        if not self._raw:
            self._raw = self._file.read(READ_BYTES)
            if not self._raw:
                if not self._inflate.eof and not self._fresh:
                    raise InvalidRequest(_CUT_OFF)
                return False
        if self._inflate.eof:
            self._inflate = zlib.decompressobj(GZIP_WINDOW_BITS)
        self._fresh = False
        try:
            data = self._inflate.decompress(self._raw, READ_BYTES)
        except zlib.error as error:
            raise InvalidRequest(_NOT_GZIP) from error
        self._raw = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
        self._left -= len(data)
        if self._left < 0:
            raise InvalidRequest("the archive is too large when unpacked")
        self._ready += data
        return True


def members(file: BinaryIO, bytes_max: int, size_limits: Mapping[str, int]) -> Iterator[tuple[Inflater, str, int]]:
    """Yield (reader, name, size) of every member of a gzipped tar, the reader standing at its data.

    `bytes_max` bounds every member; `size_limits` has lower bounds for single names.
    """
    file.seek(0)
    reader = Inflater(file, bytes_max + END_BYTES_MAX + sum(size_limits.values()) + MEMBERS_MAX * 2 * BLOCK)
    for _ in range(MEMBERS_MAX):
        block = reader.read(BLOCK)
        if block == bytes(BLOCK):
            _read_end(reader)
            return
        name, size = _parse(block)
        limit = size_limits.get(name, bytes_max)
        if size > limit:
            raise InvalidRequest(f"the archive's {name!r} has {size} bytes; {limit} are allowed")
        end = reader.position + size
        yield reader, name, size
        while reader.position < end:
            reader.read(min(end - reader.position, READ_BYTES))
        if any(reader.read(-size % BLOCK)):
            raise InvalidRequest("the archive has something between its members")
    raise InvalidRequest("the archive has too many members")


def _read_end(reader: Inflater) -> None:
    total = 0
    while data := reader.read_up_to(READ_BYTES):
        total += len(data)
        if any(data) or total > END_BYTES_MAX:
            raise InvalidRequest("the archive goes on behind its end")


def _parse(block: bytes) -> tuple[str, int]:
    """Return (name, size) of a header block; raises InvalidRequest unless it is one of a plain file."""
    try:
        announced = _octal(block[148:156])
        if announced != sum(block[:148]) + 8 * 0x20 + sum(block[156:]):
            raise InvalidRequest("the archive is damaged: a tar header's checksum is wrong")
        size = _octal(block[124:136])
        name = block[:100].split(b"\0", 1)[0].decode("ascii")
    except ValueError as error:
        raise InvalidRequest(f"the archive is damaged: a tar header cannot be read ({error})") from error
    if block[156:157] not in (b"0", b"\0") or any(block[345:500]):
        raise InvalidRequest(f"the archive's member {name!r} is not a plain file")
    return name, size


def _octal(field: bytes) -> int:
    text = field.strip(b"\0 ")
    if not text.isdigit():
        raise ValueError("a number is not octal")
    return int(text, 8)
