"""How often a node's position is sent, and that nothing that goes wrong ends it."""

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.testing

from agent.coordinates import INTERVAL_S_MIN, UPDATES_PER_S, CoordinateSender
from base.errors import NoLeader, Unreachable
from structs.cluster import Empty, Member
from structs.coordinate import Coordinate, CoordinateUpdateRequest
from tests.fakes.members import client

HERE = Coordinate(vec=[0.5] * 8, height=0.1)


class World:
    """A source of positions, and servers that take them."""

    def __init__(self, *, seed: int = 1, members_count: int = 3) -> None:
        self.position: Coordinate | None = HERE
        self.sent: list[tuple[float, CoordinateUpdateRequest]] = []
        self.error: Exception | None = None
        self.later = True
        self._members = [client(f"c{number}") for number in range(members_count)]
        self.sender = CoordinateSender(
            delegate=self, source=self, node="c1", token="secret", rng=random.Random(seed)  # type: ignore[arg-type]
        )  # fmt: skip

    def members(self) -> list[Member]:
        return self._members

    def coordinate(self) -> Coordinate | None:
        return self.position

    def call(self, method: str, request: Any, reply: type[Any]) -> Any:
        assert (method, reply) == ("Coordinate.Update", Empty)
        self.sent.append((trio.current_time(), request))
        if self.later:
            return self._answer()
        if self.error is not None:
            raise self.error
        return Empty()

    async def _answer(self) -> Empty:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return Empty()


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.sender.run)
        yield
        nursery.cancel_scope.cancel()


@contextmanager
def said_with(seed: int) -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        error.add_note(f"seed {seed}")
        raise


async def test_it_is_sent_after_a_random_pause_again_and_again(autojump_clock: trio.testing.MockClock) -> None:
    for seed in range(20):
        world = World(seed=seed)
        began_s = trio.current_time()
        async with running(world):
            await trio.sleep(INTERVAL_S_MIN * 8)
        with said_with(seed):
            times = [began_s, *(at_s for at_s, _ in world.sent)]
            pauses = [later - earlier for earlier, later in pairwise(times)]
            assert 4 <= len(pauses) <= 8
            assert all(INTERVAL_S_MIN <= pause <= INTERVAL_S_MIN * 2 for pause in pauses), pauses
            request = world.sent[0][1]
            assert (request.update.node, request.update.coordinate, request.options.token) == ("c1", HERE, "secret")


@pytest.mark.parametrize("members_count", [1, 960, 64_000])
def test_all_nodes_together_send_no_more_than_servers_shall_have_to_take(members_count: int) -> None:
    sender = World(members_count=members_count).sender
    least_s = max(INTERVAL_S_MIN, members_count / UPDATES_PER_S)
    pauses = [sender.pause_s() for _ in range(100)]
    assert all(least_s <= pause <= 2 * least_s for pause in pauses)


async def test_a_position_that_is_not_known_is_not_sent(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    world.position = None
    async with running(world):
        await trio.sleep(INTERVAL_S_MIN * 4)
        assert world.sent == []
        world.position = HERE
        await trio.sleep(INTERVAL_S_MIN * 2)
        assert len(world.sent) == 1


@pytest.mark.parametrize("later", [True, False])
@pytest.mark.parametrize("error", [NoLeader(), Unreachable("No known Consul servers")])
async def test_what_cannot_be_sent_is_sent_the_next_time(
    autojump_clock: trio.testing.MockClock, error: Exception, later: bool
) -> None:
    world = World()
    world.error, world.later = error, later
    async with running(world):
        await trio.sleep(INTERVAL_S_MIN * 6)
        assert len(world.sent) >= 3
        world.error = None
        await trio.sleep(INTERVAL_S_MIN * 2)
        assert len(world.sent) >= 4
