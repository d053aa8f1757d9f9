"""The disk of a wrapped server: slow, failing or full as its control page says, on top of a real or a lossy one.

A failure here ends all writing, as the real disk's own failures do. Space is counted for every byte that is written,
reserved before or not, as on a file system that copies on write: there a disk can be full at any write.
"""

from __future__ import annotations

import errno
import os
import random
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import NoReturn

from base.disk import Disk, DiskFile, RealDisk
from base.errors import DiskFailed
from jepsen.subject.lossy import LossyDisk
from jepsen.subject.page import PAGE_VARIABLE, Page

LOSSY_VARIABLE = "MESH_SUBJECT_LOSSY"
SEED_VARIABLE = "MESH_SUBJECT_SEED"
STAGING_NAME = "unsynced"
DELAY_SLICE_S = 0.02
"""A delayed sync looks so often whether it is still to wait."""
US_PER_S = 1_000_000


class SubjectDisk:
    """See the module's docstring. Usable from several threads."""

    def __init__(self, page: Page, inner: Disk) -> None:
        self._page = page
        self._inner = inner
        self._own_failure: str | None = None
        self._lock = threading.Lock()
        self._never = threading.Event()

    @property
    def failed(self) -> str | None:
        """See Disk."""
        return self._own_failure or self._inner.failed

    @failed.setter
    def failed(self, reason: str | None) -> None:
        self._own_failure = reason

    def open_file(self, path: PurePath, *, create: bool = False) -> DiskFile:
        """See Disk."""
        if create:
            self.check_usable()
        return SubjectFile(self, self._inner.open_file(path, create=create))

    def read(self, path: PurePath) -> bytes:
        """See Disk."""
        return self._inner.read(path)

    def exists(self, path: PurePath) -> bool:
        """See Disk."""
        return self._inner.exists(path)

    def list(self, folder: PurePath) -> list[str]:
        """See Disk."""
        return self._inner.list(folder)

    def make_folder(self, path: PurePath) -> None:
        """See Disk."""
        if not self._inner.exists(path):
            self.check_usable()
        self._inner.make_folder(path)

    def replace(self, source: PurePath, target: PurePath) -> None:
        """See Disk."""
        self.check_usable()
        self._inner.replace(source, target)

    def unlink(self, path: PurePath) -> None:
        """See Disk."""
        self.check_usable()
        self._inner.unlink(path)

    def remove_tree(self, folder: PurePath) -> None:
        """See Disk."""
        self.check_usable()
        self._inner.remove_tree(folder)

    def sync_folder(self, folder: PurePath) -> None:
        """See Disk."""
        self.before_sync(folder)
        self._inner.sync_folder(folder)

    # What the page says.

    def check_usable(self) -> None:
        """Raise DiskFailed if this disk has failed before."""
        if self._own_failure is not None:
            raise DiskFailed(f"no further writes after: {self._own_failure}")

    def before_sync(self, path: PurePath) -> None:
        """Wait as long as the page says, then fail if it says so."""
        self.check_usable()
        page = self._page
        page.syncs_count += 1
        if page.sync_delay_us:
            page.syncs_delayed += 1
            waited_s = 0.0
            while waited_s < (left_s := page.sync_delay_us / US_PER_S):
                slice_s = min(DELAY_SLICE_S, left_s - waited_s)
                self._never.wait(slice_s)
                waited_s += slice_s
        if page.fail_next_sync:
            with self._lock:
                if page.fail_next_sync <= 0:
                    return
                page.fail_next_sync -= 1
                page.syncs_failed += 1
            self._fail("sync", path, errno.EIO)

    def take_space(self, path: PurePath, wanted_bytes: int) -> int:
        """Take space for so many bytes; return how many of them fit."""
        self.check_usable()
        page = self._page
        if page.quota_bytes < 0:
            return wanted_bytes
        with self._lock:
            taken = max(0, min(wanted_bytes, page.quota_bytes))
            page.quota_bytes -= taken
        return taken

    def full(self, action: str, path: PurePath) -> NoReturn:
        """Raise what the real disk raises when it is full."""
        self._page.writes_refused += 1
        self._fail(action, path, errno.ENOSPC)

    def _fail(self, action: str, path: PurePath, number: int) -> NoReturn:
        text = f"cannot {action} {path}: {os.strerror(number)}"
        self._own_failure = f"the disk is full: {text}" if number == errno.ENOSPC else text
        raise DiskFailed(self._own_failure)


class SubjectFile:
    """A file of SubjectDisk."""

    def __init__(self, disk: SubjectDisk, inner: DiskFile) -> None:
        self.path = inner.path
        self._disk = disk
        self._inner = inner

    def size(self) -> int:
        """See DiskFile."""
        return self._inner.size()

    def read(self, offset: int, size: int) -> bytes:
        """See DiskFile."""
        return self._inner.read(offset, size)

    def write(self, offset: int, data: bytes) -> None:
        """See DiskFile."""
        room_bytes = self._disk.take_space(self.path, len(data))
        if room_bytes < len(data):
            self._inner.write(offset, data[:room_bytes])
            self._disk.full("write", self.path)
        self._inner.write(offset, data)

    def allocate(self, size: int) -> None:
        """See DiskFile: what is reserved is counted when it is written."""
        if self._disk.take_space(self.path, 1) < 1:
            self._disk.full("allocate", self.path)
        self._inner.allocate(size)

    def truncate(self, size: int) -> None:
        """See DiskFile."""
        self._disk.check_usable()
        self._inner.truncate(size)

    def sync(self) -> None:
        """See DiskFile."""
        self._disk.before_sync(self.path)
        self._inner.sync()

    def close(self) -> None:
        """See DiskFile."""
        self._inner.close()


def subject_disk(page: Page, environment: Mapping[str, str], *, leaks: bool = True) -> SubjectDisk:
    """Return the disk that the environment asks for; see LossyDisk for `leaks`."""
    if not environment.get(LOSSY_VARIABLE):
        return SubjectDisk(page, RealDisk())

    def tell_losable(losable_bytes: int, names: int) -> None:
        page.unsynced_bytes = losable_bytes
        page.unsynced_names = names

    def tell_leak(leaked_bytes: int) -> None:
        page.bytes_leaked += leaked_bytes

    tell_losable(0, 0)
    # Another fate for each server and start: all of them losing the same bytes would be no test.
    seed = f"{environment.get(SEED_VARIABLE, '')}/{page.path.parent.name}/{page.started_count}"
    lossy = LossyDisk(
        staging=page.path.parent / STAGING_NAME,
        rng=random.Random(zlib.crc32(seed.encode())),
        leaks=leaks,
        on_losable=tell_losable,
        on_leak=tell_leak,
    )
    return SubjectDisk(page, lossy)


def disk_from(environment: Mapping[str, str], *, leaks: bool = True) -> SubjectDisk | None:
    """Return the disk for this process, or None where no page was named; raises OSError."""
    path = environment.get(PAGE_VARIABLE)
    if not path:
        return None
    page = Page(Path(path))
    page.started_count += 1
    return subject_disk(page, environment, leaks=leaks)
