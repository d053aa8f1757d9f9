"""One load on one address for some seconds: by wrk if there is one, else by `bench.loads.own`."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

KEYS_COUNT = 1_000
"""Keys that loads read and write: enough that none is special, few enough that reads always hit."""
VALUE_BYTES = 100
INSTALL_TIMEOUT_S = 120.0
MARGIN_S = 30.0
"""A generator that has not ended this long after its time is killed."""


@dataclass(frozen=True)
class LoadResult:
    """What the generator saw. Failed answers are every status but 2xx, and broken connections."""

    requests: int
    duration_s: float
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def rate(self) -> float:
        return self.requests / self.duration_s if self.duration_s else 0.0


class LoadFailed(Exception):
    """The generator itself did not work; the text holds what it said."""


def generator_name() -> str:
    return "wrk" if shutil.which("wrk") else "own"


def install_generator() -> None:
    """Install wrk where that takes no asking: as root on Debian and its kin. It failing is no error."""
    if not shutil.which("wrk") and shutil.which("apt-get") and os.geteuid() == 0:
        command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "wrk"]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=INSTALL_TIMEOUT_S)


async def run_load(address: str, *, method: str, query: str, connections: int, seconds: float) -> LoadResult:
    """Put load on `address` and return what came back; raises LoadFailed."""
    words = [method, query, str(KEYS_COUNT), str(VALUE_BYTES)]
    if generator_name() == "wrk":
        script = Path(__file__).with_name("kv.lua")
        shape = ["--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
        command = ["wrk", *shape, "--timeout", "10s", "--script", str(script), f"http://{address}", "--", *words]
    else:
        shape = [address, str(connections), str(seconds)]
        command = [sys.executable, "-m", "bench.loads.own", *shape, *words]
    return await _ended(command, seconds)


@dataclass(frozen=True)
class LoadRequest:
    """One request of a load; "{pass}" in the body becomes the number of the pass through all of them."""

    method: str
    path: str
    body: str = ""


async def run_requests(
    address: str, requests: Sequence[LoadRequest], *, connections: int, seconds: float
) -> LoadResult:
    """Send these requests in turn, again and again, and return what came back; raises LoadFailed."""
    with tempfile.NamedTemporaryFile("w", prefix="mesh-load-", suffix=".tsv", encoding="utf-8") as file:
        file.writelines(f"{each.method}\t{each.path}\t{each.body}\n" for each in requests)
        file.flush()
        if generator_name() == "wrk":
            script = Path(__file__).with_name("requests.lua")
            shape = ["--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
            command = ["wrk", *shape, "--timeout", "10s", "--script", str(script), f"http://{address}", "--", file.name]
        else:
            shape = [address, str(connections), str(seconds)]
            command = [sys.executable, "-m", "bench.loads.own", *shape, file.name]
        return await _ended(command, seconds)


async def _ended(command: list[str], seconds: float) -> LoadResult:
    with trio.move_on_after(seconds + MARGIN_S):
        done = await trio.run_process(
            command, capture_stdout=True, stderr=subprocess.STDOUT, check=False, stdin=subprocess.DEVNULL
        )
        text = done.stdout.decode(errors="replace")
        for line in text.splitlines():
            if line.startswith("RESULT "):
                return LoadResult(**json.loads(line.removeprefix("RESULT ")))
        raise LoadFailed(f"{command[0]} ended with {done.returncode}: {text[-2000:]}")
    raise LoadFailed(f"{command[0]} did not end")
