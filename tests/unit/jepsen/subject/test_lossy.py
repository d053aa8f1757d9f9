"""The lossy disk answers as the real one does, and a kill leaves what a loss of power would."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from base.disk import Disk, RealDisk, write_atomically
from jepsen.subject.disk import SubjectDisk
from jepsen.subject.lossy import LossyDisk
from jepsen.subject.page import Page
from tests.unit.base.test_disk import SCRIPT, Step


def lossy(folder: Path, *, seed: int = 0, leaks: bool = False) -> LossyDisk:
    return LossyDisk(staging=folder.parent / f"{folder.name}-staging", rng=random.Random(seed), leaks=leaks)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("leaks", [False, True])
@pytest.mark.parametrize("step", SCRIPT, ids=[step.__name__ for step in SCRIPT])
def test_the_lossy_disk_answers_as_the_real_one(step: Step, leaks: bool, tmp_path: Path) -> None:
    for seed in range(10 if leaks else 1):
        real, folder = made(tmp_path / f"real-{seed}"), made(tmp_path / f"lossy-{seed}")
        assert step(RealDisk(), real) == step(lossy(folder, seed=seed, leaks=leaks), folder)


@pytest.mark.parametrize("step", SCRIPT, ids=[step.__name__ for step in SCRIPT])
def test_the_wrapped_lossy_disk_answers_as_the_real_one(step: Step, tmp_path: Path) -> None:
    real, folder = made(tmp_path / "real"), made(tmp_path / "subject")
    page = Page.create(tmp_path / "page")
    assert step(RealDisk(), real) == step(SubjectDisk(page, lossy(folder)), folder)


def test_what_was_not_synced_is_not_on_the_disk(tmp_path: Path) -> None:
    folder = made(tmp_path / "data")
    disk = lossy(folder)
    write_atomically(disk, folder / "file", b"synced")
    file = disk.open_file(folder / "file")
    file.write(0, b"SYN")
    disk.open_file(folder / "other", create=True).write(0, b"x")
    disk.unlink(folder / "file")
    assert disk.list(folder) == ["other"]
    assert file.read(0, 6) == b"SYNced"
    assert RealDisk().list(folder) == ["file"]
    assert (folder / "file").read_bytes() == b"synced"
    disk.sync_folder(folder)
    assert RealDisk().list(folder) == ["other"]
    assert (folder / "other").read_bytes() == b""


def test_a_synced_file_without_a_durable_name_is_lost(tmp_path: Path) -> None:
    folder = made(tmp_path / "data")
    disk = lossy(folder)
    file = disk.open_file(folder / "a", create=True)
    file.write(0, b"content")
    file.sync()
    disk.replace(folder / "a", folder / "b")
    assert disk.read(folder / "b") == b"content"
    assert list(folder.iterdir()) == []
    disk.sync_folder(folder)
    assert (folder / "b").read_bytes() == b"content"
    assert disk.read(folder / "b") == b"content"


def test_what_could_be_lost_is_counted(tmp_path: Path) -> None:
    folder = made(tmp_path / "data")
    told: list[tuple[int, int]] = []
    disk = LossyDisk(
        staging=tmp_path / "staging",
        rng=random.Random(0),
        leaks=False,
        on_losable=lambda losable_bytes, names: told.append((losable_bytes, names)),
    )
    file = disk.open_file(folder / "a", create=True)
    assert told[-1] == (0, 1)
    file.write(0, b"12345")
    assert told[-1] == (5, 1)
    file.sync()
    assert told[-1] == (0, 1)
    file.write(5, b"6")
    disk.sync_folder(folder)
    assert told[-1] == (1, 0)
    disk.unlink(folder / "a")
    disk.sync_folder(folder)
    assert told[-1] == (0, 0)


def test_some_writes_reach_the_disk_early_whole_torn_or_in_sectors(tmp_path: Path) -> None:
    outcomes: set[str] = set()
    for seed in range(120):
        folder = made(tmp_path / str(seed))
        (folder / "file").write_bytes(bytes(2048))
        disk = lossy(folder, seed=seed, leaks=True)
        file = disk.open_file(folder / "file")
        file.write(0, b"n" * 2048)
        assert file.read(0, 4096) == b"n" * 2048
        real = (folder / "file").read_bytes()
        new = real.count(b"n")
        if new in (0, 2048):
            outcomes.add(f"all {new}")
        elif real == (b"n" * new).ljust(2048, b"\0"):
            outcomes.add("torn" if new % 512 else "sectors in front")
        else:
            assert new % 512 == 0
            outcomes.add("sectors")
        file.sync()
        assert (folder / "file").read_bytes() == b"n" * 2048
    assert outcomes >= {"all 0", "all 2048", "torn", "sectors"}


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A folder whose writer was killed before the sync of its second write."""
    folder = made(tmp_path / "data")
    code = (
        "import os, random, signal, sys\n"
        "from pathlib import Path\n"
        "from jepsen.subject.lossy import LossyDisk\n"
        "from base.disk import write_atomically\n"
        "folder = Path(sys.argv[1])\n"
        "disk = LossyDisk(staging=folder.parent / 'staging', rng=random.Random(1), leaks=False)\n"
        "write_atomically(disk, folder / 'kept', b'kept')\n"
        "disk.open_file(folder / 'kept').write(0, b'LOST')\n"
        "disk.open_file(folder / 'lost', create=True).sync()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], check=False, capture_output=True, timeout=30)
    assert done.returncode == -9, done.stderr
    return folder


def test_kill_nine_is_a_loss_of_power(killed: Path) -> None:
    again: Disk = LossyDisk(staging=killed.parent / "staging", rng=random.Random(1))
    assert again.list(killed) == ["kept"]
    assert again.read(killed / "kept") == b"kept"
    assert list((killed.parent / "staging").iterdir()) == []
