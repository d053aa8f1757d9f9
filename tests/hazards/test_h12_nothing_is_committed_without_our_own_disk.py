"""H12: a leader counts itself without waiting for its own disk; the order of a round is what makes that safe."""

import msgspec
import pytest

from structs.cluster import Peer
from tests.fakes.group import Group
from tests.sim.plan import PLANS, Plan
from tests.sim.simulation import run_seed


def test_a_proposal_is_not_settled_by_the_round_that_appends_it_even_in_a_group_of_one() -> None:
    group = Group(1)
    group.run_until(lambda: group.leaders == ["a"] and group["a"].ready)
    group.propose("a", b"x")
    group.round("a", sync=False)
    assert group.commands("a") == []
    assert group.outcomes("a") == {}


def test_what_the_machine_lost_before_its_sync_was_never_acknowledged() -> None:
    group = Group(1)
    group.run_until(lambda: group.leaders == ["a"] and group["a"].ready)
    group.propose("a", b"x")
    group.round("a", sync=False)
    group.crash("a")
    group.start("a")
    group.run(2.0)
    assert group.commands("a") == []


def test_a_leader_that_dies_before_its_sync_has_committed_nothing() -> None:
    group = Group(3)
    group.elect("a")
    group.propose("a", b"x")
    group.round("a", sync=False)
    assert group["a"].commit_index < group["a"].last_index


SLOW_DISKS = PLANS["slow-disks"]
WRONG_ORDER = msgspec.structs.replace(SLOW_DISKS, off=("order",))
SEEDS = range(4, 16)


def convicted(seed: int, plan: Plan) -> bool:
    """Does this seed break a promise?"""
    return run_seed(plan, seed).violation is not None


def test_promises_sent_before_the_sync_lose_what_was_acknowledged() -> None:
    assert any(convicted(seed, WRONG_ORDER) for seed in SEEDS)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_crashes_cost_nothing_in_the_right_order(seed: int) -> None:
    assert not convicted(seed, SLOW_DISKS)


def test_a_change_that_leaves_a_group_of_one_is_not_settled_before_it_is_durable() -> None:
    group = Group(2)
    group.elect("a")
    group["a"].propose_membership("rem", group.peers[1], "removal", group.now_s)
    group.round("a", sync=False)
    assert group.outcomes("a") == {}
    group.crash("a")
    group.start("a")
    assert [peer.server_id for peer in group["a"].configuration()] == ["a", "b"]


def test_a_change_within_a_group_of_one_is_not_settled_before_it_is_durable() -> None:
    group = Group(1)
    group.run_until(lambda: group.leaders == ["a"] and group["a"].ready)
    moved = Peer(server_id="a", name="a", address="127.0.0.1:9999")
    group["a"].propose_membership("add", moved, "move", group.now_s)
    group.round("a", sync=False)
    assert group.outcomes("a") == {}
    group.run(0.1)
    assert group.outcomes("a") == {"move": False}
    assert group["a"].configuration() == [moved]
