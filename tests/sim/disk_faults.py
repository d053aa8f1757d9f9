"""What can be done to one server's disk, and where its power can be made to fail: all of it drawn by somebody else.

Nothing here ends a process: the disk or a failpoint raises, and `SimServer` dies of it as the product would.
Whatever is armed is disarmed after `ARMED_S`, so that it never strikes long after the faults are over.
"""

import random
from collections.abc import Callable
from pathlib import PurePath, PurePosixPath
from typing import Literal

from base.disk import TEMPORARY_SUFFIX
from base.failpoints import FAILPOINTS, install_hook
from tests.fakes.disk import PowerLost, SimDisk
from tests.sim.checks import Checker
from tests.sim.world import World

FOLDER = PurePosixPath("/raft")
SNAPSHOTS_FOLDER = FOLDER / "snapshots"
POINTS = tuple(sorted(FAILPOINTS - {"recovery.after_override"}))
"""All places but the one that is passed when operators write a peers.json."""
ARMED_S = 5.0

Part = Literal["journal", "snapshots"]
Struck = Callable[[], None]
"""Called once, when that which was armed has happened."""


def nobody_asks() -> None:
    """What is called where nobody wants to know."""


class DiskFaults:
    """Faults of one disk. Each method says for how long or how often; `disarm` ends them all but damage."""

    def __init__(self, disk: SimDisk, world: World, checker: Checker) -> None:
        self._disk = disk
        self._world = world
        self._checker = checker
        self.power_fails = True
        """Whether what is armed takes the power; if not, only the process ends there, and the kernel goes on."""
        self._point: tuple[str, int, Struck] | None = None
        """(name, passing, counted from 1, whom to tell) at which the process ends."""
        self._operation_struck: Struck = nobody_asks
        self._full_struck: Struck = nobody_asks
        self._flips: list[tuple[PurePath, int, int]] = []
        """(file, offset, what is there now) of every damaged byte."""

    # --- ends

    def crash_at_point(self, name: str, passing: int = 1, *, power: bool = True, struck: Struck = nobody_asks) -> None:
        """The process ends at this failpoint, one of POINTS, when it is passed for the `passing`-th time from now on.

        By loss of power; with `power` false by a kill, so that what was written and never synced is still to be seen.
        """
        self.power_fails = power
        point = self._point = (name, passing, struck)
        self._world.after(ARMED_S, lambda: self._disarm_point(point))

    def crash_at_operation(self, number: int, *, power: bool = True, struck: Struck = nobody_asks) -> None:
        """The process ends, by power or kill, instead of the `number`-th next operation that changes or syncs a thing.

        0 is the very next. On a server that is down it strikes while that starts.
        """
        self.power_fails = power
        self._operation_struck = struck
        at = self._disk.power_lost_at = self._disk.operations_count + number
        self._world.after(ARMED_S, lambda: self._disarm_operation(at))

    def run(self, action: Callable[[], None]) -> None:
        """Run a part of the process, which may pass failpoints. Raises PowerLost where that was asked for."""
        if self._point is not None:
            install_hook(self._passed)
        try:
            action()
        except PowerLost:
            at = self._disk.power_lost_at
            if at is not None and self._disk.operations_count >= at:
                self._operation_struck()
            raise
        finally:
            install_hook(None)

    def _passed(self, name: str) -> None:
        if self._point is None or self._point[0] != name:
            return
        _, passing, struck = self._point
        self._point = (name, passing - 1, struck) if passing > 1 else None
        if self._point is None:
            struck()
            self._checker.counts[f"crash at point {name}"] += 1
            raise PowerLost(f"point {name}")

    # --- the disk itself

    def fail_sync(self, part: Part, passing: int = 1, *, struck: Struck = nobody_asks) -> None:
        """The `passing`-th next sync of a file or a folder there fails: it makes a part durable, or nothing."""
        left = passing

        def strike(action: str, path: PurePath) -> None:
            nonlocal left
            if action in ("sync", "sync folder") and path.is_relative_to(SNAPSHOTS_FOLDER) == (part == "snapshots"):
                left -= 1
                if left:
                    return
                self._disk.hook = None
                self._disk.sync_failures_left = 1
                self._checker.counts[f"{action} failed in {part}"] += 1
                struck()

        self._disk.hook = strike
        self._world.after(ARMED_S, lambda: self._disarm_sync(strike))

    def fill(self, room_bytes: int, duration_s: float, *, struck: Struck = nobody_asks) -> None:
        """Only `room_bytes` more fit for a while; then there is endless space again."""
        self._full_struck = struck
        quota_bytes = self._disk.quota_bytes = self._disk.used_bytes() + room_bytes
        self._world.after(duration_s, lambda: self._give_back(quota_bytes))

    def was_full(self) -> None:
        """The process has met the end of the space."""
        self._full_struck()
        self._full_struck = nobody_asks

    def flip_bit(self, part: Part, rng: random.Random) -> bool:
        """Damage one bit of what was written there; False where there is nothing yet."""
        paths = self._files(part)
        if not paths:
            return False
        path = rng.choice(paths)
        written = len(self._disk.read(path).rstrip(b"\0"))
        if not written:
            return False
        offset = rng.randrange(written)
        self._disk.flip_bit(path, offset, rng.randrange(8))
        self._flips.append((path, offset, self._disk.read(path)[offset]))
        self._checker.counts[f"bit flipped in {part}"] += 1
        return True

    @property
    def damaged(self) -> bool:
        """Whether any damaged byte is still there."""
        self._flips = [flip for flip in self._flips if self._is_there(*flip)]
        return bool(self._flips)

    def disarm(self) -> None:
        """Nothing strikes any more, and there is space."""
        self._point = self._disk.power_lost_at = self._disk.hook = self._disk.quota_bytes = None
        self.power_fails = True

    # --- inside

    def _files(self, part: Part) -> list[PurePath]:
        disk = self._disk
        if part == "journal":
            return [FOLDER / name for name in disk.list(FOLDER) if name.endswith(".seg")]
        folders = [name for name in disk.list(SNAPSHOTS_FOLDER) if not name.endswith(TEMPORARY_SUFFIX)]
        return [SNAPSHOTS_FOLDER / folder / name for folder in folders for name in disk.list(SNAPSHOTS_FOLDER / folder)]

    def _is_there(self, path: PurePath, offset: int, value: int) -> bool:
        return self._disk.exists(path) and self._disk.read(path)[offset : offset + 1] == bytes([value])

    def _disarm_point(self, point: tuple[str, int, Struck]) -> None:
        if self._point is not None and self._point[2] is point[2] and self._point[0] == point[0]:
            self._point = None

    def _disarm_operation(self, at: int) -> None:
        if self._disk.power_lost_at == at:
            self._disk.power_lost_at = None

    def _disarm_sync(self, strike: Callable[[str, PurePath], None]) -> None:
        if self._disk.hook is strike:
            self._disk.hook = None

    def _give_back(self, quota_bytes: int) -> None:
        if self._disk.quota_bytes == quota_bytes:
            self._disk.quota_bytes = None
