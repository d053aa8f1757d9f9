"""Reads a journal back: segments in order, batches in order, every relation checked, a torn tail cut.

Anything that cannot be proved harmless raises DataDamaged and changes nothing on the disk.
"""

import struct
from dataclasses import dataclass, field
from pathlib import PurePath

from base.disk import TEMPORARY_SUFFIX, Disk, DiskFile
from base.errors import DataDamaged
from server.raft.journal_format import (
    RECORD,
    REPAIR_ADVICE,
    SECTOR_BYTES,
    BatchHeader,
    RecordKind,
    SegmentHeader,
    decode_batch_header,
    decode_payload,
    decode_segment_header,
    segment_name,
    segment_number,
    tail_is_torn,
)

Entry = tuple[bytes, int, int]
"""(command, index, term), as the consensus library has it."""

BASE_COMMAND = b"\x01"
"""The command of every base entry: the library's no-op. It is never applied and never sent."""

STARTED_MARKER = "peers.info"
"""Made at a server's first start (`recovery.py`): where it is, a journal must be, too."""


@dataclass
class Segment:
    """A segment file, and an index that no live entry in it exceeds: once the base is there, it is dead."""

    number: int
    path: PurePath
    salt: int
    index_max: int = 0


@dataclass
class Replay:
    """A log as the records read so far make it; the last of `segments` is the one being read."""

    entries: list[Entry] = field(default_factory=list)
    term: int = 0
    vote: str | None = None
    commit_index: int = 0
    sequence_next: int = 0
    sealed: bool = False
    segments: list[Segment] = field(default_factory=list)
    end: int = 0
    """Offset in the last segment where the next batch goes."""
    newest: tuple[PurePath, int, bytes] | None = None
    """Segment, offset and bytes of the newest batch: the only one whose sync may have failed."""
    repairs: list[str] = field(default_factory=list)
    """What was mended, for the log."""

    def take_records(self, payload: bytes, count: int) -> None:
        """Apply one batch's records; raises DataDamaged, without a place, for what cannot follow the log."""
        entries = self.entries
        unpack = RECORD.unpack_from
        position = 0
        _, last_index, last_term = entries[-1]
        for _ in range(count):
            kind, length, first, second = unpack(payload, position)
            start = position + RECORD.size
            position = start + length
            if kind == RecordKind.ENTRY:
                if first != last_index + 1 or second < last_term:
                    raise DataDamaged(f"entry ({first}, {second}) cannot follow ({last_index}, {last_term})")
                entries.append((payload[start:position], first, second))
                last_index, last_term = first, second
            else:
                self._take_rare(kind, first, second, payload[start:position])
                _, last_index, last_term = entries[-1]
        if position != len(payload):
            raise DataDamaged("the records do not fill their batch")
        self.segments[-1].index_max = max(self.segments[-1].index_max, last_index)

    def _take_rare(self, kind: int, first: int, second: int, body: bytes) -> None:
        if self.sealed:
            raise DataDamaged("a record follows the seal")
        if kind == RecordKind.HARD_STATE:
            if first < self.term:
                raise DataDamaged(f"term {first} follows term {self.term}")
            self.term = first
            self.vote = body.decode() or None
        elif kind == RecordKind.TRUNCATE_FROM:
            self._truncate_from(first, second)
        elif kind == RecordKind.RESET:
            self.entries[:] = [(BASE_COMMAND, first, second)]
        elif kind == RecordKind.SEAL:
            self.sealed = True
        else:
            raise DataDamaged(f"unknown kind of record {kind}")

    def _truncate_from(self, index: int, term_before: int) -> None:
        position = index - self.entries[0][1]
        if position > len(self.entries):
            raise DataDamaged(f"a cut at {index} behind the last entry {self.entries[-1][1]}")
        if position > 0:
            del self.entries[position:]
            if self.entries[-1][2] != term_before:
                raise DataDamaged(f"a cut at {index} behind an entry of term {term_before}, not the one that is there")
        else:
            # The entries before the cut were in a segment that is gone: the cut reaches below this log's base.
            self.entries[:] = [(BASE_COMMAND, index - 1, term_before)]


def remove_unfinished(disk: Disk, folder: PurePath) -> None:
    """Remove segments that were never finished; nothing was ever written into them."""
    unfinished = [name for name in disk.list(folder) if name.endswith(".seg" + TEMPORARY_SUFFIX)]
    for name in unfinished:
        disk.unlink(folder / name)
    if unfinished:
        disk.sync_folder(folder)


def replay(disk: Disk, folder: PurePath) -> tuple[Replay, DiskFile] | None:
    """Read the journal in `folder`: the log and the open last segment, or None where there is none yet.

    Raises DataDamaged, DiskFailed. A torn tail is cut durably before this returns.
    """
    numbers = [number for name in disk.list(folder) if (number := segment_number(name)) is not None]
    if not numbers:
        if disk.exists(folder / STARTED_MARKER):
            raise DataDamaged(f"{folder}: the journal of a server that was started before is missing; {REPAIR_ADVICE}")
        return None
    for number, expected in zip(numbers, range(numbers[0], numbers[0] + len(numbers)), strict=True):
        if number != expected:
            raise DataDamaged(f"{folder / segment_name(expected)}: this segment is missing; {REPAIR_ADVICE}")
    state = Replay()
    contents = [disk.read(folder / segment_name(number)) for number in numbers[-1:]]
    blank_end = len(numbers) > 1 and not contents[0][SECTOR_BYTES:].strip(b"\0")
    for position, number in enumerate(numbers):
        path = folder / segment_name(number)
        data = contents[0] if position == len(numbers) - 1 else disk.read(path)
        if position and not state.sealed:
            if blank_end and position == len(numbers) - 1:
                break
            raise DataDamaged(
                f"{state.segments[-1].path}, offset {state.end}: the end of the segment is missing; {REPAIR_ADVICE}"
            )
        may_be_torn = position == len(numbers) - 1 or (blank_end and position == len(numbers) - 2)
        _read_segment(state, data, path, number, may_be_torn=may_be_torn)
    if state.sealed:
        missing = folder / segment_name(numbers[-1] + 1)
        raise DataDamaged(f"{missing}: this segment is missing; {REPAIR_ADVICE}")
    file = _settle(disk, folder, state, drop_blank=state.segments[-1].number != numbers[-1])
    state.commit_index = min(max(state.commit_index, state.entries[0][1]), state.entries[-1][1])
    return state, file


def _read_segment(state: Replay, data: bytes, path: PurePath, number: int, *, may_be_torn: bool) -> None:
    header = decode_segment_header(data[:SECTOR_BYTES], str(path))
    _take_segment_header(state, header, path, number)
    offset = SECTOR_BYTES
    state.end = offset
    salt = header.salt
    while (found := _intact_batch(data, offset, state.sequence_next, salt)) is not None:
        batch, payload = found
        try:
            state.take_records(payload, batch.records_count)
        except DataDamaged as error:
            raise DataDamaged(f"{path}, offset {offset}: {error}; {REPAIR_ADVICE}") from error
        except (struct.error, UnicodeDecodeError) as error:
            raise DataDamaged(f"{path}, offset {offset}: unreadable records; {REPAIR_ADVICE}") from error
        state.commit_index = max(state.commit_index, batch.commit_index)
        state.newest = (path, offset, data[offset : batch.end])
        state.sequence_next += 1
        state.end = offset = batch.end
        if state.sealed:
            break
    if not may_be_torn or state.sealed:
        if data[offset:].strip(b"\0"):
            raise DataDamaged(f"{path}, offset {offset}: batch {state.sequence_next} is damaged; {REPAIR_ADVICE}")
        return
    try:
        torn = tail_is_torn(data, offset, state.sequence_next, salt)
    except DataDamaged as error:
        raise DataDamaged(f"{path}, {error}; {REPAIR_ADVICE}") from error
    if torn:
        state.repairs.append(f"cut a torn batch, which was never acknowledged, from {path} at offset {offset}")


def _intact_batch(data: bytes, offset: int, sequence: int, salt: int) -> tuple[BatchHeader, bytes] | None:
    header = decode_batch_header(data, offset, salt)
    if header is None or header.sequence != sequence:
        return None
    payload = decode_payload(data, offset, header, salt)
    return None if payload is None else (header, payload)


def _take_segment_header(state: Replay, header: SegmentHeader, path: PurePath, number: int) -> None:
    """Begin with the first segment's header, or check that a later one says what the log so far says."""
    if header.number != number:
        raise DataDamaged(f"{path}, offset 0: this is segment {header.number} under another name; {REPAIR_ADVICE}")
    if not state.segments:
        state.entries.append((BASE_COMMAND, header.base_index, header.base_term))
        state.sequence_next = header.sequence_first
        state.term, state.vote = header.term, header.vote
    told = (header.sequence_first, header.base_index, header.base_term, header.term, header.vote)
    if told != (state.sequence_next, *state.entries[-1][1:], state.term, state.vote):
        raise DataDamaged(f"{path}, offset 0: this segment does not follow the one before it; {REPAIR_ADVICE}")
    state.commit_index = max(state.commit_index, header.commit_index)
    state.sealed = False
    state.segments.append(Segment(number, path, header.salt))


def _settle(disk: Disk, folder: PurePath, state: Replay, *, drop_blank: bool) -> DiskFile:
    """Cut what is torn, and make durable what was read: it may be in the kernel's memory only.

    The last batch is written again before the sync: if its first sync failed, its pages count as clean, and a
    sync alone would not write them.
    """
    if drop_blank:
        disk.unlink(folder / segment_name(state.segments[-1].number + 1))
    disk.sync_folder(folder)
    if state.newest is not None:
        path, offset, batch = state.newest
        file = disk.open_file(path)
        file.write(offset, batch)
        file.sync()
        file.close()
    file = disk.open_file(state.segments[-1].path)
    if state.repairs:
        size = file.size()
        file.truncate(state.end)
        file.allocate(size)
        file.sync()
    return file
