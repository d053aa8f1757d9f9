"""Notices when the machine itself stands still: a sync of the disk that takes long, or a loop that is late.

A virtual machine that shares its disk or its cores with others does so now and then, for longer than a lease, and the
cluster then does what it does under a fault. Nobody broke a promise, so such moments are recorded and excused, in the
open: the verdict counts them. The witness shares nothing with the servers but the machine.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

import trio

from jepsen.history import Stall

INTERVAL_S = 0.2
STALL_S = 0.4
"""Leases last 0.54 s, and the shortest election timeout is 0.6 s."""
RECOVERY_S = 4.0
"""An election whose votes are split once (twice 1.2 s), and as much again: as for servers that were paused."""


async def watch_machine(folder: Path, *, record: Callable[[Stall], None], now_ns: Callable[[], int]) -> None:
    """Record each stall of the machine, until cancelled. Raises OSError where the folder cannot be written."""
    with (folder / "witness").open("wb", buffering=0) as file:

        def sync() -> float:
            began_s = time.monotonic()
            file.write(b".")
            os.fdatasync(file.fileno())
            return time.monotonic() - began_s

        while True:
            began_ns = now_ns()
            await trio.sleep(INTERVAL_S)
            late_s = (now_ns() - began_ns) / 1e9 - INTERVAL_S
            synced_s = await trio.to_thread.run_sync(sync)
            what = "a sync" if synced_s > late_s else "the harness"
            if max(late_s, synced_s) >= STALL_S:
                record(stall(f"{what} took {max(late_s, synced_s):.1f} s", began_ns, now_ns()))


def stall(what: str, began_ns: int, ended_ns: int) -> Stall:
    """One moment in which the machine stood still, and its recovery."""
    return Stall(what=what, began_ns=began_ns, ended_ns=ended_ns, recovery_ns=int(RECOVERY_S * 1e9))
