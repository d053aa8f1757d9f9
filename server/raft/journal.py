"""The Raft log, the term and the vote: in memory for the consensus library, on disk in checksummed segments.

Theory of operation. Whatever changes is buffered as a record and becomes durable by the next sync: one write
and one fdatasync for all that arrived meanwhile (group commit). The loop takes the buffer by `begin_sync`, runs
what it gets in a worker thread, and sends promises only after that has returned. What is added in the meantime
goes to the next batch. A segment that has grown full is sealed and a new one begun, whose header repeats the
hard state and the last entry's position, so that old segments can be unlinked whole; nothing is ever rewritten.

The method names in camel case are those that the library calls. The list is never empty: entry 0 is the *base*,
whose command is neither applied nor sent. `docs/internals/journal.md` has the format and its reasons.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Self, overload

from base.disk import TEMPORARY_SUFFIX, Disk, DiskFile
from base.errors import require
from base.failpoints import failpoint
from server.raft.journal_format import (
    BATCH_PAYLOAD_BYTES_MAX,
    RECORD,
    SECTOR_BYTES,
    VOTE_BYTES_MAX,
    RecordKind,
    SegmentHeader,
    encode_batch,
    encode_segment_header,
    segment_name,
)
from server.raft.journal_replay import BASE_COMMAND, Entry, Replay, Segment, remove_unfinished, replay

SEGMENT_BYTES = 16 << 20
"""Allocated at once, so that a sync writes no size and no block map: 0.14 instead of 0.19 ms measured on ext4.
Smaller ones would be sealed (two more syncs) more often; larger ones keep dead entries on the disk for longer."""
SEGMENT_BYTES_MIN = 8 * SECTOR_BYTES
VIEW_ENTRIES_MIN = 16
"""Slices shorter than this are copied: cheaper than a view."""
TERM_UNKNOWN = -1
"""No entry has it; 0 would not do, for the first entries of a log have term 0."""

_ENTRY = int(RecordKind.ENTRY)
_pack_record = RECORD.pack


@dataclass(frozen=True, kw_only=True)
class JournalStatistics:
    """Sizes of a journal, for operators."""

    first_index: int
    last_index: int
    entries_count: int
    command_bytes: int
    """Bytes of commands in memory; a Python entry adds some 150 to each."""
    segments_count: int
    batches_count: int
    """Since the journal was first created."""


class LogView(Sequence[Entry]):
    """A slice of the log that copies nothing. It must not be used after entries were removed."""

    __slots__ = ("_entries", "_journal", "_removals", "_start", "_stop")

    def __init__(self, journal: "Journal", entries: list[Entry], start: int, stop: int) -> None:
        self._journal = journal
        self._entries = entries
        self._start = start
        self._stop = stop
        self._removals = journal.removals_count

    def __len__(self) -> int:
        return self._stop - self._start

    @overload
    def __getitem__(self, position: int) -> Entry: ...
    @overload
    def __getitem__(self, position: slice) -> list[Entry]: ...
    def __getitem__(self, position: int | slice) -> Entry | list[Entry]:
        self._check_fresh()
        if isinstance(position, slice):
            start, stop, step = position.indices(self._stop - self._start)
            require(step == 1, "a step in a slice of the log")
            return self._entries[self._start + start : self._start + max(start, stop)]
        bound = self._stop if position < 0 else self._start
        if not self._start <= bound + position < self._stop:
            raise IndexError(position)
        return self._entries[bound + position]

    def __iter__(self) -> Iterator[Entry]:
        self._check_fresh()
        return map(self._entries.__getitem__, range(self._start, self._stop))

    def _check_fresh(self) -> None:
        require(self._removals == self._journal.removals_count, "a view of entries that were removed")


class Journal:
    """See the module's docstring. Not thread-safe: only what `begin_sync` returns runs elsewhere."""

    def __init__(
        self, disk: Disk, folder: PurePath, state: Replay, file: DiskFile, segment_bytes: int, rng: random.Random
    ) -> None:
        """For `open` only."""
        self.removals_count = 0
        """Grows whenever entries are removed; views compare it."""
        self.repairs: list[str] = state.repairs
        """What `open` mended, one line each; the caller logs them."""
        self.synced_index = state.entries[-1][1]
        """The last index that the newest finished sync covered."""
        self.synced_term = state.term
        """The term that it made durable: the newest that anybody may be told of."""
        self._disk = disk
        self._folder = folder
        self._rng = rng
        self._segment_bytes = segment_bytes
        self._entries = state.entries
        self._term = state.term
        self._vote = state.vote
        self._commit_index = state.commit_index
        self._command_bytes = sum(len(entry[0]) for entry in state.entries)
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._records_count = 0
        self._sequence_next = state.sequence_next
        self._segments = state.segments
        self._file = file
        self._file_end = state.end
        self._file_salt = state.segments[-1].salt
        self._syncing = False
        self._remember_batch_end()

    @classmethod
    def open(
        cls,
        disk: Disk,
        folder: PurePath,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        rng: random.Random | None = None,
    ) -> Self:
        """Read the journal in `folder`, or begin one there with the library's first entry (no-op, 1, 0).

        Raises DataDamaged where the files aren't what was written and the difference could have been promised
        to somebody; DiskFailed. `rng` draws the salt of segments: only simulations hand one in.
        """
        require(segment_bytes >= SEGMENT_BYTES_MIN, "segments too small", segment_bytes)
        rng = rng or random.SystemRandom()
        disk.make_folder(folder)
        remove_unfinished(disk, folder)
        found = replay(disk, folder)
        if found is not None:
            state, file = found
            return cls(disk, folder, state, file, segment_bytes, rng)
        header = SegmentHeader(
            number=1,
            sequence_first=1,
            salt=rng.getrandbits(64),
            base_index=1,
            base_term=0,
            commit_index=1,
            term=0,
            vote=None,
        )
        file = _create_segment(disk, folder, header, segment_bytes)
        state = Replay(
            entries=[(BASE_COMMAND, 1, 0)],
            commit_index=1,
            sequence_next=1,
            segments=[Segment(1, folder / segment_name(1), header.salt)],
            end=SECTOR_BYTES,
        )
        return cls(disk, folder, state, file, segment_bytes, rng)

    # What the library calls.

    def add(self, command: bytes, index: int, term: int) -> None:
        """Append one entry; raises InvariantBroken unless it follows the last."""
        entries = self._entries
        if not entries:
            self._reset(index, term)
            return
        last = entries[-1]
        if index != last[1] + 1 or term < last[2]:
            require(False, "an entry that does not follow the last", index, term, last[1:])
        entries.append((command, index, term))
        length = len(command)
        self._command_bytes += length
        self._parts_bytes += length + RECORD.size
        self._records_count += 1
        self._parts += (_pack_record(_ENTRY, length, index, term), command)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    @overload
    def __getitem__(self, position: int) -> Entry: ...
    @overload
    def __getitem__(self, position: slice) -> Sequence[Entry]: ...
    def __getitem__(self, position: int | slice) -> Entry | Sequence[Entry]:
        if not isinstance(position, slice):
            return self._entries[position]
        start, stop, step = position.indices(len(self._entries))
        require(step == 1, "a step in a slice of the log")
        if stop - start < VIEW_ENTRIES_MIN:
            return self._entries[start:stop]
        return LogView(self, self._entries, start, stop)

    def deleteEntriesFrom(self, position: int) -> None:  # noqa: N802
        """Remove the entry at list position `position` and all behind it."""
        if position >= len(self._entries):
            return
        require(position > 0, "the base entry cannot be removed")
        index = self._entries[position][1]
        require(index > self._commit_index, "a committed entry would be removed", index, self._commit_index)
        self._command_bytes -= sum(len(entry[0]) for entry in self._entries[position:])
        del self._entries[position:]
        self.removals_count += 1
        self._record(RecordKind.TRUNCATE_FROM, index, self._entries[-1][2])

    def deleteEntriesTo(self, position: int) -> None:  # noqa: N802
        """Forget the entries before list position `position`."""
        self.trim_to(self._entries[position][1])

    def clear(self) -> None:
        """Empty the list; the next entry added becomes the base. The library calls this before it adds two."""
        self._entries.clear()
        self._command_bytes = 0
        self.removals_count += 1

    def setRaftCommitIndex(self, index: int) -> None:  # noqa: N802
        """Remember what is committed. It rides along with the next batch; by itself it needs no sync."""
        if index > self._commit_index:
            self._commit_index = index

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        """A lower bound of what is committed: at least the base, at most the last entry."""
        return min(self._commit_index, self._entries[-1][1])

    def setCurrentTerm(self, term: int, voted_for_id: str | None) -> None:  # noqa: N802
        """Record term and vote together; durable, like all else, by the next sync."""
        if (term, voted_for_id) == (self._term, self._vote):
            return
        require(term >= self._term, "the term goes back", term, self._term)
        same_vote = term > self._term or self._vote is None
        require(same_vote, "a second vote in one term", term, self._vote, voted_for_id)
        vote = (voted_for_id or "").encode()
        require(len(vote) <= VOTE_BYTES_MAX, "an overlong server id", voted_for_id)
        self._term = term
        self._vote = voted_for_id
        self._record(RecordKind.HARD_STATE, term, 0, vote)

    def getCurrentTerm(self) -> int:  # noqa: N802
        """The newest term this server has seen."""
        return self._term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802
        """Whom this server voted for in that term."""
        return self._vote

    def onOneSecondTimer(self) -> None:  # noqa: N802
        """Nothing is left for later here."""

    def _destroy(self) -> None:
        self.close()

    # What the rest of the server calls.

    @property
    def first_index(self) -> int:
        """Index of the base entry."""
        return self._entries[0][1]

    @property
    def last_index(self) -> int:
        """Index of the last entry."""
        return self._entries[-1][1]

    @property
    def last_term(self) -> int:
        """Term of the last entry."""
        return self._entries[-1][2]

    @property
    def bytes_total(self) -> int:
        """Bytes of all commands in memory."""
        return self._command_bytes

    @property
    def dirty(self) -> bool:
        """Whether a sync has something to do: records to write or segments to unlink."""
        return bool(self._parts) or self._oldest_is_dead()

    def term_at(self, index: int) -> int:
        """The term of the entry at `index`, or TERM_UNKNOWN where the log doesn't hold it."""
        position = index - self._entries[0][1]
        return self._entries[position][2] if 0 <= position < len(self._entries) else TERM_UNKNOWN

    def entries_from(self, index: int) -> Sequence[Entry]:
        """The entries at `index` and later, without the base."""
        return self[max(1, index - self._entries[0][1]) :]

    def trim_to(self, index: int) -> None:
        """Forget entries below `index`, which becomes the base; whole old segments go with the next sync.

        The caller has a durable snapshot at `index` or later.
        """
        position = index - self._entries[0][1]
        if position <= 0:
            return
        require(position < len(self._entries), "a trim behind the last entry", index, self._entries[-1][1])
        self._command_bytes -= sum(len(entry[0]) for entry in self._entries[: position + 1])
        base = (BASE_COMMAND, index, self._entries[position][2])
        self._command_bytes += len(BASE_COMMAND)
        self._entries[: position + 1] = [base]
        self.removals_count += 1
        self.setRaftCommitIndex(index)

    def reset_to(self, index: int, term: int) -> None:
        """Make the log the single base entry (index, term), after installing a durable snapshot of that index."""
        require(index > self._commit_index, "a reset to what is committed already", index, self._commit_index)
        self._reset(index, term)

    def begin_sync(self) -> Callable[[], None]:
        """Take what is buffered and return the call that makes it durable, for a worker thread.

        The call raises DiskFailed, after which the process must end. No second sync may begin before it returned.
        """
        require(not self._syncing, "a sync began before the last one ended, or after it failed")
        self._syncing = True
        parts, self._parts = self._parts, []
        records_count, self._records_count = self._records_count, 0
        parts_bytes, self._parts_bytes = self._parts_bytes, 0
        require(parts_bytes < BATCH_PAYLOAD_BYTES_MAX, "too much for one sync", parts_bytes)
        header: SegmentHeader | None = None
        room_bytes = self._segment_bytes - self._file_end - parts_bytes
        if parts and self._file_end > SECTOR_BYTES and room_bytes < 3 * SECTOR_BYTES:
            header = self._next_segment()
        active = self._segments[-1]
        active.index_max = max(active.index_max, self._entries[-1][1])
        self._remember_batch_end()
        dead: list[PurePath] = []
        while self._oldest_is_dead():
            dead.append(self._segments.pop(0).path)
        synced_index, synced_term = self._entries[-1][1], self._term
        commit_index = self._commit_index

        def run() -> None:
            if header is not None:
                self._change_segment(header)
            if parts:
                self._write_batch(b"".join(parts), records_count, commit_index)
            for path in dead:
                self._unlink_segment(path)
            self.synced_index, self.synced_term = synced_index, synced_term
            self._syncing = False

        return run

    def sync(self) -> None:
        """Make everything buffered durable, in this thread."""
        self.begin_sync()()

    def statistics(self) -> JournalStatistics:
        """Sizes now."""
        return JournalStatistics(
            first_index=self.first_index,
            last_index=self.last_index,
            entries_count=len(self._entries),
            command_bytes=self._command_bytes,
            segments_count=len(self._segments),
            batches_count=self._sequence_next - 1,
        )

    def close(self) -> None:
        """Release the file; what was not synced is lost, as in a crash."""
        self._file.close()

    # On the loop's thread.

    def _record(self, kind: RecordKind, first: int, second: int, body: bytes = b"") -> None:
        self._parts += (RECORD.pack(kind, len(body), first, second), body)
        self._parts_bytes += RECORD.size + len(body)
        self._records_count += 1

    def _reset(self, index: int, term: int) -> None:
        self._entries[:] = [(BASE_COMMAND, index, term)]
        self._command_bytes = len(BASE_COMMAND)
        self._commit_index = max(self._commit_index, index)
        self.removals_count += 1
        self._record(RecordKind.RESET, index, term)

    def _oldest_is_dead(self) -> bool:
        """Whether the oldest segment holds no live entry, and a later one is there to carry on from."""
        return len(self._segments) > 1 and self._segments[0].index_max <= self._entries[0][1]

    def _remember_batch_end(self) -> None:
        """Keep the state that the next segment's header would repeat: that of the last batch begun.

        The commit index, too: a later one may speak of entries that the coming batch puts in the place of these.
        """
        self._batch_end = (*self._entries[-1][1:], self._term, self._vote, self.getRaftCommitIndex())

    def _next_segment(self) -> SegmentHeader:
        number = self._segments[-1].number + 1
        base_index, base_term, term, vote, commit_index = self._batch_end
        header = SegmentHeader(
            number=number,
            sequence_first=self._sequence_next + 1,  # the seal of the old one comes before
            salt=self._rng.getrandbits(64),
            base_index=base_index,
            base_term=base_term,
            commit_index=commit_index,
            term=term,
            vote=vote,
        )
        self._segments.append(Segment(number, self._folder / segment_name(number), header.salt))
        return header

    # In the worker thread, one sync at a time.

    def _change_segment(self, header: SegmentHeader) -> None:
        """Begin a segment, then seal the one before: a crash in between leaves a blank segment, which goes."""
        failpoint("journal.before_create")
        new = _create_segment(self._disk, self._folder, header, self._segment_bytes)
        failpoint("journal.after_create")
        seal = RECORD.pack(RecordKind.SEAL, 0, header.number, 0)
        self._write_batch(seal, 1, header.commit_index)
        failpoint("journal.after_seal")
        self._file.close()
        self._file, self._file_end, self._file_salt = new, SECTOR_BYTES, header.salt

    def _write_batch(self, payload: bytes, records_count: int, commit_index: int) -> None:
        sequence = self._sequence_next
        batch = encode_batch(
            payload,
            sequence=sequence,
            commit_index=commit_index,
            records_count=records_count,
            salt=self._file_salt,
        )
        failpoint("journal.before_write")
        self._file.write(self._file_end, batch)
        failpoint("journal.after_write")
        failpoint("journal.before_sync")
        self._file.sync()
        failpoint("journal.after_sync")
        self._file_end += len(batch)
        self._sequence_next = sequence + 1

    def _unlink_segment(self, path: PurePath) -> None:
        """One at a time, oldest first, each durably: never a hole."""
        failpoint("journal.before_unlink")
        self._disk.unlink(path)
        self._disk.sync_folder(self._folder)
        failpoint("journal.after_unlink")


def _create_segment(disk: Disk, folder: PurePath, header: SegmentHeader, segment_bytes: int) -> DiskFile:
    """Make an empty segment durably. Under its final name it always has an intact header."""
    path = folder / segment_name(header.number)
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    file = disk.open_file(temporary, create=True)
    file.allocate(segment_bytes)
    file.write(0, encode_segment_header(header))
    file.sync()
    file.close()
    disk.replace(temporary, path)
    disk.sync_folder(folder)
    return disk.open_file(path)
