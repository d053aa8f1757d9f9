"""The files of a pool: what is found, what is written, and what a failing disk costs."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from base.disk import Disk, RealDisk
from base.errors import ConfigInvalid, DiskFailed
from gossip.files import GossipFiles
from gossip.instructions import WriteKeyring, WriteSnapshot
from gossip.keyring import Keyring, load_keyring

OLD, NEW = b"o" * 16, b"n" * 32
ONE, TWO = "alive: a 10.0.0.1:8301\n", "alive: b 10.0.0.2:8301\n"


def files(folder: Path, make_disk: Callable[[], Disk] = RealDisk) -> GossipFiles:
    return GossipFiles(
        make_disk, snapshot=folder / "serf" / "local.snapshot", keyring=folder / "serf" / "local.keyring"
    )


def snapshot_of(folder: Path) -> Path:
    return folder / "serf" / "local.snapshot"


def keys_of(folder: Path) -> tuple[bytes, ...]:
    return load_keyring((folder / "serf" / "local.keyring").read_text(encoding="ascii")).keys


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


# The snapshot


def test_lines_are_appended_for_nobody_else_to_read(tmp_path: Path) -> None:
    kept = files(tmp_path)
    assert kept.read_snapshot() == ""
    kept.write([WriteSnapshot(text=ONE), WriteSnapshot(text=TWO)])
    assert files(tmp_path).read_snapshot() == ONE + TWO
    assert mode_of(snapshot_of(tmp_path)) == 0o600
    assert mode_of(tmp_path / "serf") == 0o700


def test_a_replacement_leaves_nothing_of_before_and_no_other_file(tmp_path: Path) -> None:
    kept = files(tmp_path)
    kept.write([WriteSnapshot(text=ONE * 100), WriteSnapshot(text=TWO, replace=True), WriteSnapshot(text=ONE)])
    assert kept.read_snapshot() == TWO + ONE
    assert os.listdir(tmp_path / "serf") == ["local.snapshot"]
    assert mode_of(snapshot_of(tmp_path)) == 0o600


def test_any_bytes_are_read_and_written_back_as_they_were(tmp_path: Path) -> None:
    kept = files(tmp_path)
    snapshot_of(tmp_path).write_bytes(b"alive: \xff\xfe 10.0.0.1:1\n\0\x80")
    text = kept.read_snapshot()
    kept.write([WriteSnapshot(text=text, replace=True)])
    assert snapshot_of(tmp_path).read_bytes() == b"alive: \xff\xfe 10.0.0.1:1\n\0\x80"


def test_a_snapshot_that_cannot_be_read_is_a_line_in_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kept = files(tmp_path)
    snapshot_of(tmp_path).mkdir()
    assert kept.read_snapshot() == ""
    said = capfd.readouterr().out
    assert "members of before are not known" in said
    assert str(snapshot_of(tmp_path)) in said


class FullDisk:
    """`os.write` that takes half of what it is given and then finds no space left, as long as `full`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self._write = os.write
        self._half_done = False
        monkeypatch.setattr(os, "write", self)

    def __call__(self, descriptor: int, data: bytes) -> int:
        if not self.full or descriptor <= 2:
            return self._write(descriptor, data)
        self._half_done = not self._half_done
        if self._half_done:
            return self._write(descriptor, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_half_a_line_on_a_full_disk_is_taken_back_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = files(tmp_path)
    kept.write([WriteSnapshot(text=ONE)])
    disk = FullDisk(monkeypatch)
    for text in (TWO, ONE, TWO):
        kept.write([WriteSnapshot(text=text)])
    assert kept.read_snapshot() == ONE
    kept.write([WriteSnapshot(text=TWO * 3, replace=True)])
    assert kept.read_snapshot() == ONE, "a replacement is whole or not at all"
    disk.full = False
    kept.write([WriteSnapshot(text=TWO)])
    assert kept.read_snapshot() == ONE + TWO
    said = capfd.readouterr().out
    assert said.count("cannot write a file of gossip") == 1
    assert "No space left" in said
    assert said.count("a file of gossip is written again") == 1


# The keyring


def test_the_configured_key_starts_the_file_which_counts_from_then_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert files(tmp_path).read_keyring(None) is None
    assert not (tmp_path / "serf" / "local.keyring").exists()
    assert files(tmp_path).read_keyring(OLD) == Keyring([OLD])
    assert mode_of(tmp_path / "serf" / "local.keyring") == 0o600
    files(tmp_path).write([WriteKeyring(keys=[NEW, OLD])])
    assert files(tmp_path).read_keyring(OLD) == Keyring([NEW, OLD])
    assert files(tmp_path).read_keyring(None) == Keyring([NEW, OLD])
    assert capfd.readouterr().out == ""
    assert files(tmp_path).read_keyring(b"x" * 16) == Keyring([NEW, OLD])
    said = capfd.readouterr().out
    assert "the key in the configuration is not in the keyring file, which counts" in said


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'["short"]', b"\xff\xfe", b'["' + b"A" * 100_000, b"[[[[[[["])
def test_a_damaged_keyring_refuses_the_start_and_names_the_file(tmp_path: Path, content: bytes) -> None:
    kept = files(tmp_path)
    (tmp_path / "serf" / "local.keyring").write_bytes(content)
    with pytest.raises(ConfigInvalid, match=r"local\.keyring"):
        kept.read_keyring(OLD)
    assert (tmp_path / "serf" / "local.keyring").read_bytes() == content


def test_a_keyring_that_could_not_be_written_is_written_with_the_next_change(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kept = files(tmp_path)
    kept.read_keyring(OLD)
    in_the_way = tmp_path / "serf" / "local.keyring.tmp"
    in_the_way.symlink_to("/dev/full")
    kept.write([WriteKeyring(keys=[OLD, NEW])])
    assert keys_of(tmp_path) == (OLD,)
    in_the_way.unlink()
    kept.write([WriteKeyring(keys=[NEW, OLD])])
    assert keys_of(tmp_path) == (NEW, OLD)
    said = capfd.readouterr().out
    assert said.count("cannot write a file of gossip") == 1
    assert "local.keyring" in said


def test_without_folders_nothing_is_kept(tmp_path: Path) -> None:
    nothing = GossipFiles(RealDisk, snapshot=None, keyring=None)
    assert nothing.read_snapshot() == ""
    assert nothing.read_keyring(OLD) == Keyring([OLD])
    nothing.write([WriteSnapshot(text=ONE), WriteKeyring(keys=[NEW])])
    assert os.listdir(tmp_path) == []


def test_something_in_the_way_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "serf").write_bytes(b"")
    with pytest.raises(DiskFailed, match="serf"):
        files(tmp_path)
