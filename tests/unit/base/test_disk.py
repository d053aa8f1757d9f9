"""The real disk and its simulated twin do the same; failures are told plainly and end all writing."""

import errno
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePath, PurePosixPath

import pytest

from base.disk import Disk, RealDisk, lock_folder, write_atomically
from base.errors import ConfigInvalid, DiskFailed
from tests.fakes.disk import PowerLost, SimDisk

Step = Callable[[Disk, PurePath], object]


def write_and_read(disk: Disk, root: PurePath) -> object:
    file = disk.open_file(root / "a", create=True)
    file.write(0, b"hello")
    file.write(8, b"world")
    file.sync()
    return file.size(), file.read(0, 100), file.read(9, 2), file.read(50, 1), disk.read(root / "a")


def allocate_and_cut(disk: Disk, root: PurePath) -> object:
    file = disk.open_file(root / "b", create=True)
    file.allocate(100)
    file.write(3, b"xyz")
    sizes = [file.size()]
    file.allocate(50)
    sizes.append(file.size())
    file.truncate(5)
    sizes.append(file.size())
    return sizes, file.read(0, 10)


def create_empties(disk: Disk, root: PurePath) -> object:
    disk.open_file(root / "c", create=True).write(0, b"old")
    disk.open_file(root / "c", create=True)
    return disk.read(root / "c"), disk.open_file(root / "c").size()


def rename_and_list(disk: Disk, root: PurePath) -> object:
    disk.make_folder(root / "x" / "y")
    disk.make_folder(root / "x" / "y")
    disk.open_file(root / "x" / "one", create=True).write(0, b"1")
    disk.open_file(root / "x" / "two", create=True).write(0, b"2")
    disk.replace(root / "x" / "one", root / "x" / "two")
    disk.replace(root / "x" / "y", root / "x" / "z")
    disk.sync_folder(root / "x")
    return disk.list(root / "x"), disk.list(root / "nothing"), disk.read(root / "x" / "two")


def remove(disk: Disk, root: PurePath) -> object:
    disk.make_folder(root / "d" / "e")
    file = disk.open_file(root / "d" / "e" / "f", create=True)
    file.write(0, b"still readable")
    disk.unlink(root / "d" / "e" / "f")
    after_unlink = disk.exists(root / "d" / "e" / "f"), file.read(0, 20)
    disk.open_file(root / "d" / "e" / "g", create=True)
    disk.remove_tree(root / "d")
    disk.remove_tree(root / "d")
    return after_unlink, disk.exists(root / "d")


def replace_atomically(disk: Disk, root: PurePath) -> object:
    write_atomically(disk, root / "h", b"first")
    write_atomically(disk, root / "h", b"2nd")
    return disk.read(root / "h"), disk.list(root)


def read_missing(disk: Disk, root: PurePath) -> object:
    with pytest.raises(DiskFailed, match="No such file or directory"):
        disk.read(root / "missing")
    with pytest.raises(DiskFailed, match="No such file or directory"):
        disk.open_file(root / "missing")
    return disk.failed


def folder_in_the_way(disk: Disk, root: PurePath) -> object:
    disk.open_file(root / "i", create=True)
    with pytest.raises(DiskFailed, match="in the way"):
        disk.make_folder(root / "i")
    return disk.failed


def unlink_missing(disk: Disk, root: PurePath) -> object:
    with pytest.raises(DiskFailed):
        disk.unlink(root / "missing")
    with pytest.raises(DiskFailed, match="no further writes"):
        disk.make_folder(root / "j")
    with pytest.raises(DiskFailed, match="no further writes"):
        disk.open_file(root / "j", create=True)
    return disk.failed is not None


def rename_over_another_kind(disk: Disk, root: PurePath) -> object:
    disk.make_folder(root / "k")
    disk.open_file(root / "l", create=True)
    with pytest.raises(DiskFailed, match="cannot rename"):
        disk.replace(root / "l", root / "k")
    return disk.failed is not None, disk.list(root)


def rename_a_folder_over_a_file(disk: Disk, root: PurePath) -> object:
    disk.make_folder(root / "k")
    disk.open_file(root / "l", create=True)
    with pytest.raises(DiskFailed, match="cannot rename"):
        disk.replace(root / "k", root / "l")
    return disk.failed is not None, disk.list(root)


def rename_over_a_full_folder(disk: Disk, root: PurePath) -> object:
    disk.make_folder(root / "m" / "n")
    disk.make_folder(root / "o")
    with pytest.raises(DiskFailed, match="Directory not empty"):
        disk.replace(root / "o", root / "m")
    with pytest.raises(DiskFailed, match="no further writes"):
        disk.remove_tree(root / "missing")
    return disk.list(root)


def remove_the_tree_of_a_file(disk: Disk, root: PurePath) -> object:
    disk.open_file(root / "p", create=True)
    with pytest.raises(DiskFailed, match=r"cannot list .*Not a directory"):
        disk.list(root / "p")
    usable = disk.failed is None
    with pytest.raises(DiskFailed, match="Not a directory"):
        disk.remove_tree(root / "p")
    return usable, disk.failed is not None, disk.list(root)


def sync_a_missing_folder(disk: Disk, root: PurePath) -> object:
    with pytest.raises(DiskFailed, match="No such file or directory"):
        disk.sync_folder(root / "missing")
    return disk.failed is not None


def use_a_closed_file(disk: Disk, root: PurePath) -> object:
    file = disk.open_file(root / "q", create=True)
    file.close()
    file.close()
    for look in (file.size, lambda: file.read(0, 1)):
        with pytest.raises(DiskFailed, match="Bad file descriptor"):
            look()
    usable = disk.failed is None
    with pytest.raises(DiskFailed, match=r"cannot write .*Bad file descriptor"):
        file.write(0, b"x")
    return usable, disk.failed is not None


SCRIPT = [
    write_and_read,
    allocate_and_cut,
    create_empties,
    rename_and_list,
    remove,
    replace_atomically,
    read_missing,
    folder_in_the_way,
    unlink_missing,
    rename_over_another_kind,
    rename_a_folder_over_a_file,
    rename_over_a_full_folder,
    remove_the_tree_of_a_file,
    sync_a_missing_folder,
    use_a_closed_file,
]


@pytest.mark.parametrize("step", SCRIPT, ids=[step.__name__ for step in SCRIPT])
def test_the_simulated_disk_answers_as_the_real_one(step: Step, tmp_path: Path) -> None:
    simulated = SimDisk(random.Random(0))
    simulated.make_folder(PurePosixPath("/root"))
    assert step(RealDisk(), tmp_path) == step(simulated, PurePosixPath("/root"))


def test_files_and_folders_are_for_their_owner_only(tmp_path: Path) -> None:
    disk = RealDisk()
    disk.make_folder(tmp_path / "data" / "raft")
    write_atomically(disk, tmp_path / "data" / "raft" / "file", b"secret")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "data" / "raft" / "file").stat().st_mode) == 0o600


def test_a_full_disk_is_called_so_and_ends_all_writing() -> None:
    disk = RealDisk()
    with pytest.raises(DiskFailed, match=r"the disk is full: cannot write /dev/full"):
        disk.open_file(Path("/dev/full")).write(0, b"x")
    with pytest.raises(DiskFailed, match="no further writes after: the disk is full"):
        disk.open_file(Path("/dev/null")).write(0, b"x")


def test_a_failed_sync_ends_all_writing(tmp_path: Path) -> None:
    disk = RealDisk()
    file = disk.open_file(tmp_path / "file", create=True)
    with pytest.raises(DiskFailed, match="cannot sync /dev/zero: Invalid argument"):
        disk.open_file(Path("/dev/zero")).sync()
    refused: list[Callable[[], None]] = [
        lambda: file.write(0, b"x"),
        file.sync,
        lambda: file.truncate(0),
        lambda: file.allocate(9),
    ]
    for write in refused:
        with pytest.raises(DiskFailed, match="no further writes"):
            write()


def test_where_space_cannot_be_reserved_the_file_is_only_made_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    file = RealDisk().open_file(tmp_path / "file", create=True)
    file.write(0, b"data")
    file.allocate(100)
    file.allocate(50)
    assert (file.size(), file.read(0, 5)) == (100, b"data\0")


def test_a_locked_folder_names_the_process_that_has_it(tmp_path: Path) -> None:
    code = "import sys\nfrom pathlib import Path\nfrom base.disk import lock_folder\nlock_folder(Path(sys.argv[1]))"
    lock = lock_folder(tmp_path)
    again = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert f"another server uses this data directory (pid {os.getpid()})" in again.stderr
    lock.release()
    lock.release()
    free = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert free.returncode == 0


def test_a_lock_keeps_out_the_same_process_too(tmp_path: Path) -> None:
    lock = lock_folder(tmp_path)
    with pytest.raises(ConfigInvalid, match="another server uses this data directory"):
        lock_folder(tmp_path)
    lock.release()
    lock_folder(tmp_path).release()


def test_a_simulated_crash_leaves_synced_bytes_and_some_of_the_others() -> None:
    outcomes = set()
    for seed in range(200):
        disk = SimDisk(random.Random(seed))
        path = PurePosixPath("/file")
        file = disk.open_file(path, create=True)
        file.write(0, b"a" * 700)
        file.sync()
        disk.sync_folder(path.parent)
        file.write(700, b"b" * 900)
        disk.crash()
        content = disk.read(path)
        assert content[:700] == b"a" * 700
        assert not content[700:].strip(b"b\0")
        outcomes.add((len(content), content.count(b"b")))
    assert (700, 0) in outcomes
    assert (1600, 900) in outcomes
    assert len(outcomes) > 20


def test_a_simulated_crash_may_lose_names_that_were_not_synced() -> None:
    survivors = set()
    for seed in range(50):
        disk = SimDisk(random.Random(seed))
        disk.open_file(PurePosixPath("/one"), create=True)
        disk.open_file(PurePosixPath("/two"), create=True)
        disk.crash()
        survivors.add(tuple(disk.list(PurePosixPath("/"))))
    assert survivors == {(), ("one",), ("two",), ("one", "two")}


def test_a_simulated_failed_sync_leaves_what_a_crash_would_whatever_is_synced_later() -> None:
    left = set()
    for seed in range(50):
        disk = SimDisk(random.Random(seed))
        path = PurePosixPath("/file")
        file = disk.open_file(path, create=True)
        disk.sync_folder(path.parent)
        file.write(0, b"lost")
        disk.sync_failures_left = 1
        with pytest.raises(DiskFailed):
            file.sync()
        disk.restart()
        file = disk.open_file(path)
        assert file.read(0, 4) == b"lost"
        file.sync()
        disk.crash()
        left.add(disk.read(path))
    assert {b"", b"l", b"lo", b"lost"} <= left


def test_a_simulated_sync_of_a_folder_may_fail_and_a_later_one_does_it_after_all() -> None:
    survivors = set()
    for seed in range(20):
        for again in (False, True):
            disk = SimDisk(random.Random(seed))
            disk.open_file(PurePosixPath("/one"), create=True)
            disk.sync_failures_left = 1
            with pytest.raises(DiskFailed, match="cannot sync /: Input/output error"):
                disk.sync_folder(PurePosixPath("/"))
            with pytest.raises(DiskFailed, match="no further writes"):
                disk.sync_folder(PurePosixPath("/"))
            disk.restart()
            if again:
                disk.sync_folder(PurePosixPath("/"))
            disk.crash()
            survivors.add((again, *disk.list(PurePosixPath("/"))))
    assert survivors == {(False,), (False, "one"), (True, "one")}


def test_on_a_full_simulated_disk_nothing_new_can_be_made() -> None:
    disk = SimDisk(random.Random(1))
    old = PurePosixPath("/old")
    disk.open_file(old, create=True).write(0, b"x")
    disk.quota_bytes = 1
    with pytest.raises(DiskFailed, match="the disk is full: cannot open /new: No space left on device"):
        disk.open_file(PurePosixPath("/new"), create=True)
    assert disk.failed is None, "as the real one: nothing was written"
    disk.open_file(old, create=True)
    disk.quota_bytes = 0
    with pytest.raises(DiskFailed, match="the disk is full: cannot make folder /folder"):
        disk.make_folder(PurePosixPath("/folder"))
    assert disk.failed is not None


def test_a_simulated_disk_fills_up_and_loses_power_where_it_is_told() -> None:
    disk = SimDisk(random.Random(1))
    file = disk.open_file(PurePosixPath("/file"), create=True)
    disk.quota_bytes = 10
    with pytest.raises(DiskFailed, match="the disk is full"):
        file.write(0, b"x" * 11)
    disk.restart()
    disk.power_lost_at = 1
    file = disk.open_file(PurePosixPath("/file"), create=True)
    with pytest.raises(PowerLost):
        file.write(0, b"x")
