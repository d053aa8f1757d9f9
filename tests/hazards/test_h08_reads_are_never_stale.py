"""H8: a cut-off leader believes in itself for a while; leases and confirmation rounds keep its reads honest."""

import msgspec
import pytest

from server.raft import envelope as wire
from server.raft.core import Core
from server.raft.timings import Guards, Timings
from tests.fakes.group import Group
from tests.sim.plan import PLANS
from tests.sim.simulation import run_seed


def leader_cut_off_until_the_next_is_elected(guards: Guards) -> Group:
    group = Group(guards=guards, timings=Timings(heartbeat_s=0.1, election_min_s=0.6, election_max_s=0.7))
    group.elect("a")
    group.isolate("a")
    group.run_until(lambda: any(group[each].is_leader and group[each].ready for each in "bc"))
    return group


def test_the_lease_has_ended_before_the_next_leader_is_elected() -> None:
    group = Group()
    group.elect("a")
    assert group["a"].lease_valid(group.now_s)
    group.isolate("a")
    while not any(group[each].is_leader for each in "bc"):
        group.step()
        assert sum(group[each].lease_valid(group.now_s) for each in "abc") <= 1
    assert not group["a"].lease_valid(group.now_s)


def test_without_the_guard_two_leaders_answer_reads() -> None:
    group = leader_cut_off_until_the_next_is_elected(Guards(h8_lease=False))
    assert group["a"].is_leader
    assert sum(group[each].lease_valid(group.now_s) for each in "abc") == 2


def convicted(off: tuple[str, ...] = ()) -> bool:
    """Does some seed elect a leader beside another's lease, or read what is stale?"""
    plan = msgspec.structs.replace(PLANS["leases"], off=off)
    return any(run_seed(plan, seed).violation is not None for seed in SEEDS)


SEEDS = range(7010, 7060)


def test_without_the_leaders_half_of_the_promise_reads_are_stale() -> None:
    assert convicted(off=("h8",))


def test_without_the_voters_half_of_the_promise_leases_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Core, "_leader_is_live", lambda core: False)
    assert convicted()


def test_without_giving_the_lease_up_before_a_transfer_leases_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(core: Core, now: float) -> bool:
        return core.is_leader and core.ready and now < core._confirmations.lease_until_s(now)

    monkeypatch.setattr(Core, "lease_valid", kept)
    assert convicted()


def test_a_cut_off_leader_is_never_confirmed_and_steps_down() -> None:
    group = Group()
    group.elect("a")
    group.isolate("a")
    group.run(0.05)  # what was under way has arrived
    registered_s = group.now_s
    group["a"].request_confirm(group.now_s)
    group.run(3.0)
    assert group["a"].confirmed_at(group.now_s) < registered_s
    assert not group["a"].is_leader


def test_a_confirmation_round_goes_out_at_once_and_serves_all_who_wait() -> None:
    group = Group()
    group.elect("a")
    group.run(0.003)
    registered_s = group.now_s
    group["a"].request_confirm(group.now_s)
    group.step(3)
    assert group["a"].confirmed_at(group.now_s) >= registered_s


def test_a_new_leader_answers_nothing_before_its_own_first_entry_is_applied() -> None:
    group = Group()
    group.run_until(lambda: len(group.leaders) == 1)
    leader = group[group.leaders[0]]
    assert not leader.ready
    assert not leader.lease_valid(group.now_s)
    assert leader.confirmed_at(group.now_s) == float("-inf")


def test_the_lease_is_given_up_before_the_leadership_is_offered_and_stays_so() -> None:
    group = Group()
    group.elect("a")
    group["a"].transfer_leadership("b", group.now_s)
    assert not group["a"].lease_valid(group.now_s)
    group.passes = lambda sender, receiver, message: message[0] != wire.TIMEOUT_NOW
    group.step(2)
    assert any(message[0] == wire.TIMEOUT_NOW for _, _, message in group.log)
    term = group["a"].term
    for _ in range(300):
        group.step()
        assert not (group["a"].term == term and group["a"].lease_valid(group.now_s))


def test_a_leader_without_a_quorum_steps_down_within_the_election_timeout() -> None:
    group = Group()
    group.elect("a")
    group.isolate("a")
    group.run(group.timings.election_max_s + 0.1)
    assert not group["a"].is_leader
