"""Who answers, who is asked instead, and what is sent again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from base import codec
from base.errors import InvalidRequest, NoLeader, OutcomeUnknown, PermissionDenied, Refused, Unreachable
from rpc.caller import Caller, Role
from server.forwarding import OLD_LEADER_GRACE_S
from structs.cluster import BootstrapHello, DigestRequest, Empty, LeaderReply
from structs.kv import KVApplyReply, KVApplyRequest, KVCommand, KVGetReply, KVGetRequest, KVVerb
from structs.query import Consistency, QueryOptions
from tests.fakes.server_parts import REMOTE, FakePool, ServerParts, server_parts

PUT = KVApplyRequest(command=KVCommand(verb=KVVerb.SET, key="a", value=b"1"))
GET = KVGetRequest(key="a")


def follow(follower: ServerParts, leader: ServerParts) -> None:
    follower.raft.change_leader(leader.peer)


async def test_a_follower_sends_writes_and_default_reads_to_the_leader(tmp_path: Path) -> None:
    pool = FakePool()
    async with server_parts(tmp_path, 1, pool=pool) as leader, server_parts(tmp_path, 2, pool=pool) as follower:
        follow(follower, leader)
        assert await follower.ask("KVS.Apply", PUT) == KVApplyReply(ok=True)
        reply = await follower.ask("KVS.Get", GET)
        assert reply.entry.value == b"1"
        assert pool.calls == [(leader.peer.address, ">KVS.Apply"), (leader.peer.address, ">KVS.Get")]


async def test_a_follower_passes_bytes_through_as_they_are(tmp_path: Path) -> None:
    pool = FakePool()
    async with server_parts(tmp_path, 1, pool=pool) as leader, server_parts(tmp_path, 2, pool=pool) as follower:
        follow(follower, leader)
        answer = follower.dispatcher.handle("KVS.Apply", codec.encode(PUT), REMOTE)
        assert not isinstance(answer, bytes)
        assert codec.decode(KVApplyReply, await answer).ok
        direct = leader.dispatcher.handle("KVS.Get", codec.encode(GET), REMOTE)
        assert isinstance(direct, bytes)
        passed = follower.dispatcher.handle("KVS.Get", codec.encode(GET), REMOTE)
        assert not isinstance(passed, bytes)
        assert await passed == direct


async def test_a_stale_read_is_answered_where_it_arrives(tmp_path: Path) -> None:
    pool = FakePool()
    async with server_parts(tmp_path, 1, pool=pool) as leader, server_parts(tmp_path, 2, pool=pool) as follower:
        follow(follower, leader)
        request = KVGetRequest(key="a", options=QueryOptions(consistency=Consistency.STALE))
        assert isinstance(await follower.ask("KVS.Get", request), KVGetReply)
        assert not pool.calls


async def test_a_forwarded_call_is_never_forwarded_again(tmp_path: Path) -> None:
    pool = FakePool()
    async with server_parts(tmp_path, 1, pool=pool) as leader, server_parts(tmp_path, 2, pool=pool) as follower:
        follow(follower, leader)
        answer = follower.dispatcher.handle(">KVS.Apply", codec.encode(PUT), REMOTE)
        assert not isinstance(answer, bytes)
        with pytest.raises(NoLeader):
            await answer
        assert not pool.calls


async def test_without_a_leader_a_call_is_held_and_then_told_so(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts:
        parts.raft.change_leader(None)
        began_s = trio.current_time()
        with pytest.raises(NoLeader, match=r"^No cluster leader$"):
            await parts.ask("KVS.Apply", PUT)
        assert 7.0 <= trio.current_time() - began_s < 7.5


async def test_a_held_call_goes_on_at_once_when_a_leader_appears(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        parts.raft.change_leader(None)
        done: list[float] = []

        async def write() -> None:
            await parts.ask("KVS.Apply", PUT)
            done.append(trio.current_time())

        nursery.start_soon(write)
        await trio.sleep(3.0)
        appeared_s = trio.current_time()
        parts.raft.change_leader(parts.peer)
        await trio.testing.wait_all_tasks_blocked()
        assert done == [appeared_s]


async def test_a_write_is_sent_again_after_a_definite_error_and_applied_once(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    pool = FakePool()
    async with server_parts(tmp_path, 1, pool=pool) as leader, server_parts(tmp_path, 2, pool=pool) as follower:
        follow(follower, leader)
        pool.fail_next = [Unreachable("refused"), NoLeader()]
        await follower.ask("KVS.Apply", PUT)
        assert len(pool.calls) == 3
        assert len(leader.raft.proposed) == 1


async def test_a_write_whose_outcome_is_unknown_is_never_sent_again(tmp_path: Path) -> None:
    pool = FakePool()
    async with server_parts(tmp_path, 1, pool=pool) as leader, server_parts(tmp_path, 2, pool=pool) as follower:
        follow(follower, leader)
        pool.fail_next = [OutcomeUnknown("the connection broke")]
        with pytest.raises(OutcomeUnknown):
            await follower.ask("KVS.Apply", PUT)
        assert len(pool.calls) == 1


async def test_a_read_is_sent_again_after_its_connection_broke(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    pool = FakePool()
    async with server_parts(tmp_path, 1, pool=pool) as leader, server_parts(tmp_path, 2, pool=pool) as follower:
        follow(follower, leader)
        pool.fail_next = [OutcomeUnknown("the connection broke")]
        assert isinstance(await follower.ask("KVS.Get", GET), KVGetReply)


async def frozen(method: str, body: bytes, caller: Caller) -> bytes:
    """What a stopped process answers."""
    await trio.sleep_forever()
    raise AssertionError


@asynccontextmanager
async def at_a_frozen_leader(folder: Path) -> AsyncIterator[tuple[ServerParts, ServerParts]]:
    """A follower of a leader that answers nothing, and a server that may lead next."""
    pool = FakePool()
    async with (
        server_parts(folder, 1, pool=pool) as old,
        server_parts(folder, 2, pool=pool) as follower,
        server_parts(folder, 3, pool=pool) as new,
    ):
        follow(follower, old)
        pool.handlers[old.peer.address] = frozen
        yield follower, new


async def test_a_write_at_a_frozen_leader_is_unknown_soon_after_another_leads(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with at_a_frozen_leader(tmp_path) as (follower, new), trio.open_nursery() as nursery:
        ended_s = []

        async def write() -> None:
            with pytest.raises(OutcomeUnknown, match=r"no answer from 10\.0\.0\.1:8300 in time"):
                await follower.ask("KVS.Apply", PUT)
            ended_s.append(trio.current_time() - changed_s)

        nursery.start_soon(write)
        await trio.sleep(1.0)
        changed_s = trio.current_time()
        follower.raft.change_leader(None)
        follow(follower, new)
        await trio.sleep(5.0)
        assert ended_s == [pytest.approx(OLD_LEADER_GRACE_S)]
        assert new.raft.proposed == []


async def test_a_read_at_a_frozen_leader_is_asked_anew_of_the_next_one(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with at_a_frozen_leader(tmp_path) as (follower, new), trio.open_nursery() as nursery:
        answers = []

        async def read() -> None:
            answers.append(await follower.ask("KVS.Get", GET))

        nursery.start_soon(read)
        await trio.sleep(1.0)
        follow(follower, new)
        await trio.sleep(2.0)
        assert len(answers) == 1


async def test_a_leader_that_hands_over_still_answers_what_it_was_asked(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    pool = FakePool()
    async with (
        server_parts(tmp_path, 1, pool=pool) as old,
        server_parts(tmp_path, 2, pool=pool) as follower,
        server_parts(tmp_path, 3, pool=pool) as new,
        trio.open_nursery() as nursery,
    ):
        follow(follower, old)
        answering = pool.handlers[old.peer.address]

        async def slow(method: str, body: bytes, caller: Caller) -> bytes:
            await trio.sleep(1.0 + OLD_LEADER_GRACE_S / 2)
            answer = answering(method, body, caller)
            return answer if isinstance(answer, bytes) else await answer

        pool.handlers[old.peer.address] = slow
        nursery.start_soon(follower.ask, "KVS.Apply", PUT)
        await trio.sleep(1.0)
        follow(follower, new)
        await trio.sleep(2.0)
        assert len(old.raft.proposed) == 1
        assert new.raft.proposed == []


async def test_a_server_that_is_going_refuses_at_once(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with server_parts(tmp_path) as parts:
        parts.raft.change_leader(None)
        parts.forwarding.leaving = True
        began_s = trio.current_time()
        with pytest.raises(NoLeader):
            await parts.ask("KVS.Apply", PUT)
        assert trio.current_time() == began_s


async def test_a_leader_that_never_answers_becomes_no_cluster_leader(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    pool = FakePool()
    async with server_parts(tmp_path, 1, pool=pool) as leader, server_parts(tmp_path, 2, pool=pool) as follower:
        follow(follower, leader)
        del pool.handlers[leader.peer.address]
        with pytest.raises(NoLeader, match=r"^No cluster leader$"):
            await follower.ask("KVS.Apply", PUT)


async def test_a_blocking_read_that_is_passed_on_keeps_only_the_rest_of_its_wait(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    pool = FakePool()
    async with server_parts(tmp_path, 1, pool=pool) as leader, server_parts(tmp_path, 2, pool=pool) as follower:
        follow(follower, leader)
        began_s = trio.current_time()
        request = KVGetRequest(key="a", options=QueryOptions(index_min=1000, wait_s=32))
        await follower.ask("KVS.Get", request)
        assert 30 <= trio.current_time() - began_s <= 34.1


async def test_status_is_answered_by_whoever_is_asked(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        parts.raft.change_leader(None)
        assert await parts.ask("Status.Leader", Empty()) == LeaderReply(address="")


async def test_what_only_servers_may_ask_is_refused_to_agents_with_certificates(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        body = codec.encode(DigestRequest())
        agent = Caller(address="10.0.0.9:1", role=Role.AGENT, tls=True, identity_required=True)
        with pytest.raises(PermissionDenied):
            parts.dispatcher.handle("Status.Digest", body, agent)
        server = Caller(address="10.0.0.9:1", role=Role.SERVER, tls=True, identity_required=True)
        assert isinstance(parts.dispatcher.handle("Status.Digest", body, server), bytes)


async def test_an_agent_with_a_certificate_cannot_pose_as_a_server_that_joins(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        said = BootstrapHello(peer=parts.peer, datacenter="dc1")
        agent = Caller(address="10.0.0.9:1", role=Role.AGENT, tls=True, identity_required=True)
        with pytest.raises(PermissionDenied):
            parts.dispatcher.handle("Cluster.Hello", codec.encode(said), agent)


async def test_unknown_methods_and_malformed_requests_are_refused(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        with pytest.raises(Refused, match="can't find method"):
            parts.dispatcher.handle("KVS.Explode", b"", REMOTE)
        with pytest.raises(InvalidRequest):
            parts.dispatcher.handle("KVS.Get", b"\xc1", REMOTE)
