"""Who must have answered what before a leader may answer alone."""

import pytest

from server.raft.lease import Confirmations
from server.raft.timings import LEASE_FRACTION

NEVER_S = float("-inf")


def confirmations(*voters: str) -> Confirmations:
    made = Confirmations(self_id="a", election_min_s=1.0)
    made.begin_term(voters)
    return made


def test_a_leader_alone_is_always_confirmed() -> None:
    assert confirmations("a").confirmed_at_s(7.0) == 7.0


@pytest.mark.parametrize(
    ("voters", "echoes", "confirmed_s"),
    [
        ("abc", {}, NEVER_S),
        ("abc", {"b": 3.0}, 3.0),
        ("abc", {"b": 3.0, "c": 5.0}, 5.0),
        ("abcd", {"b": 3.0}, NEVER_S),
        ("abcd", {"b": 3.0, "c": 5.0}, 3.0),
        ("abcde", {"b": 3.0, "c": 5.0, "d": 4.0}, 4.0),
        ("ab", {"b": 3.0}, 3.0),
        ("abc", {"x": 9.0, "y": 9.0}, NEVER_S),
    ],
)
def test_the_newest_time_that_a_majority_has_answered(
    voters: str, echoes: dict[str, float], confirmed_s: float
) -> None:
    made = confirmations(*voters)
    for server_id, echo_s in echoes.items():
        made.note(server_id, echo_s)
    assert made.confirmed_at_s(100.0) == confirmed_s


def test_an_older_echo_takes_nothing_back() -> None:
    made = confirmations("a", "b", "c")
    made.note("b", 5.0)
    made.note("b", 3.0)
    assert made.confirmed_at_s(9.0) == 5.0
    assert made.echo_of("b") == 5.0


def test_a_new_term_begins_with_nothing() -> None:
    made = confirmations("a", "b", "c")
    made.note("b", 5.0)
    made.begin_term(["a", "b", "c"])
    assert made.confirmed_at_s(9.0) == NEVER_S


def test_a_change_of_the_voters_counts_anew() -> None:
    made = confirmations("a", "b", "c")
    made.note("b", 5.0)
    made.set_voters(["a", "b", "c", "d"])
    assert made.confirmed_at_s(9.0) == NEVER_S
    made.set_voters(["a", "b"])
    assert made.confirmed_at_s(9.0) == 5.0


def test_the_lease_is_shorter_than_the_promise_by_the_difference_of_clocks() -> None:
    made = confirmations("a", "b", "c")
    made.note("b", 5.0)
    assert made.lease_until_s(6.0) == 5.0 + LEASE_FRACTION
    fastest_follower_waits_s = 1.0 / 1.1
    assert fastest_follower_waits_s >= LEASE_FRACTION
