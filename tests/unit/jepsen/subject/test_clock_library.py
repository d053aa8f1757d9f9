"""The clock library shifts the wall clock, changes the boot clock's rate without a jump, and leaves the rest alone."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from jepsen.subject import clock_library
from jepsen.subject.page import PAGE_VARIABLE, Page

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

ANSWER = """
import sys, time
for line in sys.stdin:
    print(*(time.clock_gettime_ns(clock) for clock in
        (time.CLOCK_REALTIME, time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC)), time.time_ns(), flush=True)
"""
NS_PER_S = 1_000_000_000
SLACK_NS = 5 * NS_PER_S
"""Between two readings on a busy machine."""


class Clocks(NamedTuple):
    """Nanoseconds."""

    wall: int
    boot: int
    monotonic: int
    time: int


class Child:
    """A process that tells its clocks."""

    def __init__(self, folder: Path) -> None:
        self.page = Page.create(folder / "page")
        library = clock_library.build(folder)
        assert library is not None
        self._process = subprocess.Popen(
            [sys.executable, "-c", ANSWER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LD_PRELOAD": str(library), PAGE_VARIABLE: str(self.page.path)},
        )

    def clocks(self) -> Clocks:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Clocks(*map(int, self._process.stdout.readline().split()))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    made = Child(tmp_path)
    yield made
    made.close()


def machine_clocks() -> Clocks:
    gettime = time.clock_gettime_ns
    return Clocks(
        gettime(time.CLOCK_REALTIME), gettime(time.CLOCK_BOOTTIME), gettime(time.CLOCK_MONOTONIC), time.time_ns()
    )


def test_untouched_clocks_go_right(child: Child) -> None:
    before, told, after = machine_clocks(), child.clocks(), machine_clocks()
    for low, clock, high in zip(before, told, after, strict=True):
        assert low <= clock <= high
    assert child.page.clock_reads == 0


def test_the_wall_clock_jumps_either_way(child: Child) -> None:
    for hours in (-7, 30):
        offset_ns = hours * 3600 * NS_PER_S
        child.page.wall_offset_ns = offset_ns
        before, told, after = machine_clocks(), child.clocks(), machine_clocks()
        assert before.wall + offset_ns <= told.wall <= after.wall + offset_ns
        assert before.time + offset_ns <= told.time <= after.time + offset_ns
        assert before.boot <= told.boot <= after.boot
        assert before.monotonic <= told.monotonic <= after.monotonic
    assert child.page.clock_reads > 0


def test_the_boot_clock_changes_its_rate_without_a_jump(child: Child) -> None:
    page = child.page
    last = child.clocks().boot
    for rate_ppb in (500_000_000, -900_000_000, 0, 40_000_000, -1_000_000_000):
        before_ns = page.boot_ahead_ns
        page.rate_ppb = rate_ppb
        first = child.clocks()
        assert abs(page.boot_ahead_ns - before_ns) < SLACK_NS
        for _ in range(50):
            told = child.clocks()
            assert told.boot >= last
            last = told.boot
        elapsed_ns = told.monotonic - first.monotonic
        gained_ns = (told.boot - first.boot) - elapsed_ns
        expected_ns = elapsed_ns * rate_ppb / NS_PER_S
        assert abs(gained_ns - expected_ns) <= abs(expected_ns) * 0.5 + NS_PER_S / 100, rate_ppb


def test_without_a_compiler_there_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert clock_library.build(tmp_path) is None


def test_a_compiler_that_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "wrong.c"
    wrong.write_text("nonsense", encoding="ascii")
    monkeypatch.setattr(clock_library, "SOURCE", wrong)
    with pytest.raises(clock_library.CompilerFailed, match="nonsense"):
        clock_library.build(tmp_path)
