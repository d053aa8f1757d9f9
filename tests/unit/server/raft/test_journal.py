"""The journal as a list, as a file, and in one sync at a time."""

import random
from pathlib import Path, PurePosixPath

import pytest

from base.disk import RealDisk
from base.errors import DataDamaged, DiskFailed, InvariantBroken
from server.raft.journal import TERM_UNKNOWN, Journal
from tests.fakes.disk import PowerLost, SimDisk

FOLDER = PurePosixPath("/raft")


def opened(disk: SimDisk, segment_bytes: int = 8192) -> Journal:
    return Journal.open(disk, FOLDER, segment_bytes=segment_bytes, rng=random.Random(7))


def filled(disk: SimDisk, count: int, size: int = 100) -> Journal:
    journal = opened(disk)
    for index in range(2, count + 2):
        journal.add(b"x" * size, index, 1)
        journal.sync()
    return journal


@pytest.fixture
def disk() -> SimDisk:
    return SimDisk(random.Random(0))


def test_a_new_journal_begins_with_the_library_s_first_entry(disk: SimDisk) -> None:
    journal = opened(disk)
    assert list(journal) == [(b"\x01", 1, 0)]
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId(), journal.getRaftCommitIndex()) == (0, None, 1)
    assert not journal.dirty
    assert list(opened(disk)) == [(b"\x01", 1, 0)]


def test_what_was_synced_is_read_back(tmp_path: Path) -> None:
    disk = RealDisk()
    journal = Journal.open(disk, tmp_path / "raft")
    journal.add(b"one", 2, 1)
    journal.setCurrentTerm(3, "someone")
    journal.add(b"", 3, 3)
    journal.setRaftCommitIndex(2)
    assert journal.dirty
    journal.sync()
    assert not journal.dirty
    journal.add(b"never synced", 4, 3)
    journal.close()
    journal = Journal.open(RealDisk(), tmp_path / "raft")
    assert list(journal) == [(b"\x01", 1, 0), (b"one", 2, 1), (b"", 3, 3)]
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId(), journal.getRaftCommitIndex()) == (3, "someone", 2)
    journal.close()


def test_records_added_during_a_sync_go_to_the_next_one(disk: SimDisk) -> None:
    journal = opened(disk)
    journal.add(b"first", 2, 1)
    write = journal.begin_sync()
    journal.add(b"second", 3, 1)
    write()
    assert journal.dirty
    assert journal.synced_index == 2
    assert opened(disk).last_index == 2
    journal.sync()
    assert journal.synced_index == 3
    assert opened(disk).last_index == 3


def test_a_term_is_told_only_after_the_sync_that_made_it_durable(disk: SimDisk) -> None:
    journal = opened(disk)
    known = journal.synced_term
    journal.setCurrentTerm(known + 1, "someone")
    assert journal.synced_term == known
    write = journal.begin_sync()
    journal.setCurrentTerm(known + 2, None)
    write()
    assert journal.synced_term == known + 1
    assert opened(disk).synced_term == known + 1


def test_a_second_sync_cannot_begin_before_the_first_has_ended(disk: SimDisk) -> None:
    journal = opened(disk)
    journal.add(b"first", 2, 1)
    journal.begin_sync()
    with pytest.raises(InvariantBroken):
        journal.begin_sync()


def test_a_failed_sync_ends_the_journal(disk: SimDisk) -> None:
    journal = opened(disk)
    journal.add(b"first", 2, 1)
    disk.sync_failures_left = 1
    with pytest.raises(DiskFailed):
        journal.sync()
    with pytest.raises(InvariantBroken):
        journal.sync()


def test_all_records_of_one_round_become_durable_by_one_write_and_one_sync(disk: SimDisk) -> None:
    journal = opened(disk)
    seen: list[str] = []
    disk.hook = lambda action, path: seen.append(action)
    journal.setCurrentTerm(2, None)
    journal.setCurrentTerm(2, "a")
    for index in range(2, 12):
        journal.add(b"x", index, 2)
    journal.deleteEntriesFrom(5)
    journal.sync()
    assert seen == ["write", "sync"]


def test_the_commit_index_rides_along_and_never_asks_for_a_sync(disk: SimDisk) -> None:
    journal = filled(disk, 3)
    journal.setRaftCommitIndex(3)
    assert not journal.dirty
    assert opened(disk).getRaftCommitIndex() == 1
    journal.add(b"", 5, 1)
    journal.sync()
    assert opened(disk).getRaftCommitIndex() == 3


def test_the_commit_index_is_never_trusted_beyond_the_log(disk: SimDisk) -> None:
    journal = filled(disk, 3)
    journal.setRaftCommitIndex(90)
    assert journal.getRaftCommitIndex() == 4
    journal.setCurrentTerm(9, None)
    journal.sync()
    assert opened(disk).getRaftCommitIndex() == 4


@pytest.mark.parametrize("operation", range(10))
def test_the_commit_index_never_speaks_of_entries_that_the_same_batch_replaces(disk: SimDisk, operation: int) -> None:
    """A crash between the seal of a full segment and the first batch of the next leaves the log as it was before."""
    journal = filled(disk, 5, size=600)
    assert journal.statistics().segments_count == 1
    journal.deleteEntriesFrom(4)
    for index in range(5, 9):
        journal.add(b"y" * 600, index, 2)
    journal.setRaftCommitIndex(8)
    disk.power_lost_at = disk.operations_count + operation
    with pytest.raises(PowerLost):
        journal.sync()
    disk.restart()
    again = opened(disk)
    replaced = again.last_index == 8
    assert again.getRaftCommitIndex() == (8 if replaced else 1)
    assert again.term_at(5) == (2 if replaced else 1)


def test_entries_are_cut_and_written_anew(disk: SimDisk) -> None:
    journal = filled(disk, 9)
    journal.deleteEntriesFrom(4)
    assert journal.last_index == 4
    journal.add(b"new", 5, 2)
    journal.sync()
    for each in (journal, opened(disk)):
        assert [entry[1:] for entry in each] == [(1, 0), (2, 1), (3, 1), (4, 1), (5, 2)]
        assert each.bytes_total == 1 + 300 + 3
        assert each[-1] == (b"new", 5, 2)


def test_segments_fill_up_and_the_next_one_carries_on(disk: SimDisk) -> None:
    journal = filled(disk, 60)
    assert journal.statistics().segments_count == len(disk.list(FOLDER)) > 3
    journal.setCurrentTerm(5, "me")
    journal.sync()
    journal = opened(disk)
    assert journal.last_index == 61
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId()) == (5, "me")


def test_a_batch_larger_than_a_segment_is_kept_whole(disk: SimDisk) -> None:
    journal = filled(disk, 3)
    big = random.Random(1).randbytes(100_000)
    journal.add(big, 5, 1)
    journal.sync()
    journal.add(b"after", 6, 1)
    journal.sync()
    assert [entry[0] for entry in opened(disk)[4:]] == [big, b"after"]


def test_trimming_forgets_entries_and_unlinks_whole_old_segments(disk: SimDisk) -> None:
    journal = filled(disk, 60)
    names = disk.list(FOLDER)
    journal.trim_to(50)
    assert (journal.first_index, journal.last_index, len(journal)) == (50, 61, 12)
    assert journal[0] == (b"\x01", 50, 1)
    assert journal.bytes_total == 1 + 1100
    assert journal.dirty
    journal.sync()
    assert not journal.dirty
    left = disk.list(FOLDER)
    assert left == names[-len(left) :]
    assert len(left) < len(names)
    journal = opened(disk)
    assert journal.first_index <= 50
    assert journal.last_index == 61


def test_a_cut_below_a_segment_s_first_entry_survives_the_loss_of_older_segments(disk: SimDisk) -> None:
    journal = filled(disk, 60)
    journal.deleteEntriesFrom(20)
    for index in range(21, 80):
        journal.add(b"y" * 100, index, 2)
        journal.sync()
    journal.trim_to(30)
    journal.sync()
    first_left = disk.list(FOLDER)[0]
    assert first_left > "log-00000000000000000002.seg"
    journal = opened(disk)
    assert (journal.first_index, journal.last_index) == (20, 79)
    assert {entry[0] for entry in journal[1:]} == {b"y" * 100}


def test_a_reset_leaves_one_base_entry_and_one_segment(disk: SimDisk) -> None:
    journal = filled(disk, 60)
    journal.setCurrentTerm(4, "me")
    journal.reset_to(500, 3)
    journal.sync()
    journal.add(b"next", 501, 4)
    journal.sync()
    assert [entry[1:] for entry in journal] == [(500, 3), (501, 4)]
    journal = opened(disk)
    assert [entry[1:] for entry in journal] == [(500, 3), (501, 4)]
    assert (journal.getCurrentTerm(), journal.getVotedForNodeId(), journal.getRaftCommitIndex()) == (4, "me", 500)
    assert len(disk.list(FOLDER)) == 1


def test_clearing_and_adding_as_the_library_does_is_a_reset(disk: SimDisk) -> None:
    journal = filled(disk, 5)
    journal.clear()
    assert len(journal) == 0
    journal.add(b"previous", 90, 2)
    journal.add(b"last", 91, 2)
    journal.sync()
    assert [entry[1:] for entry in opened(disk)] == [(90, 2), (91, 2)]


@pytest.mark.parametrize("entry", [(b"", 2, 1), (b"", 4, 1), (b"", 3, 0)])
def test_an_entry_that_does_not_follow_the_last_is_a_defect(disk: SimDisk, entry: tuple[bytes, int, int]) -> None:
    journal = filled(disk, 1)
    with pytest.raises(InvariantBroken):
        journal.add(*entry)


def test_a_committed_entry_is_never_removed(disk: SimDisk) -> None:
    journal = filled(disk, 5)
    journal.setRaftCommitIndex(4)
    with pytest.raises(InvariantBroken, match="committed"):
        journal.deleteEntriesFrom(3)
    with pytest.raises(InvariantBroken, match="committed"):
        journal.reset_to(4, 1)
    with pytest.raises(InvariantBroken, match="base"):
        journal.deleteEntriesFrom(0)
    journal.deleteEntriesFrom(4)
    assert journal.last_index == 4


def test_a_term_has_one_vote_and_terms_only_grow(disk: SimDisk) -> None:
    journal = opened(disk)
    journal.setCurrentTerm(3, None)
    journal.setCurrentTerm(3, "a")
    journal.setCurrentTerm(3, "a")
    with pytest.raises(InvariantBroken, match="second vote"):
        journal.setCurrentTerm(3, "b")
    with pytest.raises(InvariantBroken, match="second vote"):
        journal.setCurrentTerm(3, None)
    with pytest.raises(InvariantBroken, match="goes back"):
        journal.setCurrentTerm(2, None)
    journal.setCurrentTerm(4, None)
    journal.setCurrentTerm(4, "b")


def test_positions_slices_and_terms_are_as_in_a_list(disk: SimDisk) -> None:
    journal = filled(disk, 50)
    plain = list(journal)
    for key in (slice(5, None), slice(0, 3), slice(30, 30), slice(40, 99), slice(-20, None), slice(None, 25)):
        assert list(journal[key]) == plain[key]
        assert len(journal[key]) == len(plain[key])
        assert bool(journal[key]) == bool(plain[key])
    view = journal[10:]
    assert (view[0], view[-1], view[3], view[2:5]) == (plain[10], plain[-1], plain[13], plain[12:15])
    with pytest.raises(IndexError):
        view[len(view)]
    with pytest.raises(IndexError):
        view[-len(view) - 1]
    assert (journal.term_at(0), journal.term_at(1), journal.term_at(51)) == (TERM_UNKNOWN, 0, 1)
    assert journal.term_at(52) == TERM_UNKNOWN
    assert list(journal.entries_from(49)) == plain[48:]
    assert list(journal.entries_from(0)) == plain[1:]
    assert list(journal.entries_from(99)) == []


def test_a_view_of_removed_entries_is_a_defect_and_one_of_a_grown_log_is_not(disk: SimDisk) -> None:
    journal = filled(disk, 50)
    view = journal[10:]
    journal.add(b"", 52, 1)
    assert len(list(view)) == 41
    journal.deleteEntriesFrom(45)
    with pytest.raises(InvariantBroken):
        list(view)


def test_a_journal_that_vanished_from_a_server_that_ran_before_is_damage(disk: SimDisk) -> None:
    disk.make_folder(FOLDER)
    disk.open_file(FOLDER / "peers.info", create=True)
    with pytest.raises(DataDamaged, match="is missing"):
        opened(disk)


def test_a_full_disk_stops_the_journal_and_loses_nothing_synced(disk: SimDisk) -> None:
    journal = filled(disk, 5)
    disk.quota_bytes = 0

    def fill() -> None:
        for index in range(7, 99):
            journal.add(b"x" * 100, index, 1)
            journal.sync()

    with pytest.raises(DiskFailed, match="the disk is full"):
        fill()
    last_synced = journal.synced_index
    disk.restart()
    disk.quota_bytes = None
    journal = opened(disk)
    assert last_synced <= journal.last_index <= last_synced + 1
