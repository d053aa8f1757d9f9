"""What the terminal says at the end of a run."""

import io
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from jepsen.checkers.verdict import Verdict
from jepsen.history import History
from jepsen.machine import Machine
from jepsen.nemesis.registry import FAULTS
from jepsen.report.table import print_catalogue, print_verdicts
from jepsen.workloads.registry import WORKLOADS
from tests.unit.jepsen.report.runs import bad_verdicts, good_verdicts, made_up


def printed(history: History, verdicts: Sequence[Verdict], page: Path | None = None) -> list[str]:
    file = io.StringIO()
    print_verdicts(history, verdicts, page, console=Console(file=file, width=120, highlight=False))
    return file.getvalue().splitlines()


def test_the_verdict_seed_command_and_page_are_the_last_lines() -> None:
    history = made_up()
    lines = printed(history, good_verdicts(history), Path("/runs/42/report.html"))
    assert lines[-4].startswith("Passed: 6,003 operations under 5 faults")
    assert lines[-3].startswith("seed 42, 60.0 s")
    assert lines[-2] == f"again: {history.begin.command}"
    assert lines[-1] == "look:  /runs/42/report.html"


def test_broken_verdicts_stand_below_the_others_and_are_told_in_full() -> None:
    history = made_up()
    lines = printed(history, bad_verdicts(history))
    text = "\n".join(lines)
    order = [
        next(at for at, line in enumerate(lines) if word in line) for word in ("✓ passed", "? undecided", "✗ broken")
    ]
    assert order == sorted(order)
    assert "Process 11 read 481 from k3" in text
    assert "cas [481 492] ?" in text
    assert "and 22 more" in text
    assert lines[-3].startswith("A promise was broken")


def test_faults_that_do_not_count_and_trouble_are_said() -> None:
    history = made_up()
    history.faults.append(msgspec.structs.replace(history.faults[0], evidence="", what="not counted, nothing dropped"))
    assert history.end is not None
    history.end.facts["trouble"] = ["kill-one was not healed within 60 s"]
    text = "\n".join(printed(history, good_verdicts(history)))
    assert "not counted: partition-leader × 1: not counted, nothing dropped" in text
    assert "trouble: kill-one was not healed" in text


def test_nothing_that_a_cluster_says_steers_the_terminal() -> None:
    history = made_up(operations=100, seconds=10)
    verdicts = bad_verdicts(history)
    anomaly = msgspec.structs.replace(verdicts[0].anomalies[0], text="\x1b]0;owned\x07[red]text[/red]")
    verdicts[0] = msgspec.structs.replace(verdicts[0], summary="\x1b[2J[bold]", anomalies=[anomaly])
    text = "\n".join(printed(history, verdicts))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]text[/red]" in text


def test_the_catalogue_names_everything_and_why_something_cannot_be_had() -> None:
    file = io.StringIO()
    machine = Machine(abilities=frozenset({"links"}), missing={"netem": "no such module"}, facts={"cores": "2"})
    absent = {next(iter(FAULTS)): "it needs wings"}
    print_catalogue(WORKLOADS, FAULTS, absent, {}, machine, console=Console(file=file, width=200, highlight=False))
    text = file.getvalue()
    for name in (*WORKLOADS, *FAULTS, "links", "cores"):
        assert name in text
    assert text.count("not here: ") == 2
    assert "not here: it needs wings" in text
