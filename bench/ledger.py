"""The goals, the table on the screen and the file that keeps every result."""

import csv
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

LEDGER_PATH = Path(__file__).with_name("ledger.csv")
COLUMNS = ("date", "machine", "commit", "line", "value")


@dataclass(frozen=True)
class Goal:
    """What a line should reach, and what the system we are compatible with reaches on such a machine."""

    value: float
    theirs: float | None = None
    at_least: bool = False

    def holds(self, measured: float) -> bool:
        return measured >= self.value if self.at_least else measured <= self.value

    def text(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.value:,.4g}"


GOALS: dict[str, Goal] = {
    "put leader c256 cpu_us": Goal(200, 600),
    "put agent c256 cpu_us": Goal(260, 960),
    "put leader c256 rate": Goal(5_000, 2_040, at_least=True),
    "put leader c1 p50_ms": Goal(2.2, 4.0),
    "get-default leader c16 cpu_us": Goal(75, 114),
    "get-default agent c64 cpu_us": Goal(160, 650),
    "get-consistent agent c64 cpu_us": Goal(180, 840),
    "failover s": Goal(1.5, 2.6),
    "fresh start s": Goal(1.5, 1.8),
    "restart 100k s": Goal(2.0, 3.3),
    "restart 1m s": Goal(5.0, 35.6),
    "snapshot save 1m s": Goal(3.0, 9.2),
    "snapshot restore 1m s": Goal(6.0, 25.0),
    "rss idle mib": Goal(60, 28),
    "rss 100k mib": Goal(130, 235),
    "rss 1m mib": Goal(350, 1_503),
    "watch 5000 last ms": Goal(400, 880),
    "idle agent gossip cpu percent": Goal(0.5),
    "idle server gossip cpu percent": Goal(0.5),
    "idle agent rss mib": Goal(50),
    "join start to usable s": Goal(1.0),
    "death to critical p99 s": Goal(10.0),
    "hundred agents rss mib": Goal(50),
    "hundred agents falsely failed": Goal(0),
    "health agent c16 cpu_us": Goal(1_000, 11_800),
    "health leader c16 cpu_us": Goal(400, 1_150),
    "register leader c64 cpu_us": Goal(350, 2_150),
    "watch 1000 of service last ms": Goal(300),
    "dns agent a one_core_rate": Goal(8_000, at_least=True),
    "agent 1000 services idle cpu percent": Goal(1.0),
}
"""By the name of the line. The PUT p50 goal supposes an fdatasync of 0.4 ms; the calibration stands beside it."""


@dataclass
class Results:
    """The lines measured in one run, in the order they came."""

    machine: str
    commit: str
    console: Console
    lines: dict[str, float] = field(default_factory=dict)

    def add(self, line: str, value: float) -> None:
        """Keep a figure, show it at once, and append it to the ledger, so that an aborted run leaves what it had."""
        self.lines[line] = value
        self.console.print(f"  {line:<44} {value:>12,.2f}")
        _append(self.machine, self.commit, line, value)

    def print_table(self) -> None:
        table = Table(title=f"{self.machine} · {self.commit}", title_justify="left")
        for heading in ("line", "measured", "goal", "theirs", ""):
            table.add_column(heading, justify="left" if heading in ("line", "") else "right")
        for line, value in self.lines.items():
            goal = GOALS.get(line)
            if goal is None:
                table.add_row(line, f"{value:,.2f}", "", "", "")
                continue
            verdict = "[green]reached[/]" if goal.holds(value) else f"[red]missed ({value / goal.value:.2f} of it)[/]"
            theirs = "" if goal.theirs is None else f"{goal.theirs:,.4g}"
            table.add_row(line, f"{value:,.2f}", goal.text(), theirs, verdict)
        self.console.print(table)


def _append(machine: str, commit: str, line: str, value: float) -> None:
    is_new = not LEDGER_PATH.exists()
    with LEDGER_PATH.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(COLUMNS)
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        writer.writerow([date, machine, commit, line, f"{value:.4g}" if value < 1000 else f"{value:.0f}"])
