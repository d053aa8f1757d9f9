"""H24: nothing answers an append of an older term, so a server ahead in terms would stay outside for ever.

With the library's own elections it would campaign and unseat the leader; with our pre-vote it could not even do that.
"""

from server.raft.timings import Guards
from tests.fakes.group import Group


def server_ahead_in_terms(guards: Guards) -> Group:
    """`c` comes back in a term above the leader's, as after an election that it began and did not finish."""
    group = Group(guards=guards)
    group.elect("a")
    group.crash("c")
    memory = group.members["c"].memory
    memory.term, memory.vote = group["a"].term + 3, "c"
    group.start("c")
    group.propose("a", b"x")
    group.run(6.0)
    return group


def test_it_is_told_by_the_answer_and_the_group_moves_on_together() -> None:
    group = server_ahead_in_terms(Guards())
    group.run_until(lambda: len(group.leaders) == 1)
    group.run(0.5)
    assert len({group[each].term for each in "abc"}) == 1
    assert all(group.commands(each) == [b"x"] for each in "abc")


def test_without_the_guard_it_stays_outside() -> None:
    group = server_ahead_in_terms(Guards(h24_higher_term=False))
    assert group.commands("c") == []
    assert group["c"].term > group["a"].term


def test_a_server_outside_the_configuration_cannot_unseat_a_leader_with_its_term() -> None:
    group = Group(3, spare=1)
    group.elect("a")
    group.deliver("d", "a", [10, group["a"].term + 5, 0.0, 0.0, 0])
    group.run(0.5)
    assert group.leaders == ["a"]
