"""H1: the library's journal is never synced, and unreadable hard state is silently taken for term 0."""

import mmap
import os
import random
import warnings
from pathlib import Path, PurePosixPath

import pysyncobj.journal
import pytest

from base.errors import DataDamaged
from server.raft.journal import Journal
from tests.fakes.disk import SimDisk

FOLDER = PurePosixPath("/raft")


def opened(disk: SimDisk) -> Journal:
    return Journal.open(disk, FOLDER, segment_bytes=8192, rng=random.Random(0))


class CountingMap(mmap.mmap):
    """The library's file mapping, counting what would make it durable."""

    flushes_count = 0

    def flush(self, *arguments: int) -> None:
        CountingMap.flushes_count += 1


def test_the_library_s_journal_makes_nothing_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.setattr(os, "fdatasync", synced.append)
    monkeypatch.setattr(pysyncobj.journal.mmap, "mmap", CountingMap)
    journal = pysyncobj.journal.FileJournal(str(tmp_path / "journal"))
    journal.add(b"entry", 2, 1)
    journal.setCurrentTerm(1, "somebody")
    journal.onOneSecondTimer()
    assert synced == []
    assert CountingMap.flushes_count == 0
    journal._destroy()


def test_the_library_takes_damaged_hard_state_for_term_0(tmp_path: Path) -> None:
    journal = pysyncobj.journal.FileJournal(str(tmp_path / "journal"))
    journal.setCurrentTerm(7, "somebody")
    journal._destroy()
    meta = tmp_path / "journal.meta"
    meta.write_bytes(meta.read_bytes()[:-3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it doesn't close the file either
        again = pysyncobj.journal.FileJournal(str(tmp_path / "journal"))
    assert (again.getCurrentTerm(), again.getVotedForNodeId()) == (0, None)
    again._destroy()


@pytest.mark.parametrize("seed", range(20))
def test_our_journal_keeps_entries_term_and_vote_from_the_moment_sync_returns(seed: int) -> None:
    disk = SimDisk(random.Random(seed))
    journal = opened(disk)
    journal.setCurrentTerm(7, "somebody")
    journal.add(b"entry", 2, 7)
    journal.sync()
    disk.crash()
    journal = opened(disk)
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (7, "somebody")
    assert list(journal[1:]) == [(b"entry", 2, 7)]


def test_term_and_vote_become_durable_together() -> None:
    """A term without the vote that was cast in it would let this server vote twice."""
    seen = set()
    for seed in range(100):
        disk = SimDisk(random.Random(seed))
        journal = opened(disk)
        journal.setCurrentTerm(7, "somebody")
        disk.power_lost_at = disk.operations_count + 1
        write = journal.begin_sync()
        with pytest.raises(BaseException, match="sync"):
            write()
        disk.crash()
        journal = opened(disk)
        seen.add((journal.getCurrentTerm(), journal.getVotedForNodeId()))
    assert seen == {(0, None), (7, "somebody")}


def test_our_journal_refuses_damaged_hard_state() -> None:
    disk = SimDisk(random.Random(0))
    journal = opened(disk)
    journal.setCurrentTerm(7, "somebody")
    journal.sync()
    disk.flip_bit(FOLDER / disk.list(FOLDER)[0], 512 + 48, 0)
    with pytest.raises(DataDamaged):
        opened(disk)
