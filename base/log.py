"""Structured log lines: `2026-11-23T10:00:00.123Z [INFO] raft: became leader term=7`, or the same as JSON.

    log = get_logger("raft")
    log.info("became leader", term=7)

A disabled level costs one comparison. A line is written whole or not at all, and writing never blocks: where the reader
of a pipe does not keep up, lines are dropped, and the next one that fits tells how many. Control characters
are escaped, so that nobody writes a second line by way of a value; secrets are masked by type and by field name.

The newest lines are kept, and a `Tap` is told of further ones, at a level of its own, so that the log can be followed
from elsewhere.
"""

import json
import os
import select
import stat
import time
import traceback
from collections import deque
from collections.abc import Callable
from enum import IntEnum

from base.secret import HIDDEN, Secret

LINE_BYTES_MAX = 4096
"""PIPE_BUF on Linux: a pipe that polls writable takes so many bytes at once without blocking."""

TRACE_LINES_MAX = 12
"""Frames of a traceback that are written: the innermost, which fit a line."""

SECRET_FIELDS = frozenset({"token", "secret", "password", "key_pem", "encrypt", "authorization"})


class Level(IntEnum):
    """As `log_level` names them; a line is written if its level is at least the configured one."""

    TRACE = 0
    DEBUG = 1
    INFO = 2
    WARN = 3
    ERR = 4


LINES_KEPT = 512
"""What somebody who begins to follow the log is told first."""


class Line:
    """One line as it was written: plain values, secrets masked, nothing of it longer than a line."""

    __slots__ = ("fields", "level", "message", "name", "stamp")

    def __init__(self, stamp: str, level: Level, name: str, message: str, fields: dict[str, object]) -> None:
        self.stamp = stamp
        self.level = level
        self.name = name
        self.message = message[:LINE_BYTES_MAX]
        self.fields = {key: _kept(key, value) for key, value in fields.items()}

    def text(self, *, as_json: bool) -> str:
        """Return the line, without its end."""
        shown = _json_line if as_json else _text_line
        return shown(self.stamp, self.level, self.name, self.message, self.fields)


class Tap:
    """Whoever follows the log. `lines` has a bound: what does not fit is counted in `missed_count`."""

    __slots__ = ("level", "lines", "missed_count")

    def __init__(self, level: Level, lines: list[Line], lines_max: int) -> None:
        self.level = level
        self.lines: deque[Line] = deque(lines, maxlen=lines_max)
        self.missed_count = 0

    def take(self) -> tuple[list[Line], int]:
        """Return the lines that came since the last time, and how many were missed after them."""
        taken: list[Line] = []
        while self.lines:
            taken.append(self.lines.popleft())
        missed, self.missed_count = self.missed_count, 0
        return taken, missed

    def offer(self, line: Line) -> None:
        """Take a line, if there is room."""
        if line.level >= self.level:
            if len(self.lines) == self.lines.maxlen:
                self.missed_count += 1
            else:
                self.lines.append(line)


class LogSink:
    """Where all loggers of the process write. One instance, `SINK`; tests make their own."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.level = int(Level.INFO)
        """The least level that anybody wants: what loggers compare with."""
        self.lines_dropped_count = 0
        self._own_level = int(Level.INFO)
        self._kept: deque[Line] = deque(maxlen=LINES_KEPT)
        self._taps: tuple[Tap, ...] = ()
        self._clock = clock
        self._json = False
        self._descriptor = 1
        self._file_path = ""
        self._file_descriptor = -1
        self._untold_count = 0
        self._poll = select.poll()
        self._polled = False
        self._aim(1)

    def configure(self, *, level: str, as_json: bool = False, file_path: str = "", descriptor: int = 1) -> None:
        """Set everything at once. `file_path` is written besides `descriptor`; raises OSError if it cannot be."""
        self.set_level(level)
        self._json = as_json
        self._aim(descriptor)
        self._file_path = file_path
        self.reopen()

    def set_level(self, level: str) -> None:
        """Change what is written, at any time; raises KeyError for a level that does not exist."""
        self._own_level = int(Level[level])
        self._set_least()

    def _set_least(self) -> None:
        self.level = min([self._own_level, *(int(tap.level) for tap in self._taps)])

    def follow(self, level: Level) -> Tap:
        """Return a tap that has the newest kept lines of at least `level`, and gets all further ones."""
        tap = Tap(level, [line for line in self._kept if line.level >= level], LINES_KEPT)
        self._taps = (*self._taps, tap)
        self._set_least()
        return tap

    def unfollow(self, tap: Tap) -> None:
        """Tell `tap` of nothing more."""
        self._taps = tuple(one for one in self._taps if one is not tap)
        self._set_least()

    def line(self, level: Level, name: str, message: str, **fields: object) -> Line:
        """Return a line with the present time that is not written anywhere."""
        return Line(self._stamp(), level, name, message, fields)

    @property
    def taps_count(self) -> int:
        """How many follow the log."""
        return len(self._taps)

    def reopen(self) -> None:
        """Open the log file again by its name, for rotation from outside; raises OSError, keeping the old one."""
        new = -1
        if self._file_path:
            new = os.open(self._file_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if self._file_descriptor >= 0:
            os.close(self._file_descriptor)
        self._file_descriptor = new

    def close(self) -> None:
        """Close the log file; the descriptor stays its owner's."""
        self._file_path = ""
        self.reopen()

    def write(self, level: Level, name: str, message: str, fields: dict[str, object]) -> None:
        """Write one line. Called by loggers, once the level is known to be enabled."""
        line = Line(self._stamp(), level, name, message, fields)
        for tap in self._taps:
            tap.offer(line)
        if level < self._own_level:
            return
        self._kept.append(line)
        if self._untold_count:
            fields = {**fields, "lines_dropped_before": self._untold_count}
        text = (_json_line if self._json else _text_line)(line.stamp, level, name, message, fields)
        data = text.encode("utf-8", "backslashreplace")
        if len(data) >= LINE_BYTES_MAX:
            data = data[: LINE_BYTES_MAX - 4].decode("utf-8", "ignore").encode() + b"..."
        self._put(data + b"\n")

    def _aim(self, descriptor: int) -> None:
        if self._polled:
            self._poll.unregister(self._descriptor)
        self._descriptor = descriptor
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            self._polled = False
            return
        self._polled = not stat.S_ISREG(mode)
        if self._polled:
            self._poll.register(descriptor, select.POLLOUT)

    def _put(self, data: bytes) -> None:
        """A log that cannot be written must not stop what it tells of: failures are counted, never raised."""
        try:
            if self._polled and not self._writable():
                self._drop()
            else:
                os.write(self._descriptor, data)
                self._untold_count = 0
        except OSError:
            self._drop()
        if self._file_descriptor >= 0:
            try:
                os.write(self._file_descriptor, data)
            except OSError:
                self._drop()

    def _writable(self) -> bool:
        events = self._poll.poll(0)
        return bool(events) and bool(events[0][1] & select.POLLOUT)

    def _drop(self) -> None:
        self.lines_dropped_count += 1
        self._untold_count += 1

    def _stamp(self) -> str:
        seconds, milliseconds = divmod(round(self._clock() * 1000), 1000)
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{milliseconds:03d}Z"


def _text_line(stamp: str, level: Level, name: str, message: str, fields: dict[str, object]) -> str:
    parts = [f"{stamp} [{level.name}] {name}: {_printable(message)}"]
    parts += [f"{key}={_shown(key, value)}" for key, value in fields.items()]
    return " ".join(parts)


def _json_line(stamp: str, level: Level, name: str, message: str, fields: dict[str, object]) -> str:
    row: dict[str, object] = {
        "@timestamp": stamp,
        "@level": level.name.lower(),
        "@module": name,
        "@message": message,
    }
    row.update((key, _plain(key, value)) for key, value in fields.items())
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


def _kept(key: str, value: object) -> object:
    plain = _plain(key, value)
    return plain[:LINE_BYTES_MAX] if isinstance(plain, str) else plain


def _printable(text: str) -> str:
    return text if text.isprintable() else json.dumps(text, ensure_ascii=True)[1:-1]


def _masked(key: str, value: object) -> bool:
    return bool(value) and (isinstance(value, Secret) or key in SECRET_FIELDS)


def _shown(key: str, value: object) -> str:
    if _masked(key, value):
        return HIDDEN
    text = value if isinstance(value, str) else str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if text and text.isprintable() and not any(mark in text for mark in ' "='):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _plain(key: str, value: object) -> object:
    if _masked(key, value):
        return HIDDEN
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


SINK = LogSink()


class Logger:
    """One named source of lines. Make it once, at the top of a module."""

    __slots__ = ("_name", "_sink")

    def __init__(self, name: str, sink: LogSink) -> None:
        self._name = name
        self._sink = sink

    def is_enabled(self, level: Level) -> bool:
        """Whether a line of this level would be written: ask before computing something costly for it."""
        return self._sink.level <= level

    def trace(self, message: str, **fields: object) -> None:
        """What only somebody who reads the code wants to see."""
        if self._sink.level <= 0:
            self._sink.write(Level.TRACE, self._name, message, fields)

    def debug(self, message: str, **fields: object) -> None:
        """Every request and decision."""
        if self._sink.level <= 1:
            self._sink.write(Level.DEBUG, self._name, message, fields)

    def info(self, message: str, **fields: object) -> None:
        """What an operator wants to find later: starts, stops, leaders, members."""
        if self._sink.level <= 2:
            self._sink.write(Level.INFO, self._name, message, fields)

    def warn(self, message: str, **fields: object) -> None:
        """Something is not as it should be; the program copes."""
        if self._sink.level <= 3:
            self._sink.write(Level.WARN, self._name, message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Something was not done that should have been."""
        if self._sink.level <= 4:
            self._sink.write(Level.ERR, self._name, message, fields)


def trace_of(error: BaseException) -> str:
    """Return the innermost lines of an error's traceback, for the line that tells of a defect."""
    return "".join(traceback.format_exception(error)[-TRACE_LINES_MAX:])


def get_logger(name: str) -> Logger:
    """Return the logger of one part of the program, such as "raft"."""
    return Logger(name, SINK)


def configure(*, level: str, as_json: bool = False, file_path: str = "", descriptor: int = 1) -> None:
    """Set up the process's log; see `LogSink.configure`."""
    SINK.configure(level=level, as_json=as_json, file_path=file_path, descriptor=descriptor)


def set_level(level: str) -> None:
    """Change the level of all loggers at once."""
    SINK.set_level(level)


def reopen() -> None:
    """Open the log file again (SIGHUP)."""
    SINK.reopen()
