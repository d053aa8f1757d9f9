"""A history on disk is the history in memory, and a damaged one is refused."""

import io
from pathlib import Path

import pytest

from jepsen.history import (
    Begin,
    End,
    FaultWindow,
    HistoryDamaged,
    HistoryWriter,
    Observation,
    Operation,
    Outcome,
    load,
    parse,
)


def begin() -> Begin:
    return Begin(seed=7, command="python -m jepsen run", version="0", started="", options={}, machine={})


def operation(**changed: object) -> Operation:
    facts: dict[str, object] = {
        "workload": "register",
        "process": 1,
        "function": "write",
        "outcome": Outcome.OK,
        "began_ns": 1,
        "ended_ns": 2,
    }
    return Operation(**{**facts, **changed})  # type: ignore[arg-type]


def test_what_is_written_is_read_back() -> None:
    file = io.StringIO()
    writer = HistoryWriter(file, begin())
    writer.add(operation(key="k", input=["a", None, {"b": 1}], error="é\n"))
    writer.add(
        FaultWindow(
            name="kill-one", package="kill", what="", nodes=["n"], evidence="", began_ns=1, ended_ns=2, recovery_ns=3
        )
    )
    writer.add(Observation(node="n", at_ns=5, facts={"state": "leader", "term": 3}))
    writer.add(End(at_ns=9, facts={"healed": True}))

    again = parse(file.getvalue().splitlines())

    assert again == writer.history
    assert again.workloads() == ["register"]
    assert again.of("register") == again.operations
    assert again.of("set") == []


def test_an_interrupted_history_has_no_end() -> None:
    file = io.StringIO()
    HistoryWriter(file, begin()).add(operation())
    assert parse(file.getvalue().splitlines()).end is None


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["not JSON"],
        ['{"line":"operation","workload":"w"}'],
        ['{"line":"nothing known"}'],
        ['{"line":"end","at_ns":1,"facts":{}}'],
        ['{"line":"begin","format":99,"seed":1,"command":"","version":"","started":"","options":{},"machine":{}}'],
        ["[" * 100_000],
    ],
)
def test_damage_is_said_with_its_line(lines: list[str]) -> None:
    with pytest.raises(HistoryDamaged, match=r"line 1|empty"):
        parse(lines)


def test_a_torn_last_line_is_named() -> None:
    file = io.StringIO()
    HistoryWriter(file, begin()).add(operation())
    torn = file.getvalue().splitlines()
    torn[-1] = torn[-1][:-10]
    with pytest.raises(HistoryDamaged, match="line 2"):
        parse(torn)


def test_a_line_that_a_kill_cut_off_is_left_out_of_a_file(tmp_path: Path) -> None:
    text = io.StringIO()
    HistoryWriter(text, begin()).add(operation())
    path = tmp_path / "history.jsonl"
    path.write_text(text.getvalue() + text.getvalue().splitlines()[-1][:-10])
    assert load(path) == parse(text.getvalue().splitlines())


def test_two_runs_are_not_one_history() -> None:
    text = io.StringIO()
    HistoryWriter(text, begin())
    with pytest.raises(HistoryDamaged, match="line 2 begins another"):
        parse([*text.getvalue().splitlines(), *text.getvalue().splitlines()])


@pytest.mark.parametrize("content", [b"", b"\n", b"\xa0\xff\n", b"\x00" * 4096 + b"\n", b"{}\n", b"[" * 100_000])
def test_no_file_is_too_odd_to_be_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_bytes(content)
    with pytest.raises(HistoryDamaged):
        load(tmp_path / "history.jsonl")
