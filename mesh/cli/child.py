"""Programs that commands run: `mesh lock` while a lock is held, `mesh watch` at each change."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from base.errors import InvalidRequest

KILL_AFTER_S = 5.0
"""Between asking a program to end and ending it."""
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def command_line(words: Sequence[str], *, shell: bool) -> list[str]:
    """Return what to start; raises InvalidRequest where there is nothing."""
    if not words:
        raise InvalidRequest("Must specify a command to execute")
    return [os.environ.get("SHELL") or "/bin/sh", "-c", " ".join(words)] if shell else list(words)


class Child:
    """One program, in a process group of its own unless it reads our standard input."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], *, pass_stdin: bool) -> None:
        """Start it; raises InvalidRequest where that cannot be."""
        self._has_group = not pass_stdin  # who is in the background of a terminal may not read from it
        try:
            self._process = subprocess.Popen(  # noqa: S603  # what the user asked to run
                list(words),
                env=dict(environment),
                stdin=None if pass_stdin else subprocess.DEVNULL,
                process_group=0 if self._has_group else None,
            )
        except (OSError, ValueError) as error:
            raise InvalidRequest(f"Error executing command: {error}") from error

    def on_end(self, call: Callable[[], None]) -> None:
        """Call when it has ended, from another thread."""

        def wait() -> None:
            self._process.wait()
            call()

        threading.Thread(target=wait, name="mesh-child", daemon=True).start()

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs; negative: the signal that ended it."""
        return self._process.poll()

    def signal(self, number: int) -> None:
        """Send a signal to it, and to what it started."""
        if self._process.poll() is not None:
            return
        try:
            if self._has_group:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)
        except ProcessLookupError:
            return  # it ended in this moment

    def end(self) -> None:
        """Ask it to end, and end it where it does not."""
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._process.wait()


@contextmanager
def signals_to(handle: Callable[[int], None]) -> Iterator[None]:
    """Give signals to `handle` while the block runs."""

    def handler(number: int, _: FrameType | None) -> None:
        handle(number)

    before = {number: signal.signal(number, handler) for number in FORWARDED}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
