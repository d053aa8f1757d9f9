"""H17: a proposal whose entry is overwritten may never call back, and nobody can tell "refused" from "maybe"."""

from tests.fakes.group import Group


def test_an_entry_overwritten_by_another_leader_is_reported_as_discarded() -> None:
    group = Group()
    group.elect("a")
    group.isolate("a")
    group.propose("a", b"lost")
    group.run_until(lambda: group.leaders not in ([], ["a"]) and "a" not in group.leaders)
    group.propose(group.leaders[0], b"kept")
    group.run(0.3)
    assert group.outcomes("a") == {}
    group.heal()
    group.run(0.5)
    assert group.outcomes("a") == {b"lost": True}
    assert group.commands("a") == [b"kept"]


def test_an_entry_that_the_next_leader_commits_is_reported_as_applied() -> None:
    group = Group()
    group.elect("a")
    group.propose("a", b"inherited")
    group.passes = lambda sender, receiver, message: (sender, receiver) == ("a", "b")
    group.round("a")
    group.round("b")
    group.isolate("a")
    group.run_until(lambda: group.leaders == ["b"])
    assert group.outcomes("a") == {}
    group.heal()
    group.run(0.5)
    assert group.outcomes("a") == {b"inherited": False}
    assert group.commands("a") == [b"inherited"]


def test_two_proposals_of_different_terms_at_one_index_get_their_own_ends() -> None:
    group = Group()
    group.elect("a")
    group.isolate("a")
    group.propose("a", b"first")
    group.run_until(lambda: "a" not in group.leaders and len(group.leaders) == 1)
    group.heal()
    group.elect("a")
    group.propose("a", b"second")
    group.run(0.5)
    assert group.outcomes("a") == {b"first": True, b"second": False}
