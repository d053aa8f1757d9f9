"""The leader's question to whoever says that it is a server."""

import pytest

from base import codec
from base.errors import Unreachable
from server.leader.probing import SILENT_COUNT, TOLD_MAX, Prober
from structs.cluster import Peer, RaftStatsReply
from tests.fakes.server_parts import FakePool

PEER = Peer(server_id="id-2", name="s2", address="10.0.0.2:8300")


def stats(server_id: str) -> bytes:
    return codec.encode(
        RaftStatsReply(
            last_contact_s=0.0, term=1, last_index=1, commit_index=1, applied_index=1, leader=False, last_term=1,
            server_id=server_id, leader_id="id-1",
        )
    )  # fmt: skip


async def test_only_the_server_itself_and_proven_counts() -> None:
    pool = FakePool()
    prober = Prober(pool)
    pool.handlers[PEER.address] = lambda _method, _body, _caller: stats("id-2")
    assert (await prober.ask(PEER)) is not None
    pool.handlers[PEER.address] = lambda _method, _body, _caller: stats("id-3")
    assert await prober.ask(PEER) is None
    pool.handlers[PEER.address] = lambda _method, _body, _caller: stats("id-2")
    pool.unproven.add(PEER.address)
    assert await prober.ask(PEER) is None


async def test_who_does_not_answer_again_and_again_is_named_once_with_the_reason(
    capfd: pytest.CaptureFixture[str],
) -> None:
    pool = FakePool()
    prober = Prober(pool)

    async def said_after(count: int) -> int:
        for _ in range(count):
            pool.fail_next.append(Unreachable("certificate verify failed"))
            assert await prober.ask(PEER) is None
        out = capfd.readouterr().out
        assert "certificate verify failed" in out or not out
        return out.count("[WARN] server.leader: no answer from a server server=s2 address=10.0.0.2:8300")

    assert await said_after(SILENT_COUNT - 1) == 0
    assert await said_after(1) == 1
    assert await said_after(10) == 0
    pool.handlers[PEER.address] = lambda _method, _body, _caller: stats("id-2")
    assert await prober.ask(PEER) is not None
    assert await said_after(SILENT_COUNT) == 1, "it had answered meanwhile"


async def test_what_is_remembered_of_the_silent_is_bounded() -> None:
    prober = Prober(FakePool())
    for number in range(TOLD_MAX * 2):
        await prober.ask(Peer(server_id=f"id-{number}", name="n", address=f"10.0.0.2:{number}"))
    assert len(prober._silent) <= TOLD_MAX + 1
