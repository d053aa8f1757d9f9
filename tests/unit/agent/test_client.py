"""agent/client.py: whom gossip lets an agent ask, and how it learns who leads."""

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing

from agent.client import ASK_LEADER_S_MAX, ClientLink
from agent.config.load import load
from base.codec import encode
from base.errors import Unreachable
from gossip.instructions import UserEventArrived
from structs.cluster import Empty, LeaderReply, Member, MemberStatus
from structs.event import NEW_LEADER
from tests.fakes.members import OUR_BUILD


def server(name: str, *, status: MemberStatus = MemberStatus.ALIVE, **tags: str) -> Member:
    said = {"role": "consul", "dc": "dc1", "port": "8300", "id": f"id-{name}", "vsn": "2", "build": OUR_BUILD, **tags}
    return Member(name=name, address=f"10.0.0.{name[-1]}", port=8301, tags=said, status=status)


class GossipDouble:
    """Says what the test says."""

    def __init__(self) -> None:
        self.known: list[Member] = []
        self.watchers: list[Callable[[str, list[Member]], None]] = []
        self.event_watchers: list[Callable[[UserEventArrived], None]] = []

    def members(self) -> list[Member]:
        return self.known

    def subscribe(self, watcher: Callable[[str, list[Member]], None]) -> None:
        self.watchers.append(watcher)

    def subscribe_events(self, watcher: Callable[[UserEventArrived], None]) -> None:
        self.event_watchers.append(watcher)

    def show(self, *members: Member) -> None:
        self.known = list(members)
        for watcher in self.watchers:
            watcher("update", self.known)

    def new_leader(self, name: str, *, event: str = NEW_LEADER) -> None:
        for watcher in self.event_watchers:
            watcher(UserEventArrived(lamport_time=1, name=event, payload=name.encode(), coalesce=False))


class PoolDouble:
    """Answers for all servers; who leads is in `leader`, and who is `down` does not answer."""

    def __init__(self) -> None:
        self.leader = ""
        self.down: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.doubted: list[str] = []
        self.learnt: list[Member] = []

    def learn(self, members: list[Member]) -> None:
        self.learnt = members

    def doubt(self, address: str) -> None:
        self.doubted.append(address)

    async def call(self, address: str, method: str, body: bytes, *, timeout_s: float) -> bytes:
        await trio.lowlevel.checkpoint()
        self.asked.append((address, method))
        if address in self.down:
            raise Unreachable(f"dial tcp {address}: connection refused")
        return encode(LeaderReply(address=self.leader) if method == "Status.Leader" else Empty())


@asynccontextmanager
async def running() -> AsyncGenerator[tuple[ClientLink, GossipDouble, PoolDouble], None]:
    config, _ = load(["-data-dir=/x", "-bind=127.0.0.1", "-node=n1"], environment={}, role="agent")
    gossip: Any = GossipDouble()
    pool: Any = PoolDouble()
    link = ClientLink(config, pool=pool, gossip=gossip, rng=random.Random(1))
    async with trio.open_nursery() as nursery:
        await nursery.start(link.run)
        yield link, gossip, pool
        nursery.cancel_scope.cancel()


async def test_only_living_servers_of_the_own_datacenter_are_asked(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as (link, gossip, pool):
        gossip.show(
            server("s1"),
            server("s2", status=MemberStatus.FAILED),
            server("s3", status=MemberStatus.LEFT),
            server("s4", dc="dc2"),
            server("s5", port="none"),
            server("n6", role="node"),
        )
        assert link.servers.addresses == ["10.0.0.1:8300"]
        assert link.statistics()["consul"] == {"known_servers": "1", "server": "false"}
        assert [member.name for member in pool.learnt] == ["s1", "s2", "s3", "s4", "s5", "n6"]


async def test_who_leads_is_asked_for_until_somebody_knows(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as (link, gossip, pool):
        gossip.show(server("s1"), server("s2"))
        await trio.sleep(5 * ASK_LEADER_S_MAX)
        assert link.servers.leader == ""
        assert len(pool.asked) < 20, "an agent without a leader must not flood the servers"
        pool.leader = "10.0.0.2:8300"
        await trio.sleep(2 * ASK_LEADER_S_MAX)
        assert link.servers.leader == "10.0.0.2:8300"
        asked_count = len(pool.asked)
        await trio.sleep(10 * ASK_LEADER_S_MAX)
        assert len(pool.asked) == asked_count, "it is known now"


async def test_a_server_that_does_not_answer_is_not_the_only_one_asked(autojump_clock: trio.testing.MockClock) -> None:
    async with running() as (link, gossip, pool):
        pool.leader = "10.0.0.1:8300"
        pool.down = {"10.0.0.2:8300"}
        gossip.show(server("s1"), server("s2"))
        await trio.sleep(5 * ASK_LEADER_S_MAX)
        assert link.servers.leader == "10.0.0.1:8300"


async def test_the_event_of_a_new_leader_is_believed_where_gossip_knows_the_server(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as (link, gossip, pool):
        pool.leader = "10.0.0.1:8300"
        gossip.show(server("s1"), server("s2"))
        await trio.sleep(3 * ASK_LEADER_S_MAX)
        gossip.new_leader("nobody")
        gossip.new_leader("s2", event="deploy")
        assert link.servers.leader == "10.0.0.1:8300"
        gossip.new_leader("s2")
        assert link.servers.leader == "10.0.0.2:8300"
        assert pool.doubted == ["10.0.0.1:8300"], "it may stand still, and callers wait for it"


async def test_a_leader_that_gossip_takes_for_dead_is_left_and_asked_for_anew(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as (link, gossip, pool):
        pool.leader = "10.0.0.1:8300"
        gossip.show(server("s1"), server("s2"))
        await trio.sleep(3 * ASK_LEADER_S_MAX)
        pool.leader = "10.0.0.2:8300"
        gossip.show(server("s1", status=MemberStatus.FAILED), server("s2"))
        assert link.servers.leader == ""
        assert pool.doubted == ["10.0.0.1:8300"]
        await trio.sleep(3 * ASK_LEADER_S_MAX)
        assert link.servers.leader == "10.0.0.2:8300"


async def test_now_and_then_the_order_changes_and_who_is_asked_first_answers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with running() as (link, gossip, pool):
        pool.leader = "10.0.0.1:8300"
        pool.down = {"10.0.0.2:8300"}
        gossip.show(server("s1"), server("s2"), server("s3"))
        for _ in range(20):
            await trio.sleep(200.0)
            assert link.servers.addresses[0] != "10.0.0.2:8300"
        assert {address for address, method in pool.asked if method == "Status.Ping"} >= {"10.0.0.3:8300"}
