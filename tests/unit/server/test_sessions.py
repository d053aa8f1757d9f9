"""Session.*, and what the leader does for sessions: TTLs, renewals, lock delays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace

import server.endpoints.internal
import server.endpoints.session
from base.codec import decode
from base.errors import InvalidRequest, NoLeader, OutcomeUnknown, Refused, TooLarge
from fsm.commands.registry import SESSION
from server.leader import expiring
from server.leader.expiring import SessionExpiry
from structs.catalog import DeregisterCommand, DeregisterRequest, HealthCheck, NodeRequest, RegisterCommand
from structs.catalog import RegisterRequest as CatalogRegister
from structs.kv import KVApplyRequest, KVCommand, KVGetRequest, KVVerb
from structs.query import QueryOptions
from structs.session import (
    CHECKS_MAX,
    DESTROYED_MAX,
    ListSessionsRequest,
    Session,
    SessionApplyRequest,
    SessionBehavior,
    SessionCommand,
    SessionRequest,
    SessionVerb,
    is_session_id,
)
from structs.txn import TxnOp, TxnRequest
from tests.fakes.server_parts import ServerParts, server_parts

SECOND_NS = 1_000_000_000
NOBODY = "00000000-0000-4000-8000-000000000000"


async def with_node(parts: ServerParts) -> None:
    checks = [
        HealthCheck(node="n", check_id="c", status="passing"),
        HealthCheck(node="n", check_id="bad", status="critical"),
    ]
    command = RegisterCommand(node="n", address="10.0.0.1", checks=checks)
    await parts.ask("Catalog.Register", CatalogRegister(command=command))


async def create(parts: ServerParts, **fields: Any) -> str:
    wanted = Session(session_id="", node=fields.pop("node", "n"), **fields)
    reply = await parts.ask("Session.Apply", SessionApplyRequest(verb=SessionVerb.CREATE, session=wanted))
    assert is_session_id(reply.session_id)
    return str(reply.session_id)


async def destroy(parts: ServerParts, session_id: str) -> None:
    request = SessionApplyRequest(verb=SessionVerb.DESTROY, session=Session(session_id=session_id))
    assert (await parts.ask("Session.Apply", request)).session_id == ""


async def renew(parts: ServerParts, session_id: str) -> bool:
    return bool((await parts.ask("Session.Renew", SessionRequest(session_id=session_id))).sessions)


async def lives(parts: ServerParts, session_id: str) -> bool:
    return bool((await parts.ask("Session.Get", SessionRequest(session_id=session_id))).sessions)


async def locked(parts: ServerParts, key: str, session_id: str, verb: KVVerb = KVVerb.LOCK) -> bool:
    command = KVCommand(verb=verb, key=key, value=b"v", session=session_id)
    return bool((await parts.ask("KVS.Apply", KVApplyRequest(command=command))).ok)


async def test_sessions_are_created_listed_and_destroyed(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await with_node(parts)
        first = await create(parts, name="one", node_checks=["c", "c"], lock_delay_ns=5, ttl="10s")
        second = await create(parts, node="N", behavior=SessionBehavior.DELETE)
        (found,) = (await parts.ask("Session.Get", SessionRequest(session_id=first.upper()))).sessions
        assert (found.session_id, found.name, found.node_checks, found.lock_delay_ns) == (first, "one", ["c"], 5)
        listed = await parts.ask("Session.List", ListSessionsRequest())
        assert [each.session_id for each in listed.sessions] == sorted([first, second])
        assert listed.meta.index == parts.machine.index_applied
        assert (await parts.ask("Session.NodeSessions", NodeRequest(node="N"))).sessions == listed.sessions
        assert (await parts.ask("Session.NodeSessions", NodeRequest(node="m"))).sessions == []
        await destroy(parts, first.upper())
        before = parts.machine.index_applied
        assert not await lives(parts, first)
        assert await lives(parts, second)
        await destroy(parts, "no UUID")
        assert parts.machine.index_applied == before
        await destroy(parts, NOBODY)


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"node": ""}, Refused, "Must provide Node"),
        ({"node": "m"}, Refused, "Missing node registration"),
        ({"node_checks": ["x"]}, Refused, "Missing check 'x' registration"),
        ({"node_checks": ["bad"]}, Refused, "Check 'bad' is in critical state"),
        ({"ttl": "5s"}, Refused, "Invalid Session TTL '5000000000', must be between [10s=24h0m0s]"),
        ({"ttl": "25h"}, Refused, "Invalid Session TTL '90000000000000', must be between [10s=24h0m0s]"),
        ({"ttl": "-10s"}, Refused, "Invalid Session TTL '-10000000000', must be between [10s=24h0m0s]"),
        ({"ttl": "10"}, Refused, "Session TTL '10' invalid: time: invalid duration \"10\""),
        ({"lock_delay_ns": -1}, Refused, "Invalid LockDelay: it is negative"),
        ({"name": "x" * 70_000}, TooLarge, "the session is too large"),
        ({"node": "x" * 2_000}, TooLarge, "Node name is too long"),
        ({"node_checks": ["c"] * (CHECKS_MAX + 1)}, TooLarge, "too many checks"),
        ({"name": "\ud800"}, InvalidRequest, "the request holds what is"),
    ],
)
async def test_what_cannot_be_a_session_is_refused(
    tmp_path: Path, fields: dict[str, Any], kind: type[Exception], text: str
) -> None:
    async with server_parts(tmp_path) as parts:
        await with_node(parts)
        before = parts.machine.index_applied
        with pytest.raises(kind) as raised:
            await create(parts, **fields)
        assert str(raised.value).startswith(text) or text in str(raised.value)
        assert (await parts.ask("Session.List", ListSessionsRequest())).sessions == []
        assert parts.machine.index_applied <= before + 1
        with pytest.raises(Refused, match="Missing session"):
            await destroy(parts, "")


@pytest.mark.parametrize("ttl", ["", "0", "0s", "10s", "15.0s", "24h", "1m30.5s"])
async def test_ttls_that_may_be(tmp_path: Path, ttl: str) -> None:
    async with server_parts(tmp_path) as parts:
        await with_node(parts)
        session_id = await create(parts, ttl=ttl)
        (found,) = (await parts.ask("Session.Get", SessionRequest(session_id=session_id))).sessions
        assert found.ttl == ttl


async def test_who_waits_for_a_session_hears_of_its_end(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        await with_node(parts)
        session_id = await create(parts)
        index = parts.machine.index_applied
        heard: list[Any] = []

        async def wait(method: str, request: Any) -> None:
            options = QueryOptions(index_min=index, wait_s=60.0)
            heard.append(await parts.ask(method, replace(request, options=options)))

        nursery.start_soon(wait, "Session.Get", SessionRequest(session_id=session_id))
        nursery.start_soon(wait, "Session.List", ListSessionsRequest())
        nursery.start_soon(wait, "Session.NodeSessions", NodeRequest(node="n"))
        await trio.testing.wait_all_tasks_blocked()
        deregister = DeregisterRequest(command=DeregisterCommand(node="n"))
        await parts.ask("Catalog.Deregister", deregister)
        with trio.fail_after(10):
            while len(heard) < 3:
                await trio.sleep(0.01)
        assert [reply.sessions for reply in heard] == [[], [], []]
        assert {reply.meta.index for reply in heard} == {index + 1}


async def test_an_unrenewed_session_ends_after_twice_its_ttl_and_not_before(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        await with_node(parts)
        old = await create(parts, ttl="10s")  # from before this server led
        nursery.start_soon(parts.services.sessions.run)
        await trio.sleep(1)
        dies, renewed, endless = [await create(parts, ttl=ttl) for ttl in ("10s", "10s", "")]
        assert await locked(parts, "k", dies)
        for _ in range(3):
            await trio.sleep(6)
            assert await renew(parts, renewed)
            assert await renew(parts, endless)
        assert await lives(parts, dies)
        await trio.sleep(6)
        assert await renew(parts, renewed)
        assert not await renew(parts, dies)
        assert [await lives(parts, each) for each in (old, dies, renewed, endless)] == [False, False, True, True]
        reply = await parts.ask("KVS.Get", KVGetRequest(key="k"))
        assert reply.entry.session == ""
        await trio.sleep(60)
        assert [await lives(parts, each) for each in (renewed, endless)] == [False, True]
        nursery.cancel_scope.cancel()


async def test_a_new_leader_gives_everybody_all_the_time(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts:
        await with_node(parts)
        session_id = await create(parts, ttl="10s")
        for _ in range(5):
            with trio.move_on_after(15):
                await parts.services.sessions.run()
        assert await lives(parts, session_id)
        with trio.move_on_after(25):
            await parts.services.sessions.run()
        assert not await lives(parts, session_id)


async def test_who_cannot_lead_renews_nobody(tmp_path: Path) -> None:
    async with server_parts(tmp_path, hold_s=0.1) as parts:
        await with_node(parts)
        session_id = await create(parts, ttl="10s")
        parts.raft.lease = False
        assert await renew(parts, session_id)
        assert parts.raft.confirmed_count == 1
        parts.raft.change_leader(None)
        with pytest.raises(NoLeader):
            await renew(parts, session_id)


async def test_nobody_is_ended_by_a_leader_that_cannot_prove_itself(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        await with_node(parts)
        session_id = await create(parts, ttl="10s")
        nursery.start_soon(parts.services.sessions.run)
        await trio.sleep(1)
        parts.raft.change_leader(None)
        await trio.sleep(60)
        parts.raft.change_leader(parts.peer)
        assert await lives(parts, session_id)
        assert not await renew(parts, session_id)  # its end is on its way
        await trio.sleep(60)
        assert not await lives(parts, session_id)
        nursery.cancel_scope.cancel()


async def test_an_end_of_unknown_outcome_is_asked_for_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        await with_node(parts)
        session_id = await create(parts, ttl="10s")
        nursery.start_soon(parts.services.sessions.run)
        await trio.sleep(1)
        parts.raft.fail_next = OutcomeUnknown("timed out while committing")
        await trio.sleep(60)
        assert not await lives(parts, session_id)
        nursery.cancel_scope.cancel()


async def test_thousands_that_end_together_are_few_entries(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiring, "KEYS_MAX", 10)
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        await with_node(parts)
        ids = [await create(parts, ttl="10s") for _ in range(2 * expiring.DUE_MAX + 3)]
        for number in range(25):
            assert await locked(parts, f"k{number}", ids[number % 2])
        nursery.start_soon(parts.services.sessions.run)
        before = len(parts.raft.proposed)
        await trio.sleep(60)
        assert (await parts.ask("Session.List", ListSessionsRequest())).sessions == []
        commands = [decode(SessionCommand, each[1:]) for each in parts.raft.proposed[before:] if each[0] == SESSION]
        assert sorted(each for command in commands for each in command.session_ids) == sorted(ids)
        assert max(len(command.session_ids) for command in commands) == DESTROYED_MAX
        assert len(commands) <= 9 + 2 + 2
        assert len(parts.services.sessions._timers) == 0
        nursery.cancel_scope.cancel()


async def test_after_the_whole_state_was_replaced_all_begin_anew(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        await with_node(parts)
        session_id = await create(parts, ttl="10s")
        nursery.start_soon(parts.services.sessions.run)
        await trio.sleep(15)
        parts.services.sessions.replaced()
        await trio.sleep(15)
        assert await lives(parts, session_id)
        await trio.sleep(10)
        assert not await lives(parts, session_id)
        nursery.cancel_scope.cancel()


async def test_a_leader_arms_more_sessions_than_it_looks_at_in_one_go(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiring, "ARMED_SLICE_COUNT", 3)
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        await with_node(parts)
        for _ in range(9):
            await create(parts, ttl="10s")
        nursery.start_soon(parts.services.sessions.run)
        await trio.sleep(1)
        assert len(parts.services.sessions._timers) == 9
        nursery.cancel_scope.cancel()


async def test_a_lost_lock_waits_for_its_delay_and_a_released_one_does_not(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts:
        await with_node(parts)
        first = await create(parts, lock_delay_ns=15 * SECOND_NS)
        second = await create(parts)
        assert await locked(parts, "k", first)
        assert not await locked(parts, "k", second)
        assert await locked(parts, "k", first, KVVerb.UNLOCK)
        assert await locked(parts, "k", second)
        assert await locked(parts, "k", second, KVVerb.UNLOCK)
        assert await locked(parts, "k", first)
        await destroy(parts, first)
        before = len(parts.raft.proposed)
        await trio.sleep(14)
        assert not await locked(parts, "k", second)
        outcome = await parts.ask(
            "Txn.Apply",
            TxnRequest(
                operations=[
                    TxnOp(verb="lock", key="free", session=second),
                    TxnOp(verb="lock", key="k", session=second),
                ]
            ),
        )
        assert [(error.position, error.what) for error in outcome.outcome.errors] == [
            (1, 'failed to lock key "k" due to lock delay')
        ]
        assert len(parts.raft.proposed) == before, "refused before anything was logged"
        assert await locked(parts, "other", second)
        await trio.sleep(1)
        assert await locked(parts, "k", second)


async def test_a_new_leader_knows_of_the_locks_that_were_lost_while_it_followed(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts:
        await with_node(parts)
        first, second = await create(parts, lock_delay_ns=15 * SECOND_NS), await create(parts)
        assert await locked(parts, "k", first)
        follower = SessionExpiry(parts.raft, parts.machine)
        parts.machine.session_listener = follower
        await destroy(parts, first)
        parts.services.sessions = follower
        parts.raft.lease = False
        assert not await locked(parts, "k", second)
        assert parts.raft.confirmed_count == 1, "it has applied what came before its own term"
        await trio.sleep(15)
        assert await locked(parts, "k", second)


async def test_nobody_gets_a_lock_whose_holder_is_being_ended(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await with_node(parts)
        holder, other = await create(parts), await create(parts)
        assert await locked(parts, "k", holder)
        with parts.services.sessions.ending(holder):
            assert not parts.services.sessions.may_lock("k")
            assert parts.services.sessions.may_lock("free")
        assert parts.services.sessions.may_lock("k")
        assert not await locked(parts, "k", other)


async def test_a_lock_that_another_holds_is_refused_before_anything_is_logged(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await with_node(parts)
        holder, other = await create(parts), await create(parts)
        assert await locked(parts, "k", holder)
        before = len(parts.raft.proposed)
        assert not await locked(parts, "k", other)
        assert len(parts.raft.proposed) == before
        assert await locked(parts, "k", holder.upper()), "its holder may set it"
        with pytest.raises(Refused, match=r"^invalid session"):
            await locked(parts, "k", NOBODY)


async def test_there_are_only_so_many_sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.endpoints.session, "SESSIONS_MAX", 2)
    async with server_parts(tmp_path) as parts:
        await with_node(parts)
        first = await create(parts)
        await create(parts)
        with pytest.raises(Refused, match="too many sessions"):
            await create(parts)
        await destroy(parts, first)
        await create(parts)


async def test_a_lock_for_a_session_that_does_not_exist_says_so(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        for session_id, text in (
            (NOBODY, f'^invalid session "{NOBODY}"'),
            ("x", '^invalid session "x"'),
            ("", "^missing"),
        ):
            with pytest.raises(Refused, match=text):
                await locked(parts, "k", session_id)


async def test_a_dump_names_the_first_keys_and_counts_them_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.endpoints.internal, "KEYS_SHOWN_MAX", 2)
    monkeypatch.setattr(server.endpoints.internal, "KEYS_COUNTED_MAX", 4)
    async with server_parts(tmp_path) as parts:
        await with_node(parts)
        holder = await create(parts)
        for key in ("e", "d", "c", "b", "a"):
            assert await locked(parts, key, holder)
        reply = await parts.ask("Internal.SessionDump", ListSessionsRequest())
        assert [(each.session.session_id, each.keys, each.keys_count) for each in reply.sessions] == [
            (holder, ["a", "b"], 4)
        ]
        assert reply.meta.index > 0
