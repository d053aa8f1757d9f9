"""Leaving: every step happens, in order, and none takes for ever."""

from pathlib import Path

import trio
import trio.testing
from msgspec.structs import replace

from base import codec
from base.errors import Refused
from rpc.caller import Caller
from server.leaving import GOODBYE_S, LEAVE_S_MAX, REMOVED_S, TRANSFER_S, Leaving
from structs.cluster import MemberStatus, Peer, RaftConfigurationReply, RaftServer
from tests.fakes.gossip import FakeGossip, FakeNetwork
from tests.fakes.members import server
from tests.fakes.server_parts import ServerParts, server_parts

Clock = trio.testing.MockClock
OTHER = Peer(server_id="id-2", name="s2", address="10.0.0.2:8300")
THIRD = Peer(server_id="id-3", name="s3", address="10.0.0.3:8300")
DRAIN_S = 0.25


class SilentGossip(FakeGossip):
    """Its farewells never get out."""

    async def leave(self) -> None:
        await trio.sleep_forever()


def leaving(parts: ServerParts, *, gossip: FakeGossip | None = None, wan: FakeGossip | None = None) -> Leaving:
    def refuse_calls() -> None:
        parts.forwarding.leaving = True

    return Leaving(
        config=replace(parts.config, leave_drain_s=DRAIN_S), raft=parts.raft, gossip=gossip or parts.gossip, wan=wan,
        pool=parts.pool, refuse_calls=refuse_calls,
    )  # fmt: skip


async def test_a_server_alone_says_goodbye_in_both_pools_drains_and_stays_in_its_configuration(
    tmp_path: Path, autojump_clock: Clock
) -> None:
    async with server_parts(tmp_path) as parts:
        wan = FakeGossip(server("s1.dc1"), FakeNetwork())
        await leaving(parts, wan=wan).leave()
        assert parts.gossip.self_member().status is MemberStatus.LEFT
        assert wan.left
        assert parts.forwarding.leaving
        assert trio.current_time() == DRAIN_S
        assert [peer.server_id for peer in parts.raft.configuration()] == ["id-1"]


async def test_a_leader_hands_over_before_it_says_goodbye(tmp_path: Path, autojump_clock: Clock) -> None:
    async with server_parts(tmp_path) as parts:
        parts.raft.peers.append(OTHER)
        led: list[bool] = []
        parts.gossip.subscribe(lambda _kind, _members: led.append(parts.raft.is_leader()))
        await leaving(parts).leave()
        assert led == [False]


async def test_who_cannot_hand_over_or_is_not_removed_leaves_anyway(tmp_path: Path, autojump_clock: Clock) -> None:
    async with server_parts(tmp_path) as parts:
        parts.raft.peers.append(OTHER)
        parts.raft.fail_next = Refused("nobody is connected")
        await leaving(parts).leave()
        assert parts.gossip.self_member().status is MemberStatus.LEFT
        assert parts.forwarding.leaving
        assert trio.current_time() <= REMOVED_S + DRAIN_S + 1


async def test_farewells_that_never_get_out_hold_nobody_up(tmp_path: Path, autojump_clock: Clock) -> None:
    async with server_parts(tmp_path) as parts:
        silent = SilentGossip(server("s1"), FakeNetwork())
        await leaving(parts, gossip=silent, wan=silent).leave()
        assert trio.current_time() == GOODBYE_S + DRAIN_S
        assert parts.forwarding.leaving


async def test_all_steps_together_are_over_before_the_process_is_ended(tmp_path: Path, autojump_clock: Clock) -> None:
    async with server_parts(tmp_path) as parts:
        parts.raft.peers.append(OTHER)
        parts.raft.change_leader(OTHER)  # which never answers
        await leaving(parts, gossip=SilentGossip(server("s1"), FakeNetwork())).leave()
        assert trio.current_time() == LEAVE_S_MAX
        assert parts.forwarding.leaving
    assert TRANSFER_S + GOODBYE_S <= LEAVE_S_MAX, "whatever happens, the others hear a goodbye"


async def test_who_is_told_that_it_is_out_asks_for_nothing_more(tmp_path: Path, autojump_clock: Clock) -> None:
    async with server_parts(tmp_path) as parts:
        leader = parts.peer
        parts.raft.peers = [leader, OTHER]
        out = Leaving(
            config=replace(parts.config, node_id="id-2", node_name="s2", leave_drain_s=DRAIN_S), raft=parts.raft,
            gossip=FakeGossip(server("s2"), parts.gossip.network), wan=None, pool=parts.pool,
            refuse_calls=lambda: None,
        )  # fmt: skip
        parts.raft.leads = True
        async with trio.open_nursery() as nursery:
            await nursery.start(parts.duties.leadership.run)
            parts.raft.transfer_leadership = None  # type: ignore[method-assign, assignment]
            await out._say_goodbye()
            await out._get_removed()
            nursery.cancel_scope.cancel()
        assert [peer.server_id for peer in parts.raft.configuration()] == ["id-1"], "the leader did it by itself"


async def test_who_is_out_learns_it_from_any_of_the_others(tmp_path: Path, autojump_clock: Clock) -> None:
    async with server_parts(tmp_path) as parts:
        parts.raft.peers = [THIRD, OTHER, parts.peer]
        parts.raft.change_leader(None)
        asked: list[str] = []

        async def without_us(method: str, body: bytes, caller: Caller) -> bytes:
            asked.append(method)
            await trio.lowlevel.checkpoint()
            row = RaftServer(peer=OTHER, leader=True, voter=True, last_index=1)
            return codec.encode(RaftConfigurationReply(servers=[row], index=7))

        parts.pool.handlers[OTHER.address] = without_us
        await leaving(parts).leave()
        assert asked == ["Operator.RaftGetConfiguration"]
        assert parts.pool.calls[0] == (THIRD.address, "Operator.RaftGetConfiguration")
        assert trio.current_time() <= 1 + DRAIN_S, "nobody had to wait for a leader"
