"""Sentences of "In Search of an Understandable Consensus Algorithm" and of Ongaro's thesis, one test each."""

import pytest

from base.errors import NoLeader, Refused
from server.raft import envelope as wire
from server.raft import membership
from server.raft.timings import Timings
from tests.fakes.group import Group, append

FIRST = 5
"""Index of the first entry behind the bootstrap configuration of three servers."""


def follower(group: Group, server_id: str) -> list[tuple[str, list[object]]]:
    """Give `server_id` one round and return what it sent."""
    group.log.clear()
    group.round(server_id)
    return [(receiver, message) for sender, receiver, message in group.log if sender == server_id]


# --- 5.1 Raft basics


def test_5_1_a_leader_that_discovers_its_term_is_out_of_date_reverts_to_follower() -> None:
    group = Group()
    group.elect("a")
    term = group["a"].term
    group.deliver("b", "a", append(term=term + 1, prev=(FIRST, 1), entries=[]))
    group.round("a")
    assert (group["a"].state, group["a"].term, group["a"].leader_id) == ("Follower", term + 1, "b")


def test_5_1_a_request_with_a_stale_term_is_rejected() -> None:
    group = Group()
    group.elect("a")
    last_index, term = group["b"].last_index, group["b"].term
    group.deliver(
        "c", "b", append(term=term - 1, prev=(last_index, term), entries=[(b"\x00x", last_index + 1, term - 1)])
    )
    with pytest.raises(Exception, match="malformed entry"):
        group.round("b")
    group.deliver("c", "b", append(term=term - 1, prev=(1, 0), entries=[]))
    sent = follower(group, "b")
    assert [message[0] for _, message in sent] == [wire.STALE]
    assert (group["b"].last_index, group["b"].leader_id) == (last_index, "a")


# --- 5.2 Leader election


def test_5_2_servers_start_up_as_followers() -> None:
    group = Group()
    assert {group[each].state for each in "abc"} == {"Follower"}


def test_5_2_a_server_remains_a_follower_as_long_as_it_hears_a_leader() -> None:
    group = Group()
    group.elect("a")
    term = group["a"].term
    group.run(20.0)
    assert (group.leaders, group["a"].term) == (["a"], term)


def test_5_2_a_candidate_increments_its_term_and_votes_for_itself() -> None:
    group = Group()
    term = group["a"].term
    group.run_until(lambda: any(group[each].statistics().elections_total for each in "abc"))
    candidate = next(each for each in "abc" if group[each].statistics().elections_total)
    assert group[candidate].term == term + 1
    assert group[candidate].statistics().vote == candidate


def test_5_2_each_server_votes_for_at_most_one_candidate_in_a_term_first_come_first_served() -> None:
    group = Group(5)
    group.elect("a")
    term = group["b"].term + 1
    last = group.members["b"].journal.entries[-1]
    for candidate in ("c", "d"):
        group.deliver(candidate, "b", [wire.VOTE_REQUEST, term, 0.0, 0.0, wire.FLAG_TRANSFER, last[1], last[2]])
    votes = [receiver for receiver, message in follower(group, "b") if message[0] == wire.VOTE_REPLY]
    assert votes == ["c"]


def test_5_2_a_candidate_wins_with_the_votes_of_a_majority_of_the_full_cluster() -> None:
    group = Group(5)
    group.crash("d")
    group.crash("e")
    group.run_until(lambda: len(group.leaders) == 1)


def test_5_2_without_a_majority_nobody_wins() -> None:
    group = Group(5)
    for each in "cde":
        group.crash(each)
    group.run(10.0)
    assert group.leaders == []


def test_5_2_a_vote_counts_once_however_often_it_arrives() -> None:
    group = Group(5)
    group.passes = lambda sender, receiver, message: message[0] not in (wire.VOTE_REQUEST, wire.VOTE_REPLY)
    group.run_until(lambda: any(group[each].state == "Candidate" for each in "abcde"))
    candidate = next(each for each in "abcde" if group[each].state == "Candidate")
    other = next(each for each in "abcde" if each != candidate)
    for _ in range(5):
        group.deliver(other, candidate, [wire.VOTE_REPLY, group[candidate].term, 0.0, 0.0, 0])
    group.round(candidate)
    assert group[candidate].state == "Candidate"


def test_5_2_a_candidate_that_hears_the_leader_of_its_term_returns_to_follower() -> None:
    group = Group()
    group.passes = lambda sender, receiver, message: message[0] not in (wire.VOTE_REQUEST, wire.VOTE_REPLY)
    group.run_until(lambda: any(group[each].state == "Candidate" for each in "abc"))
    candidate = next(each for each in "abc" if group[each].state == "Candidate")
    leader = next(each for each in "abc" if each != candidate)
    group.deliver(leader, candidate, append(term=group[candidate].term, prev=(1, 0), entries=[]))
    group.round(candidate)
    assert (group[candidate].state, group[candidate].leader_id) == ("Follower", leader)


def test_5_2_split_votes_are_rare_and_resolved_by_random_timeouts() -> None:
    for count in (3, 5):
        group = Group(count, timings=Timings(heartbeat_s=0.1, election_min_s=0.6, election_max_s=1.2))
        group.run_until(lambda: len(group.leaders) == 1, within_s=5.0)  # noqa: B023


def test_5_2_a_new_leader_sends_heartbeats_to_all_at_once() -> None:
    group = Group()
    group.run_until(lambda: len(group.leaders) == 1)
    leader = group.leaders[0]
    heard = {receiver for sender, receiver, message in group.log if sender == leader and message[0] == wire.APPEND}
    assert heard == set("abc") - {leader}


# --- 5.3 Log replication


def test_5_3_an_entry_is_committed_once_it_is_on_a_majority_and_so_are_all_before_it() -> None:
    group = Group()
    group.elect("a")
    group.isolate("a")
    group.propose("a", b"1")
    group.run(0.1)
    group.propose("a", b"2")
    group.run(0.1)
    assert group.commands("a") == []
    group.passes = lambda sender, receiver, message: "c" not in (sender, receiver)
    group.run(0.3)
    assert group.commands("a") == [b"1", b"2"]


def test_5_3_followers_apply_committed_entries_in_log_order() -> None:
    group = Group()
    group.elect("a")
    wanted = [b"%d" % number for number in range(50)]
    for command in wanted:
        group.propose("a", command)
        group.step()
    group.run(0.3)
    assert all(group.commands(each) == wanted for each in "abc")


def test_5_3_a_follower_refuses_entries_whose_predecessor_it_does_not_hold() -> None:
    group = Group()
    group.elect("a")
    core = group["b"]
    last_index, term = core.last_index, core.term
    group.deliver("a", "b", append(term=term, prev=(last_index + 5, term), entries=[(b"\x00x", last_index + 6, term)]))
    replies = [message for _, message in follower(group, "b") if message[0] == wire.APPEND_REPLY]
    assert core.last_index == last_index
    assert replies[-1][5:] == [last_index + 1, True, False]


FIGURE_7 = {
    "a": [1, 1, 1, 4, 4, 5, 5, 6, 6],
    "b": [1, 1, 1, 4],
    "c": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    "d": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    "e": [1, 1, 1, 4, 4, 4, 4],
    "f": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    "g": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6],
}
"""Terms of the entries in each log when the leader, here g, comes to power in term 8."""


def test_5_3_figure_7_a_leader_brings_every_log_into_line_with_its_own() -> None:
    group = Group(7)
    head = [(b"\x01", 1, 0), *membership.bootstrap_entries(group.peers)]
    for server_id, terms in FIGURE_7.items():
        group.crash(server_id)
        memory = group.members[server_id].memory
        memory.entries = head + [
            (b"\x00%d in term %d" % (position, term), len(head) + 1 + position, term)
            for position, term in enumerate(terms)
        ]
        memory.term, memory.vote, memory.commit_index = 7, None, 1
    for server_id in FIGURE_7:
        group.start(server_id)
    campaigns = {wire.PREVOTE_REQUEST, wire.VOTE_REQUEST}
    group.passes = lambda sender, receiver, message: sender == "g" or message[0] not in campaigns
    group.run_until(lambda: group.leaders == ["g"], within_s=20.0)
    assert group["g"].term == 8
    own = list(group.members["g"].journal.entries)
    group.run(2.0)
    for server_id in FIGURE_7:
        assert group.members[server_id].journal.entries == group.members["g"].journal.entries, server_id
    assert group.members["g"].journal.entries[: len(own)] == own, "a leader never changes its own log"


def test_5_3_a_leader_goes_back_term_by_term_not_entry_by_entry() -> None:
    """The optimisation at the end of 5.3: hundreds of conflicting entries cost a few messages."""
    group = Group()
    group.elect("c")
    group.isolate("c")
    for _ in range(10):
        group.propose("c", *(b"stale" for _ in range(50)))
        group.step()
    group.run_until(lambda: len(group.leaders) == 1 and group.leaders != ["c"])
    group.propose(group.leaders[0], b"right")
    group.run(0.3)
    group.heal()
    group.run(0.35)
    assert group.commands("c") == [b"right"]


# --- 5.4 Safety


@pytest.mark.parametrize(
    ("last_index_behind", "last_term_behind", "granted"),
    [(0, 0, True), (1, 0, False), (-1, 0, True), (-5, 1, False), (3, -1, True)],
)
def test_5_4_1_a_voter_denies_its_vote_if_its_own_log_is_more_up_to_date(
    last_index_behind: int, last_term_behind: int, granted: bool
) -> None:
    group = Group()
    group.elect("a")
    _, index, term = group.members["b"].journal.entries[-1]
    request = [index - last_index_behind, term - last_term_behind]
    group.deliver("c", "b", [wire.VOTE_REQUEST, group["b"].term + 5, 0.0, 0.0, wire.FLAG_TRANSFER, *request])
    sent = follower(group, "b")
    assert (wire.VOTE_REPLY in [message[0] for _, message in sent]) is granted


def test_5_4_2_leader_commits_only_entries_of_its_own_term_by_counting() -> None:
    """Figure 8: an entry of an older term on a majority may still be overwritten."""
    group = Group(5)
    group.elect("a")
    group.isolate("a")
    group.propose("a", b"old")
    group.run(0.05)
    old = group.members["a"].journal.entries[-1]
    group.crash("a")
    group.heal()
    group.crash("b")
    group.members["b"].memory.entries = list(group.members["a"].memory.entries)
    group.start("b")
    group.passes = lambda sender, receiver, message: message[0] != wire.APPEND_REPLY
    group.run_until(lambda: "b" in group.leaders)
    leader = group["b"]
    committed = leader.commit_index
    for voter in ("c", "d"):
        group.deliver(voter, "b", [wire.APPEND_REPLY, leader.term, 0.0, 0.0, 0, old[1] + 1, False, True])
    group.step()
    assert leader.match_index("c") >= old[1]
    assert leader.commit_index == committed
    for voter in ("c", "d"):
        group.deliver(voter, "b", [wire.APPEND_REPLY, leader.term, 0.0, 0.0, 0, leader.last_index + 1, False, True])
    group.step()
    assert leader.commit_index == leader.last_index


# --- 5.5 Follower and candidate crashes


def test_5_5_a_server_that_crashes_finds_everything_again_and_catches_up() -> None:
    group = Group()
    group.elect("a")
    group.propose("a", b"1")
    group.run(0.3)
    group.crash("b")
    group.propose("a", b"2", b"3")
    group.run(0.3)
    group.start("b")
    group.run(0.5)
    assert group.commands("b") == [b"1", b"2", b"3"]


def test_5_5_messages_are_idempotent() -> None:
    group = Group()
    group.elect("a")
    group.propose("a", b"1", b"2")
    group.step()
    message = next(each for _, receiver, each in reversed(group.log) if receiver == "b" and each[0] == wire.APPEND)
    group.run(0.3)
    entries = list(group.members["b"].journal.entries)
    for _ in range(3):
        group.deliver("a", "b", message)
    group.run(0.3)
    assert group.members["b"].journal.entries == entries
    assert group.commands("b") == [b"1", b"2"]


def test_5_6_times_that_cannot_work_together_are_refused() -> None:
    assert Timings().complaint() is None
    assert Timings().multiplied(10).complaint() is None
    assert Timings(heartbeat_s=0.5).complaint() is not None
    assert Timings(election_min_s=1.2).complaint() is not None


# --- 6 and thesis 4: membership


def test_thesis_4_1_a_server_uses_the_latest_configuration_in_its_log_committed_or_not() -> None:
    group = Group(3, spare=1)
    group.elect("a")
    group.isolate("a")
    group["a"].propose_membership("add", group.peers[3], None, group.now_s)
    group.step()
    assert len(group["a"].configuration()) == 4
    assert group["a"].commit_index < group["a"].configuration_index


def test_thesis_4_1_a_configuration_that_is_overwritten_is_taken_back() -> None:
    group = Group(3, spare=1)
    group.elect("a")
    group.isolate("a")
    group["a"].propose_membership("add", group.peers[3], "join", group.now_s)
    group.run_until(lambda: "a" not in group.leaders and len(group.leaders) == 1)
    group.heal()
    group.run(0.5)
    assert group.outcomes("a") == {"join": True}
    assert len(group["a"].configuration()) == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [(("add", "e"), ("rem", "a")), (("add", "e"), ("add", "f")), (("rem", "d"), ("rem", "c"))],
    ids=["one add and one remove", "two adds", "two removes"],
)
def test_raft_dev_2015_a_leftover_change_of_an_earlier_term_cannot_make_two_majorities(
    first: tuple[membership.Operation, str], second: tuple[membership.Operation, str]
) -> None:
    """Ongaro's three scenarios: a new leader changes the configuration while one change is left in an old log.

    It may do so only after it has committed an entry of its own term, which the owner of the old log then lacks.
    """
    group = Group(4, spare=2)
    peers = {peer.server_id: peer for peer in group.peers}
    group.elect("a")
    side = {"a", first[1]} if first[0] == "add" else {"a"}
    group.isolate(*side)
    group["a"].propose_membership(first[0], peers[first[1]], None, group.now_s)
    group.run_until(lambda: any(group[each].is_leader for each in "bcd"))
    leader = next(each for each in "bcd" if group[each].is_leader)
    operation, target = second
    if target == leader:
        target = next(each for each in "bcd" if each != leader)
    with pytest.raises(Refused, match="own term"):
        group[leader].propose_membership(operation, peers[target], None, group.now_s)
    group.run_until(lambda: group[leader].ready)
    group[leader].propose_membership(operation, peers[target], "second", group.now_s)
    group.run_until(lambda: group.outcomes(leader) == {"second": False})
    committed = group[leader].commit_index, group[leader].term
    group.crash(leader)
    group.heal()
    group.run_until(lambda: any(group[each].term > committed[1] for each in group.leaders), within_s=20.0)
    successor = max(group.leaders, key=lambda each: group[each].term)
    assert group.members[successor].journal.term_at(committed[0]) == committed[1]


def test_thesis_3_10_leadership_is_handed_over_and_the_old_leader_takes_no_writes_meanwhile() -> None:
    group = Group()
    group.elect("a")
    assert group["a"].transfer_leadership("c", group.now_s) == "c"
    with pytest.raises(NoLeader):
        group.propose("a", b"x")
    started_s = group.now_s
    group.run_until(lambda: group.leaders == ["c"])
    assert group.now_s - started_s < group.timings.election_min_s


def test_thesis_3_10_a_transfer_waits_until_the_target_has_the_whole_log_and_gives_up_in_time() -> None:
    group = Group()
    group.elect("a")
    group.passes = lambda sender, receiver, message: "c" not in (sender, receiver)
    group.propose("a", b"x")
    group.step()
    group["a"].transfer_leadership("c", group.now_s)
    group.run(group.timings.election_max_s + 0.2)
    assert group.leaders == ["a"]
    assert group["a"].lease_valid(group.now_s)
    group.propose("a", b"y")
    group.run(0.3)
    assert group.commands("a") == [b"x", b"y"]


# --- 7 Log compaction


def test_7_a_follower_that_lags_behind_the_log_is_sent_a_snapshot() -> None:
    group = Group()
    group.elect("a")
    group.isolate("c")
    group.propose("a", *(b"%d" % number for number in range(30)))
    group.run(0.3)
    snapshot = group.take_snapshot("a")
    group.heal()
    group.run_until(lambda: bool(group.members["c"].fetches))
    assert group["c"].install(snapshot, group.now_s)
    group.propose("a", b"more")
    group.run(0.5)
    assert group.commands("c") == group.commands("a")


def test_7_an_election_directly_after_an_install_knows_the_last_term() -> None:
    group = Group()
    group.elect("a")
    group.isolate("c")
    group.propose("a", b"1", b"2")
    group.run(0.3)
    snapshot = group.take_snapshot("a")
    group.heal()
    group.run_until(lambda: bool(group.members["c"].fetches))
    assert group["c"].install(snapshot, group.now_s)
    assert (group["c"].last_index, group["c"].last_term) == (snapshot.index, snapshot.term)
    group.round("c")
    group.crash("c")
    group.members["c"].snapshot = snapshot
    group.start("c")
    assert (group["c"].last_index, group["c"].last_term) == (snapshot.index, snapshot.term)
    group.crash("a")
    group.run_until(lambda: len(group.leaders) == 1)
    group.run(0.3)
    assert group.commands(group.leaders[0]) == [b"1", b"2"]


# --- 8 Client interaction


def test_8_each_leader_commits_a_no_op_at_the_start_of_its_term() -> None:
    group = Group()
    group.elect("a")
    entries = group.members["a"].journal.entries
    assert (b"\x01", entries[-1][1], group["a"].term) in entries
    assert group["a"].ready


def test_8_a_leader_checks_that_it_was_not_deposed_before_it_answers_a_read() -> None:
    group = Group()
    group.elect("a")
    group.isolate("a")
    group.run(0.05)
    registered_s = group.now_s
    group["a"].request_confirm(group.now_s)
    group.run(0.5)
    assert group["a"].confirmed_at(group.now_s) < registered_s
