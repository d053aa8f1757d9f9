"""Anybody on an open network can announce any number of servers. They must not crowd out those that are there.

Weakness class: lists that are filled by whoever comes first, or loudest.
"""

import random
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from agent.servers import SERVERS_MAX, ServerList
from base.limits import Turns
from fsm.store import nodes
from server.flooding import TARGETS_MAX, Flooding
from server.leader.autopiloting import STRANGERS_MAX
from server.leader.reconcile import plan_members
from structs.cluster import Member
from tests.fakes.gossip import FakeGossip
from tests.fakes.members import client, server
from tests.fakes.server_parts import server_parts

Clock = trio.testing.MockClock


def test_servers_that_an_agent_knows_are_not_driven_out_by_news() -> None:
    servers = ServerList(random.Random(1))
    real = [f"10.0.0.{number}:8300" for number in range(1, 4)]
    servers.update(real)
    servers.set_leader(real[0])
    servers.update([f"10.9.9.{number}:8300" for number in range(200)] + real)
    assert len(servers) == SERVERS_MAX
    assert set(real) <= set(servers.addresses)
    assert servers.leader == real[0]


def test_everybody_has_a_turn_and_newcomers_have_theirs_first() -> None:
    turns = Turns(2)
    assert turns.pick("abc") == ["a", "b"]
    assert turns.pick("abc") == ["c", "a"]
    assert turns.pick("abcd") == ["d", "b"]
    assert turns.pick("ab") == ["a", "b"]
    assert turns.pick("") == []
    assert turns._last == {}


async def test_forged_servers_cost_a_leader_no_more_than_a_few_questions_a_round(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        for number in range(200, 400):
            parts.gossip.network.show(server(f"fake{number}", id=f"fake-{number}"))
        await nursery.start(parts.duties.leadership.run)
        await trio.sleep(0.05)
        parts.pool.calls.clear()
        await trio.sleep(30.0)
        asked = [address for address, method in parts.pool.calls if method == "Status.RaftStats"]
        nursery.cancel_scope.cancel()
    rounds_count = 30.0 / 2.0 + 2
    assert len(asked) <= rounds_count * STRANGERS_MAX
    assert len(set(asked)) == 200, "each has its turn"


async def test_forged_servers_do_not_keep_a_server_from_joining_the_wan(autojump_clock: Clock) -> None:
    lan, wan = FakeGossip(server("s1")), FakeGossip(server("s1.dc1"))
    for number in range(200, 300):
        lan.network.show(server(f"fake{number}", id=f"fake-{number}", wan_join_port="8302"))
    flooding = Flooding(datacenter="dc1", lan=lan, wan=wan)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flooding.run)
        await trio.sleep(1.0)
        assert len(wan.joined) == TARGETS_MAX
        lan.network.show(server("s2", wan_join_port="8302"))
        flooding.heard([server("s2")])
        for _ in range(100):
            await trio.sleep(60.0)
            if "10.0.0.2:8302" in wan.joined:
                break
        nursery.cancel_scope.cancel()
    assert "10.0.0.2:8302" in wan.joined


async def test_everybody_is_looked_at_in_slices_and_others_have_their_turn_in_between(
    tmp_path: Path, autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.leader.reconciling.SLICE_COUNT", 2)
    looked_at: list[int] = []

    def spy(members: list[Member], *arguments: Any, **options: Any) -> list[Any]:
        looked_at.append(len(members))
        return plan_members(members, *arguments, **options)

    monkeypatch.setattr("server.leader.reconciling.plan_members", spy)
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        for number in range(5, 9):
            parts.gossip.network.show(client(f"c{number}"))
        await nursery.start(parts.duties.leadership.run)
        await trio.sleep(0.5)
        with parts.machine.read() as view:
            assert all(nodes.get(view, f"c{number}") is not None for number in range(5, 9))
        nursery.cancel_scope.cancel()
    assert looked_at[:4] == [2, 2, 1, 0]
