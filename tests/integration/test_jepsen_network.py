"""Breakable networks under a real cluster: cuts depose leaders, healing brings them back, and nothing is left behind.

Each runs in a process of its own, which may enter a network namespace; this one stays where it is.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from jepsen import machine
from jepsen.nemesis.packets import DELAY_S, JITTER_SHARE
from tests.integration.datagram_peer import COUNT

STORY_TIMEOUT_S = 60
GONE_TIMEOUT_S = 10
MODES = ("links", "namespaces")


def require(mode: str) -> None:
    found = machine.detect()
    for ability in {"links": ["links"], "namespaces": ["namespaces", "packet-filter"]}[mode]:
        if ability in found.missing:
            pytest.skip(found.missing[ability])


@contextmanager
def story(mode: str, folder: Path, task: str) -> Iterator[subprocess.Popen[str]]:
    """The program, in another session; killed at the end if it runs still."""
    command = [sys.executable, "-m", "tests.integration.network_story", mode, str(folder), task]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def interfaces() -> set[str]:
    return {line.split(":")[0].strip() for line in Path("/proc/self/net/dev").read_text().splitlines()[2:]}


def still_in(namespaces: set[str]) -> list[int]:
    """Processes in any of these namespaces."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # ended meanwhile
            if os.readlink(f"/proc/{name}/ns/net") in namespaces:
                found.append(int(name))
    return found


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("mode", MODES)
def test_cuts_depose_leaders_healing_brings_them_back_and_nothing_stays(mode: str, tmp_path: Path) -> None:
    require(mode)
    before = interfaces()
    with story(mode, tmp_path, "break") as process:
        output, errors = process.communicate(timeout=STORY_TIMEOUT_S)
    assert process.returncode == 0, errors
    started, leader, one_way, delay, loss, end = (json.loads(line) for line in output.splitlines())
    for told in (leader, one_way):
        assert told["deposed"], told
        assert told["wrote"], told
        assert told["follows"], told
        assert "cannot reach" in told["evidence"], told
    for told in (delay, loss):
        assert told["evidence"], told
        assert told["wrote"], told
    assert delay["took_s"] >= 2 * DELAY_S[0] * (1 - JITTER_SHARE), delay  # there and back again
    assert end["equal_at"] > 0
    own = os.readlink("/proc/self/ns/net")
    assert (own in started["namespaces"]) == (mode == "links")
    assert len(started["namespaces"]) == (1 if mode == "links" else 5)
    assert interfaces() == before
    assert alive(started["pids"]) == []
    assert mode == "links" or still_in(set(started["namespaces"])) == []


@pytest.mark.parametrize("mode", MODES)
def test_datagrams_are_cut_lost_and_slowed_like_all_else(mode: str, tmp_path: Path) -> None:
    require(mode)
    with story(mode, tmp_path, "datagrams") as process:
        output, errors = process.communicate(timeout=STORY_TIMEOUT_S)
    assert process.returncode == 0, errors
    whole, cut, lossy, slow, healed = (json.loads(line) for line in output.splitlines())
    assert (whole["answers"], healed["answers"]) == (COUNT, COUNT)
    assert (cut["answers"], cut["dropped"]) == (0, COUNT)
    assert 0 < lossy["answers"] < COUNT
    assert lossy["answers"] + lossy["lost"] == COUNT
    assert (slow["answers"], slow["delayed"]) == (COUNT, 2 * COUNT)
    assert slow["soonest_s"] >= 2 * slow["delay_s"] > whole["soonest_s"]


@pytest.mark.parametrize("mode", MODES)
async def test_when_the_harness_is_killed_nodes_and_namespaces_go_with_it(mode: str, tmp_path: Path) -> None:
    require(mode)
    before = interfaces()
    with story(mode, tmp_path, "wait") as process:
        assert process.stdout is not None
        started: dict[str, Any] = json.loads(await trio.to_thread.run_sync(process.stdout.readline))
        assert len(alive(started["pids"])) == 4
        process.send_signal(signal.SIGKILL)
        process.wait()
        with trio.fail_after(GONE_TIMEOUT_S):
            while alive(started["pids"]) or (mode == "namespaces" and still_in(set(started["namespaces"]))):
                await trio.sleep(0.05)
    assert interfaces() == before
