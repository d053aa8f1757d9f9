"""H2: the library compacts its journal by rewriting it in place; a crash in the middle loses acknowledged entries."""

import random
from pathlib import Path, PurePosixPath

import pysyncobj.journal
import pytest

from server.raft.journal import Journal
from tests.fakes.disk import PowerLost, SimDisk

FOLDER = PurePosixPath("/raft")
ENTRIES_COUNT = 200
TRIM_INDEX = 150


class Killed(BaseException):
    """The process ends here."""


def test_the_library_loses_its_tail_when_killed_while_compacting(tmp_path: Path) -> None:
    path = str(tmp_path / "journal")
    journal = pysyncobj.journal.FileJournal(path)
    for index in range(1, ENTRIES_COUNT + 1):
        journal.add(b"entry", index, 1)
    write = journal.add
    written: list[int] = []

    def add(command: bytes, index: int, term: int) -> None:
        if len(written) == 5:
            raise Killed
        written.append(index)
        write(command, index, term)

    journal.add = add
    with pytest.raises(Killed):
        journal.deleteEntriesTo(TRIM_INDEX - 1)
    journal._destroy()
    again = pysyncobj.journal.FileJournal(path)
    assert [entry[1] for entry in again] == written
    assert again[-1][1] < ENTRIES_COUNT
    again._destroy()


def trim_on(disk: SimDisk, power_lost_at: int | None) -> None:
    """Fill a journal on `disk` and trim it to TRIM_INDEX; power is lost so many disk operations into the trim."""
    journal = Journal.open(disk, FOLDER, segment_bytes=4096, rng=random.Random(1))
    for index in range(2, ENTRIES_COUNT + 1):
        journal.add(b"e" * 90, index, 1)
        journal.sync()
    assert len(disk.list(FOLDER)) > 10
    disk.operations_count = 0
    disk.power_lost_at = power_lost_at
    journal.trim_to(TRIM_INDEX)
    journal.sync()


def reopened(disk: SimDisk) -> Journal:
    return Journal.open(disk, FOLDER, segment_bytes=4096, rng=random.Random(1))


def test_our_journal_keeps_every_entry_behind_the_trim_wherever_the_power_fails() -> None:
    whole = SimDisk(random.Random(0))
    trim_on(whole, None)
    operations_count = whole.operations_count
    assert operations_count > 10
    assert reopened(whole).first_index > TRIM_INDEX - 40
    for power_lost_at in range(operations_count):
        disk = SimDisk(random.Random(power_lost_at))
        with pytest.raises(PowerLost):
            trim_on(disk, power_lost_at)
        disk.crash()
        journal = reopened(disk)
        assert journal.first_index <= TRIM_INDEX
        kept = [entry[1] for entry in journal.entries_from(TRIM_INDEX + 1)]
        assert kept == list(range(TRIM_INDEX + 1, ENTRIES_COUNT + 1))
