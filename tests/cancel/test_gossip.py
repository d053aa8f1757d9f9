"""A pool of gossip and whoever asks it, cancelled at each step: no thread, socket, operation or stream stays behind."""

from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio

from base.errors import Unreachable
from gossip import instructions as ins
from gossip.pool import GossipPool
from tests.cancel.test_rpc import finished_despite_cancel_at
from tests.fakes.gossip_member import TIMEOUT_S, LoneMember, until

STEPS_MAX = 100
"""No coroutine here has as many steps; reaching it means that it never ends."""


async def run_for_a_moment(pool: GossipPool) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        nursery.cancel_scope.cancel()


async def test_a_pool_that_is_cancelled_while_it_begins_or_ends_leaves_nothing_behind() -> None:
    for step in range(1, STEPS_MAX):
        member = LoneMember("one")
        pool = GossipPool(member.make_driver, leave_propagate_s=0.0)
        with trio.fail_after(TIMEOUT_S):
            finished = await finished_despite_cancel_at(step, partial(run_for_a_moment, pool))
        assert pool._nursery is None, "its loop has ended, and so has what its thread did"
        member.udp.close()  # where it ended before there was a driver to do so
        member.tcp.close()
        if finished:
            break
    else:
        raise AssertionError("it never ends")


ASKED: dict[str, Callable[[GossipPool, LoneMember], Awaitable[object]]] = {
    "join": lambda pool, other: pool.join([other.address]),
    "fire": lambda pool, other: pool.fire("deploy", b""),
    "query": lambda pool, other: pool.query("who", b"", names=["two"], wants_acks=True, timeout_s=0.05),
    "keyring": lambda pool, other: pool.keyring("list"),
    "leave": lambda pool, other: pool.leave(),
}


@pytest.mark.parametrize("name", ASKED)
async def test_whoever_asks_may_go_at_any_step(name: str) -> None:
    for step in range(1, STEPS_MAX):
        one, two = LoneMember("one"), LoneMember("two")
        pool = GossipPool(one.make_driver, leave_propagate_s=0.0)
        with trio.fail_after(TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                await nursery.start(two.run)
                await nursery.start(pool.run)
                finished = await finished_despite_cancel_at(step, partial(ASKED[name], pool, two))
                await until(lambda one=one: not one.driver._waiting, "the end of the operation")  # type: ignore[misc]
                nursery.cancel_scope.cancel()
        assert one.driver._streams_out_count == 0
        if finished:
            break
    else:
        raise AssertionError("it never ends")


async def test_whoever_asks_at_the_moment_of_the_end_starts_nothing_and_is_told_nothing_else() -> None:
    """Which of two tasks of one moment runs first is a matter of chance, so it is tried often."""
    for _ in range(20):
        one = LoneMember("one")
        with trio.fail_after(TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                await nursery.start(one.run)
                nursery.start_soon(partial(one.driver.ask, ins.JoinWanted, addresses=[one.address]))
                nursery.cancel_scope.cancel()
        assert one.driver._streams_out_count == 0


async def test_whoever_waits_when_the_pool_ends_is_told_so() -> None:
    pool = GossipPool(LoneMember("one").make_driver, leave_propagate_s=0.0)
    told: list[str] = []

    async def ask() -> None:
        try:
            await pool.query("who", b"", timeout_s=TIMEOUT_S)
        except Unreachable as error:
            told.append(str(error))

    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as asking, trio.open_nursery() as nursery:
            await nursery.start(pool.run)
            asking.start_soon(ask)
            await until(lambda: bool(pool._driver and pool._driver._waiting), "the question")
            nursery.cancel_scope.cancel()
    assert told == ["gossip has ended"]
