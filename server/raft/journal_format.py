"""Sans-IO: the bytes of a journal segment, written and read back, and what a damaged tail proves.

A segment is a header of one sector, then batches. A batch is what one sync made durable: a header, records, and
padding to the next sector. All numbers are little-endian. `docs/internals/journal.md` draws it.

The rule that everything about torn tails stands on: **no sector of a batch is all zeros, and its last byte is not
zero.** The header begins with a magic, there is always some padding and it is 0xFF, and a payload with a run of
zeros as long as a sector is stuffed. Space that was never written reads as zeros, so such zeros inside a batch
prove that its sync never ended, and hence that nothing in it was ever promised to anyone.
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from base.errors import DataDamaged

FORMAT_VERSION = 1
SECTOR_BYTES = 512
"""The unit that a disk writes whole or not at all; never larger than a real disk's."""
SEGMENT_MAGIC = b"meshjrnl"
BATCH_MAGIC = b"MB\xc5\x01"
BATCH_PAYLOAD_BYTES_MAX = 1 << 30
"""One batch is what arrived during one sync; entries are at most 2 MiB and windows are bounded far below."""
VOTE_BYTES_MAX = 255
FLAG_STUFFED = 1
REPAIR_ADVICE = (
    "nothing was changed. If the cluster has a quorum without this server, stop it, move the folder away (never only "
    "the file), and let it join again under a new node id; otherwise restore from a backup"
)

_PADDING = b"\xff" * SECTOR_BYTES
_ZERO_SECTOR = bytes(SECTOR_BYTES)
_STUFF_PERIOD = 255
"""A non-zero byte after this many: the longest run of zeros left is shorter than a sector."""

_SEGMENT = struct.Struct("<8sIQQQQQQQB")
_SEGMENT_CHECKSUM = struct.Struct("<I")
_BATCH = struct.Struct("<4sIQQIIII")
RECORD = struct.Struct("<BIQQ")
"""Kind, length of the bytes that follow, two numbers whose meaning depends on the kind."""

assert _SEGMENT.size + VOTE_BYTES_MAX + _SEGMENT_CHECKSUM.size <= SECTOR_BYTES
assert _BATCH.size < SECTOR_BYTES  # the header shares its sector's fate
assert _STUFF_PERIOD < SECTOR_BYTES
assert BATCH_MAGIC[0] != 0


class RecordKind(IntEnum):
    """What a record does to the log. Numbers are never reused."""

    ENTRY = 1
    """(index, term) and the command: appended behind the last."""
    HARD_STATE = 2
    """(term, 0) and the id voted for in it, or nothing."""
    TRUNCATE_FROM = 3
    """(index, term of the entry before it): this and all later entries are gone."""
    RESET = 4
    """(index, term): the log is only this base entry."""
    SEAL = 5
    """(number of the next segment, 0): the last record of a segment that has a successor."""


@dataclass(frozen=True, kw_only=True)
class SegmentHeader:
    """What a segment knows of everything before it, so that everything before it can be unlinked.

    `base_index` and `base_term` are of the last entry when the segment was begun, `term` and `vote` the hard
    state then; `salt` makes checksums of this segment differ from those of bytes that a client can choose.
    """

    number: int
    sequence_first: int
    salt: int
    base_index: int
    base_term: int
    commit_index: int
    term: int
    vote: str | None


@dataclass(frozen=True, kw_only=True)
class BatchHeader:
    """One batch as its header tells it. `end` is the offset behind its padding."""

    sequence: int
    commit_index: int
    payload_bytes: int
    records_count: int
    payload_crc: int
    flags: int
    end: int


def segment_name(number: int) -> str:
    """The file name of segment `number`; names sort as numbers do."""
    return f"log-{number:020d}.seg"


def segment_number(name: str) -> int | None:
    """The number in a segment's file name, or None for any other name."""
    digits = name[4:-4]
    if name.startswith("log-") and name.endswith(".seg") and len(digits) == 20 and digits.isdecimal():
        return int(digits)
    return None


def encode_segment_header(header: SegmentHeader) -> bytes:
    """The first sector of a segment."""
    vote = (header.vote or "").encode()
    fixed = _SEGMENT.pack(
        SEGMENT_MAGIC,
        FORMAT_VERSION,
        header.number,
        header.sequence_first,
        header.salt,
        header.base_index,
        header.base_term,
        header.commit_index,
        header.term,
        len(vote),
    )
    body = (fixed + vote).ljust(SECTOR_BYTES - _SEGMENT_CHECKSUM.size, b"\xff")
    return body + _SEGMENT_CHECKSUM.pack(zlib.crc32(body))


def decode_segment_header(sector: bytes, place: str) -> SegmentHeader:
    """Read a segment's first sector; raises DataDamaged naming `place`."""
    body = sector[: -_SEGMENT_CHECKSUM.size]
    if len(sector) != SECTOR_BYTES or sector[-_SEGMENT_CHECKSUM.size :] != _SEGMENT_CHECKSUM.pack(zlib.crc32(body)):
        raise DataDamaged(f"{place}, offset 0: the segment's header is damaged; {REPAIR_ADVICE}")
    magic, version, number, sequence, salt, base_index, base_term, commit, term, vote_bytes = _SEGMENT.unpack_from(body)
    if magic != SEGMENT_MAGIC or version != FORMAT_VERSION:
        raise DataDamaged(f"{place}, offset 0: journal format {version} is not known to this release")
    vote = body[_SEGMENT.size : _SEGMENT.size + vote_bytes].decode()
    return SegmentHeader(
        number=number,
        sequence_first=sequence,
        salt=salt,
        base_index=base_index,
        base_term=base_term,
        commit_index=commit,
        term=term,
        vote=vote or None,
    )


def encode_batch(payload: bytes, *, sequence: int, commit_index: int, records_count: int, salt: int) -> bytes:
    """A whole batch, padded to sectors. The caller keeps `payload` within BATCH_PAYLOAD_BYTES_MAX."""
    flags = 0
    if _ZERO_SECTOR in payload:
        payload = _stuff(payload)
        flags = FLAG_STUFFED
    tail = struct.pack(
        "<QQIIII", sequence, commit_index, len(payload), records_count, zlib.crc32(payload, salt & 0xFFFFFFFF), flags
    )
    header = BATCH_MAGIC + struct.pack("<I", zlib.crc32(tail, salt >> 32)) + tail
    length = len(header) + len(payload)
    return b"".join((header, payload, _PADDING[length % SECTOR_BYTES :]))


def decode_batch_header(data: bytes, offset: int, salt: int) -> BatchHeader | None:
    """The intact batch header at `offset`, or None."""
    if len(data) - offset < SECTOR_BYTES or not data.startswith(BATCH_MAGIC, offset):
        return None
    _, header_crc, sequence, commit_index, payload_bytes, records_count, payload_crc, flags = _BATCH.unpack_from(
        data, offset
    )
    if header_crc != zlib.crc32(data[offset + 8 : offset + _BATCH.size], salt >> 32):
        return None
    length = _BATCH.size + payload_bytes
    return BatchHeader(
        sequence=sequence,
        commit_index=commit_index,
        payload_bytes=payload_bytes,
        records_count=records_count,
        payload_crc=payload_crc,
        flags=flags,
        end=offset + length + SECTOR_BYTES - length % SECTOR_BYTES,
    )


def decode_payload(data: bytes, offset: int, header: BatchHeader, salt: int) -> bytes | None:
    """The records of the batch at `offset`, or None where they aren't what was written."""
    start = offset + _BATCH.size
    payload = data[start : start + header.payload_bytes]
    if header.end > len(data) or header.payload_crc != zlib.crc32(payload, salt & 0xFFFFFFFF):
        return None
    return _unstuff(payload) if header.flags & FLAG_STUFFED else payload


def tail_is_torn(data: bytes, offset: int, sequence: int, salt: int) -> bool:
    """What to think of `data[offset:]`, the end of the last segment, where batch `sequence` isn't intact.

    False: nothing was ever written there. True: a batch whose sync never ended; it may be cut off. Raises
    DataDamaged, without the file's name, where neither can be proved.
    """
    written = len(data.rstrip(b"\0"))
    if written <= offset:
        return False
    for position in range(offset + SECTOR_BYTES, written, SECTOR_BYTES):
        later = decode_batch_header(data, position, salt)
        if later is not None and later.sequence > sequence:
            raise DataDamaged(f"offset {offset}: batch {sequence} is damaged, and batch {later.sequence} follows it")
    if len(data) - offset < SECTOR_BYTES:
        return True  # not even one sector: cut short by the end of the file
    header = decode_batch_header(data, offset, salt)
    if header is None:
        if data.startswith(_ZERO_SECTOR, offset):
            return True  # its first sector never reached the disk
        if written < offset + SECTOR_BYTES:
            return True  # the write stopped inside its first sector
        raise DataDamaged(f"offset {offset}: the header of batch {sequence} is damaged")
    if header.sequence != sequence:
        raise DataDamaged(f"offset {offset}: batch {header.sequence} stands where {sequence} belongs")
    if header.end > len(data):
        return True  # cut short by the end of the file
    if written > header.end:
        raise DataDamaged(f"offset {header.end}: bytes that no batch wrote")
    if written < header.end:
        return True  # its end never reached the disk
    for position in range(offset, header.end, SECTOR_BYTES):
        if data.startswith(_ZERO_SECTOR, position):
            return True
    raise DataDamaged(f"offset {offset}: the records of batch {sequence} are damaged, and no part of them is missing")


def _stuff(payload: bytes) -> bytes:
    return b"\x01".join(payload[i : i + _STUFF_PERIOD] for i in range(0, len(payload), _STUFF_PERIOD))


def _unstuff(payload: bytes) -> bytes:
    return b"".join(payload[i : i + _STUFF_PERIOD] for i in range(0, len(payload), _STUFF_PERIOD + 1))
