"""Check kind script: exit codes, time-outs that take everybody along, floods."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

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


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that another process does; the clock of the test stands still meanwhile."""
    while not condition():
        await trio.lowlevel.checkpoint()


async def gone(path: Path) -> None:
    """Wait until the process whose number stands in `path` is no more (or only waits to be reaped)."""
    number = _text(path).strip()

    def is_gone() -> bool:
        try:
            return _text(Path(f"/proc/{number}/stat")).rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    await until(is_gone)


async def timed_out(text: str, ready: Path, clock: trio.testing.MockClock) -> Result:
    """Run `text` until it has written `ready`, then let the time be over."""
    found: list[Result] = []

    async def keep() -> None:
        found.append(await run(text, 30.0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep)
        await until(ready.exists)
        # The program may be faster than the thread that starts it is in saying so: only then the time begins.
        await until(lambda: trio.lowlevel.current_statistics().seconds_to_next_deadline <= 30.0)
        await trio.testing.wait_all_tasks_blocked()  # what was written is read
        clock.jump(31)
    return found[0]


async def test_a_time_out_kills_the_whole_group(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    pid = tmp_path / "pid"
    # The grandchild keeps the output open; the child itself is gone long before.
    text = f"echo begun; (sleep 1000 & echo $! > {pid}.new; mv {pid}.new {pid}; sleep 1000) & exec sleep 1000"
    result = await timed_out(text, pid, mock_clock)
    assert result == Result("critical", "Timed out (30s) running check\n\nbegun\n")
    await gone(pid)


async def test_a_child_left_behind_that_holds_the_output_open_does_not_outlive_the_deadline(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    pid = tmp_path / "pid"
    text = f"echo done; sleep 1000 & echo $! > {pid}.new; mv {pid}.new {pid}"
    result = await timed_out(text, pid, mock_clock)
    assert result == Result("critical", "Timed out (30s) running check\n\ndone\n")
    await gone(pid)


async def test_many_forks_end_with_their_group(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    pid = tmp_path / "pid"
    fork = "(trap '' TERM HUP INT; sleep 1000) &"
    text = f"i=0; while [ $i -lt 50 ]; do {fork} i=$((i+1)); done; echo $! > {pid}.new; mv {pid}.new {pid}; wait"
    result = await timed_out(text, pid, mock_clock)
    assert result.output == "Timed out (30s) running check"
    await gone(pid)


async def test_a_flood_fills_no_memory_and_is_slowed_down(mock_clock: trio.testing.MockClock) -> None:
    program = script.Program(4096)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.run, ["yes"], 600.0)
        await until(lambda: program.tail.count > script.FLOOD_BYTES)
        seen = program.tail.count
        for _ in range(1000):
            await trio.lowlevel.checkpoint()
        assert program.tail.count == seen, "no more is read while the clock stands still"
        mock_clock.jump(script.FLOOD_PAUSE_S)
        await until(lambda: program.tail.count > seen)
        assert program.tail.count <= seen + script.PIECE_BYTES
        assert len(program.tail._kept) <= 2 * 4096
        nursery.cancel_scope.cancel()
    assert program.exit_code is None
    assert program.tail.program_text().startswith("Captured 4096 of ")


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


async def test_one_that_has_become_another_user_is_critical_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after sudo: it cannot be killed, which is no reason to leave its pipes open or to wait for it."""
    started: list[trio.Process] = []
    opened = trio.lowlevel.open_process

    async def open_process(*arguments: Any, **more: Any) -> trio.Process:
        started.append(await opened(*arguments, **more))
        return started[0]

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(trio.lowlevel, "open_process", open_process)
    with monkeypatch.context() as patch:
        patch.setattr(os, "killpg", refused)
        patch.setattr(trio.Process, "kill", refused)
        result = await run("sleep 600", 0.1)
    assert result == Result("critical", "Timed out (100ms) running check")
    pipe = started[0].stdout
    assert pipe is not None
    with pytest.raises(trio.ClosedResourceError):
        await pipe.receive_some()
    started[0].kill()
    await started[0].wait()
