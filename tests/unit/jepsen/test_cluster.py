"""How processes are started, and how their ends are told apart."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from jepsen.cluster import Node, undisturbed

PATIENCE_S = 20.0


def test_signals_wait_until_a_process_has_started() -> None:
    reached = []

    def interrupted() -> None:
        with undisturbed():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end of the block")
        reached.append("what follows")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == ["the end of the block"]


class _Ending(Node):
    """A process that ends by itself."""

    code = ""

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.code]


@pytest.mark.parametrize(
    ("code", "failed"),
    [
        ("pass", False),
        ("raise SystemExit(1)", True),
        ("import os; os.abort()", True),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", False),
        ("import signal; signal.raise_signal(signal.SIGTERM)", True),
    ],
)
def test_who_ends_by_itself_has_failed_but_for_the_signal_of_faults(code: str, failed: bool, tmp_path: Path) -> None:
    node = _Ending(program="mesh-server", name="n", folder=tmp_path)
    node.code = code
    node.start()
    os.waitid(os.P_PID, node.pid, os.WEXITED | os.WNOWAIT)
    assert node.failed is failed
    node.close()


def test_what_is_typed_at_a_terminal_is_not_for_the_nodes(tmp_path: Path) -> None:
    node = _Ending(program="mesh-server", name="n", folder=tmp_path)
    node.code = "import time; time.sleep(60)"
    node.start()
    assert os.getpgid(node.pid) != os.getpgid(0)
    node.close()


async def test_processes_end_with_whoever_started_them() -> None:
    pid = _orphan()
    with trio.fail_after(PATIENCE_S):
        while _state_of(pid) not in ("", "Z"):
            await trio.sleep(0.01)


def _orphan() -> int:
    """A process whose parent has been killed."""
    code = """
import os, signal, subprocess
from jepsen.cluster import die_with_parent, undisturbed
with undisturbed():
    child = subprocess.Popen(["sleep", "60"], preexec_fn=die_with_parent)
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        return int(parent.stdout.read())  # its end is that of all who hold the pipe, a moment before they are gone


def _state_of(pid: int) -> str:
    """The letter of the kernel's tables, "" where the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").split()[2]
    except OSError:
        return ""
