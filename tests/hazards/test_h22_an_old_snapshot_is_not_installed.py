"""H22: the library installs a snapshot that is older than what it has applied, and clears the log behind it."""

from server.raft.timings import Guards
from tests.fakes.group import Group, Snapshot


def follower_ahead_of_a_snapshot(guards: Guards) -> tuple[Group, Snapshot, int]:
    group = Group(guards=guards)
    group.elect("a")
    group.propose("a", b"1", b"2", b"3")
    group.run(0.3)
    old = group.take_snapshot("a", trailing=100)
    group.propose("a", b"4", b"5")
    group.run(0.3)
    return group, old, group["a"].match_index("b")


def test_a_snapshot_at_or_below_what_is_applied_is_refused_and_nothing_changes() -> None:
    group, old, acknowledged = follower_ahead_of_a_snapshot(Guards())
    assert not group["b"].install(old, group.now_s)
    assert group["b"].last_index >= acknowledged
    assert group.commands("b") == [b"1", b"2", b"3", b"4", b"5"]


def test_without_the_guards_the_acknowledged_tail_is_cleared() -> None:
    group, old, acknowledged = follower_ahead_of_a_snapshot(Guards(h22_old_snapshot=False, h3_keep_tail=False))
    assert group["b"].install(old, group.now_s)
    assert group["b"].last_index < acknowledged
    assert group.commands("b") == [b"1", b"2", b"3"]


def test_an_offer_of_an_old_snapshot_is_answered_with_where_to_go_on() -> None:
    group, _, _ = follower_ahead_of_a_snapshot(Guards())
    assert group.members["b"].fetches == []
