"""The demonstration that the README promises ends well by itself."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO_TIMEOUT_S = 180.0


def test_the_demo_holds_and_ends_with_code_zero() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.demo", "--once"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=DEMO_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout
    assert "everything held" in done.stdout
    assert "SIGKILL" in done.stdout
    assert "agent-2 failed as gossip has it, and is critical in the catalog" in done.stdout
    assert "agent-2 is started again, and is passing" in done.stdout
