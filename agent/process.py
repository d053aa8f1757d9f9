"""What both programs are as processes: logging, signals, the pid file, exit codes.

A program that cannot start says why in one line on stderr and exits with 1. Signals: SIGINT and SIGTERM end it, by
leaving the cluster first where the configuration says so (then the exit code is 0, otherwise 1, as specified); a
second one, or LEAVE_S_MAX without an end, forces it. A leave over the API ends it with 0. SIGHUP reloads, SIGUSR1
writes metrics to stderr. A defect or a failing disk ends it with 1.

Source: servers specification, section 6.
"""

import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import trio

from agent.config.load import HelpWanted, Role, load
from agent.config.reload import reloaded
from agent.config.runtime import RuntimeConfig
from agent.metrics import dump_text
from base import log
from base.clock import RealClock
from base.errors import ConfigInvalid, DataDamaged, DiskFailed, InvariantBroken, MeshError
from base.resolver import look_up_in_own_threads
from base.telemetry import TELEMETRY
from base.version import VERSION

LEAVE_S_MAX = 15.0
LEFT_ANSWER_S = 0.5
"""Whoever asked over the API for a leave must get the answer before the process ends."""
EXIT_OK = 0
EXIT_FAILED = 1
GC_THRESHOLDS = (20_000, 50, 100)
"""Collections cost more than all else at the default of 700: nearly everything here is freed by reference counts."""

_log = log.get_logger("agent")


class Program(Protocol):
    """A server or a client agent, made but not started."""

    async def run(self, *, task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started with the lines of the banner."""
        ...

    async def leave(self) -> None:
        """Leave the cluster; bounded in time."""
        ...

    async def wait_left(self) -> None:
        """Return once it has left, because a signal or somebody at its API wanted it to."""
        ...

    def refuse_calls(self) -> None:
        """Stop taking new work: the process is about to end."""
        ...

    def offer_reload(self, reload: Callable[[], Awaitable[None]]) -> None:
        """Be told how the configuration is read again, for whoever asks for that over the API."""
        ...

    async def reload(self, config: RuntimeConfig) -> None:
        """Take what may change at run time from `config`; raises MeshErrors, and has taken nothing then."""
        ...


@dataclass
class Ending:
    """How the process ends."""

    code: int = EXIT_OK


def main_of(role: Role, make: Callable[[RuntimeConfig], Awaitable[Program]], usage: str, argv: Sequence[str]) -> int:
    """Load the configuration, run the program until a signal, and return the exit code."""
    os.umask(UMASK)
    try:
        config, warnings = load(argv, environment=os.environ, role=role)
    except HelpWanted as wanted:
        print(f"mesh v{VERSION}" if wanted.version else usage)
        return EXIT_OK
    except ConfigInvalid as error:
        return _failed(str(error))
    try:
        log.configure(level=config.log_level, as_json=config.log_json, file_path=config.log_file)
    except OSError as error:
        return _failed(f"cannot open log_file {config.log_file}: {error.strerror}")
    for warning in warnings:
        _log.warn(warning)
    ending = Ending()
    failure: BaseException | None = None
    try:
        with _PidFile(config.pid_file):
            trio.run(_run, config, make, list(argv), role, ending)
    except* _SPOKEN as group:
        failure = _first(group)
    return ending.code if failure is None else _failed(_spoken(failure))


UMASK = 0o077
"""Whatever a file is opened with, by us or by a library: nobody else reads what a server keeps."""

_SPOKEN = (ConfigInvalid, DataDamaged, DiskFailed, InvariantBroken, KeyboardInterrupt)
"""What ends a process with one line instead of a traceback."""


def _spoken(failure: BaseException) -> str:
    if isinstance(failure, DiskFailed):
        return f"the disk failed, nothing more is promised: {failure}"
    if isinstance(failure, InvariantBroken):
        return f"stopped before harm is done: {failure}"
    return str(failure) or type(failure).__name__


async def _run(
    config: RuntimeConfig,
    make: Callable[[RuntimeConfig], Awaitable[Program]],
    argv: list[str],
    role: Role,
    ending: Ending,
) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1) as signals:
        look_up_in_own_threads()
        program = await make(config)
        reloader = _Reloader(program, config, argv, role)
        program.offer_reload(reloader.reload)
        async with trio.open_nursery() as nursery:
            banner = await nursery.start(program.run)
            gc.collect()
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            for line in banner:
                print(line, flush=True)
            leaves = False
            with trio.CancelScope() as staying:
                nursery.start_soon(_end_when_left, program, staying)
                async for number in signals:
                    if number == signal.SIGUSR1:
                        _dump_metrics()
                        continue
                    if number == signal.SIGHUP:
                        with suppress(*_RELOAD_REFUSED):
                            await reloader.reload()
                        continue
                    on_term = number == signal.SIGTERM
                    leaves = config.leave_on_terminate if on_term else not config.skip_leave_on_interrupt
                    ending.code = EXIT_OK if leaves else EXIT_FAILED
                    _log.info("caught signal", signal=signal.Signals(number).name, leaving=leaves)
                    break
            with trio.move_on_after(LEAVE_S_MAX) as limit:
                async with trio.open_nursery() as last:
                    last.start_soon(_force_on_second, signals)
                    if leaves:
                        await program.leave()
                    program.refuse_calls()
                    last.cancel_scope.cancel()
            if limit.cancelled_caught:
                _log.error("leaving takes too long")
                ending.code = EXIT_FAILED
            nursery.cancel_scope.cancel()
    _log.info("stopped")


async def _end_when_left(program: Program, staying: trio.CancelScope) -> None:
    """End the process after a leave that its API was asked for."""
    await program.wait_left()
    await trio.sleep(LEFT_ANSWER_S)
    staying.cancel()


async def _force_on_second(signals: object) -> None:
    async for number in signals:  # type: ignore[attr-defined]
        if number not in (signal.SIGHUP, signal.SIGUSR1):
            _log.error("second signal: forced exit")
            os._exit(EXIT_FAILED)


_RELOAD_REFUSED = (MeshError, OSError)


class _Reloader:
    """Reads the configuration again, one time after the other."""

    def __init__(self, program: Program, config: RuntimeConfig, argv: list[str], role: Role) -> None:
        self._program = program
        self._config = config
        """What is in force."""
        self._argv = argv
        self._role = role
        self._reloading = trio.Lock()

    async def reload(self) -> None:
        """Take what may change from the files as they are now. Raises ConfigInvalid and others: the old one stays."""
        async with self._reloading:
            try:
                new, warnings = load(self._argv, environment=os.environ, role=self._role)
                result = reloaded(self._config, new)
                await self._program.reload(result.config)
                log.set_level(result.config.log_level)
                log.reopen()
            except _RELOAD_REFUSED as error:
                _log.error("reload refused, the old configuration stays", error=str(error))
                raise
            self._config = result.config
        for warning in warnings:
            _log.warn(warning)
        for path in result.needs_restart:
            _log.warn("changed, but takes a restart to have an effect", option=path)
        _log.info("configuration reloaded", changed=",".join(result.changed) or "nothing")


def _dump_metrics() -> None:
    """Write the last interval of telemetry to stderr; whoever reads it may have gone."""
    try:
        os.write(sys.stderr.fileno(), dump_text(TELEMETRY.latest(RealClock().wall_unix_s())).encode())
    except OSError as error:
        _log.warn("metrics could not be written", error=str(error))


def _failed(text: str) -> int:
    print(f"==> {text}", file=sys.stderr, flush=True)
    return EXIT_FAILED


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class _PidFile:
    """Holds our process id while we run."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        if self._path:
            try:
                Path(self._path).write_text(f"{os.getpid()}\n", encoding="ascii")
            except OSError as error:
                raise ConfigInvalid(f"cannot write pid_file {self._path}: {error.strerror}") from error

    def __exit__(self, *_: object) -> None:
        if self._path:
            Path(self._path).unlink(missing_ok=True)
