"""A torn tail made by the harness is cut by the product, and a flipped bit is refused where it is."""

import random
from pathlib import Path

import pytest

from base.disk import RealDisk
from base.errors import DataDamaged
from jepsen.subject.journal_files import NothingToDamage, batches, flip_bit, segments, tear_tail
from server.raft.journal import Journal

COMMANDS = [bytes([number]) * (number * 97 % 2000) for number in range(1, 30)]


def journal_in(data_dir: Path, count: int = len(COMMANDS)) -> Journal:
    journal = Journal.open(RealDisk(), data_dir / "raft")
    for command in COMMANDS[:count]:
        journal.add(command, journal.last_index + 1, 1)
        journal.sync()
    return journal


def test_the_batches_of_a_segment_are_found(tmp_path: Path) -> None:
    journal_in(tmp_path).close()
    found = batches(segments(tmp_path)[-1].read_bytes())
    assert len(found) == len(COMMANDS)
    for batch, command in zip(found, COMMANDS, strict=True):
        assert batch.begin + len(command) < batch.checked_end < batch.end
    assert [batch.begin for batch in found[1:]] == [batch.end for batch in found[:-1]]


@pytest.mark.parametrize("seed", range(12))
def test_a_torn_tail_is_cut_and_nothing_before_it_is_lost(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    journal_in(tmp_path, rng.choice((0, 1, 9))).close()
    before = len(list(batches(segments(tmp_path)[-1].read_bytes())))
    assert "torn bytes at offset" in tear_tail(tmp_path, rng)
    journal = Journal.open(RealDisk(), tmp_path / "raft")
    assert [line for line in journal.repairs if "cut a torn batch" in line]
    assert len(journal) == 1 + before
    journal.add(b"more", journal.last_index + 1, 1)
    journal.sync()
    journal.close()
    again = Journal.open(RealDisk(), tmp_path / "raft")
    assert again[-1][0] == b"more"
    again.close()


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_is_refused_and_its_place_named(seed: int, tmp_path: Path) -> None:
    journal_in(tmp_path).close()
    path, offset = flip_bit(tmp_path, random.Random(seed))
    hit = next(batch for batch in batches_before(path, offset) if batch[0] <= offset < batch[1])
    with pytest.raises(DataDamaged, match=f"{path}, offset {hit[0]}:"):
        Journal.open(RealDisk(), tmp_path / "raft")


def batches_before(path: Path, offset: int) -> list[tuple[int, int]]:
    """Begin and end of the batches up to the damaged one, which begins where the intact ones end."""
    intact = batches(path.read_bytes())
    return [(intact[-1].end if intact else 512, path.stat().st_size)]


def test_a_journal_that_is_too_short_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(NothingToDamage, match="has no journal"):
        flip_bit(tmp_path, random.Random(0))
    journal_in(tmp_path, 1).close()
    with pytest.raises(NothingToDamage, match="has 1 batches"):
        flip_bit(tmp_path, random.Random(0))
