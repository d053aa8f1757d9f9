"""The witness sees the machine stand still, and nothing on a quiet one."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from jepsen.history import Stall
from jepsen.witness import INTERVAL_S, STALL_S, watch_machine


async def witnessed(folder: Path, during: Callable[[], None]) -> list[Stall]:
    stalls: list[Stall] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(watch_machine, folder, record=stalls.append, now_ns=time.monotonic_ns))
        await trio.sleep(INTERVAL_S / 2)
        during()
        await trio.sleep(INTERVAL_S * 4)
        nursery.cancel_scope.cancel()
    return stalls


async def test_a_loop_that_is_held_up_is_seen(tmp_path: Path) -> None:
    def hold_up() -> None:
        until_s = time.monotonic() + 3 * STALL_S
        while time.monotonic() < until_s:
            pass

    stalls = await witnessed(tmp_path, hold_up)
    assert any(stall.what.startswith("the harness took") for stall in stalls)
    assert all(stall.ended_ns - stall.began_ns >= STALL_S * 1e9 for stall in stalls)


async def test_a_sync_that_takes_long_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sync = os.fdatasync
    ended = trio.Event()

    def slow(descriptor: int) -> None:
        if not ended.is_set():
            trio.from_thread.run_sync(ended.set)
            trio.from_thread.run(trio.sleep, 2 * STALL_S)
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", slow)
    stalls: list[Stall] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(watch_machine, tmp_path, record=stalls.append, now_ns=time.monotonic_ns))
        with trio.fail_after(20.0):
            while not any(stall.what.startswith("a sync took") for stall in stalls):
                await trio.sleep(INTERVAL_S)
        nursery.cancel_scope.cancel()
