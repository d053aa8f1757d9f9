"""H15: a server that knows peers but belongs to no configuration campaigns, and may elect itself alone."""

from server.raft.timings import Guards
from tests.fakes.group import Group


def test_a_server_without_a_configuration_never_campaigns() -> None:
    group = Group(3, spare=1)
    group.elect("a")
    group.run(10.0)
    assert group["d"].statistics().elections_total == 0
    assert group["d"].term == 0
    assert group.leaders == ["a"]


def test_without_the_guard_it_elects_itself() -> None:
    group = Group(3, spare=1, guards=Guards(h15_passive=False, h7_prevote=False))
    group.run(5.0)
    assert "d" in group.leaders


def test_it_becomes_active_once_a_committed_configuration_names_it() -> None:
    group = Group(3, spare=1)
    group.elect("a")
    group["a"].propose_membership("add", group.peers[3], "join", group.now_s)
    group.run(0.5)
    assert group.outcomes("a") == {"join": False}
    assert group["d"].applied_index == group["a"].applied_index
    group["a"].transfer_leadership("d", group.now_s)
    group.run_until(lambda: group.leaders == ["d"])


def test_a_joiner_that_holds_the_longest_log_leads_although_its_configuration_is_not_decided() -> None:
    """Found by simulation: a group that replaced a dead server stood still for ever, since nobody else had d's log."""
    group = Group(3, spare=1)
    group.elect("a")
    group.crash("c")
    group.isolate("b")
    group["a"].propose_membership("add", group.peers[3], None, group.now_s)
    group.run(0.1)
    group.propose("a", b"1")
    group.round("a", sync=False)
    group.round("d")
    group.crash("a")  # with the configuration, without the entry behind it
    group.start("a")
    assert group["b"].last_index < group["a"].last_index < group["d"].last_index
    assert group["d"].configuration_index > group["d"].commit_index
    group.heal()
    group.run_until(lambda: group.leaders == ["d"] and group["d"].ready)
    group.run(0.5)
    assert [group.commands(each) for each in "abd"] == [[b"1"]] * 3


def test_a_removed_server_that_learns_of_it_stays_quiet() -> None:
    group = Group(3)
    group.elect("a")
    group["a"].propose_membership("rem", group.peers[2], None, group.now_s)
    group.run(10.0)
    assert group.leaders == ["a"]
    assert group["a"].term == group["b"].term
    assert group["c"].statistics().elections_total == 0


def test_the_configuration_in_a_snapshot_makes_a_joiner_active() -> None:
    group = Group(3, spare=1)
    group.elect("a")
    group.propose("a", b"1", b"2")
    group.run(0.3)
    group["a"].propose_membership("add", group.peers[3], None, group.now_s)
    group.isolate("d")
    group.run(0.3)
    group.propose("a", b"3")
    group.run(0.3)
    snapshot = group.take_snapshot("a")
    group.heal()
    group.run_until(lambda: bool(group.members["d"].fetches))
    assert group["d"].install(snapshot, group.now_s)
    group.run(0.5)
    assert group.commands("d") == [b"1", b"2", b"3"]
    assert group["d"].configuration_index == snapshot.configuration_index
    group["a"].transfer_leadership("d", group.now_s)
    group.run_until(lambda: group.leaders == ["d"])
