"""The fault harness, run as a person runs it: a slice of real faults, its files, and its end when interrupted."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from jepsen.history import load

PROGRAM = [sys.executable, "-m", "jepsen"]
PATIENCE_S = 120.0


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "run", "--folder", str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def processes_of(folder: Path) -> list[int]:
    """Pids of processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it ended meanwhile
            if str(folder).encode() in words:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize(
    ("workload", "faults", "seconds"),
    [("register", ("partition-leader", "kill-leader"), 24), ("watch", ("kill-one", "partition-one-way"), 25)],
)
def test_a_slice_of_faults_breaks_no_promise(
    workload: str, faults: tuple[str, ...], seconds: int, tmp_path: Path
) -> None:
    # A fault that may not end in time is not begun: these are five seconds more than the seed's two faults need.
    arguments = ("--workload", workload, "--fault", ",".join(faults), "--seconds", str(seconds), "--seed", "20261123")
    ended = run(*arguments, folder=tmp_path)

    assert ended.returncode == 0, ended.stderr + ended.stdout
    history = load(tmp_path / "history.jsonl")
    counted = {fault.name for fault in history.faults if fault.evidence}
    assert counted == set(faults), history.faults
    assert len(history.of(workload)) > 100
    assert history.end is not None
    assert len({tuple(pair) for pair in history.end.facts["digests"].values()}) == 1
    assert json.loads((tmp_path / "summary.json").read_bytes())["seed"] == 20261123
    assert "<svg" in (tmp_path / "report.html").read_text(encoding="utf-8")

    again = subprocess.run(
        [*PROGRAM, "check", str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert again.returncode == 0, again.stderr + again.stdout
    assert processes_of(tmp_path) == []


def in_background() -> None:
    """As a shell without job control starts what is followed by `&`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_an_interrupted_run_leaves_no_process_behind(number: signal.Signals, tmp_path: Path) -> None:
    words = ["run", "--workload", "set", "--fault", "partition-leader", "--seconds", "60", "--folder", str(tmp_path)]
    with subprocess.Popen(  # noqa: ASYNC220
        [*PROGRAM, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=in_background
    ) as harness:
        with trio.fail_after(PATIENCE_S):
            while not (tmp_path / "history.jsonl").exists() or len(processes_of(tmp_path)) < 5:
                await trio.sleep(0.05)
            harness.send_signal(number)
            while harness.poll() is None or processes_of(tmp_path):
                await trio.sleep(0.05)
    assert harness.returncode == (-9 if number == signal.SIGKILL else 130)


def test_what_cannot_be_done_is_said_in_one_line(tmp_path: Path) -> None:
    for arguments in (
        ["--workload", "nothing"],
        ["--fault", "nothing"],
        ["--at", "127.0.0.1:1", "--fault", "kill-one"],
        ["--at", "127.0.0.1:1"],
        ["--break", "nothing"],
        ["--network", "plain", "--fault", "kill-one,partition-one"],
        ["--at", "127.0.0.1:1", "--network", "links"],
        ["--at", "127.0.0.1"],
    ):
        ended = run(*arguments, folder=tmp_path)
        assert ended.returncode == 2
        assert ended.stderr.startswith("jepsen: ")
        assert "Traceback" not in ended.stderr
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "history.jsonl").touch()
    ended = run(folder=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
