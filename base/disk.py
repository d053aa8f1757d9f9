"""The disk as durable parts of the system see it: few operations, each with one meaning, and no retries.

Nothing is durable before a sync: bytes of a file need `DiskFile.sync`, names in a folder need `sync_folder`.
Every failure becomes DiskFailed with the file and the reason. After a failed write or sync the disk object
refuses all further writes: the kernel marks pages clean after a failed sync, so a second, successful one would
promise what it doesn't hold. `tests/fakes/disk.py` is the simulated twin, held against this one by a test.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import PurePath
from typing import NoReturn, Protocol

from base.errors import ConfigInvalid, DiskFailed

FILE_MODE = 0o600
FOLDER_MODE = 0o700
WRITE_BYTES_MAX = 1 << 30
"""One write call; Linux takes at most 2 GiB less a page at once."""
LOCK_NAME = "lock"
TEMPORARY_SUFFIX = ".tmp"
"""Files and folders that are not finished; whoever owns the folder removes them at start."""


class DiskFile(Protocol):
    """An open file. Positions and sizes are bytes."""

    path: PurePath

    def size(self) -> int:
        """The size as a reader sees it, allocated bytes included."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes; fewer only where the file ends."""
        ...

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data`; not durable before `sync`."""
        ...

    def allocate(self, size: int) -> None:
        """Reserve space so that the file is at least `size` long; what was never written reads as zeros."""
        ...

    def truncate(self, size: int) -> None:
        """Cut the file to `size`."""
        ...

    def sync(self) -> None:
        """Make everything written so far durable."""
        ...

    def close(self) -> None:
        """Release the handle; says nothing about durability. May be called twice."""
        ...


class Disk(Protocol):
    """See the module's docstring. All methods raise DiskFailed."""

    failed: str | None
    """Why this disk refuses writes, or None."""

    def open_file(self, path: PurePath, *, create: bool = False) -> DiskFile:
        """Open for reading and writing. `create` makes the file if needed and empties it if it is there."""
        ...

    def read(self, path: PurePath) -> bytes:
        """Return the whole file."""
        ...

    def exists(self, path: PurePath) -> bool:
        """Whether there is a file or folder of this name."""
        ...

    def list(self, folder: PurePath) -> list[str]:
        """Names in the folder, sorted; empty if it does not exist."""
        ...

    def make_folder(self, path: PurePath) -> None:
        """Make the folder and its parents, each durably.

        One that exists is made durable, too: the process that made it may have ended before its sync.
        """
        ...

    def replace(self, source: PurePath, target: PurePath) -> None:
        """Rename atomically, over a file that may be there; not durable before `sync_folder`."""
        ...

    def unlink(self, path: PurePath) -> None:
        """Remove the file; not durable before `sync_folder`."""
        ...

    def remove_tree(self, folder: PurePath) -> None:
        """Remove the folder and what is in it; nothing happens if it does not exist."""
        ...

    def sync_folder(self, folder: PurePath) -> None:
        """Make creations, renames and removals of names in the folder durable."""
        ...


class RealDisk:
    """The operating system's. Files are made with mode 0600 and folders with 0700."""

    def __init__(self) -> None:
        self.failed: str | None = None

    def open_file(self, path: PurePath, *, create: bool = False) -> RealFile:
        """See Disk."""
        flags = os.O_RDWR | os.O_CLOEXEC
        if create:
            self.check_usable()
            flags |= os.O_CREAT | os.O_TRUNC
        try:
            return RealFile(self, path, os.open(path, flags, FILE_MODE))
        except OSError as error:
            raise _disk_failed("open", path, error) from error

    def read(self, path: PurePath) -> bytes:
        """See Disk."""
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise _disk_failed("read", path, error) from error

    def exists(self, path: PurePath) -> bool:
        """See Disk."""
        return os.path.lexists(path)

    def list(self, folder: PurePath) -> list[str]:
        """See Disk."""
        try:
            return sorted(os.listdir(folder))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _disk_failed("list", folder, error) from error

    def make_folder(self, path: PurePath) -> None:
        """See Disk."""
        if os.path.isdir(path):
            if path.parent != path and os.access(path.parent, os.R_OK):
                self.sync_folder(path.parent)
            return
        self.check_usable()
        if path.parent != path:
            self.make_folder(path.parent)
        try:
            os.mkdir(path, FOLDER_MODE)
        except FileExistsError:
            if not os.path.isdir(path):
                raise DiskFailed(f"{path} is in the way: a folder is needed there") from None
        except OSError as error:
            self.write_failed("make folder", path, error)
        self.sync_folder(path.parent)

    def replace(self, source: PurePath, target: PurePath) -> None:
        """See Disk."""
        self.check_usable()
        try:
            os.replace(source, target)
        except OSError as error:
            self.write_failed("rename", source, error)

    def unlink(self, path: PurePath) -> None:
        """See Disk."""
        self.check_usable()
        try:
            os.unlink(path)
        except OSError as error:
            self.write_failed("remove", path, error)

    def remove_tree(self, folder: PurePath) -> None:
        """See Disk."""
        self.check_usable()
        if not os.path.lexists(folder):
            return
        try:
            shutil.rmtree(folder)
        except OSError as error:
            self.write_failed("remove", folder, error)

    def sync_folder(self, folder: PurePath) -> None:
        """See Disk."""
        self.check_usable()
        try:
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            self.write_failed("sync", folder, error)

    def check_usable(self) -> None:
        """Raise DiskFailed if an earlier write or sync failed."""
        if self.failed is not None:
            raise DiskFailed(f"no further writes after: {self.failed}")

    def write_failed(self, action: str, path: PurePath, error: OSError) -> NoReturn:
        """Remember the failure and raise it."""
        failure = _disk_failed(action, path, error)
        self.failed = str(failure)
        raise failure from error


class RealFile:
    """A file of RealDisk."""

    def __init__(self, disk: RealDisk, path: PurePath, descriptor: int) -> None:
        self.path = path
        self._disk = disk
        self._descriptor = descriptor

    def size(self) -> int:
        """See DiskFile."""
        try:
            return os.fstat(self._descriptor).st_size
        except OSError as error:
            raise _disk_failed("look at", self.path, error) from error

    def read(self, offset: int, size: int) -> bytes:
        """See DiskFile."""
        parts: list[bytes] = []
        try:
            while size > 0:
                part = os.pread(self._descriptor, min(size, WRITE_BYTES_MAX), offset)
                if not part:
                    break
                parts.append(part)
                offset += len(part)
                size -= len(part)
        except OSError as error:
            raise _disk_failed("read", self.path, error) from error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """See DiskFile."""
        self._disk.check_usable()
        try:
            written = os.pwrite(self._descriptor, data, offset)
            while written < len(data):
                written += os.pwrite(self._descriptor, memoryview(data)[written:], offset + written)
        except OSError as error:
            self._disk.write_failed("write", self.path, error)

    def allocate(self, size: int) -> None:
        """See DiskFile."""
        self._disk.check_usable()
        try:
            try:
                os.posix_fallocate(self._descriptor, 0, size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                # Some file systems cannot reserve: let the file only be as long as if they could.
                os.ftruncate(self._descriptor, max(size, os.fstat(self._descriptor).st_size))
        except OSError as error:
            self._disk.write_failed("allocate", self.path, error)

    def truncate(self, size: int) -> None:
        """See DiskFile."""
        self._disk.check_usable()
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            self._disk.write_failed("cut", self.path, error)

    def sync(self) -> None:
        """See DiskFile: fdatasync, which includes the size but not the time stamps."""
        self._disk.check_usable()
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            self._disk.write_failed("sync", self.path, error)

    def close(self) -> None:
        """See DiskFile."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _disk_failed(action: str, path: PurePath, error: OSError) -> DiskFailed:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFailed(f"the disk is full: cannot {action} {path}: {error.strerror}")
    return DiskFailed(f"cannot {action} {path}: {error.strerror}")


def write_atomically(disk: Disk, path: PurePath, data: bytes) -> None:
    """Replace the whole file durably: afterwards, and after any crash, it is the old one or the new one."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    file = disk.open_file(temporary, create=True)
    try:
        file.write(0, data)
        file.sync()
    finally:
        file.close()
    disk.replace(temporary, path)
    disk.sync_folder(path.parent)


class FolderLock:
    """Keeps other processes out of a data folder until released, or until this process ends in any way."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others in. May be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def lock_folder(folder: PurePath) -> FolderLock:
    """Take the folder for this process; raises ConfigInvalid where another process has it, DiskFailed otherwise.

    The lock is the kernel's and dies with the process; the file stays, and its content is only for the message.
    """
    path = folder / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    except OSError as error:
        raise _disk_failed("open", path, error) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
    except OSError as error:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            raise ConfigInvalid(f"another server uses this data directory (pid {owner}): {folder}") from error
        raise _disk_failed("lock", path, error) from error
    return FolderLock(descriptor)
