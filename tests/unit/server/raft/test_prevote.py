"""May an election start, and may a vote be granted?"""

import pytest

from server.raft.prevote import PreVote, log_is_current, may_grant


@pytest.mark.parametrize(
    ("candidate", "own", "current"),
    [
        ((5, 2), (5, 2), True),
        ((4, 2), (5, 2), False),
        ((1, 3), (9, 2), True),
        ((9, 1), (1, 2), False),
        ((6, 2), (5, 2), True),
    ],
)
def test_a_log_is_compared_by_last_term_and_then_by_length(
    candidate: tuple[int, int], own: tuple[int, int], current: bool
) -> None:
    assert (
        log_is_current(last_index=candidate[0], last_term=candidate[1], own_last_index=own[0], own_last_term=own[1])
        is current
    )


@pytest.mark.parametrize(
    ("term_proposed", "log_current", "leader_live", "granted"),
    [(6, True, False, True), (5, True, False, False), (6, False, False, False), (6, True, True, False)],
)
def test_a_pre_vote_needs_a_newer_term_a_current_log_and_no_live_leader(
    term_proposed: int, log_current: bool, leader_live: bool, granted: bool
) -> None:
    given = may_grant(term_proposed=term_proposed, own_term=5, log_current=log_current, leader_live=leader_live)
    assert given is granted


def test_a_round_is_won_by_a_majority_of_the_voters_and_by_nobody_else() -> None:
    round_ = PreVote()
    round_.begin(term_proposed=3, self_id="a")
    voters = ["a", "b", "c", "d", "e"]
    round_.grant("x", 3)
    round_.grant("b", 3)
    round_.grant("b", 3)
    assert not round_.won(voters)
    round_.grant("c", 2)
    assert not round_.won(voters)
    round_.grant("c", 3)
    assert round_.won(voters)


def test_a_round_that_has_ended_is_never_won() -> None:
    round_ = PreVote()
    round_.begin(term_proposed=3, self_id="a")
    round_.end()
    round_.grant("b", 3)
    assert not round_.running
    assert not round_.won(["a", "b"])


def test_a_server_without_voters_wins_nothing() -> None:
    round_ = PreVote()
    round_.begin(term_proposed=1, self_id="a")
    assert not round_.won([])
