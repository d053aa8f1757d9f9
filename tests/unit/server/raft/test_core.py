"""What the core does for its driver, besides what the hazards, the paper and the simulation ask of it."""

import random
from itertools import pairwise

import pytest

from base.errors import NoLeader, RateLimited, Refused
from server.raft import timings
from server.raft.core import Core, RoleChange
from server.raft.recovery import ConfigurationOverride
from server.raft.timings import Timings
from structs.cluster import Peer
from tests.fakes.group import Group, ListApplier
from tests.fakes.journal import FakeJournal, JournalMemory


def test_three_fresh_servers_elect_a_leader_long_before_an_election_timeout() -> None:
    group = Group()
    group.run_until(lambda: len(group.leaders) == 1, within_s=Timings().election_min_s)


def test_a_group_of_one_leads_at_once_also_after_a_restart() -> None:
    group = Group(1)
    group.run_until(lambda: group["a"].ready, within_s=0.3)
    group.propose("a", b"x")
    group.run(0.1)
    group.crash("a")
    group.start("a")
    group.run_until(lambda: group["a"].ready, within_s=0.3)
    assert group.commands("a") == [b"x"]
    assert group["a"].lease_valid(group.now_s)


def test_the_driver_is_woken_for_heartbeats_elections_and_nothing_else() -> None:
    group = Group()
    group.elect("a")
    group.run(0.5)
    assert 0 < group["a"].next_wake_s(group.now_s) - group.now_s <= group.timings.heartbeat_s
    assert 0 < group["b"].next_wake_s(group.now_s) - group.now_s <= group.timings.election_max_s
    group.propose("a", b"x")
    assert group["a"].next_wake_s(group.now_s) <= group.now_s


def test_an_idle_group_exchanges_one_append_and_one_reply_a_follower_and_heartbeat() -> None:
    group = Group()
    group.elect("a")
    group.run(0.5)
    group.log.clear()
    group.run(2.0)
    expected = 2 * 2 * 2.0 / group.timings.heartbeat_s
    assert len(group.log) == pytest.approx(expected, rel=0.15)


def test_entries_under_way_are_not_sent_again_by_every_acknowledgement() -> None:
    group = Group()
    group.elect("a")
    group.log.clear()
    for number in range(100):
        group.propose("a", b"%d" % number)
        group.step()
    group.run(0.2)
    sent = [
        entry[1] for _, receiver, message in group.log if receiver == "b" and message[0] == 1 for entry in message[8]
    ]
    assert len(sent) == len(set(sent)) == 100


def test_results_come_in_the_order_of_the_log_with_what_the_handler_returned() -> None:
    group = Group()
    group.elect("a")
    group.propose("a", *(b"%d" % number for number in range(20)))
    group.run(0.2)
    results = group.members["a"].results
    assert [token for token, _ in results] == [b"%d" % number for number in range(20)]
    indexes = [outcome.result for _, outcome in results]
    assert all(isinstance(one, int) and isinstance(two, int) and two == one + 1 for one, two in pairwise(indexes))


def test_changes_of_role_leader_and_members_are_told_once() -> None:
    group = Group(1)
    roles = []
    for _ in range(100):
        group.now_s += 0.01
        outbox = group["a"].tick(group.now_s)
        group.members["a"].journal.sync()
        if outbox.became is not None:
            roles.append(outbox.became)
            assert outbox.leader_changed
    assert roles == [RoleChange.LEADER]
    group["a"].propose_membership("add", Peer(server_id="b", name="b", address="b:1"), None, group.now_s)
    assert group["a"].tick(group.now_s).peers_changed
    assert not group["a"].tick(group.now_s).peers_changed


def test_a_long_replay_is_applied_in_bounded_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.raft.settling.APPLY_BATCH_COUNT_MAX", 10)
    group = Group(1)
    group.run_until(lambda: group["a"].ready)
    for _ in range(25):
        group.propose("a", b"x")
    group.step(2)
    core = group["a"]
    assert core.commit_index - core.applied_index == 15
    assert core.next_wake_s(group.now_s) <= group.now_s
    group.step(2)
    assert core.applied_index == core.commit_index


def test_too_many_proposals_in_flight_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.raft.core.PROPOSALS_WAITING_COUNT_MAX", 3)
    group = Group()
    group.elect("a")
    group.propose("a", b"1", b"2", b"3")
    with pytest.raises(RateLimited):
        group.propose("a", b"4")
    group.run(0.2)
    group.propose("a", b"4")
    assert timings.PROPOSALS_WAITING_COUNT_MAX > 16_384


def test_membership_is_the_leaders_business() -> None:
    group = Group(3, spare=1)
    group.elect("a")
    with pytest.raises(NoLeader):
        group["b"].propose_membership("add", group.peers[3], None, group.now_s)
    with pytest.raises(Refused, match="not the leader"):
        group["b"].transfer_leadership(None, group.now_s)


def test_a_transfer_names_its_target_and_refuses_what_cannot_be() -> None:
    group = Group(3, spare=1)
    group.elect("a")
    for target, text in (("a", "the leader already"), ("d", "not a connected member"), ("nobody", "not a connected")):
        with pytest.raises(Refused, match=text):
            group["a"].transfer_leadership(target, group.now_s)
    assert group["a"].transfer_leadership(None, group.now_s) in ("b", "c")
    with pytest.raises(Refused, match="already being transferred"):
        group["a"].transfer_leadership("b", group.now_s)


def test_a_server_gets_a_new_address_without_leaving_the_group() -> None:
    group = Group()
    group.elect("a")
    moved = Peer(server_id="c", name="n2", address="10.0.0.9:8300")
    group["a"].propose_membership("add", moved, "move", group.now_s)
    group.run(0.3)
    assert group.outcomes("a") == {"move": False}
    assert all(group[each].configuration()[2] == moved for each in "abc")


def test_the_leader_states_a_recovered_configuration_in_the_log() -> None:
    """Logs of different servers may hold different older changes; the entry makes them agree."""
    peer = Peer(server_id="a", name="a", address="a:1")
    journal = FakeJournal(JournalMemory([(b"\x01", 1, 0), *((b"\x00x", index, 0) for index in (2, 3))]))
    core = Core(
        self_peer=peer,
        journal=journal,
        snapshot=None,
        override=ConfigurationOverride(after_index=3, peers=[peer]),
        applier=ListApplier(),
        rng=random.Random(1),
        now=10.0,
        timings=Timings(),
    )
    results = []
    for step in range(100):
        results += core.tick(10.0 + step * 0.01).results
        journal.sync()
    assert core.ready
    assert results == [], "nobody waits for what a recovery states"
    assert core.configuration() == [peer]
    assert core.configuration_index > 3
    restarted = Core(
        self_peer=peer,
        journal=FakeJournal(JournalMemory(journal.entries)),
        snapshot=None,
        override=None,
        applier=ListApplier(),
        rng=random.Random(1),
        now=10.0,
        timings=Timings(),
    )
    assert restarted.configuration() == [peer]


def test_an_old_connection_that_ends_does_not_close_the_new_one() -> None:
    group = Group()
    group.elect("a")
    old = group.epoch("a", "b")
    group.connect("a", "b")
    group["a"].peer_disconnected("b", old, group.now_s)
    group.propose("a", b"x")
    group.run(0.2)
    assert group.commands("b") == [b"x"]


def test_statistics_say_where_everybody_is() -> None:
    group = Group()
    group.elect("a")
    group.propose("a", b"x")
    group.run(0.3)
    facts = group["a"].statistics()
    assert facts.state == "Leader"
    assert set(facts.match_index.values()) == {facts.last_index}
    assert facts.commit_index == facts.applied_index == facts.last_index
    assert facts.voters_count == 3
    assert group["a"].last_leader_contact_s(group.now_s) == 0.0
    assert 0.0 <= group["b"].last_leader_contact_s(group.now_s) <= group.timings.heartbeat_s * 2
