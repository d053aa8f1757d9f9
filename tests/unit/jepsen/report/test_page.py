"""The page of a run: complete, self-contained, safe with whatever a cluster answers, and small."""

import base64
import hashlib
import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jepsen.checkers.verdict import Anomaly, Verdict
from jepsen.history import Begin, End, FaultWindow, History, Observation, Operation, Outcome
from jepsen.report.page import html, write
from tests.unit.jepsen.report.pages import Page
from tests.unit.jepsen.report.runs import bad_verdicts, good_verdicts, made_up

EVIL = "</script></title></svg><img src=x onerror=alert(1)>'\"&<!--\x00\u202e"
BYTES_MAX = 3_000_000
BUILD_S_MAX = 5.0


@pytest.fixture(scope="module")
def good() -> Page:
    history = made_up()
    return Page(html(history, good_verdicts(history)))


@pytest.fixture(scope="module")
def bad() -> Page:
    history = made_up()
    return Page(html(history, bad_verdicts(history)))


def test_the_verdict_comes_first(good: Page, bad: Page) -> None:
    assert "Passed" in good.text[:200]
    assert "A promise was broken" in bad.text[:200]
    assert "linear (register), set" in bad.text
    assert good.of_class("banner")[0]["class"] == "banner passed"
    assert bad.of_class("banner")[0]["class"] == "banner broken"


def test_it_names_seed_command_counts_and_what_the_machine_could_not_do(good: Page) -> None:
    for text in ("42", "python -m jepsen run --seed 42", "links", "netem", "RTNETLINK", "3 servers, 1 agent"):
        assert text in good.text
    assert "6,003 operations under 5 faults" in good.text


def test_it_loads_nothing_and_its_policy_allows_its_own_style_and_script_only(good: Page) -> None:
    policies = [each["content"] for tag, each in good.elements if each.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]
    assert "unsafe" not in policies[0]
    for name in ("style", "script"):
        blocks = re.findall(rf"<{name}>(.*?)</{name}>", good.source, re.S)
        assert len(blocks) == 1
        digest = base64.b64encode(hashlib.sha256(blocks[0].encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policies[0]
    for tag, attributes in good.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form"), tag
        assert not {"src", "href", "style", "srcset", "action"} & set(attributes), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
    assert "url(" not in good.source.replace("url(#fade)", "")


def test_every_fault_window_is_a_bar_with_its_name_and_times(good: Page) -> None:
    bars = good.of_class("fault-bar")
    assert [bar["data-name"] for bar in bars] == [
        "partition-leader",
        "kill-minority",
        "pause-leader",
        "clock-jump",
        "slow-disk",
    ]
    assert all(float(bar["data-from"]) < float(bar["data-to"]) for bar in bars)


def test_a_fault_without_evidence_is_drawn_and_listed_as_not_counted() -> None:
    history = made_up()
    window = msgspec.structs.replace(history.faults[0], evidence="", what="not counted, nothing was dropped")
    history.faults[0] = window
    page = Page(html(history, good_verdicts(history)))
    assert len(page.of_class("fault-empty")) == 1
    assert "Not counted" in page.text
    assert "nothing was dropped" in page.text
    assert "under 4 faults" in page.text


def test_each_anomaly_is_drawn_with_its_lanes_values_and_the_impossible_operation(bad: Page) -> None:
    assert len(bad.of_class("anomaly-chart")) == 2
    assert len(bad.of_class("culprit-frame")) == 2
    for text in ("client 11", "read → 481", "cas [481 492] ?", "write 495 ✗", "add element-00001234"):
        assert text in bad.text
    assert len(bad.of_class("op-fade")) == 1
    assert "22 more anomalies not shown" in bad.text


def test_the_beginning_of_the_final_reads_is_marked(good: Page) -> None:
    assert "final reads begin" in good.text
    assert len(good.of_class("final")) > 4


def test_a_passing_run_draws_no_anomaly(good: Page) -> None:
    assert "What broke" not in good.text
    assert not good.of_class("anomaly-chart")


@pytest.mark.parametrize("change", ["interrupted", "unjudged", "undecided"])
def test_only_a_whole_judged_run_passes(change: str) -> None:
    history = made_up(operations=300, seconds=20)
    verdicts = good_verdicts(history)
    if change == "interrupted":
        history.end = None
    if change == "unjudged":
        verdicts = []
    if change == "undecided":
        verdicts[0] = msgspec.structs.replace(verdicts[0], decided=False)
    assert Page(html(history, verdicts)).of_class("banner")[0]["class"] == "banner undecided"


def test_two_leaders_in_one_term_are_pointed_out() -> None:
    history = made_up(operations=300, seconds=20)
    history.observations.append(Observation(node="server-9", at_ns=1, facts={"state": "leader", "term": 1}))
    assert "two leaders in one term" in Page(html(history, good_verdicts(history))).text


def test_replicas_that_differ_are_pointed_out() -> None:
    history = made_up(operations=300, seconds=20)
    assert history.end is not None
    history.end.facts["digests"]["server-2"] = [317, "other"]
    assert "did not end with the same state" in Page(html(history, good_verdicts(history))).text


def evil_operation(**more: Any) -> Operation:
    return Operation(
        workload=EVIL,
        process=1,
        function=EVIL,
        key=EVIL,
        input={EVIL: EVIL},
        output=[EVIL],
        error=EVIL,
        mode=EVIL,
        node=EVIL,
        began_ns=1000,
        ended_ns=2000,
        **more,
    )


def test_nothing_that_a_cluster_answers_becomes_markup() -> None:
    operations = [evil_operation(outcome=outcome) for outcome in Outcome]
    history = History(
        begin=Begin(
            seed=1,
            command=EVIL,
            version=EVIL,
            started=EVIL,
            options={EVIL: EVIL, "servers": EVIL, "break": EVIL},
            machine={"network": EVIL, "missing": {EVIL: EVIL}, EVIL: EVIL},
        ),
        operations=operations,
        faults=[
            FaultWindow(
                name=EVIL,
                package=EVIL,
                what=EVIL,
                nodes=[EVIL],
                evidence=evidence,
                began_ns=0,
                ended_ns=1500,
                recovery_ns=1,
            )
            for evidence in (EVIL, "")
        ],
        observations=[Observation(node=EVIL, at_ns=1, facts={"state": "leader", "term": 1})],
        end=End(at_ns=3000, facts={"digests": {EVIL: [1, EVIL]}, "trouble": [EVIL], EVIL: EVIL}),
    )
    anomaly = Anomaly(kind=EVIL, text=EVIL, key=EVIL, operations=operations)
    verdict = Verdict(
        checker=EVIL, workload=EVIL, valid=False, summary=EVIL, checked_count=3, anomalies_count=1, anomalies=[anomaly]
    )
    page = Page(html(history, [verdict]))
    assert not [attributes for tag, attributes in page.elements if tag == "img"]
    assert len([tag for tag, _ in page.elements if tag == "script"]) == 1
    assert "\x00" not in page.source
    assert "\u202e" not in page.source
    assert "onerror" in page.text, "it is shown, as text"


def test_a_run_in_which_nothing_happened_has_a_page() -> None:
    history = History(begin=Begin(seed=1, command="c", version="v", started="s", options={}, machine={}))
    page = Page(html(history, []))
    assert "No fault was injected" in page.text
    assert "No server was seen leading" in page.text
    assert "No operation ended with an error" in page.text


def test_values_of_any_size_leave_the_page_small() -> None:
    history = made_up(operations=300, seconds=20)
    huge = ["x" * 50] * 20_000
    shown = [msgspec.structs.replace(history.operations[0], output=huge, input=None)] * 40
    verdict = Verdict(
        checker="set",
        valid=False,
        summary="s",
        checked_count=1,
        anomalies_count=1,
        anomalies=[Anomaly(kind="lost", text="t", operations=shown)],
    )
    assert len(html(history, [verdict]).encode()) < 400_000


def test_a_hundred_thousand_operations_stay_small_and_are_drawn_in_seconds(tmp_path: Path) -> None:
    history = made_up(7, seconds=600, operations=20_000, nodes=5, workloads=("register", "set", "append", "counter"))
    history.operations *= 5
    assert len(history.operations) >= 100_000
    began_s = time.process_time()
    write(history, good_verdicts(history), tmp_path / "page.html")
    took_s = time.process_time() - began_s
    assert (tmp_path / "page.html").stat().st_size < BYTES_MAX
    assert took_s < BUILD_S_MAX
