"""H7: without pre-vote and stickiness one server with a bad link makes a healthy group elect again and again."""

from server.raft import envelope as wire
from server.raft.timings import Guards
from tests.fakes.group import Group, append


def after_an_absence(guards: Guards) -> tuple[Group, int]:
    """`c` is cut off for a while and comes back; returns the leader's term from before."""
    group = Group(guards=guards)
    group.elect("a")
    term = group["a"].term
    group.isolate("c")
    group.run(6.0)
    group.heal()
    group.run(3.0)
    return group, term


def test_a_server_that_comes_back_leaves_the_leader_in_office() -> None:
    group, term = after_an_absence(Guards())
    assert group.leaders == ["a"]
    assert {group[each].term for each in "abc"} == {term}


def test_without_the_guard_it_comes_back_with_a_higher_term_and_forces_an_election() -> None:
    group, term = after_an_absence(Guards(h7_prevote=False))
    assert group[group.leaders[0]].term > term


def test_a_vote_request_is_ignored_while_a_leader_is_heard() -> None:
    group = Group()
    group.elect("a")
    term = group["b"].term
    last = group.members["c"].journal.entries[-1]
    group.deliver("c", "b", [wire.VOTE_REQUEST, term + 5, 0.0, 0.0, 0, last[1] + 10, last[2] + 1])
    group.step()
    assert group["b"].term == term
    assert group["b"].statistics().votes_ignored_total == 1


def test_a_vote_request_of_a_leadership_transfer_is_granted_at_once() -> None:
    group = Group()
    group.elect("a")
    term = group["b"].term
    last = group.members["c"].journal.entries[-1]
    group.deliver("c", "b", [wire.VOTE_REQUEST, term + 1, 0.0, 0.0, wire.FLAG_TRANSFER, last[1], last[2]])
    group.round("b")
    assert group["b"].statistics().vote == "c"


def test_a_hand_over_that_another_election_overtook_is_forgotten() -> None:
    """The library keeps it, ignores the new leader's heartbeats and would ask for votes past that leader's lease."""
    group = Group()
    group.elect("a")
    term = group["b"].term
    group.passes = lambda sender, receiver, message: False
    group.run(group.timings.election_min_s + 0.01)
    last = group.members["c"].journal.entries[-1]
    group.deliver("a", "b", [wire.TIMEOUT_NOW, term, 0.0, 0.0, 0])
    group.deliver("c", "b", [wire.VOTE_REQUEST, term + 1, 0.0, 0.0, 0, last[1], last[2]])
    group.round("b")
    assert group["b"].statistics().vote == "c"
    group.log.clear()
    for _ in range(40):
        group.deliver("c", "b", append(term=term + 1, prev=(last[1], last[2]), entries=[], sent_at_s=group.now_s))
        group.run(0.05)
    assert group["b"].term == term + 1
    assert not [message for sender, _, message in group.log if sender == "b" and message[0] == wire.VOTE_REQUEST]
    assert group["b"].next_wake_s(group.now_s) > group.now_s


def test_a_pre_vote_changes_nothing_at_either_end() -> None:
    group = Group()
    group.elect("a")
    group.isolate("c")
    before = group["c"].term, group["b"].term
    group.run(5.0)
    assert (group["c"].term, group["b"].term) == before
    assert group["c"].statistics().prevotes_total > 0


def test_a_server_that_has_just_started_grants_no_vote_for_it_may_have_promised_a_lease() -> None:
    group = Group()
    group.elect("a")
    group.crash("b")
    group.start("b")
    last = group.members["c"].journal.entries[-1]
    group.deliver("c", "b", [wire.VOTE_REQUEST, group["c"].term + 1, 0.0, 0.0, 0, last[1], last[2]])
    group.round("b")
    assert group["b"].statistics().votes_ignored_total == 1


def test_a_candidate_behind_in_terms_learns_the_present_one_from_the_refusal() -> None:
    """Otherwise the only server with a complete log could be refused for ever."""
    group = Group()
    group.elect("a")
    group.crash("a")
    group.members["b"].journal.setCurrentTerm(group["b"].term + 7, None)
    group.members["b"].journal.sync()
    group.crash("b")
    group.start("b")
    group.run_until(lambda: len(group.leaders) == 1)


def test_who_has_voted_since_it_asked_does_not_campaign_in_the_next_term() -> None:
    """Three servers restart together: the second to win its pre-vote would unseat the first after milliseconds."""
    group = Group()
    group.elect("a")
    term = group["c"].term
    group.passes = lambda sender, receiver, message: False
    group.run_until(lambda: group["c"].statistics().prevotes_total > 0, within_s=10.0)
    last = group.members["c"].journal.entries[-1]
    group.deliver("a", "c", [wire.VOTE_REQUEST, term + 1, 0.0, 0.0, 0, last[1], last[2]])
    group.round("c")
    assert group["c"].statistics().vote == "a"
    group.deliver("b", "c", [wire.PREVOTE_REPLY, term, 0.0, 0.0, 0, term + 1, True])
    group.round("c")
    group.round("c")
    assert (group["c"].term, group["c"].state) == (term + 1, "Follower")
