"""The line that shows a run while it goes: on a terminal one live line, elsewhere a plain line every few seconds."""

from collections import Counter, deque

from rich.console import Console
from rich.live import Live
from rich.text import Text

from jepsen.report.words import printable

PLAIN_INTERVAL_S = 5.0
"""Where stderr is no terminal, e.g. in the log of a nightly run."""
RATE_WINDOW_S = 3.0
"""The rate shown is that of the last seconds: a stall must be seen while it lasts."""
BAR_CELLS = 16


class Progress:
    """Start, update again and again, stop. Writes to stderr; never raises for what is written there."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._samples: deque[tuple[float, int]] = deque()
        self._plain_due_s = 0.0

    def start(self) -> None:
        """Begin; may be called again after `stop`."""
        self._samples.clear()
        self._plain_due_s = 0.0
        if self._console.is_terminal and self._live is None:
            # Refreshed by `update` only: a thread of its own would write between the lines of `say`.
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()

    def update(self, elapsed_s: float, total_s: float, outcomes: Counter[str], fault: str, leader: str) -> None:
        """Show how far it is. `fault` and `leader` are empty where there is none."""
        rate_hz = self._rate_hz(elapsed_s, outcomes.total())
        if self._live is not None:
            self._live.update(_live_line(elapsed_s, total_s, outcomes, rate_hz, fault, leader), refresh=True)
        elif elapsed_s >= self._plain_due_s:
            self._plain_due_s = elapsed_s + PLAIN_INTERVAL_S
            line = _plain_line(elapsed_s, total_s, outcomes, rate_hz, fault, leader)
            self._console.print(line, markup=False)

    def say(self, text: str) -> None:
        """Print a line that stays, above the live one."""
        self._console.print(Text(printable(text)))

    def stop(self) -> None:
        """Take the live line away. May be called twice."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _rate_hz(self, elapsed_s: float, count: int) -> float:
        self._samples.append((elapsed_s, count))
        while len(self._samples) > 2 and self._samples[1][0] <= elapsed_s - RATE_WINDOW_S:
            self._samples.popleft()
        first_s, first_count = self._samples[0]
        return (count - first_count) / (elapsed_s - first_s) if elapsed_s > first_s else 0.0


def _plain_line(
    elapsed_s: float, total_s: float, outcomes: Counter[str], rate_hz: float, fault: str, leader: str
) -> str:
    return (
        f"{elapsed_s:.0f}/{total_s:.0f} s  ok {outcomes['ok']}  failed {outcomes['failed']}"
        f"  unknown {outcomes['unknown']}  {rate_hz:.0f}/s  fault {fault or '-'}  leader {leader or '-'}"
    )


def _live_line(
    elapsed_s: float, total_s: float, outcomes: Counter[str], rate_hz: float, fault: str, leader: str
) -> Text:
    share = min(1.0, elapsed_s / total_s) if total_s > 0 else 1.0
    filled = round(share * BAR_CELLS)
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append("━" * filled, "blue")
    line.append("━" * (BAR_CELLS - filled), "bright_black")
    line.append(f" {elapsed_s:4.0f}/{total_s:.0f} s", "bold")
    line.append(f"  ok {outcomes['ok']:,}")
    line.append(f"  failed {outcomes['failed']:,}", "yellow" if outcomes["failed"] else "bright_black")
    line.append(f"  unknown {outcomes['unknown']:,}", "magenta" if outcomes["unknown"] else "bright_black")
    line.append(f"  {rate_hz:,.0f}/s")
    line.append(f"  leader {leader}" if leader else "  no leader", "" if leader else "bold red")
    line.append(f"  ✂ {fault}" if fault else "  no fault", "bold" if fault else "bright_black")
    return line
