"""What an agent says of who is there, out of its pools."""

from typing import Any

import pytest
import trio

from agent.membership import JOIN_WAN_TEXT, GossipMembership
from base.errors import NotFound, Refused
from structs.cluster import Member
from structs.coordinate import Coordinate
from tests.fakes.members import client, server

HERE = Coordinate(vec=[0.0] * 8, height=0.1)


class PoolDouble:
    """One pool that knows these members."""

    def __init__(self, *known: Member) -> None:
        self.known = list(known)
        self.joined: list[list[str]] = []
        self.forced: list[tuple[str, bool]] = []

    def members(self) -> list[Member]:
        return self.known

    def self_member(self) -> Member:
        return self.known[0]

    def coordinate(self) -> Coordinate:
        return HERE

    def statistics(self) -> dict[str, str]:
        return {"members": str(len(self.known))}

    async def join(self, addresses: list[str]) -> tuple[int, dict[str, str]]:
        await trio.lowlevel.checkpoint()
        self.joined.append(addresses)
        return 1, {"10.0.0.9:8301": "refused"}

    async def force_leave(self, name: str, *, prune: bool = False) -> None:
        await trio.lowlevel.checkpoint()
        if all(member.name != name for member in self.known):
            raise NotFound(f"agent: No node found with name '{name}'")
        self.forced.append((name, prune))


class World:
    """A server's membership, or with `wan` False a client's."""

    def __init__(self, *, wan: bool) -> None:
        self.lan = PoolDouble(server("s1"), client("c2"))
        self.wan = PoolDouble(server("s1.dc1")) if wan else None
        self.left_count = 0
        pools: dict[str, Any] = {"lan": self.lan, "wan": self.wan}
        self.membership = GossipMembership(
            **pools, statistics=lambda: {"raft": {"term": "3"}, "serf_lan": {"said": "last"}}, leave=self._leave
        )

    async def _leave(self) -> None:
        await trio.lowlevel.checkpoint()
        self.left_count += 1


async def test_the_lan_is_what_is_asked_where_nothing_else_is_said() -> None:
    world = World(wan=True)
    membership = world.membership
    assert membership.self_member() == server("s1")
    assert membership.members(wan=False) == [server("s1"), client("c2")]
    assert membership.coordinate() == HERE
    report = await membership.join(["10.0.0.1:8301"], wan=False)
    assert (report.contacted_count, report.errors) == (1, {"10.0.0.9:8301": "refused"})
    assert world.lan.joined == [["10.0.0.1:8301"]]
    assert await membership.force_leave("c2", prune=True, wan=False)
    assert world.lan.forced == [("c2", True)]
    assert not await membership.force_leave("c3", prune=False, wan=False)
    await membership.leave()
    assert world.left_count == 1


async def test_the_wan_is_another_pool() -> None:
    world = World(wan=True)
    assert world.wan is not None
    assert world.membership.members(wan=True) == [server("s1.dc1")]
    await world.membership.join(["10.9.0.1:8302"], wan=True)
    assert (world.lan.joined, world.wan.joined) == ([], [["10.9.0.1:8302"]])
    assert await world.membership.force_leave("s1.dc1", prune=False, wan=True)
    assert not await world.membership.force_leave("c2", prune=False, wan=True)


async def test_where_there_is_no_wan_nobody_is_in_it_and_joining_it_is_refused() -> None:
    membership = World(wan=False).membership
    assert membership.members(wan=True) == []
    with pytest.raises(Refused, match=JOIN_WAN_TEXT):
        await membership.join(["10.9.0.1:8302"], wan=True)
    with pytest.raises(Refused, match=JOIN_WAN_TEXT):
        await membership.force_leave("s1.dc1", prune=False, wan=True)


def test_statistics_have_a_section_for_each_pool_and_those_of_others_on_top() -> None:
    assert World(wan=True).membership.statistics() == {
        "serf_lan": {"said": "last"},
        "serf_wan": {"members": "1"},
        "raft": {"term": "3"},
    }
    assert "serf_wan" not in World(wan=False).membership.statistics()
