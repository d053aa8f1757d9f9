"""H6: the library's answer to an append carries no term, so one from an earlier term could move the match index."""

from server.raft import envelope as wire
from server.raft.timings import Guards
from tests.fakes.group import Group


def leader_with_unacknowledged_entry(guards: Guards) -> Group:
    """`a` leads; what it has just appended has reached nobody."""
    group = Group(guards=guards)
    group.elect("a")
    group.isolate("a")
    group.propose("a", b"alone")
    group.step(2)
    return group


def late_reply(group: Group, term: int) -> None:
    """An acknowledgement of the last index, written by `b` in an earlier term, arrives at `a`."""
    message = [wire.APPEND_REPLY, term, 0.0, 0.0, 0, group["a"].last_index + 1, False, True]
    group.deliver("b", "a", message)
    group.step()


def test_an_acknowledgement_of_an_earlier_term_is_dropped() -> None:
    group = leader_with_unacknowledged_entry(Guards())
    late_reply(group, group["a"].term - 1)
    assert group["a"].commit_index < group["a"].last_index
    assert group["a"].statistics().stale_dropped_total == 1


def test_without_the_guard_it_commits_what_nobody_else_has() -> None:
    group = leader_with_unacknowledged_entry(Guards(h6_drop_stale=False))
    late_reply(group, group["a"].term - 1)
    assert group["a"].commit_index == group["a"].last_index
    assert group["b"].last_index < group["a"].last_index


def test_messages_of_an_earlier_connection_are_dropped() -> None:
    group = leader_with_unacknowledged_entry(Guards())
    message = [wire.APPEND_REPLY, group["a"].term, 0.0, 0.0, 0, group["a"].last_index + 1, False, True]
    old_epoch = group.epoch("a", "b")
    group.connect("a", "b")
    group["a"].receive("b", old_epoch, message, group.now_s)
    group.step()
    assert group["a"].commit_index < group["a"].last_index
