"""A disk whose unsynced writes live in this process's memory, so that kill -9 does what a loss of power does.

The real twin of `tests/fakes/disk.py`. Bytes of a file go to the real disk with `sync`, names in a folder with
`sync_folder`; readers see them at once. A real kernel also writes some of it earlier, as it likes, so a share of the
writes reaches the disk without a sync: whole, cut at some byte, or some of its sectors; and a share of the changes of
names, which a journalling file system keeps in order. All of that is drawn when it is written, since nobody asks
before a kill.

A file whose name is not durable lies in `staging`, a folder outside the data on the same file system; what a killed
process leaves there never had a name. Trees are removed at once: LMDB writes into the same folders past this disk.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NoReturn

from base.disk import DiskFile, RealDisk
from base.errors import DiskFailed

SECTOR_BYTES = 512
WRITES_KEPT_SHARE = 0.12
WRITES_TORN_SHARE = 0.12
WRITES_SCATTERED_SHARE = 0.12
"""So often a write reaches the disk whole, cut, or in some sectors. Most are lost, for that convicts."""
NAMES_KEPT_SHARE = 0.5
"""As in tests/fakes/disk.py."""


@dataclass(frozen=True)
class _Change:
    kind: str
    """write, allocate or truncate"""
    offset: int
    data: bytes = b""


_Changes = list[_Change]
_Names = list[str]


class _Node:
    """A file or folder, wherever its name is just now."""

    def __init__(self, parent: _Folder | None, place: str) -> None:
        self.parent = parent
        """The folder in which the disk knows it; None: it has no durable name."""
        self.place = place
        """Its durable name there; without a parent the path of its bytes."""

    def real(self) -> Path:
        return Path(self.place) if self.parent is None else self.parent.real() / self.place


class _File(_Node):
    def __init__(self, parent: _Folder | None, place: str) -> None:
        super().__init__(parent, place)
        self.pending: list[_Change] = []
        self.losable_bytes = 0


class _Folder(_Node):
    def __init__(self, parent: _Folder | None, place: str) -> None:
        super().__init__(parent, place)
        self.seen: dict[str, _Node | None] = {}
        """Where names as seen differ from the durable ones; None: gone."""
        self.known: dict[str, _Node] = {}
        """By durable name."""
        self.pending: list[Callable[[], None]] = []
        """What makes the changes of names durable, in their order."""


class LossyDisk:
    """See the module's docstring. Usable from several threads."""

    def __init__(
        self,
        *,
        staging: Path,
        rng: random.Random,
        leaks: bool = True,
        on_losable: Callable[[int, int], None] = lambda losable_bytes, names: None,
        on_leak: Callable[[int], None] = lambda leaked_bytes: None,
    ) -> None:
        """`staging` is emptied. Without `leaks` nothing reaches the disk without a sync.

        `on_losable` gets how many bytes and changes of names would be lost now, whenever that changes.
        """
        self.real = RealDisk()
        self.lock = threading.RLock()
        self._staging = staging
        self._rng = rng
        self._leaks = leaks
        self._on_losable = on_losable
        self._on_leak = on_leak
        self._root = _Folder(None, "/")
        self._losable_bytes = 0
        self._losable_names = 0
        self._numbers = itertools.count(1)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)

    @property
    def failed(self) -> str | None:
        """See Disk."""
        return self.real.failed

    @failed.setter
    def failed(self, reason: str | None) -> None:
        self.real.failed = reason

    def open_file(self, path: PurePath, *, create: bool = False) -> DiskFile:
        """See Disk."""
        with self.lock:
            if not create:
                return LossyFile(self, path, self._file(path, "open"))
            self.real.check_usable()
            parent = self._node(path.parent)
            node = None if not isinstance(parent, _Folder) else self._child(parent, path.name)
            if isinstance(node, _File):
                file = LossyFile(self, path, node)
                file.truncate(0)
                return file
            if node is not None or not isinstance(parent, _Folder):
                return self.real.open_file(path, create=True)  # fails as it should
            node = _File(None, str(self._staging / str(next(self._numbers))))
            self.real.open_file(node.real(), create=True).close()
            self._change_name(parent, {path.name: node}, lambda: self._give_name(node, parent, path.name))
            return LossyFile(self, path, node)

    def read(self, path: PurePath) -> bytes:
        """See Disk."""
        with self.lock:
            file = LossyFile(self, path, self._file(path, "read"))
            try:
                return file.read(0, file.size())
            finally:
                file.close()

    def exists(self, path: PurePath) -> bool:
        """See Disk."""
        with self.lock:
            return self._node(path) is not None

    def list(self, folder: PurePath) -> list[str]:
        """See Disk."""
        with self.lock:
            node = self._node(folder)
            if isinstance(node, _File):
                raise DiskFailed(f"cannot list {folder}: {os.strerror(errno.ENOTDIR)}")
            return self._names(node) if isinstance(node, _Folder) else []

    def make_folder(self, path: PurePath) -> None:
        """See Disk."""
        with self.lock:
            node = self._node(path)
            if node is None and path.parent != path:
                self.make_folder(path.parent)
            parent = self._node(path.parent)
            if isinstance(parent, _Folder):
                self._flush_names(parent)
                self.real.make_folder(parent.real() / path.name)
            else:
                self.real.make_folder(path)  # fails as it should

    def replace(self, source: PurePath, target: PurePath) -> None:
        """See Disk; within one folder only."""
        assert source.parent == target.parent, "only within one folder"
        with self.lock:
            self.real.check_usable()
            parent = self._node(source.parent)
            node = self._child(parent, source.name) if isinstance(parent, _Folder) else None
            if node is None or not isinstance(parent, _Folder):
                self._refuse("rename", source, errno.ENOENT)
            occupant = self._child(parent, target.name)
            if occupant is not None and type(occupant) is not type(node):
                self._refuse("rename", source, errno.EISDIR if isinstance(occupant, _Folder) else errno.ENOTDIR)
            if isinstance(occupant, _Folder) and self._names(occupant):
                self._refuse("rename", source, errno.ENOTEMPTY)
            folder = parent
            self._change_name(
                folder,
                {source.name: None, target.name: node},
                lambda: self._rename(folder, source.name, target.name),
            )

    def unlink(self, path: PurePath) -> None:
        """See Disk."""
        with self.lock:
            self.real.check_usable()
            parent = self._node(path.parent)
            node = self._child(parent, path.name) if isinstance(parent, _Folder) else None
            if not isinstance(node, _File) or not isinstance(parent, _Folder):
                self._refuse("remove", path, errno.ENOENT)
            folder = parent
            self._change_name(folder, {path.name: None}, lambda: self._remove(folder, path.name))

    def remove_tree(self, folder: PurePath) -> None:
        """See Disk; what is gone is gone at once."""
        with self.lock:
            self.real.check_usable()
            node = self._node(folder)
            parent = self._node(folder.parent)
            if node is None or not isinstance(parent, _Folder):
                return
            if isinstance(node, _File):
                self._refuse("remove", folder, errno.ENOTDIR)
            self._flush_names(parent)
            self._forget(node)
            parent.known.pop(folder.name, None)
            self.real.remove_tree(parent.real() / folder.name)

    def sync_folder(self, folder: PurePath) -> None:
        """See Disk."""
        with self.lock:
            self.real.check_usable()
            node = self._node(folder)
            if isinstance(node, _Folder):
                self._flush_names(node)
                folder = node.real()
        self.real.sync_folder(folder)

    def _refuse(self, action: str, path: PurePath, number: int) -> NoReturn:
        """Fail as the operating system does, for good; raises DiskFailed."""
        self.real.write_failed(action, path, OSError(number, os.strerror(number)))

    # Names.

    def _node(self, path: PurePath) -> _Node | None:
        node: _Node | None = self._root
        for name in Path(path).absolute().parts[1:]:
            if not isinstance(node, _Folder):
                return None
            node = self._child(node, name)
        return node

    def _child(self, folder: _Folder, name: str) -> _Node | None:
        if name in folder.seen:
            return folder.seen[name]
        path = folder.real() / name
        if not os.path.lexists(path):
            folder.known.pop(name, None)
            return None
        kind = _Folder if os.path.isdir(path) else _File
        node = folder.known.get(name)
        if type(node) is not kind:
            node = folder.known[name] = kind(folder, name)
        return node

    def _names(self, folder: _Folder) -> _Names:
        names = set(self.real.list(folder.real()))
        for name, node in folder.seen.items():
            (names.discard if node is None else names.add)(name)
        return sorted(names)

    def _file(self, path: PurePath, action: str) -> _File:
        node = self._node(path)
        if not isinstance(node, _File):
            raise DiskFailed(f"cannot {action} {path}: {os.strerror(errno.ENOENT)}")
        return node

    def _change_name(self, folder: _Folder, names: dict[str, _Node | None], make_durable: Callable[[], None]) -> None:
        folder.seen.update(names)
        folder.pending.append(make_durable)
        self._losable_names += 1
        if self._leaks and self._rng.random() < NAMES_KEPT_SHARE:
            self._flush_names(folder)
        self._tell()

    def _flush_names(self, folder: _Folder) -> None:
        pending, folder.pending = folder.pending, []
        for make_durable in pending:
            self._losable_names -= 1
            make_durable()
        folder.seen.clear()
        self._tell()

    def _give_name(self, node: _File, folder: _Folder, name: str) -> None:
        try:
            os.replace(node.real(), folder.real() / name)
        except OSError as error:
            self.real.write_failed("create", folder.real() / name, error)
        node.parent, node.place = folder, name
        folder.known[name] = node

    def _rename(self, folder: _Folder, source: str, target: str) -> None:
        self.real.replace(folder.real() / source, folder.real() / target)
        replaced = folder.known.pop(target, None)
        if replaced is not None:
            self._forget(replaced)
        node = folder.known.pop(source, None)
        if node is not None:
            node.place = target
            folder.known[target] = node

    def _remove(self, folder: _Folder, name: str) -> None:
        self.real.unlink(folder.real() / name)
        node = folder.known.pop(name, None)
        if node is not None:
            self._forget(node)

    def _forget(self, node: _Node) -> None:
        """Its bytes can't be lost any more: it has no name."""
        if isinstance(node, _File):
            self._losable_bytes -= node.losable_bytes
            node.losable_bytes = 0
        elif isinstance(node, _Folder):
            self._losable_names -= len(node.pending)
            node.pending.clear()
            for child in node.known.values():
                self._forget(child)
        self._tell()

    # Bytes; the caller has the lock.

    def count_losable(self, node: _File, bytes_count: int) -> None:
        """So many more bytes of the file would be lost; negative: so many fewer."""
        node.losable_bytes += bytes_count
        self._losable_bytes += bytes_count
        self._tell()

    def leak(self, change: _Change) -> _Changes:
        """What of a write reaches the disk at once."""
        draw = self._rng.random() if self._leaks else 1.0
        leaked: _Changes = []
        if draw < WRITES_KEPT_SHARE:
            leaked = [change]
        elif draw < WRITES_KEPT_SHARE + WRITES_TORN_SHARE:
            leaked = [_Change("write", change.offset, change.data[: self._rng.randint(0, len(change.data))])]
        elif draw < WRITES_KEPT_SHARE + WRITES_TORN_SHARE + WRITES_SCATTERED_SHARE:
            leaked = [sector for sector in _sectors(change) if self._rng.random() < 0.5]
        if leaked:
            self._on_leak(sum(len(each.data) for each in leaked))
        return leaked

    def _tell(self) -> None:
        self._on_losable(self._losable_bytes, self._losable_names)


def _sectors(change: _Change) -> list[_Change]:
    sectors = []
    position, end = change.offset, change.offset + len(change.data)
    while position < end:
        sector_end = min(end, position - position % SECTOR_BYTES + SECTOR_BYTES)
        data = change.data[position - change.offset : sector_end - change.offset]
        sectors.append(_Change("write", position, data))
        position = sector_end
    return sectors


class LossyFile:
    """A file of LossyDisk."""

    def __init__(self, disk: LossyDisk, path: PurePath, node: _File) -> None:
        self.path = path
        self._disk = disk
        self._node = node
        self._real = disk.real.open_file(node.real())
        self._closed = False

    def size(self) -> int:
        """See DiskFile."""
        with self._disk.lock:
            size = self._real.size()
            for change in self._node.pending:
                size = change.offset if change.kind == "truncate" else max(size, change.offset + len(change.data))
            return size

    def read(self, offset: int, size: int) -> bytes:
        """See DiskFile."""
        with self._disk.lock:
            if not self._node.pending:
                return self._real.read(offset, size)
            size = max(0, min(size, self.size() - offset))
            view = bytearray(self._real.read(offset, size).ljust(size, b"\0"))
            for change in self._node.pending:
                if change.kind == "truncate":
                    kept = max(0, change.offset - offset)
                    view[kept:] = bytes(max(0, size - kept))
                elif change.kind == "write":
                    begin, end = max(offset, change.offset), min(offset + size, change.offset + len(change.data))
                    if begin < end:
                        view[begin - offset : end - offset] = change.data[begin - change.offset : end - change.offset]
            return bytes(view)

    def write(self, offset: int, data: bytes) -> None:
        """See DiskFile."""
        self._check_open("write")
        change = _Change("write", offset, bytes(data))
        with self._disk.lock:
            leaked = self._disk.leak(change)
            for part in leaked:
                self._real.write(part.offset, part.data)
            self._node.pending.append(change)
            self._disk.count_losable(self._node, len(data) - sum(len(part.data) for part in leaked))

    def allocate(self, size: int) -> None:
        """See DiskFile."""
        self._change(_Change("allocate", size))

    def truncate(self, size: int) -> None:
        """See DiskFile."""
        self._change(_Change("truncate", size))

    def _change(self, change: _Change) -> None:
        self._check_open(change.kind)
        with self._disk.lock:
            self._node.pending.append(change)

    def sync(self) -> None:
        """See DiskFile."""
        self._disk.real.check_usable()
        node = self._node
        with self._disk.lock:
            pending, node.pending = node.pending, []
            for change in pending:
                if change.kind == "write":
                    self._real.write(change.offset, change.data)
                elif change.kind == "allocate":
                    self._real.allocate(change.offset)
                else:
                    self._real.truncate(change.offset)
            self._disk.count_losable(node, -node.losable_bytes)
        self._real.sync()

    def close(self) -> None:
        """See DiskFile."""
        self._closed = True
        self._real.close()

    def _check_open(self, action: str) -> None:
        self._disk.real.check_usable()
        if self._closed:
            self._disk.real.write_failed(action, self.path, OSError(errno.EBADF, os.strerror(errno.EBADF)))
