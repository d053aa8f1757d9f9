"""H3, the core's half: a snapshot that meets a log which goes on behind it may not cost that log its tail."""

from server.raft.timings import Guards
from tests.fakes.group import Group, Snapshot


def follower_with_unfinished_snapshot(guards: Guards) -> Group:
    """`b` has acknowledged commands behind a snapshot that became durable, and died before the log was trimmed."""
    group = Group(guards=guards)
    group.elect("a")
    group.propose("a", *(b"%d" % number for number in range(10)))
    group.run(0.3)
    snapshot = group.take_snapshot("b", trailing=100)
    group.propose("a", *(b"%d" % number for number in range(10, 20)))
    group.run(0.3)
    group.crash("b")
    assert group.members["b"].memory.entries[-1][1] == snapshot.index + 10
    return group


def test_a_restart_with_a_snapshot_in_the_middle_of_the_log_keeps_what_was_acknowledged() -> None:
    group = follower_with_unfinished_snapshot(Guards())
    acknowledged = group["a"].match_index("b")
    group.start("b")
    assert group["b"].last_index == acknowledged


def test_without_the_guard_the_acknowledged_tail_is_gone() -> None:
    group = follower_with_unfinished_snapshot(Guards(h3_keep_tail=False))
    acknowledged = group["a"].match_index("b")
    group.start("b")
    assert group["b"].last_index < acknowledged


def test_an_installed_snapshot_keeps_the_tail_that_the_log_agrees_on() -> None:
    group = Group()
    group.elect("a")
    group.propose("a", *(b"%d" % number for number in range(5)))
    group.run(0.3)
    core, journal = group["b"], group.members["b"].journal
    ahead = (b"\x00later", core.last_index + 1, core.term)
    beyond = (b"\x00later still", core.last_index + 2, core.term)
    journal.entries += [ahead, beyond]
    peers, configuration_index = core.configuration_at(ahead[1])
    meta = Snapshot(index=ahead[1], term=core.term, configuration=peers, configuration_index=configuration_index)
    assert core.install(meta, group.now_s)
    assert (core.applied_index, core.last_index) == (ahead[1], beyond[1])
