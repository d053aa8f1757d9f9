"""Data on stdout; everything else on stderr. Tables, and a progress bar where somebody is watching."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, TextIO

Advance = Callable[[int], None]

_CONTROLS = {
    number: f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
    for number in (*range(9), *range(11, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""What moves a terminal's cursor, colours it or turns its text around. Members choose their tags and what they answer,
and an operator looks at them in a terminal. Newlines and tabs are ours, but for those in the cell of a table."""
_CELL_CONTROLS = {**_CONTROLS, ord("\t"): "\\t", ord("\n"): "\\n"}


class Output:
    """Where a command writes; tests hand in their own streams."""

    def __init__(self, stdout: BinaryIO, stderr: TextIO) -> None:
        self._stdout = stdout
        self._stderr = stderr

    def data(self, data: bytes) -> None:
        """Write raw bytes."""
        self._stdout.write(data)
        self._stdout.flush()

    def line(self, text: str) -> None:
        """Write one line of result; what would act on a terminal is escaped."""
        self.data(text.translate(_CONTROLS).encode("utf-8", "surrogateescape") + b"\n")

    def error(self, text: str) -> None:
        """Write one line of complaint; escaped likewise."""
        self._stderr.write(text.translate(_CONTROLS) + "\n")
        self._stderr.flush()

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Write columns, left-aligned, two spaces apart, the last one not padded."""
        for line in columns([[cell.translate(_CELL_CONTROLS) for cell in row] for row in rows]):
            self.line(line)

    @contextmanager
    def progress(
        self, what: str, total: int | None, *, unit_is_bytes: bool, prints_lines: bool = False
    ) -> Iterator[Advance]:
        """Show a bar on stderr if it is a terminal; the value yielded is told of each step forward.

        With `prints_lines` the command writes results meanwhile: where those are seen too, they are progress enough.
        """
        if not self._stderr.isatty() or (prints_lines and self._stdout.isatty()):
            yield lambda _: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        count = DownloadColumn() if unit_is_bytes else MofNCompleteColumn()
        console = Console(file=self._stderr)
        with Progress(
            TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn(), console=console, transient=True
        ) as bar:
            task = bar.add_task(what, total=total)
            yield lambda step: bar.advance(task, step)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table; cells are what they are, the header is the first row."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)), row[-1]])
        for row in rows
    ]


def pairs(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Lines of names and values: the values begin six columns after the longest name."""
    width = max(len(name) for name, _ in rows) + 6
    return [name.ljust(width) + value for name, value in rows]
