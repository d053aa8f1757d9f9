"""H14: the library silently ignores a leader's own removal; ours says what to do, and the way round works."""

import pytest

from base.errors import Refused
from tests.fakes.group import Group


def test_the_refusal_says_to_transfer_the_leadership_first() -> None:
    group = Group()
    group.elect("a")
    with pytest.raises(Refused, match="transfer the leadership first"):
        group["a"].propose_membership("rem", group.peers[0], None, group.now_s)
    assert len(group["a"].configuration()) == 3


def test_after_a_transfer_the_successor_removes_it() -> None:
    group = Group()
    group.elect("a")
    group.elect("b")
    group["b"].propose_membership("rem", group.peers[0], "change", group.now_s)
    group.run(0.5)
    assert group.outcomes("b") == {"change": False}
    assert [peer.server_id for peer in group["c"].configuration()] == ["b", "c"]
    group.run(5.0)
    assert group.leaders == ["b"]
