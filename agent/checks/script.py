"""Check kind script: a program's exit code decides. Source: agent specification, section 4.

The program has a process group of its own, which is killed as a whole when its time is over or the check is removed.
Its output is read all the time and mostly thrown away. One that floods it is slowed down instead of keeping the agent
busy. A run ends when the program has ended and nobody holds its output open any more.
"""

import os
import signal
import subprocess
from collections.abc import Mapping

import trio

from agent.checks.interface import CheckSettings, Result
from agent.checks.output import Tail, output_bytes_max, timed_out_text
from base.log import get_logger
from structs.catalog import CheckStatus
from structs.check_spec import CheckSpec

PIECE_BYTES = 64 * 1024
FLOOD_BYTES = 1024 * 1024
FLOOD_PAUSE_S = 0.01
"""After so much output, a pause after every piece: 6 MB a second are enough for a flood."""
REAP_S = 5.0
"""How long a killed process is waited for; one that the kernel holds is left to it."""
_STATUS = {0: CheckStatus.PASSING, 1: CheckStatus.WARNING}

_log = get_logger("agent.checks")


class Program:
    """One run of a program: what it wrote, and how it ended."""

    def __init__(self, output_bytes_max: int) -> None:
        self.tail = Tail(output_bytes_max)
        self.exit_code: int | None = None
        """None: it did not end in time; negative: the signal that ended it."""

    async def run(
        self, args: list[str], timeout_s: float, *, environment: Mapping[str, str] | None = None, stdin: bytes = b""
    ) -> None:
        """Run it to its end or to the end of its time. Raises OSError or ValueError where it cannot be started."""
        process = await trio.lowlevel.open_process(
            args,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=None if environment is None else {**os.environ, **environment},
        )
        try:
            with trio.move_on_after(timeout_s):
                async with trio.open_nursery() as nursery:
                    if process.stdin is not None:
                        nursery.start_soon(_feed, process.stdin, stdin)
                    await self._read(process)
                    self.exit_code = await process.wait()
                    nursery.cancel_scope.cancel()  # it need not read all of its input
        finally:
            if self.exit_code is None:
                await _kill(process)
            with trio.CancelScope(shield=True):
                for pipe in (process.stdin, process.stdout):
                    if pipe is not None:
                        await trio.aclose_forcefully(pipe)

    async def _read(self, process: trio.Process) -> None:
        assert process.stdout is not None  # it was asked for
        while True:
            piece = await process.stdout.receive_some(PIECE_BYTES)
            if not piece:
                return
            self.tail.feed(piece)
            if self.tail.count > FLOOD_BYTES:
                await trio.sleep(FLOOD_PAUSE_S)


async def _feed(pipe: trio.abc.SendStream, data: bytes) -> None:
    try:
        await pipe.send_all(data)
    except trio.BrokenResourceError:
        return  # it does not want to know
    await pipe.aclose()


async def _kill(process: trio.Process) -> None:
    """Kill the group. Its leader was not waited for yet, so its number belongs to nobody else.

    What has become another user (sudo) is not ours to kill, and goes on.
    """
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError) as error:
        _log.warn("a program goes on after its time", pid=process.pid, reason=error.strerror)
        return
    with trio.move_on_after(REAP_S) as scope:
        scope.shield = True
        await process.wait()


async def run(spec: CheckSpec, settings: CheckSettings, timeout_s: float) -> Result:
    """Run the program once."""
    program = Program(output_bytes_max(spec, settings))
    try:
        await program.run(list(spec.args), timeout_s)
    except (OSError, ValueError) as error:
        return Result(CheckStatus.CRITICAL, f'exec: "{spec.args[0]}": {getattr(error, "strerror", None) or error}')
    if program.exit_code is None:
        return Result(CheckStatus.CRITICAL, timed_out_text(timeout_s, program.tail))
    return Result(_STATUS.get(program.exit_code, CheckStatus.CRITICAL), program.tail.program_text())
