"""Many runs on one page, and in Markdown."""

from pathlib import Path

import msgspec

from jepsen.report.matrix import cells, overall, totals
from jepsen.report.matrix_page import html, summary_markdown, write
from jepsen.report.summary import RunSummary, summarise
from tests.unit.jepsen.report.pages import Page
from tests.unit.jepsen.report.runs import bad_verdicts, good_verdicts, made_up


def campaign(folder: Path) -> list[RunSummary]:
    """Runs 1 and 2 pass; 3, of the set, breaks its promise under faults; 4 has no fault."""
    found = []
    for seed, workload in ((1, "register"), (2, "set"), (3, "set"), (4, "register")):
        history = made_up(seed, operations=400, seconds=30, workloads=(workload,), faults=seed != 4)
        verdicts = bad_verdicts(history) if seed == 3 else good_verdicts(history)
        verdicts = [each for each in verdicts if each.workload in ("", workload)]
        found.append(summarise(history, verdicts, folder=str(folder / f"run {seed}")))
    return found


def test_each_pair_of_workload_and_package_has_a_cell_with_its_worst_word(tmp_path: Path) -> None:
    workloads, packages, found = cells(campaign(tmp_path))
    assert workloads == ["register", "set"]
    assert packages[-1] == "no fault"
    assert found["set", "partition"].word == "broken"
    assert found["register", "partition"].word == "passed"
    assert ("set", "no fault") not in found
    assert found["set", "partition"].faults_count == 2
    assert found["set", "partition"].operations_count == 806


def test_a_pair_whose_fault_never_took_effect_is_untried_not_passed(tmp_path: Path) -> None:
    run = campaign(tmp_path)[0]
    faults = [
        msgspec.structs.replace(each, counted=0, not_counted=1) if each.package == "kill" else each
        for each in run.faults
    ]
    found = cells([msgspec.structs.replace(run, faults=faults)])[2]
    assert found["register", "kill"].word == "untried"
    assert found["register", "partition"].word == "passed"


def test_a_run_that_broke_another_workload_does_not_convict_this_one(tmp_path: Path) -> None:
    history = made_up(operations=400, seconds=30)
    only_set = [each for each in bad_verdicts(history) if each.checker in ("set", "outcomes")]
    found = cells([summarise(history, only_set)])[2]
    assert (found["set", "kill"].word, found["register", "kill"].word) == ("broken", "passed")


def test_the_whole_is_as_good_as_its_worst_run_and_a_lost_run_decides_nothing(tmp_path: Path) -> None:
    runs = campaign(tmp_path)
    assert overall(runs) == "broken"
    assert overall(runs[:2]) == "passed"
    assert overall(runs[:2], ["kill"]) == "undecided"
    assert overall(runs, ["kill"]) == "broken"
    assert overall([]) == "undecided"
    assert "not passed: seed 3" in totals(runs)
    assert "ended without a result: kill" in totals(runs, ["kill"])


def test_the_page_links_each_run_relatively(tmp_path: Path) -> None:
    write(campaign(tmp_path), tmp_path / "index.html", title="Matrix, seed 1")
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    links = {attributes["href"] for tag, attributes in page.elements if tag == "a"}
    assert {f"run%20{seed}/report.html" for seed in (1, 2, 3, 4)} == links
    assert page.of_class("banner")[0]["class"] == "banner broken"
    assert "Matrix, seed 1" in page.text
    assert len(page.of_class("cell")) == len(cells(campaign(tmp_path))[2])


def test_a_run_elsewhere_is_linked_by_its_whole_path(tmp_path: Path) -> None:
    page = Page(html(campaign(tmp_path / "a"), tmp_path / "b"))
    assert all(attributes["href"].startswith("file:///") for tag, attributes in page.elements if tag == "a")


def test_no_run_at_all_has_a_page(tmp_path: Path) -> None:
    assert "No run has any operation" in Page(html([], tmp_path)).text


def test_markdown_names_every_seed_command_fault_and_the_machine(tmp_path: Path) -> None:
    runs = campaign(tmp_path)
    text = summary_markdown(runs, title="Matrix, seed 1")
    assert text.startswith("# Matrix, seed 1\n\n**A promise was broken.**")
    for run in runs:
        assert f"`{run.command}`" in text
    assert "- Network mode: links" in text
    assert "netem" in text
    assert "| partition | partition-leader | 3 | 0 | 3 |" in text
    assert "1 of 2,871 acknowledged elements is lost" in text
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    assert all(len({line.count("|") for line in table}) == 1 for table in tables)


def test_markdown_keeps_what_a_cluster_said_in_its_cell(tmp_path: Path) -> None:
    run = campaign(tmp_path)[2]
    verdict = msgspec.structs.replace(run.verdicts[0], summary="a|b\n<script>\x1b[31m")
    text = summary_markdown([msgspec.structs.replace(run, verdicts=[verdict])])
    assert "a\\|b &lt;script>\ufffd[31m" in text


def test_faults_that_the_machine_cannot_have_are_named_with_the_reason(tmp_path: Path) -> None:
    runs = campaign(tmp_path)
    runs[0] = msgspec.structs.replace(runs[0], left_out={"kill-agent": "there is no <agent>"})
    absent = {"clock-rate": "the library | cannot be built"}
    text = summary_markdown(runs, left_out=absent)
    assert "\n- clock-rate: the library \\| cannot be built\n- kill-agent: there is no &lt;agent>\n" in text
    assert "Left out" not in summary_markdown(campaign(tmp_path))
    assert "- clock-rate: " in summary_markdown([], left_out=absent)
    write(runs, tmp_path / "index.html", left_out=absent)
    page = Page((tmp_path / "index.html").read_text(encoding="utf-8"))
    assert "Left out: clock-rate. the library | cannot be built" in page.text
    assert "Left out: kill-agent. there is no <agent>" in page.text
