"""Locks and semaphores in simulated time, under faults: never too many holders, growing numbers, losses told early."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import MeshError
from mesh.lock_state import Claim, Grip, Lease, LockClaim, ended, expiring, leased, renewing
from mesh.semaphore_state import SemaphoreClaim
from tests.fakes.lock_world import World

TTL_S = 15.0


class Contender:
    """Acquires, holds for a while or until lost, gives back, again."""

    def __init__(self, world: World, claim: Claim, grips: list[Grip]) -> None:
        self.world = world
        self.claim = claim
        self.grips = grips
        self.lease: Lease | None = None
        self.holds = False
        self.stopped = False
        self.lost_count = 0
        self.held_count = 0
        self.begin()

    def is_certain(self) -> bool:
        return self.holds and self.lease is not None and self.lease.is_valid(self.world.now_s)

    def begin(self) -> None:
        self.holds, self.stopped = False, False
        procedure = leased(name="test", ttl_s=TTL_S, lock_delay_s=2.0, deletes=self.claim.deletes)
        self.world.start(procedure, self.have_lease, lambda: False)

    def have_lease(self, result: Any) -> None:
        if isinstance(result, MeshError):
            self.world.at(self.world.now_s + 1.0, self.begin)
            return
        lease: Lease = result
        self.lease = lease
        for procedure in (renewing(lease), expiring(lease)):
            self.world.start(procedure, lambda reason: self.lost(lease, reason), lambda: self.lease is not lease)
        until_s = self.world.now_s + self.world.rng.choice([0.0, 5.0, 1000.0])
        self.world.start(self.claim.acquiring(lease, until_s=until_s), lambda got: self.have(lease, got), lambda: False)

    def lost(self, lease: Lease, reason: str) -> None:
        if self.lease is lease and reason and not lease.lost_reason:
            assert self.world.now_s <= lease.valid_until_s + 0.001, "told after the time of the session"
            lease.lost_reason = reason
            self.lost_count += 1

    def have(self, lease: Lease, got: Any) -> None:
        if isinstance(got, Grip) and not lease.lost_reason:
            self.holds = True
            self.held_count += 1
            self.grips.append(got)
            monitor = self.claim.monitoring(lease, retries_max=None)
            self.world.start(monitor, lambda reason: self.lost(lease, reason), lambda: self.lease is not lease)
            self.world.at(self.world.now_s + self.world.rng.uniform(0.0, 40.0), self.give_back)
        else:
            self.give_back()

    def give_back(self) -> None:
        lease, self.lease, self.holds = self.lease, None, False
        assert lease is not None
        if self.world.rng.random() < 0.2:  # dies without a word
            self.world.at(self.world.now_s + 1.0, self.begin)
            return
        again = self.begin
        self.world.start(
            self.claim.releasing(lease), lambda _: self.world.start(ended(lease), lambda _: again(), bool), bool
        )


def play(seed: int, claims: list[Claim], *, limit: int, trouble: float, ttl_factor: float) -> tuple[World, list[Any]]:
    world = World(random.Random(seed), trouble=trouble, ttl_factor=ttl_factor)
    grips: list[Grip] = []
    contenders = [Contender(world, claim, grips) for claim in claims]

    def look() -> None:
        holding = [contender.lease.session_id for contender in contenders if contender.is_certain() and contender.lease]
        assert len(holding) <= limit, f"at {world.now_s:.2f} s: {holding}"

    world.looks.append(look)
    world.run(400.0)
    return world, contenders


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 32),
    trouble=st.sampled_from([0.0, 0.05, 0.3]),
    ttl_factor=st.sampled_from([1.0, 2.0]),
    count=st.integers(1, 4),
)
def test_a_lock_has_one_certain_holder_and_numbers_that_grow(
    seed: int, trouble: float, ttl_factor: float, count: int
) -> None:
    claims: list[Claim] = [LockClaim(key="app/.lock", value=b"x") for _ in range(count)]
    _, contenders = play(seed, claims, limit=1, trouble=trouble, ttl_factor=ttl_factor)
    numbers = [grip.fencing for grip in contenders[0].grips]
    assert numbers == sorted(set(numbers))
    if trouble == 0.0:
        assert sum(contender.held_count for contender in contenders) > 3
        assert sum(contender.lost_count for contender in contenders) == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 32), trouble=st.sampled_from([0.0, 0.05, 0.2]), limit=st.integers(1, 3))
def test_a_semaphore_has_no_more_holders_than_places(seed: int, trouble: float, limit: int) -> None:
    claims: list[Claim] = [SemaphoreClaim(prefix="app", limit=limit) for _ in range(limit + 2)]
    _, contenders = play(seed, claims, limit=limit, trouble=trouble, ttl_factor=1.0)
    if trouble == 0.0:
        assert sum(contender.held_count for contender in contenders) > 3


def test_the_world_notices_when_two_hold_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "is_valid", lambda self, at_s: True)  # a contender that believes its lock for ever
    monkeypatch.setattr(Contender, "lost", lambda *_: None)

    def found(seed: int) -> bool:
        try:
            play(seed, [LockClaim(key="k") for _ in range(4)], limit=1, trouble=0.3, ttl_factor=1.0)
        except AssertionError:
            return True
        return False

    assert any(found(seed) for seed in range(30))
