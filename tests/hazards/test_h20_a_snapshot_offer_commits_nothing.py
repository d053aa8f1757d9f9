"""H20: messages of a snapshot transfer carry the leader's commit index, and the library applies its own stale tail."""

from server.raft import envelope as wire
from server.raft.timings import Guards
from tests.fakes.group import Group


def follower_with_stale_tail(guards: Guards) -> tuple[Group, int]:
    """`c` holds an entry of a dead leader at an index that the others have committed something else at."""
    group = Group(guards=guards)
    group.elect("c")
    group.isolate("c")
    group.propose("c", b"stale")
    group.run(0.5)
    group.run_until(lambda: "c" not in group.leaders and len(group.leaders) == 1)
    leader = group.leaders[0]
    group.propose(leader, b"right")
    group.run(0.3)
    group.heal()
    group.deliver(leader, "c", offer(group, leader))
    group.round("c")
    return group, group[leader].commit_index


def offer(group: Group, leader: str) -> list[object]:
    core = group[leader]
    return [wire.OFFER, core.term, group.now_s, 0.0, 0, core.commit_index, core.term, core.commit_index]


def test_an_offer_advances_no_commit_index() -> None:
    group, _ = follower_with_stale_tail(Guards())
    assert group.commands("c") == []


def test_without_the_guard_a_stale_entry_is_applied() -> None:
    group, _ = follower_with_stale_tail(Guards(h20_unverified_commit=False))
    assert group.commands("c") == [b"stale"]


def test_an_offer_keeps_the_follower_from_campaigning_and_the_leader_in_office() -> None:
    group = Group()
    group.elect("a")
    group.isolate("c")
    group.propose("a", *(b"%d" % number for number in range(20)))
    group.run(0.5)
    group.take_snapshot("a")
    group.take_snapshot("b")
    group.heal()
    term = group["a"].term
    group.run(5.0)  # the fetch is under way and takes its time
    assert (group.leaders, group["c"].term) == (["a"], term)
    assert len(group.members["c"].fetches) == 1
    group.crash("b")
    group.run(5.0)
    assert group.leaders == ["a"], "the follower that is fetching still counts for the quorum"
