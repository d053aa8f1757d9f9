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
from jepsen.history import Begin, End, Observation
from jepsen.report.summary import RunSummary
from jepsen.run import FolderTaken, claim

BEGIN = Begin(seed=1, command="", version="", started="", options={"at": ["n:1"]}, machine={})
END = End(at_ns=9, facts={})
TWO_LEADERS = [
    Observation(node=node, at_ns=5, facts={"state": "leader", "term": 3, "commit": 1, "applied": 1}) for node in "ab"
]


def saved(path: Path, *lines: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return path


def test_the_worst_of_several_histories_decides_the_exit_code(tmp_path: Path) -> None:
    passed = saved(tmp_path / "passed" / "history.jsonl", BEGIN, END).parent
    interrupted = saved(tmp_path / "interrupted" / "history.jsonl", BEGIN).parent
    broken = saved(tmp_path / "broken" / "history.jsonl", BEGIN, *TWO_LEADERS, END).parent
    damaged = saved(tmp_path / "damaged" / "history.jsonl", END).parent
    for paths, code in (
        ([passed], EXIT_PASSED),
        ([passed, interrupted], EXIT_UNDECIDED),
        ([interrupted, damaged, passed, tmp_path / "nowhere"], EXIT_USAGE),
        ([damaged, broken, interrupted], EXIT_BROKEN),
    ):
        assert command_check(Namespace(histories=paths)) == code


def test_histories_in_one_folder_have_a_page_each(tmp_path: Path) -> None:
    assert command_check(Namespace(histories=[saved(tmp_path / f"{name}.jsonl", BEGIN, END) for name in "ab"])) == 0
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
    command_check(Namespace(histories=[saved(tmp_path / "history.jsonl", BEGIN, END)]))
    assert msgspec.json.decode((tmp_path / "summary.json").read_bytes(), type=RunSummary).passed
    ended = run_plan(Plan(name="p", arguments=(), seconds=1.0), tmp_path, say=lambda _: None)
    assert (ended.exit_code, ended.summary, ended.passed) == (EXIT_USAGE, None, False)
