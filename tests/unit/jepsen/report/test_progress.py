"""The progress line: live on a terminal, now and then elsewhere."""

import io
from collections import Counter

from rich.console import Console

from jepsen.report.progress import PLAIN_INTERVAL_S, Progress

SOME = Counter({"ok": 1200, "failed": 3, "unknown": 1})


def progress_to(file: io.StringIO, *, terminal: bool) -> Progress:
    return Progress(Console(file=file, force_terminal=terminal, width=160, highlight=False, legacy_windows=False))


def test_without_a_terminal_a_plain_line_comes_at_its_interval() -> None:
    file = io.StringIO()
    progress = progress_to(file, terminal=False)
    progress.start()
    for tenth in range(int(PLAIN_INTERVAL_S * 10) + 1):
        progress.update(tenth / 10, 60.0, SOME, "kill-leader", "server-1")
    progress.stop()
    lines = file.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("5/60 s  ok 1200  failed 3  unknown 1")
    assert "kill-leader" in lines[1]
    assert "server-1" in lines[1]
    assert "\x1b" not in file.getvalue()


def test_on_a_terminal_the_line_is_drawn_at_each_update_and_taken_away_at_the_end() -> None:
    file = io.StringIO()
    progress = progress_to(file, terminal=True)
    progress.start()
    progress.update(1.0, 60.0, SOME, "", "")
    progress.stop()
    progress.stop()
    text = file.getvalue()
    assert "ok 1,200" in text
    assert "no leader" in text
    assert text.endswith("\x1b[2K"), "the last thing written erases the line"


def test_what_is_said_is_printed_as_it_is() -> None:
    file = io.StringIO()
    progress = progress_to(file, terminal=False)
    progress.say("[bold]no markup[/bold] [a b]")
    assert file.getvalue() == "[bold]no markup[/bold] [a b]\n"


def test_the_rate_is_that_of_the_last_seconds_not_of_the_whole_run() -> None:
    file = io.StringIO()
    progress = progress_to(file, terminal=False)
    for second in range(6):
        # 100 a second at first, nothing any more after 1 s.
        progress.update(float(second), 60.0, Counter({"ok": 100 * min(second, 1)}), "", "")
    assert " 0/s" in file.getvalue().splitlines()[-1]
