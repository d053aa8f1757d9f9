"""The check of the process tests can convict: it finds lost, rolled back and wrongly refused writes."""

import pytest

from jepsen.http_client import Reply
from tests.integration.load import BadAnswer, KeyStory, Outcome, classify


def story(*writes: tuple[bytes, Outcome], by_cas: bool = False) -> KeyStory:
    found = KeyStory()
    for value, outcome in writes:
        found.note(value, outcome, by_cas=by_cas)
    return found


def test_a_lost_acknowledged_write_is_found() -> None:
    assert story((b"1", Outcome.OK)).complaint(None)
    assert story((b"1", Outcome.OK)).complaint(b"1") is None


def test_a_roll_back_to_an_older_acknowledged_write_is_found() -> None:
    assert story((b"1", Outcome.OK), (b"2", Outcome.OK)).complaint(b"1")


def test_a_write_that_was_said_to_have_failed_may_not_appear() -> None:
    complaint = story((b"1", Outcome.OK), (b"2", Outcome.FAILED)).complaint(b"2")
    assert complaint is not None
    assert "failed" in complaint


def test_an_open_write_may_or_may_not_appear() -> None:
    kept = story((b"1", Outcome.OK), (b"2", Outcome.UNKNOWN))
    assert kept.complaint(b"1") is None
    assert kept.complaint(b"2") is None
    assert kept.complaint(b"3")


def test_an_open_plain_write_may_arrive_after_a_later_one_but_an_open_cas_may_not() -> None:
    writes = ((b"1", Outcome.UNKNOWN), (b"2", Outcome.OK))
    assert story(*writes).complaint(b"1") is None
    assert story(*writes, by_cas=True).complaint(b"1")


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply(200, {}, b"true"), Outcome.OK),
        (Reply(200, {}, b"false"), Outcome.FAILED),
        (Reply(500, {"x-mesh-outcome": "refused"}, b"No cluster leader"), Outcome.FAILED),
        (Reply(500, {"x-mesh-outcome": "unknown"}, b"leadership lost"), Outcome.UNKNOWN),
    ],
)
def test_answers_to_writes_say_how_they_ended(reply: Reply, outcome: Outcome) -> None:
    assert classify(reply) is outcome


def test_an_error_answer_that_claims_no_outcome_is_a_fault_of_the_server() -> None:
    with pytest.raises(BadAnswer):
        classify(Reply(500, {}, b"something"))
