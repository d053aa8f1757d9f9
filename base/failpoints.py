"""Named places where a test may stop, delay or fail the process.

They are compiled into the product and cost one comparison while unarmed. They are armed by the environment
variable `MESH_FAILPOINTS`, read once at import, or by a hook that a simulation installs:

    MESH_FAILPOINTS="journal.before_sync=exit@3; snapshot.before_rename=sleep:0.5*2"

`name=action[@first][*count]`: the action happens at hit number `first` (1 if absent) and at `count` hits in all
(every further one if absent). Actions: `exit` ends the process at once, as kill -9 would; `raise` is a failed
disk; `sleep:seconds` delays. Places are separated by `;` or `,`.
"""

import os
import re
import signal
import threading
from collections.abc import Callable

from base.errors import ConfigInvalid, DiskFailed

ENVIRONMENT_VARIABLE = "MESH_FAILPOINTS"
SLEEP_S_MAX = 60.0

FAILPOINTS = frozenset(
    {
        "driver.after_sync",
        "driver.before_sync",
        "journal.after_create",
        "journal.after_seal",
        "journal.after_sync",
        "journal.after_unlink",
        "journal.after_write",
        "journal.before_create",
        "journal.before_sync",
        "journal.before_unlink",
        "journal.before_write",
        "recovery.after_override",
        "snapshot.after_meta",
        "snapshot.after_prune",
        "snapshot.after_rename",
        "snapshot.after_state_sync",
        "snapshot.before_rename",
        "snapshot.before_state_sync",
        "snapshot.copied",
        "snapshot.prepared",
    }
)
"""Every place there is; a test holds this list against the source."""

_SPECIFICATION = re.compile(
    r"(?P<name>[a-z_.]+)=(?P<action>exit|raise|sleep:(?P<seconds>[0-9.]+))(@(?P<first>[0-9]+))?(\*(?P<count>[0-9]+))?"
)


class _Armed:
    """One armed place and how often it was passed."""

    def __init__(self, action: str, seconds: float, first: int, count: int | None) -> None:
        self.action = action
        self.seconds = seconds
        self.first = first
        self.count = count
        self.hits = 0

    def hit(self, name: str) -> None:
        self.hits += 1
        if self.hits < self.first or (self.count is not None and self.hits >= self.first + self.count):
            return
        if self.action == "exit":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action == "raise":
            raise DiskFailed(f"failpoint {name}: input/output error")
        else:
            # An event that nobody sets: places are passed in worker threads, which have no loop to wait on.
            threading.Event().wait(self.seconds)


_armed: dict[str, _Armed] = {}
_hook: Callable[[str], None] | None = None
_active = False


def failpoint(name: str) -> None:
    """Do what is armed for the place `name`; nothing at all in production.

    Raises DiskFailed where the action is `raise`, and whatever a simulation's hook raises.
    """
    if _active:
        if _hook is not None:
            _hook(name)
        armed = _armed.get(name)
        if armed is not None:
            armed.hit(name)


def arm(specification: str) -> None:
    """Replace what is armed by `specification` ("" disarms); raises ConfigInvalid for text it cannot read."""
    global _active
    parsed: dict[str, _Armed] = {}
    for text in re.split(r"[;,]", specification):
        if not text.strip():
            continue
        match = _SPECIFICATION.fullmatch(text.strip())
        if match is None:
            raise ConfigInvalid(f"{ENVIRONMENT_VARIABLE}: cannot read {text.strip()!r}")
        if match["name"] not in FAILPOINTS:
            raise ConfigInvalid(f"{ENVIRONMENT_VARIABLE}: there is no place called {match['name']!r}")
        try:
            seconds = float(match["seconds"] or 0.0)
        except ValueError:
            raise ConfigInvalid(f"{ENVIRONMENT_VARIABLE}: cannot read {text.strip()!r}") from None
        if seconds > SLEEP_S_MAX:
            raise ConfigInvalid(f"{ENVIRONMENT_VARIABLE}: {text.strip()!r} sleeps more than {SLEEP_S_MAX:g} s")
        count = int(match["count"]) if match["count"] else None
        parsed[match["name"]] = _Armed(match["action"].partition(":")[0], seconds, int(match["first"] or 1), count)
    _armed.clear()
    _armed.update(parsed)
    _active = bool(_armed) or _hook is not None


def install_hook(hook: Callable[[str], None] | None) -> None:
    """Call `hook` with the name of every place that is passed; None removes it. For simulations."""
    global _hook, _active
    _hook = hook
    _active = bool(_armed) or _hook is not None


arm(os.environ.get(ENVIRONMENT_VARIABLE, ""))
