"""Places are named in one list, do nothing unless armed, and act exactly as they are told."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from base import failpoints
from base.errors import ConfigInvalid, DiskFailed

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")
    failpoints.install_hook(None)


def test_every_place_in_the_source_is_listed_and_every_listed_place_exists() -> None:
    found = set()
    for room in ("agent", "base", "fsm", "rpc", "server"):
        for path in (ROOT / room).rglob("*.py"):
            found |= set(re.findall(r"failpoint\(\"([a-z_.]+)\"\)", path.read_text(encoding="utf-8")))
    assert found == failpoints.FAILPOINTS


def test_an_unarmed_place_does_nothing() -> None:
    failpoints.failpoint("journal.before_sync")


def test_raise_is_a_failed_disk_at_the_hits_that_were_asked_for() -> None:
    failpoints.arm("journal.before_sync=raise@2*2")
    outcomes = []
    for _ in range(5):
        try:
            failpoints.failpoint("journal.before_sync")
            outcomes.append("passed")
        except DiskFailed:
            outcomes.append("failed")
    assert outcomes == ["passed", "failed", "failed", "passed", "passed"]


def test_sleep_delays_and_goes_on() -> None:
    failpoints.arm("journal.before_sync=sleep:0.001")
    failpoints.failpoint("journal.before_sync")


def test_exit_ends_the_process_as_kill_nine_would() -> None:
    code = "from base.failpoints import failpoint\nfailpoint('journal.after_sync')\nprint('alive')"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={"MESH_FAILPOINTS": "journal.before_sync=raise; journal.after_sync=exit", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert ended.stdout == b""


def test_a_hook_sees_every_place() -> None:
    seen: list[str] = []
    failpoints.install_hook(seen.append)
    failpoints.failpoint("journal.before_sync")
    failpoints.install_hook(None)
    failpoints.failpoint("journal.after_sync")
    assert seen == ["journal.before_sync"]


@pytest.mark.parametrize(
    "specification",
    [
        "journal.before_sync",
        "journal.before_sync=explode",
        "no.such_place=exit",
        "journal.before_sync=sleep:",
        "journal.before_sync=sleep:1.2.3",
        "journal.before_sync=sleep:3600",
        "journal.before_sync=raise*x",
    ],
)
def test_text_that_cannot_be_read_is_refused_and_arms_nothing(specification: str) -> None:
    with pytest.raises(ConfigInvalid, match="MESH_FAILPOINTS"):
        failpoints.arm(specification)
    failpoints.failpoint("journal.before_sync")
