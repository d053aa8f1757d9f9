"""What a server relies on, of whatever pool it is given: the fake of most tests, and gossip itself on real sockets.

Each pool of `POOLS` has one other member, `c2`, which a test can kill.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import trio

from base.errors import InvalidRequest
from server.gossip import GossipPool
from server.main import ServerPool
from structs.cluster import Member, MemberStatus
from tests.fakes.agent_pools import address, configured, near, wide
from tests.fakes.gossip import FakeGossip
from tests.fakes.gossip_member import until
from tests.fakes.members import client, server

ALIVE, LEFT, FAILED = MemberStatus.ALIVE, MemberStatus.LEFT, MemberStatus.FAILED


class Watched:
    """A pool, what its handler was told, and whether that was so already."""

    def __init__(self, pool: GossipPool, kill: Callable[[], None]) -> None:
        self.pool = pool
        self.kill = kill
        """Makes `c2` fall silent."""
        self.told: list[tuple[str, str]] = []
        self.late: list[str] = []
        pool.subscribe(self._heard)

    def _heard(self, kind: str, members: list[Member]) -> None:
        for member in members:
            self.told.append((kind, member.name))
            known = next((each for each in self.pool.members() if each.name == member.name), None)
            if (known is None) != (kind == "reap"):
                self.late.append(f"{kind} {member.name}")

    def status(self, name: str) -> MemberStatus | None:
        """As `members` has it."""
        return next((member.status for member in self.pool.members() if member.name == name), None)


@asynccontextmanager
async def fake() -> AsyncGenerator[Watched, None]:
    pool = FakeGossip(server("s1"))
    watched = Watched(pool, lambda: pool.network.set_status("c2", FAILED))
    FakeGossip(client("c2"), pool.network)
    yield watched


@asynccontextmanager
async def real() -> AsyncGenerator[Watched, None]:
    mine = near(configured("s1", role="server"))
    other = near(configured("c2"))
    silence = trio.CancelScope()
    watched = Watched(ServerPool(mine), silence.cancel)
    async with trio.open_nursery() as nursery:
        await nursery.start(mine.run)

        async def run_other(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            with silence:
                await other.run(task_status=task_status)

        await nursery.start(run_other)
        await other.join([address(mine)])
        await until(lambda: watched.status("c2") is ALIVE)
        yield watched
        nursery.cancel_scope.cancel()


async def one_after_the_other(leave: Callable[[], Awaitable[None]]) -> None:
    await leave()
    await leave()


async def at_once(leave: Callable[[], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(leave)
        nursery.start_soon(leave)


POOLS: dict[str, Callable[[], AbstractAsyncContextManager[Watched]]] = {"fake": fake, "real": real}


@pytest.fixture(params=sorted(POOLS))
async def watched(request: pytest.FixtureRequest) -> AsyncIterator[Watched]:
    async with POOLS[request.param]() as made:
        yield made


@pytest.fixture
def pool(watched: Watched) -> GossipPool:
    return watched.pool


async def test_we_are_among_the_members_and_alive(pool: GossipPool) -> None:
    mine = pool.self_member()
    assert mine.status is ALIVE
    assert mine in pool.members()
    assert sorted(member.name for member in pool.members()) == ["c2", "s1"]


async def test_what_is_returned_is_the_callers_own(pool: GossipPool) -> None:
    pool.members().clear()
    assert pool.members()


async def test_new_tags_are_soon_ours_and_nothing_else_changes(watched: Watched) -> None:
    pool = watched.pool
    before = pool.self_member()
    pool.set_tags(before.tags | {"expect": "3"})
    await until(lambda: pool.self_member().tags == before.tags | {"expect": "3"})
    after = pool.self_member()
    assert (after.name, after.address, after.port) == (before.name, before.address, before.port)
    assert after in pool.members()
    await until(lambda: ("update", "s1") in watched.told)


async def test_forcing_out_the_living_and_the_unknown_does_nothing(watched: Watched) -> None:
    pool = watched.pool
    before = [(member.name, member.status) for member in pool.members()]
    for name in ("nobody", *(member.name for member in pool.members())):
        pool.force_leave(name)
    await pool.change_keys("list")  # whatever was asked before is done
    await until(lambda: [(member.name, member.status) for member in pool.members()] == before)


async def test_who_dies_fails_and_who_is_forced_out_has_left_and_is_told_after_the_members_have_changed(
    watched: Watched,
) -> None:
    pool = watched.pool
    watched.kill()
    await until(lambda: ("failed", "c2") in watched.told)
    assert watched.status("c2") is FAILED
    pool.force_leave("c2")
    await until(lambda: ("leave", "c2") in watched.told)
    assert watched.status("c2") is LEFT
    pool.force_leave("c2", prune=True)
    await until(lambda: ("reap", "c2") in watched.told)
    assert watched.status("c2") is None
    assert [kind for kind, name in watched.told if name == "c2"] == ["join", "failed", "leave", "reap"]
    assert watched.late == []


@pytest.mark.parametrize("twice", [one_after_the_other, at_once])
async def test_leaving_twice_is_leaving_once(
    pool: GossipPool, twice: Callable[[Callable[[], Awaitable[None]]], Awaitable[None]]
) -> None:
    with trio.fail_after(60):
        await twice(pool.leave)
    await until(lambda: pool.self_member().status is LEFT)


async def test_joining_nobody_reaches_nobody(pool: GossipPool) -> None:
    assert await pool.join([]) == 0


async def test_events_are_fired_without_waiting_and_refused_where_they_are_too_large(pool: GossipPool) -> None:
    pool.fire("consul:new-leader", b"s1", coalesce=False)
    with pytest.raises(InvalidRequest, match="user event exceeds limit of 512 bytes"):
        pool.fire("consul:new-leader", bytes(512), coalesce=False)


async def test_keys_are_asked_of_everybody(pool: GossipPool) -> None:
    assert (await pool.change_keys("list")).nodes_count == 2


async def test_positions_are_those_of_others(pool: GossipPool) -> None:
    assert "s1" not in pool.coordinates()


# Only real ones end


async def test_a_pool_that_has_ended_is_joined_by_nobody() -> None:
    mine = wide(configured("s1", role="server"))
    ended = ServerPool(mine)
    async with trio.open_nursery() as nursery:
        await nursery.start(mine.run)
        nursery.cancel_scope.cancel()
    assert await ended.join(["127.0.0.1:1"]) == 0
