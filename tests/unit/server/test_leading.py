"""The leader's duties: they live as long as the leadership, and each does its one thing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from base import codec
from base.errors import InvariantBroken
from fsm.commands.registry import TOMBSTONE
from server.digests import DigestComparison
from server.leader.loop import Leadership
from server.leader.tombstones import TombstoneDuty
from structs.cluster import DigestReply, Peer
from structs.kv import KVApplyRequest, KVCommand, KVVerb
from tests.fakes.server_parts import FakePool, ServerParts, server_parts


async def write(parts: ServerParts, verb: KVVerb, key: str) -> None:
    await parts.ask("KVS.Apply", KVApplyRequest(command=KVCommand(verb=verb, key=key)))


async def test_duties_begin_with_the_leadership_and_end_with_it(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        running = 0

        async def duty() -> None:
            nonlocal running
            running += 1
            try:
                await trio.sleep_forever()
            finally:
                running -= 1

        gained: list[bool] = []
        leadership = Leadership(parts.raft, [duty, duty], on_gained=lambda: gained.append(leadership.established))
        await nursery.start(leadership.run)
        await trio.testing.wait_all_tasks_blocked()
        assert running == 2
        assert leadership.established
        parts.raft.change_leader(None)
        await trio.testing.wait_all_tasks_blocked()
        assert running == 0
        assert not leadership.established
        parts.raft.change_leader(parts.peer)
        await trio.testing.wait_all_tasks_blocked()
        assert running == 2
        assert gained == [False, False], "told once a term, before its duties begin"
        nursery.cancel_scope.cancel()


async def test_deletions_are_forgotten_once_they_are_old_and_not_before(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        nursery.start_soon(TombstoneDuty(parts.raft, parts.machine).run)
        await trio.sleep(100)
        await write(parts, KVVerb.SET, "a")
        await write(parts, KVVerb.DELETE, "a")

        def reaped_count() -> int:
            return sum(command[0] == TOMBSTONE for command in parts.raft.proposed)

        await trio.sleep(15 * 60)
        assert reaped_count() == 0
        await trio.sleep(60)
        assert reaped_count() == 1
        await trio.sleep(3600)
        assert reaped_count() == 1, "nothing is logged while there is nothing to forget"
        nursery.cancel_scope.cancel()


def _always(answer: bytes) -> Callable[[str, bytes, object], bytes]:
    return lambda _method, _body, _caller: answer


def others_with(parts: ServerParts, pool: FakePool, digests: list[str]) -> None:
    """Give the server peers whose state has these digests."""
    for number, text in enumerate(digests, start=2):
        peer = Peer(server_id=f"id-{number}", name=f"s{number}", address=f"10.0.0.{number}:8300")
        parts.raft.peers.append(peer)
        pool.handlers[peer.address] = _always(codec.encode(DigestReply(index=64, digest=text)))


async def comparison(parts: ServerParts, pool: FakePool) -> tuple[DigestComparison, str]:
    for number in range(70):
        await write(parts, KVVerb.SET, f"k{number}")
    mine = parts.machine.digest_at(64)
    assert mine is not None
    compared = DigestComparison(server_id="id-1", raft=parts.raft, machine=parts.machine, pool=pool)
    return compared, mine


async def test_equal_states_agree(tmp_path: Path) -> None:
    pool = FakePool()
    async with server_parts(tmp_path, pool=pool) as parts:
        compared, mine = await comparison(parts, pool)
        others_with(parts, pool, [mine, "different"])
        await compared.compare(64)
        assert compared.compared_index == 64


async def test_a_server_whose_state_differs_from_the_majority_stops(tmp_path: Path) -> None:
    pool = FakePool()
    async with server_parts(tmp_path, pool=pool) as parts:
        compared, _ = await comparison(parts, pool)
        others_with(parts, pool, ["different", "different"])
        with pytest.raises(InvariantBroken, match="differs from that of 2 of 3 servers after log entry 64"):
            await compared.compare(64)


async def test_without_a_majority_against_it_a_server_goes_on(tmp_path: Path) -> None:
    pool = FakePool()
    async with server_parts(tmp_path, pool=pool) as parts:
        compared, _ = await comparison(parts, pool)
        others_with(parts, pool, ["different", "another"])
        await compared.compare(64)
        assert compared.compared_index == 0
