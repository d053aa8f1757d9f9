"""H23: the library means to refuse a change while another is uncommitted, but never sets what it looks at."""

import inspect

import msgspec
import pysyncobj.syncobj
import pytest

from base.errors import Refused
from tests.fakes.group import Group
from tests.sim.plan import PLANS
from tests.sim.simulation import run_seed


def test_the_library_still_never_sets_its_variable() -> None:
    source = inspect.getsource(pysyncobj.syncobj.SyncObj)
    assert source.count("self.__changeClusterIDx = ") == source.count("self.__changeClusterIDx = None") == 2


def test_a_second_change_is_refused_until_the_first_is_committed() -> None:
    group = Group(3, spare=2)
    group.elect("a")
    group["a"].propose_membership("add", group.peers[3], None, group.now_s)
    with pytest.raises(Refused, match="another change is in progress"):
        group["a"].propose_membership("add", group.peers[4], None, group.now_s)
    group.run(0.5)
    group["a"].propose_membership("add", group.peers[4], None, group.now_s)
    group.run(0.5)
    assert len(group["e"].configuration()) == 5


def test_no_change_before_the_leader_has_committed_an_entry_of_its_own_term() -> None:
    group = Group(3, spare=1)
    group.run_until(lambda: len(group.leaders) == 1)
    leader = group.leaders[0]
    assert not group[leader].ready
    with pytest.raises(Refused, match="own term"):
        group[leader].propose_membership("add", group.peers[3], None, group.now_s)


def test_without_the_guard_overlapping_changes_lose_what_was_committed() -> None:
    """Two majorities that need not meet: some seed elects a leader without a committed entry."""
    plan = msgspec.structs.replace(PLANS["changing-members"], off=("h23",), change_interval_s=0.15)
    convicted = any(run_seed(plan, seed).kind == "incomplete leader" for seed in SEEDS)
    assert convicted, "no seed convicts the library any more"


SEEDS = range(1040, 1080)
