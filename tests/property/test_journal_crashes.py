"""After a power failure at any disk operation, what was synced is there and nothing is invented."""

import contextlib
import random
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from base.disk import RealDisk
from base.errors import DiskFailed
from server.raft.journal import Journal
from tests.fakes.disk import PowerLost, SimDisk
from tests.fakes.journal_model import JournalModel, Script

FOLDER = PurePosixPath("/data/raft")
SEGMENT_BYTES = 8192
STEPS_COUNT = 40


def opened(disk: SimDisk, seed: int) -> Journal:
    return Journal.open(disk, FOLDER, segment_bytes=SEGMENT_BYTES, rng=random.Random(seed))


def run_until(seed: int, power_lost_at: int | None) -> tuple[SimDisk, Script | None]:
    """Run the seed's script on a fresh disk; None where the journal wasn't even open when power was lost."""
    disk = SimDisk(random.Random(f"{seed}/{power_lost_at}"))
    disk.power_lost_at = power_lost_at
    script = None
    try:
        script = Script(opened(disk, seed), random.Random(seed))
        for _ in range(STEPS_COUNT):
            script.step()
    except PowerLost:
        pass
    return disk, script


@pytest.mark.parametrize("seed", range(12))
def test_a_crash_at_any_operation_loses_nothing_that_was_synced(seed: int) -> None:
    operations_count = run_until(seed, None)[0].operations_count
    for power_lost_at in range(operations_count + 1):
        disk, script = run_until(seed, power_lost_at)
        disk.crash()
        journal = opened(disk, seed + 1)
        if script is None:
            assert JournalModel().agrees_with(journal)
        else:
            script.survivor(journal)


def test_a_journal_whose_creation_was_interrupted_keeps_what_is_synced_later() -> None:
    """The process dies while it makes the folder and the first segment; the next one goes on; then power fails."""
    for seed in range(8):
        for died_at in range(12):
            disk = SimDisk(random.Random(f"{seed}/{died_at}"))
            disk.power_lost_at = died_at
            with contextlib.suppress(PowerLost):
                opened(disk, seed)
            disk.restart()
            journal = opened(disk, seed)
            journal.add(b"entry", 2, 1)
            journal.sync()
            disk.crash()
            assert opened(disk, seed).last_index == 2


@pytest.mark.parametrize("seed", range(150))
def test_many_crashes_in_a_row_lose_nothing_that_was_synced(seed: int) -> None:
    rng = random.Random(f"crashes/{seed}")
    disk = SimDisk(rng)
    model = JournalModel()
    for life in range(8):
        disk.power_lost_at = rng.randint(0, 40)
        script = None
        try:
            journal = opened(disk, seed * 100 + life)
            script = Script(journal, rng, model, model)
            assert model.agrees_with(journal)
            while True:
                script.step()
        except PowerLost:
            rng.choice((disk.crash, disk.restart))()
        journal = opened(disk, seed)
        if script is not None:
            model = script.survivor(journal)
        assert model.agrees_with(journal)
        journal.close()
        disk.restart()


@pytest.mark.parametrize("seed", range(100))
def test_what_is_read_after_a_failed_sync_is_durable_before_anything_is_promised(seed: int) -> None:
    """The process that met it ends; the next finds the data in the kernel's memory; then power goes."""
    rng = random.Random(f"failed/{seed}")
    disk = SimDisk(rng)
    script = Script(opened(disk, seed), rng)
    for _ in range(rng.randint(0, 30)):
        script.step()
    script.add()
    disk.sync_failures_left = 1
    with pytest.raises(DiskFailed):
        script.sync()
    with pytest.raises(DiskFailed):
        disk.make_folder(PurePosixPath("/other"))
    disk.restart()
    promised = script.survivor(opened(disk, seed))
    disk.crash()
    assert promised.agrees_with(opened(disk, seed))


@pytest.mark.parametrize("seed", range(6))
def test_the_real_disk_reads_back_what_was_synced(seed: int, tmp_path: Path) -> None:
    """The same scripts on real files; only the process ends, so nothing that was written is lost either."""
    rng = random.Random(f"real/{seed}")
    model = JournalModel()
    for _ in range(4):
        journal = Journal.open(RealDisk(), tmp_path / "raft", segment_bytes=SEGMENT_BYTES)
        script = Script(journal, rng, model, model)
        assert model.agrees_with(journal)
        for _ in range(60):
            script.step()
        journal.close()
        model = replace(script.durable, commit_index=min(script.durable.commit_index, script.durable.last[0]))
        assert journal.repairs == []
