"""A disk in memory that forgets what was not synced: the simulated twin of `base.disk.RealDisk`.

Each file has the bytes that a reader sees and the bytes that a power failure leaves; each folder has names of both
kinds. `crash` loses power: of every unsynced write, nothing, everything, a part cut at some byte, or some sectors
of it remain, and of unsynced names any subset. `restart` only ends the process: the kernel's memory survives.
A sync of a file that fails leaves as much as a crash would have, and the rest looks written and never will be.
Everything random comes from the generator handed in.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath, PurePosixPath

from base.errors import DiskFailed

SECTOR_BYTES = 512


class PowerLost(BaseException):
    """Raised instead of the operation at which a test wants the machine to die. Nobody catches it but tests."""


@dataclass
class _Bytes:
    """Content and size; what lies between is zeros, so that reserving space costs nothing."""

    data: bytearray = field(default_factory=bytearray)
    size: int = 0

    def apply(self, change: _Change) -> None:
        if change.kind == "write":
            end = change.offset + len(change.data)
            if len(self.data) < change.offset:
                self.data.extend(bytes(change.offset - len(self.data)))
            self.data[change.offset : end] = change.data
            self.size = max(self.size, end)
        elif change.kind == "allocate":
            self.size = max(self.size, change.offset)
        else:
            del self.data[change.offset :]
            self.size = change.offset

    def read(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self.size)
        return bytes(self.data[offset:end]).ljust(max(0, end - offset), b"\0")

    def copy(self) -> _Bytes:
        return _Bytes(bytearray(self.data), self.size)


@dataclass(frozen=True)
class _Change:
    kind: str
    """write, allocate or truncate"""
    offset: int
    data: bytes = b""


_Changes = list[_Change]


@dataclass
class _File:
    seen: _Bytes = field(default_factory=_Bytes)
    durable: _Bytes = field(default_factory=_Bytes)
    pending: list[_Change] = field(default_factory=list)


@dataclass
class _Folder:
    seen: dict[str, _File | _Folder] = field(default_factory=dict)
    durable: dict[str, _File | _Folder] = field(default_factory=dict)
    pending: list[dict[str, _File | _Folder | None]] = field(default_factory=list)
    """Changes of names, each atomic; None removes."""

    def change(self, names: dict[str, _File | _Folder | None]) -> None:
        _apply_names(self.seen, names)
        self.pending.append(names)


def _apply_names(entries: dict[str, _File | _Folder], names: dict[str, _File | _Folder | None]) -> None:
    for name, node in names.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


class SimDisk:
    """See the module's docstring; the methods of `base.disk.Disk` first, then the faults."""

    def __init__(self, rng: random.Random) -> None:
        self.failed: str | None = None
        self.rng = rng
        self.operations_count = 0
        """Operations that change something or make it durable, since the last crash or restart."""
        self.power_lost_at: int | None = None
        """The operation, counted from 0, instead of which PowerLost is raised."""
        self.sync_failures_left = 0
        """So many of the next syncs fail, of files and of folders."""
        self.quota_bytes: int | None = None
        """Space for all files together; None is endless."""
        self.hook: Callable[[str, PurePath], None] | None = None
        """Called with each operation and its path before it happens."""
        self._root = _Folder()
        self._generation = 0

    def open_file(self, path: PurePath, *, create: bool = False) -> SimFile:
        """See Disk."""
        if create:
            self.begin("create", path)
            parent = self._folder(path.parent, "open", path)
            node = parent.seen.get(path.name)
            if node is None:
                if self.room_bytes(1) == 0:
                    raise DiskFailed(f"the disk is full: cannot open {path}: {os.strerror(28)}")
                parent.change({path.name: _File()})
            elif isinstance(node, _File):
                _change(node, _Change("truncate", 0))
        return SimFile(self, path, self._file(path, "open"))

    def read(self, path: PurePath) -> bytes:
        """See Disk."""
        file = self._file(path, "read")
        return file.seen.read(0, file.seen.size)

    def exists(self, path: PurePath) -> bool:
        """See Disk."""
        return self._node(path) is not None

    def list(self, folder: PurePath) -> list[str]:
        """See Disk."""
        node = self._node(folder)
        if isinstance(node, _File):
            raise DiskFailed(f"cannot list {folder}: {os.strerror(20)}")
        return [] if node is None else sorted(node.seen)

    def make_folder(self, path: PurePath) -> None:
        """See Disk."""
        node = self._node(path)
        if isinstance(node, _Folder):
            if path.parent != path:
                self.sync_folder(path.parent)
            return
        if node is not None:
            raise DiskFailed(f"{path} is in the way: a folder is needed there")
        self.make_folder(path.parent)
        self.begin("make folder", path)
        if self.room_bytes(1) == 0:
            raise self.fail(f"the disk is full: cannot make folder {path}: {os.strerror(28)}")
        self._folder(path.parent, "make folder", path).change({path.name: _Folder()})
        self.sync_folder(path.parent)

    def replace(self, source: PurePath, target: PurePath) -> None:
        """See Disk."""
        self.begin("rename", source)
        parent = self._folder(source.parent, "rename", source)
        assert source.parent == target.parent, "only within one folder"
        node = parent.seen.get(source.name)
        occupant = parent.seen.get(target.name)
        if node is None:
            raise self._refuse("rename", source, "No such file or directory")
        if occupant is not None and type(node) is not type(occupant):
            raise self._refuse("rename", source, os.strerror(21 if isinstance(occupant, _Folder) else 20))
        if isinstance(occupant, _Folder) and occupant.seen:
            raise self._refuse("rename", source, "Directory not empty")
        parent.change({source.name: None, target.name: node})

    def unlink(self, path: PurePath) -> None:
        """See Disk."""
        self.begin("remove", path)
        parent = self._folder(path.parent, "remove", path)
        if not isinstance(parent.seen.get(path.name), _File):
            raise self._refuse("remove", path, "No such file or directory")
        parent.change({path.name: None})

    def remove_tree(self, folder: PurePath) -> None:
        """See Disk."""
        if self.failed is not None:
            raise self._no_more()
        node = self._node(folder)
        if node is None:
            return
        if isinstance(node, _File):
            raise self._refuse("remove", folder, os.strerror(20))
        for name in sorted(node.seen):
            if isinstance(node.seen[name], _Folder):
                self.remove_tree(folder / name)
            else:
                self.unlink(folder / name)
        self.begin("remove", folder)
        self._folder(folder.parent, "remove", folder).change({folder.name: None})

    def sync_folder(self, folder: PurePath) -> None:
        """See Disk."""
        self.begin("sync folder", folder)
        node = self._node(folder)
        if not isinstance(node, _Folder):
            raise self._refuse("sync", folder, os.strerror(2 if node is None else 20))
        if self.sync_failures_left > 0:
            self.sync_failures_left -= 1
            raise self._refuse("sync", folder, os.strerror(5))  # what waits may still become durable, in a later one
        for names in node.pending:
            _apply_names(node.durable, names)
        node.pending.clear()

    # What a test may do to it.

    def crash(self) -> None:
        """Lose power now: what is not durable survives only by chance. Open handles are dead."""
        self.restart()
        self._crash_folder(self._root)

    def restart(self) -> None:
        """End the process only: its handles are dead, and a disk that had failed is taken for good again."""
        self.failed = None
        self.operations_count = 0
        self.power_lost_at = None
        self.sync_failures_left = 0
        self._generation += 1

    def flip_bit(self, path: PurePath, offset: int, bit: int) -> None:
        """Damage one bit, as the medium would."""
        self.overwrite(path, offset, bytes([self.read(path)[offset] ^ (1 << bit)]))

    def overwrite(self, path: PurePath, offset: int, data: bytes) -> None:
        """Put other bytes on the medium behind everybody's back."""
        file = self._file(path, "damage")
        for content in (file.seen, file.durable):
            content.apply(_Change("write", offset, data))

    def cut(self, path: PurePath, size: int) -> None:
        """Shorten the file on the medium behind everybody's back."""
        file = self._file(path, "damage")
        for content in (file.seen, file.durable):
            content.apply(_Change("truncate", size))

    def remove(self, path: PurePath) -> None:
        """Remove a file on the medium behind everybody's back."""
        parent = self._folder(path.parent, "damage", path)
        parent.seen.pop(path.name)
        parent.durable.pop(path.name, None)

    def used_bytes(self) -> int:
        """What all files together take, as `quota_bytes` counts it."""
        return _size_of(self._root)

    def unsynced_bytes(self, path: PurePath) -> int:
        """How many written bytes of the file a power failure could take."""
        return sum(len(change.data) for change in self._file(path, "look at").pending)

    # Inside.

    def begin(self, action: str, path: PurePath) -> None:
        """Count one operation, and fail or die instead of it where that was asked for."""
        if self.power_lost_at is not None and self.operations_count >= self.power_lost_at:
            raise PowerLost(f"{action} {path}")
        self.operations_count += 1
        if self.hook is not None:
            self.hook(action, path)
        if self.failed is not None:
            raise self._no_more()

    def check_alive(self, generation: int | None) -> int:
        """Return the generation of handles; raises where one from before a crash is used."""
        assert generation in (None, self._generation), "a file handle from before the crash"
        return self._generation

    def room_bytes(self, wanted: int) -> int:
        """How many of `wanted` more bytes fit."""
        if self.quota_bytes is None:
            return wanted
        return max(0, min(wanted, self.quota_bytes - self.used_bytes()))

    def fail(self, text: str) -> DiskFailed:
        """Remember a failed write or sync; return the error to raise."""
        self.failed = text
        return DiskFailed(text)

    def survivors(self, changes: _Changes) -> _Changes:
        """What is left of changes that were not made durable in time."""
        survive = self.rng.choice((_lose_all, _keep_all, _tear, _scatter))
        return survive(self.rng, changes)

    def _no_more(self) -> DiskFailed:
        return DiskFailed(f"no further writes after: {self.failed}")

    def _refuse(self, action: str, path: PurePath, reason: str) -> DiskFailed:
        return self.fail(f"cannot {action} {path}: {reason}")

    def _node(self, path: PurePath) -> _File | _Folder | None:
        node: _File | _Folder | None = self._root
        for name in PurePosixPath(path).parts[1:]:
            if not isinstance(node, _Folder):
                return None
            node = node.seen.get(name)
        return node

    def _folder(self, path: PurePath, action: str, about: PurePath) -> _Folder:
        node = self._node(path)
        if not isinstance(node, _Folder):
            raise DiskFailed(f"cannot {action} {about}: {os.strerror(2)}")
        return node

    def _file(self, path: PurePath, action: str) -> _File:
        node = self._node(path)
        if not isinstance(node, _File):
            raise DiskFailed(f"cannot {action} {path}: {os.strerror(2)}")
        return node

    def _crash_folder(self, folder: _Folder) -> None:
        for names in folder.pending:
            if self.rng.random() < 0.5:
                _apply_names(folder.durable, names)
        folder.pending.clear()
        folder.seen = dict(folder.durable)
        for name in sorted(folder.seen):
            node = folder.seen[name]
            if isinstance(node, _Folder):
                self._crash_folder(node)
            else:
                self._crash_file(node)

    def _crash_file(self, file: _File) -> None:
        changes, file.pending = file.pending, []
        for change in self.survivors(changes):
            file.durable.apply(change)
        file.seen = file.durable.copy()


def _lose_all(rng: random.Random, changes: list[_Change]) -> list[_Change]:
    return []


def _keep_all(rng: random.Random, changes: list[_Change]) -> list[_Change]:
    return changes


def _tear(rng: random.Random, changes: list[_Change]) -> list[_Change]:
    """Everything before some change, and that one up to some byte."""
    if not changes:
        return []
    position = rng.randrange(len(changes))
    torn = changes[position]
    return [*changes[:position], _Change(torn.kind, torn.offset, torn.data[: rng.randint(0, len(torn.data))])]


def _scatter(rng: random.Random, changes: list[_Change]) -> list[_Change]:
    """Any sectors of what was written, with the file's size grown to the end or not."""
    kept: list[_Change] = []
    for change in changes:
        if change.kind != "write":
            if rng.random() < 0.5:
                kept.append(change)
            continue
        position = change.offset
        end = change.offset + len(change.data)
        while position < end:
            sector_end = min(end, position - position % SECTOR_BYTES + SECTOR_BYTES)
            if rng.random() < 0.5:
                data = change.data[position - change.offset : sector_end - change.offset]
                kept.append(_Change("write", position, data))
            position = sector_end
        if rng.random() < 0.5:
            kept.append(_Change("allocate", end))
    return kept


def _change(file: _File, change: _Change) -> None:
    file.seen.apply(change)
    file.pending.append(change)


def _size_of(node: _File | _Folder) -> int:
    if isinstance(node, _File):
        return node.seen.size
    return sum(_size_of(entry) for entry in node.seen.values())


class SimFile:
    """A file of SimDisk."""

    def __init__(self, disk: SimDisk, path: PurePath, file: _File) -> None:
        self.path = path
        self._disk = disk
        self._file = file
        self._generation = disk.check_alive(None)
        self._closed = False

    def size(self) -> int:
        """See DiskFile."""
        self._check_open("look at")
        return self._file.seen.size

    def read(self, offset: int, size: int) -> bytes:
        """See DiskFile."""
        self._disk.check_alive(self._generation)
        self._check_open("read")
        return self._file.seen.read(offset, size)

    def write(self, offset: int, data: bytes) -> None:
        """See DiskFile."""
        self._begin("write")
        growth = max(0, offset + len(data) - self._file.seen.size)
        room = self._disk.room_bytes(growth)
        if room < growth:
            _change(self._file, _Change("write", offset, bytes(data[: len(data) - growth + room])))
            raise self._full("write")
        _change(self._file, _Change("write", offset, bytes(data)))

    def allocate(self, size: int) -> None:
        """See DiskFile."""
        self._begin("allocate")
        growth = max(0, size - self._file.seen.size)
        if self._disk.room_bytes(growth) < growth:
            raise self._full("allocate")
        _change(self._file, _Change("allocate", size))

    def truncate(self, size: int) -> None:
        """See DiskFile."""
        self._begin("cut")
        _change(self._file, _Change("truncate", size))

    def sync(self) -> None:
        """See DiskFile. After a failed one the data looks written, and no later sync will write it."""
        self._begin("sync")
        changes, self._file.pending = self._file.pending, []
        if self._disk.sync_failures_left > 0:
            self._disk.sync_failures_left -= 1
            for change in self._disk.survivors(changes):
                self._file.durable.apply(change)
            raise self._disk.fail(f"cannot sync {self.path}: {os.strerror(5)}")
        for change in changes:
            self._file.durable.apply(change)

    def close(self) -> None:
        """See DiskFile."""
        self._closed = True

    def _begin(self, action: str) -> None:
        self._disk.check_alive(self._generation)
        self._disk.begin(action, self.path)
        if self._closed:
            raise self._disk.fail(f"cannot {action} {self.path}: {os.strerror(9)}")

    def _check_open(self, action: str) -> None:
        if self._closed:
            raise DiskFailed(f"cannot {action} {self.path}: {os.strerror(9)}")

    def _full(self, action: str) -> DiskFailed:
        return self._disk.fail(f"the disk is full: cannot {action} {self.path}: {os.strerror(28)}")
