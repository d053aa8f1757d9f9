"""What the commands do with what they are given, before a run and after it."""

from argparse import Namespace
from pathlib import Path

import msgspec
import pytest

from jepsen.__main__ import (
    EXIT_BROKEN,
    EXIT_PASSED,
    EXIT_UNDECIDED,
    EXIT_USAGE,
    UsageError,
    chosen_addresses,
    chosen_workloads,
    command_check,
)
from jepsen.campaign import Plan, run_plan
from jepsen.history import Begin, End, FaultWindow, Observation, Operation, Outcome
from jepsen.report.summary import RunSummary
from jepsen.run import FolderTaken, claim

BEGIN = Begin(seed=1, command="", version="", started="", options={"at": ["n:1"]}, machine={})
WRITE = Operation(
    workload="register", process=1, function="write", key="k", input=7, outcome=Outcome.OK, began_ns=1, ended_ns=2
)
READ = Operation(
    workload="register",
    process=2,
    function="read",
    key="k",
    output=7,
    outcome=Outcome.OK,
    phase="final",
    began_ns=3,
    ended_ns=4,
)
END = End(at_ns=9, facts={})
TWO_LEADERS = [
    Observation(node=node, at_ns=5, facts={"state": "leader", "term": 3, "commit": 1, "applied": 1}) for node in "ab"
]


def saved(path: Path, *lines: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return path


def test_the_worst_of_several_histories_decides_the_exit_code(tmp_path: Path) -> None:
    passed = saved(tmp_path / "passed" / "history.jsonl", BEGIN, WRITE, READ, END).parent
    interrupted = saved(tmp_path / "interrupted" / "history.jsonl", BEGIN, WRITE, READ).parent
    silent = saved(tmp_path / "silent" / "history.jsonl", BEGIN, END).parent
    broken = saved(tmp_path / "broken" / "history.jsonl", BEGIN, *TWO_LEADERS, END).parent
    damaged = saved(tmp_path / "damaged" / "history.jsonl", END).parent
    for paths, code in (
        ([passed], EXIT_PASSED),
        ([passed, interrupted], EXIT_UNDECIDED),
        ([passed, silent], EXIT_UNDECIDED),
        ([interrupted, damaged, passed, tmp_path / "nowhere"], EXIT_USAGE),
        ([damaged, broken, interrupted], EXIT_BROKEN),
    ):
        assert command_check(Namespace(histories=paths)) == code


def test_histories_in_one_folder_have_a_page_each(tmp_path: Path) -> None:
    paths = [saved(tmp_path / f"{name}.jsonl", BEGIN, WRITE, READ, END) for name in "ab"]
    assert command_check(Namespace(histories=paths)) == EXIT_PASSED
    assert {each.name for each in tmp_path.glob("*.html")} == {"a-report.html", "b-report.html"}


@pytest.mark.parametrize("text", ["foo", "localhost", ":8500", "a:0", "a:65536", "a:-1", "http://a:1", "a:1,b"])
def test_addresses_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--at"):
        chosen_addresses(text)


def test_addresses_and_workloads_are_lists() -> None:
    assert chosen_addresses("") == ()
    assert chosen_addresses("127.0.0.1:8500,b.example:1") == ("127.0.0.1:8500", "b.example:1")
    assert [each.name for each in chosen_workloads("set,register,set")] == ["set", "register"]


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    claim(tmp_path / "new" / "one")
    claim(tmp_path / "new" / "one")
    with pytest.raises(FolderTaken, match="not empty"):
        claim(tmp_path / "new")


def test_the_summary_of_an_older_run_is_not_that_of_one_that_did_not_start(tmp_path: Path) -> None:
    command_check(Namespace(histories=[saved(tmp_path / "history.jsonl", BEGIN, WRITE, READ, END)]))
    assert msgspec.json.decode((tmp_path / "summary.json").read_bytes(), type=RunSummary).passed
    ended = run_plan(Plan(name="p", arguments=(), seconds=1.0), tmp_path, say=lambda _: None)
    assert (ended.exit_code, ended.summary, ended.passed) == (EXIT_USAGE, None, False)


def test_a_run_in_which_no_fault_took_effect_is_undecided_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fault = FaultWindow(
        name="kill-one",
        package="kill",
        what="kill -9 of server-1",
        nodes=["server-1"],
        evidence="",
        began_ns=1,
        ended_ns=2,
        recovery_ns=0,
    )
    asked = msgspec.structs.replace(BEGIN, options={**BEGIN.options, "faults": ["kill-one", "kill-all"]})
    seen = msgspec.structs.replace(fault, evidence="pid 7 is gone")
    for number, (lines, code) in enumerate((([], 3), ([fault], 3), ([fault, seen], 0))):
        path = saved(tmp_path / str(number) / "history.jsonl", asked, WRITE, READ, *lines, END)
        assert command_check(Namespace(histories=[path])) == code
        said = capsys.readouterr().out
        assert ("None of the faults that were asked for took effect." in said) == (code == EXIT_UNDECIDED)
        assert ("Undecided: " in said) == (code == EXIT_UNDECIDED)
