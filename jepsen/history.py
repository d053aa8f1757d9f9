"""The record of a run: one JSON line each operation, fault and observation. Kept on disk, it can be checked again.

Times are nanoseconds of the monotonic clock since the run began. An operation is written when its client knows how it
ended, so lines are ordered by end. One whose outcome is `unknown` may take effect at any time after it began, even
after `ended_ns`, for ever.
"""

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

import msgspec

FORMAT = 1


class Outcome(StrEnum):
    """How an operation ended, as far as its client may say."""

    OK = "ok"
    FAILED = "failed"
    """It certainly did not happen and will not."""
    UNKNOWN = "unknown"


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="line"):
    """Base of all lines."""


class Begin(Record, tag="begin", kw_only=True, frozen=True):
    """The first line: what makes the run, so that it can be repeated."""

    format: int = FORMAT
    seed: int
    command: str
    """The command that repeats the run."""
    version: str
    started: str
    """Wall time, ISO 8601, UTC. For people."""
    options: dict[str, Any]
    machine: dict[str, Any]
    """What the machine could do, and in which mode the network was broken."""


class Operation(Record, tag="operation", kw_only=True, frozen=True):
    """One call of one client, from before it was sent to when its end was known."""

    workload: str
    process: int
    """The client. It has one operation at a time."""
    function: str
    """read, write, cas, add, ... : the words of its workload"""
    key: str = ""
    input: Any = None
    """What was asked for; JSON."""
    output: Any = None
    """What came back, where the outcome is ok; JSON."""
    outcome: Outcome
    error: str = ""
    mode: str = ""
    """Consistency of a read: default, consistent, stale."""
    node: str = ""
    """Who was asked."""
    index: int = 0
    """The index that came with the answer, 0 if none."""
    phase: str = "main"
    """main, or final: after the last healing, when everybody must be reachable again"""
    began_ns: int
    ended_ns: int


class FaultWindow(Record, tag="fault", kw_only=True, frozen=True):
    """One fault, from its injection to its healing."""

    name: str
    package: str
    what: str
    """What was done to whom, in a sentence."""
    nodes: list[str]
    evidence: str
    """How its effect was seen. Empty: it was not, and the fault does not count."""
    began_ns: int
    ended_ns: int
    """When it was healed."""
    recovery_ns: int
    """Errors up to so long after the healing are excused."""


class Observation(Record, tag="observation", kw_only=True, frozen=True):
    """What one node said of itself."""

    node: str
    at_ns: int
    facts: dict[str, Any]


class Stall(Record, tag="stall", kw_only=True, frozen=True):
    """A moment in which the machine under everything stood still, by itself."""

    what: str
    began_ns: int
    ended_ns: int
    recovery_ns: int
    """Errors up to so long afterwards are excused."""


class End(Record, tag="end", kw_only=True, frozen=True):
    """The last line. A history without it was interrupted."""

    at_ns: int
    facts: dict[str, Any]
    """What was seen of the cluster after the run, e.g. each replica's digest; the checkers' input beside operations."""


Line = Begin | Operation | FaultWindow | Observation | Stall | End


class HistoryDamaged(Exception):
    """The file is no history, or not a whole one."""


class History(msgspec.Struct, kw_only=True):
    """A whole run in memory."""

    begin: Begin
    operations: list[Operation] = []
    faults: list[FaultWindow] = []
    observations: list[Observation] = []
    stalls: list[Stall] = []
    end: End | None = None

    def of(self, workload: str) -> list[Operation]:
        """The operations of one workload, in the order of their ends."""
        return [operation for operation in self.operations if operation.workload == workload]

    def workloads(self) -> list[str]:
        """Names of the workloads that did anything, sorted."""
        return sorted({operation.workload for operation in self.operations})

    def add(self, line: Line) -> None:
        """Take one more line."""
        match line:
            case Operation():
                self.operations.append(line)
            case FaultWindow():
                self.faults.append(line)
            case Observation():
                self.observations.append(line)
            case Stall():
                self.stalls.append(line)
            case Begin():
                self.begin = line
            case End():
                self.end = line


class HistoryWriter:
    """Appends lines to the file of a run and keeps them in memory for its checkers."""

    def __init__(self, file: TextIO, begin: Begin) -> None:
        self.history = History(begin=begin)
        self._file = file
        self._encoder = msgspec.json.Encoder()
        self._write(begin)

    def add(self, line: Line) -> None:
        """Record one line."""
        self.history.add(line)
        self._write(line)

    def _write(self, line: Line) -> None:
        self._file.write(self._encoder.encode(line).decode("utf-8") + "\n")


def parse(lines: Iterable[str | bytes]) -> History:
    """Return the history in these lines; raises HistoryDamaged."""
    decoder = msgspec.json.Decoder(Line)
    history: History | None = None
    for number, text in enumerate(lines, start=1):
        try:
            line = decoder.decode(text)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise HistoryDamaged(f"line {number}: {error}") from error
        if history is None:
            if not isinstance(line, Begin) or line.format != FORMAT:
                raise HistoryDamaged(f"line {number} does not begin a history of format {FORMAT}")
            history = History(begin=line)
        elif isinstance(line, Begin):
            raise HistoryDamaged(f"line {number} begins another history")
        else:
            history.add(line)
    if history is None:
        raise HistoryDamaged("the file is empty")
    return history


def load(path: Path) -> History:
    """Read the history of a run; raises HistoryDamaged, OSError.

    A last line without an end is left out: whoever wrote it was killed.
    """
    with path.open("rb") as file:
        return parse(line for line in file if line.endswith(b"\n"))
