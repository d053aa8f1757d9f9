"""Check kind script: exit codes, time-outs that take everybody along, floods."""

import os
import sys
from pathlib import Path

import pytest
import trio

from agent.checks import script
from agent.checks.interface import Result
from tests.unit.agent.checks.servers import SETTINGS, spec


async def run(text: str, timeout_s: float = 60.0, **more: object) -> Result:
    return await script.run(spec(args=["/bin/sh", "-c", text], **more), SETTINGS, timeout_s)


@pytest.mark.parametrize(
    ("code", "status"), [(0, "passing"), (1, "warning"), (2, "critical"), (127, "critical"), (255, "critical")]
)
async def test_the_exit_code_decides(code: int, status: str) -> None:
    assert await run(f"echo out; echo err >&2; exit {code}") == Result(status, "out\nerr\n")


async def test_one_that_a_signal_ends_is_critical() -> None:
    assert (await run("kill -9 $$")).status == "critical"


async def test_one_that_cannot_be_started_is_critical_and_says_why() -> None:
    result = await script.run(spec(args=["/nonexistent/program"]), SETTINGS, 5.0)
    assert result == Result("critical", 'exec: "/nonexistent/program": No such file or directory')
    assert (await script.run(spec(args=["/etc/passwd"]), SETTINGS, 5.0)).output.endswith("Permission denied")


async def test_the_environment_is_the_agents_and_there_is_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_AGENT", "yes")
    assert await run("echo $FROM_AGENT; cat") == Result("passing", "yes\n")


async def test_long_output_keeps_its_end_and_says_so() -> None:
    result = await run("head -c 10000 /dev/zero | tr '\\0' a; echo end")
    assert result.output == "Captured 4096 of 10004 bytes\n...\n" + "a" * 4092 + "end\n"


def _text(path: Path) -> str:
    return path.read_text()


async def gone(path: Path) -> None:
    """Wait until the process whose number stands in `path` is no more (or only waits to be reaped)."""
    number = _text(path).strip()
    with trio.fail_after(30):
        while True:
            try:
                state = _text(Path(f"/proc/{number}/stat")).rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                return
            if state == "Z":
                return
            await trio.sleep(0.01)


async def test_a_time_out_kills_the_whole_group(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    # The grandchild keeps the output open; the child itself is gone long before.
    result = await run(f"echo begun; (sleep 1000 & echo $! > {pid}; sleep 1000) & exec sleep 1000", 2.0)
    assert result == Result("critical", "Timed out (2s) running check\n\nbegun\n")
    await gone(pid)


async def test_a_child_left_behind_that_holds_the_output_open_does_not_outlive_the_deadline(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    result = await run(f"sleep 1000 & echo $! > {pid}; echo done", 2.0)
    assert result == Result("critical", "Timed out (2s) running check\n\ndone\n")
    await gone(pid)


async def test_many_forks_end_with_their_group(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    text = f"i=0; while [ $i -lt 50 ]; do (trap '' TERM HUP INT; sleep 1000) & i=$((i+1)); done; echo $! > {pid}; wait"
    result = await run(text, 5.0)
    assert result.output == "Timed out (5s) running check"
    await gone(pid)


async def test_a_flood_fills_no_memory_and_does_not_keep_the_agent_busy() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.sleep(0.01)
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        result = await run("exec yes", 2.0)
        nursery.cancel_scope.cancel()
    assert result.status == "critical"
    assert result.output.startswith("Timed out (2s) running check\n\nCaptured 4096 of ")
    assert len(result.output) < 4300
    read_bytes = int(result.output.split("Captured 4096 of ")[1].split()[0])
    assert read_bytes < 64 * 1024 * 1024
    assert turns > 10


async def test_giving_up_kills_too(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, f"echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 1000")
        with trio.fail_after(30):
            while not pid.exists():
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    await gone(pid)


async def test_descriptors_come_back() -> None:
    await run("true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        await run("true")
        await script.run(spec(args=["/nonexistent"]), SETTINGS, 5.0)
    assert len(os.listdir("/proc/self/fd")) <= before + 1


async def test_input_that_nobody_reads_is_no_error() -> None:
    program = script.Program(100)
    await program.run([sys.executable, "-c", "print('hi')"], 60.0, stdin=b"x" * 1_000_000)
    assert (program.exit_code, program.tail.text()) == (0, "hi\n")
    program = script.Program(100)
    await program.run(["/bin/sh", "-c", "wc -c; echo $EXTRA"], 60.0, stdin=b"x" * 1_000_000, environment={"EXTRA": "e"})
    assert program.tail.text().split() == ["1000000", "e"]
