"""Observes processes and the disk: CPU and memory from /proc, fdatasync times, file limits."""

import os
import resource
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
SYNC_SAMPLES = 400
SYNC_BYTES = 4096


def cpu_s(pids: Iterable[int]) -> float:
    """User and system seconds that these processes have used so far, all threads."""
    return sum(_ticks(Path(f"/proc/{pid}/stat")) for pid in pids) / TICKS_A_SECOND


def thread_cpu_s(pid: int, name: str) -> float:
    """User and system seconds that the threads of a process that are called `name` have used so far."""
    tasks = [task for task in Path(f"/proc/{pid}/task").iterdir() if (task / "comm").read_text().strip() == name]
    return sum(_ticks(task / "stat") for task in tasks) / TICKS_A_SECOND


def _ticks(path: Path) -> int:
    # The name in parentheses may hold spaces; fields 14 and 15 count from after it.
    fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def memory_mib(pid: int, what: str = "VmRSS") -> float:
    """A row of /proc/<pid>/status in MiB. VmRSS counts the pages of the memory-mapped store too; RssAnon does not."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(what)


@dataclass(frozen=True)
class SyncTimes:
    """How long one small append and fdatasync takes on this disk."""

    p50_ms: float
    p99_ms: float


def sync_times(folder: Path) -> SyncTimes:
    """Measure the disk under `folder`, which every durable write stands on."""
    path = folder / "sync-calibration"
    samples_s = []
    handle = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        for _ in range(SYNC_SAMPLES):
            began_s = time.perf_counter()
            os.write(handle, b"\0" * SYNC_BYTES)
            os.fdatasync(handle)
            samples_s.append(time.perf_counter() - began_s)
    finally:
        os.close(handle)
        path.unlink()
    samples_s.sort()
    return SyncTimes(p50_ms=samples_s[SYNC_SAMPLES // 2] * 1e3, p99_ms=samples_s[SYNC_SAMPLES * 99 // 100] * 1e3)


def raise_file_limit() -> int:
    """Raise this process's limit of open files, which children inherit, as far as allowed; return it."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def commit_name(root: Path) -> str:
    """Short name of the commit being measured, with a + if the checkout differs from it."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=10"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"


def machine_name() -> str:
    """What the figures depend on, without naming the host."""
    model = "cpu"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = " ".join(line.partition(":")[2].split())
            break
    return f"{os.cpu_count()} x {model}"
