"""H16: without a leader the library keeps commands for ever, or passes them on to whoever leads."""

import pytest

from base.errors import NoLeader
from tests.fakes.group import Group


def test_a_follower_refuses_at_once_and_for_certain() -> None:
    group = Group()
    group.elect("a")
    with pytest.raises(NoLeader):
        group.propose("b", b"x")
    group.run(1.0)
    assert group.commands("a") == []


def test_what_is_taken_up_while_the_leadership_is_lost_is_refused_for_certain() -> None:
    group = Group()
    group.elect("a")
    group.isolate("a")
    group.run(1.15)
    assert group["a"].is_leader
    group["a"].propose(b"x", "x", group.now_s)
    last_index = group["a"].last_index
    group.now_s += 0.2
    group.round("a")
    assert not group["a"].is_leader
    assert group.outcomes("a") == {"x": True}
    assert group["a"].last_index == last_index


def test_a_leader_that_is_handing_over_refuses() -> None:
    group = Group()
    group.elect("a")
    group["a"].transfer_leadership("b", group.now_s)
    with pytest.raises(NoLeader, match="being transferred"):
        group.propose("a", b"x")
