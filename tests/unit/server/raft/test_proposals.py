"""A proposal has one end, says honestly what it was, and costs nothing once it is over."""

import pytest
import trio
import trio.testing

from base.errors import MeshError, NoLeader, OutcomeUnknown, RateLimited, TooLarge
from server.raft import proposals as module
from server.raft.proposals import Proposal, Proposals


async def outcome_of(proposal: Proposal) -> object:
    try:
        return await proposal.wait()
    except MeshError as error:
        return error


async def test_whoever_waits_gets_the_result() -> None:
    proposals = Proposals()
    proposal = proposals.open(b"x", 10.0)
    got: list[object] = []

    async def wait() -> None:
        got.append(await proposal.wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        proposals.committed(proposal, "done")
    assert got == ["done"]
    assert proposals.pending_count == 0


async def test_an_end_that_came_before_the_wait_is_not_lost() -> None:
    proposals = Proposals()
    proposal = proposals.open(b"x", 10.0)
    proposals.committed(proposal, None)
    assert proposal.settled
    assert await proposal.wait() is None


async def test_only_the_first_end_counts() -> None:
    proposals = Proposals()
    proposal = proposals.open(b"x", 1.0)
    proposals.sweep(1.0)
    proposals.committed(proposal, "too late")
    proposals.discarded(proposal)
    error = await outcome_of(proposal)
    assert isinstance(error, OutcomeUnknown)
    assert not error.definite


async def test_a_deadline_makes_an_outcome_unknown_and_not_before_its_time() -> None:
    proposals = Proposals()
    early, late = proposals.open(b"x", 1.0), proposals.open(b"y", 2.0)
    proposals.sweep(0.999)
    assert not early.settled
    proposals.sweep(1.0)
    assert early.settled
    assert not late.settled
    assert (proposals.pending_count, proposals.unknown_total) == (1, 1)


async def test_what_was_discarded_or_refused_is_definite() -> None:
    proposals = Proposals()
    discarded, refused = proposals.open(b"x", 1.0), proposals.open(b"y", 1.0)
    proposals.discarded(discarded)
    proposals.refused(refused, TooLarge("too long"))
    first, second = await outcome_of(discarded), await outcome_of(refused)
    assert isinstance(first, NoLeader)
    assert isinstance(second, TooLarge)
    assert first.definite
    assert second.definite
    assert proposals.discarded_total == 1


async def test_a_stop_leaves_every_outcome_unknown() -> None:
    proposals = Proposals()
    opened = [proposals.open(b"x", 9.0) for _ in range(3)]
    proposals.abandon_all("stopping")
    assert proposals.pending_count == 0
    assert all([isinstance(await outcome_of(each), OutcomeUnknown) for each in opened])


async def test_a_waiter_that_was_cancelled_leaves_a_proposal_that_ends_quietly() -> None:
    proposals = Proposals()
    proposal = proposals.open(b"x", 9.0)
    with trio.CancelScope() as scope:
        scope.cancel()
        await proposal.wait()
    assert scope.cancelled_caught
    assert proposals.pending_count == 1
    proposals.committed(proposal, "nobody hears this")
    assert proposals.pending_count == 0


def test_too_many_are_refused_before_anything_was_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROPOSALS_PENDING_MAX", 2)
    proposals = Proposals()
    first = proposals.open(b"x", 1.0)
    proposals.open(b"y", 1.0)
    with pytest.raises(RateLimited) as caught:
        proposals.open(b"z", 1.0)
    assert caught.value.definite
    proposals.committed(first, None)
    proposals.open(b"z", 1.0)


def test_too_many_bytes_are_refused_and_each_is_given_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROPOSAL_BYTES_PENDING_MAX", 100)
    proposals = Proposals()
    first = proposals.open(bytes(100), 1.0)
    with pytest.raises(RateLimited):
        proposals.open(b"z", 1.0)
    proposals.committed(first, None)
    proposals.discarded(first)
    proposals.sweep(5.0)
    proposals.open(bytes(100), 9.0)
    with pytest.raises(RateLimited):
        proposals.open(b"z", 1.0)
