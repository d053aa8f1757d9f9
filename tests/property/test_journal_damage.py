"""A torn tail is cut, any other damage refuses to start: every byte cut, every byte flipped, every sector zeroed."""

import copy
import random
from pathlib import PurePosixPath

import pytest

from base.errors import DataDamaged
from server.raft.journal import Journal
from server.raft.journal_format import SECTOR_BYTES, encode_batch
from tests.fakes.disk import SimDisk
from tests.fakes.journal_model import JournalModel

FOLDER = PurePosixPath("/raft")
BATCHES_COUNT = 4
SEGMENT_BYTES = 8192


def opened(disk: SimDisk) -> Journal:
    return Journal.open(disk, FOLDER, segment_bytes=SEGMENT_BYTES, rng=random.Random(3))


class Written:
    """A journal on a disk, and what it said after each of its batches."""

    def __init__(self, batches_count: int) -> None:
        self.disk = SimDisk(random.Random(1))
        self.models = [JournalModel()]
        self.ends: list[tuple[str, int]] = [(self._last_name(opened(self.disk)), SECTOR_BYTES)]
        journal = opened(self.disk)
        rng = random.Random(2)
        for term in range(1, batches_count + 1):
            journal.setCurrentTerm(term, "v")
            for _ in range(2):
                journal.add(rng.randbytes(rng.choice((5, 300, 600))), journal.last_index + 1, term)
            journal.sync()
            entries = tuple(journal.entries_from(2))
            self.models.append(JournalModel(entries=entries, term=term, vote="v"))
            path = FOLDER / self._last_name(journal)
            self.ends.append((path.name, len(self.disk.read(path).rstrip(b"\0"))))

    def _last_name(self, journal: Journal) -> str:
        return self.disk.list(FOLDER)[-1]

    @property
    def last_path(self) -> PurePosixPath:
        return FOLDER / self.ends[-1][0]

    def fork(self) -> SimDisk:
        return copy.deepcopy(self.disk)

    def model_at(self, size: int) -> JournalModel:
        """What the batches that end within `size` bytes of the last segment say."""
        name = self.ends[-1][0]
        whole = [model for model, end in zip(self.models, self.ends, strict=True) if end[0] < name or end[1] <= size]
        return whole[-1]


@pytest.fixture(scope="module")
def written() -> Written:
    return Written(BATCHES_COUNT)


@pytest.fixture(scope="module")
def segmented() -> Written:
    found = Written(20)
    assert len(found.disk.list(FOLDER)) >= 3
    return found


def outcome(disk: SimDisk) -> Journal | str:
    try:
        return opened(disk)
    except DataDamaged as error:
        text = str(error)
    assert str(FOLDER / "log-0") in text
    assert "offset" in text or "missing" in text
    assert "join again under a new node id" in text
    return text


def test_the_last_segment_cut_at_any_byte_is_the_log_up_to_its_last_whole_batch(written: Written) -> None:
    end = written.ends[-1][1]
    last_start = written.ends[-2][1]
    for size in (*range(SECTOR_BYTES, last_start, 7), *range(last_start, end + 1)):
        disk = written.fork()
        disk.cut(written.last_path, size)
        assert written.model_at(size).agrees_with(opened(disk)), size


def test_the_last_segment_cut_inside_its_header_is_damage(written: Written) -> None:
    for size in range(SECTOR_BYTES):
        disk = written.fork()
        disk.cut(written.last_path, size)
        assert isinstance(outcome(disk), str)


@pytest.mark.parametrize("name", ["written", "segmented"])
def test_a_flipped_bit_anywhere_is_seen_or_harmless(name: str, request: pytest.FixtureRequest) -> None:
    journal: Written = request.getfixturevalue(name)
    refused_count = 0
    for segment in journal.disk.list(FOLDER):
        content = journal.disk.read(FOLDER / segment)
        written_bytes = len(content.rstrip(b"\0"))
        for offset in range(0, written_bytes + SECTOR_BYTES, 3 if name == "written" else 11):
            if offset >= len(content):
                continue
            disk = journal.fork()
            disk.flip_bit(FOLDER / segment, offset, offset % 8)
            result = outcome(disk)
            if isinstance(result, str):
                refused_count += 1
            else:
                assert journal.models[-1].agrees_with(result), (segment, offset)
                padding = content[offset] == 0xFF
                assert padding or offset >= written_bytes, "only padding and free space may change unseen"
    assert refused_count > 200


def test_a_zeroed_sector_is_a_torn_tail_in_the_last_batch_and_damage_anywhere_else(written: Written) -> None:
    last_start = written.ends[-2][1]
    for offset in range(SECTOR_BYTES, written.ends[-1][1], SECTOR_BYTES):
        disk = written.fork()
        disk.overwrite(written.last_path, offset, bytes(SECTOR_BYTES))
        result = outcome(disk)
        if offset >= last_start:
            assert not isinstance(result, str), result
            assert written.models[-2].agrees_with(result)
            assert f"offset {last_start}" in result.repairs[0]
        else:
            assert isinstance(result, str)
            assert str(written.last_path) in result


def test_after_a_cut_the_journal_goes_on_and_the_torn_batch_never_comes_back(written: Written) -> None:
    disk = written.fork()
    disk.overwrite(written.last_path, written.ends[-2][1], bytes(SECTOR_BYTES))
    journal = opened(disk)
    journal.add(b"instead", journal.last_index + 1, 9)
    journal.sync()
    disk.crash()
    assert opened(disk)[-1] == (b"instead", journal.last_index, 9)


def test_a_damaged_last_batch_without_missing_sectors_is_not_taken_for_torn(written: Written) -> None:
    disk = written.fork()
    disk.overwrite(written.last_path, written.ends[-2][1] + 60, b"garbage")
    assert "no part of them is missing" in str(outcome(disk))


def test_bytes_behind_the_last_batch_that_no_batch_wrote_are_damage(written: Written) -> None:
    disk = written.fork()
    disk.overwrite(written.last_path, written.ends[-1][1], b"\x07" * 3 * SECTOR_BYTES)
    assert isinstance(outcome(disk), str)


def test_a_value_that_looks_like_a_later_batch_does_not_keep_a_torn_tail_from_being_cut(written: Written) -> None:
    """A client chooses bytes of entries, but not the salt of the segment."""
    disk = written.fork()
    journal = opened(disk)
    forged = encode_batch(b"", sequence=10**6, commit_index=0, records_count=0, salt=12345)
    before = journal.last_index
    journal.add(bytes(SECTOR_BYTES - 61) + forged * 3, before + 1, 9)
    journal.sync()
    disk.overwrite(written.last_path, written.ends[-1][1], bytes(SECTOR_BYTES))
    assert opened(disk).last_index == before


@pytest.mark.parametrize("position", [0, 1, -1])
def test_a_missing_segment_is_damage_wherever_it_was(segmented: Written, position: int) -> None:
    """A missing first one shows when nothing says what came before: no snapshot covers it (starting.py)."""
    disk = segmented.fork()
    name = disk.list(FOLDER)[position]
    disk.remove(FOLDER / name)
    if position == 0:
        assert opened(disk).first_index > 1
    else:
        assert name in str(outcome(disk))
        assert "missing" in str(outcome(disk))


def test_a_segment_without_its_seal_is_damage_where_another_one_goes_on(segmented: Written) -> None:
    disk = segmented.fork()
    path = FOLDER / disk.list(FOLDER)[-2]
    seal_offset = len(disk.read(path).rstrip(b"\0")) - SECTOR_BYTES
    disk.overwrite(path, seal_offset, bytes(SECTOR_BYTES))
    assert f"{path}, offset {seal_offset}: the end of the segment is missing" in str(outcome(disk))


def test_a_segment_under_another_one_s_name_is_damage(segmented: Written) -> None:
    disk = segmented.fork()
    first, second = disk.list(FOLDER)[:2]
    disk.overwrite(FOLDER / second, 0, disk.read(FOLDER / first))
    assert "under another name" in str(outcome(disk))


def test_refusing_to_start_changes_nothing(segmented: Written) -> None:
    disk = segmented.fork()
    path = FOLDER / disk.list(FOLDER)[1]
    disk.flip_bit(path, SECTOR_BYTES + 100, 3)
    before = {name: disk.read(FOLDER / name) for name in disk.list(FOLDER)}
    assert isinstance(outcome(disk), str)
    assert {name: disk.read(FOLDER / name) for name in disk.list(FOLDER)} == before
