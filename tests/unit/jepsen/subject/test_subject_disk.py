"""The disk of a wrapped server obeys its control page."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from base.disk import RealDisk, write_atomically
from base.errors import DiskFailed
from jepsen.subject.disk import LOSSY_VARIABLE, SubjectDisk, disk_from, subject_disk
from jepsen.subject.page import PAGE_VARIABLE, QUOTA_ENDLESS, Page


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page.create(tmp_path / "page")


def test_both_sides_see_one_page(page: Page) -> None:
    other = Page.create(page.path)
    assert other.quota_bytes == QUOTA_ENDLESS
    page.wall_offset_ns = -5
    assert other.wall_offset_ns == -5
    other.unsynced_bytes += 7
    assert dict(page)["unsynced_bytes"] == 7
    offsets = [field.offset_bytes for field in Page.fields]
    assert offsets == list(range(0, 8 * len(offsets), 8))


def test_healing_leaves_the_counters(page: Page) -> None:
    page.quota_bytes = page.sync_delay_us = page.rate_ppb = 1
    page.syncs_count = 9
    page.heal_disk()
    assert page.rate_ppb == 1
    page.heal_clocks()
    assert (page.quota_bytes, page.sync_delay_us, page.rate_ppb, page.syncs_count) == (QUOTA_ENDLESS, 0, 0, 9)


def test_one_sync_fails_and_nothing_is_written_after_it(page: Page, tmp_path: Path) -> None:
    disk = SubjectDisk(page, RealDisk())
    file = disk.open_file(tmp_path / "file", create=True)
    page.fail_next_sync = 1
    with pytest.raises(DiskFailed, match=f"cannot sync {tmp_path / 'file'}: Input/output error"):
        file.sync()
    assert (page.fail_next_sync, page.syncs_failed) == (0, 1)
    refused: list[Callable[[], None]] = [
        lambda: file.write(0, b"x"),
        file.sync,
        lambda: file.allocate(9),
        lambda: file.truncate(0),
    ]
    for write in refused:
        with pytest.raises(DiskFailed, match="no further writes after: cannot sync"):
            write()
    with pytest.raises(DiskFailed, match="no further writes"):
        disk.make_folder(tmp_path / "folder")
    assert disk.failed is not None


def test_a_full_disk_takes_what_fits_and_says_so(page: Page, tmp_path: Path) -> None:
    disk = SubjectDisk(page, RealDisk())
    file = disk.open_file(tmp_path / "file", create=True)
    page.quota_bytes = 10
    file.write(0, b"1234567")
    with pytest.raises(DiskFailed, match=r"the disk is full: cannot write .*: No space left on device"):
        file.write(7, b"89abcdef")
    assert (tmp_path / "file").read_bytes() == b"123456789a"
    assert (page.quota_bytes, page.writes_refused) == (0, 1)
    with pytest.raises(DiskFailed, match="no further writes after: the disk is full"):
        file.write(0, b"x")


def test_a_slow_sync_waits_until_the_page_lets_it_go(page: Page, tmp_path: Path) -> None:
    disk = SubjectDisk(page, RealDisk())
    file = disk.open_file(tmp_path / "file", create=True)
    page.sync_delay_us = 3600 * 1_000_000
    thread = threading.Thread(target=file.sync, daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    page.heal_disk()
    thread.join(10)
    assert not thread.is_alive()
    assert page.syncs_delayed == 1


def test_without_a_page_there_is_no_other_disk() -> None:
    assert disk_from({LOSSY_VARIABLE: "1"}) is None


def test_each_start_draws_another_fate(page: Page, tmp_path: Path) -> None:
    leaked = set()
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        disk = disk_from({PAGE_VARIABLE: str(page.path), LOSSY_VARIABLE: "1"})
        assert disk is not None
        assert page.started_count == number + 1
        page.bytes_leaked = 0
        write_atomically(disk, folder / "file", b"x" * 5000)
        for _ in range(6):
            disk.open_file(folder / "file").write(0, b"y" * 5000)
        leaked.add(page.bytes_leaked)
    assert len(leaked) > 3


def test_a_lossy_disk_tells_the_page_what_it_would_lose(page: Page, tmp_path: Path) -> None:
    disk = subject_disk(page, {LOSSY_VARIABLE: "1"})
    file = disk.open_file(tmp_path / "file", create=True)
    while not page.unsynced_bytes:
        file.write(0, b"x" * 100)
    file.sync()
    assert page.unsynced_bytes == 0
