"""Consistency modes and blocking queries on one server."""

from pathlib import Path

import pytest
import trio
import trio.testing

from base.errors import NoLeader, RateLimited
from structs.kv import KVApplyRequest, KVCommand, KVGetReply, KVGetRequest, KVListRequest, KVVerb
from structs.query import Consistency, QueryOptions
from tests.fakes.server_parts import ServerParts, server_parts


async def put(parts: ServerParts, key: str, value: bytes) -> None:
    await parts.ask("KVS.Apply", KVApplyRequest(command=KVCommand(verb=KVVerb.SET, key=key, value=value)))


def get(key: str, *, index_min: int = 0, wait_s: float = 0.0, mode: Consistency = Consistency.DEFAULT) -> KVGetRequest:
    return KVGetRequest(key=key, options=QueryOptions(consistency=mode, index_min=index_min, wait_s=wait_s))


async def test_a_default_read_under_the_lease_is_answered_without_any_await(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await put(parts, "a", b"1")
        reply = parts.dispatcher.call("KVS.Get", get("a"))
        assert isinstance(reply, KVGetReply)
        assert reply.entry is not None
        assert reply.entry.value == b"1"
        assert reply.meta.known_leader
        assert reply.meta.last_contact_ms == 0


async def test_without_a_lease_a_default_read_costs_a_round(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await put(parts, "a", b"1")
        parts.raft.lease = False
        reply = await parts.ask("KVS.Get", get("a"))
        assert reply.entry.value == b"1"
        assert parts.raft.confirmed_count == 1


async def test_a_consistent_read_always_costs_a_round(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        await parts.ask("KVS.Get", get("a", mode=Consistency.CONSISTENT))
        assert parts.raft.confirmed_count == 1


async def test_a_stale_read_needs_no_leader_and_says_how_old_it_may_be(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        parts.raft.change_leader(None)
        reply = await parts.ask("KVS.Get", get("a", mode=Consistency.STALE))
        assert reply.entry is None
        assert not reply.meta.known_leader
        assert reply.meta.last_contact_ms == 250


async def test_the_index_of_an_answer_is_never_zero(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        assert (await parts.ask("KVS.Get", get("a"))).meta.index == 1
        assert (await parts.ask("KVS.List", KVListRequest(prefix=""))).meta.index == 1


async def test_a_blocking_read_wakes_for_its_key_and_not_for_others(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        await put(parts, "a", b"1")
        index = (await parts.ask("KVS.Get", get("a"))).meta.index
        replies: list[KVGetReply] = []

        async def watch() -> None:
            replies.append(await parts.ask("KVS.Get", get("a", index_min=index, wait_s=60)))

        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        await put(parts, "b", b"x")
        await trio.testing.wait_all_tasks_blocked()
        assert not replies
        await put(parts, "a", b"2")
        await trio.testing.wait_all_tasks_blocked()
        assert replies[0].entry is not None
        assert replies[0].entry.value == b"2"
        assert parts.reads.blocking.statistics().waiting_count == 0
        assert len(parts.machine.watches) == 0


async def test_a_blocking_read_of_a_missing_key_wakes_when_it_appears(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        await put(parts, "other", b"1")
        index = (await parts.ask("KVS.Get", get("a"))).meta.index
        replies: list[KVGetReply] = []

        async def watch() -> None:
            replies.append(await parts.ask("KVS.Get", get("a", index_min=index, wait_s=60)))

        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        await put(parts, "a", b"2")
        await trio.testing.wait_all_tasks_blocked()
        assert replies[0].entry is not None


async def test_many_waiters_on_one_query_share_one_watch_and_one_reply(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        await put(parts, "a", b"1")
        replies: list[KVGetReply] = []

        async def watch(wait_s: float) -> None:
            replies.append(await parts.ask("KVS.Get", get("a", index_min=1, wait_s=wait_s)))

        for number in range(50):
            nursery.start_soon(watch, 60.0 + number)
        await trio.testing.wait_all_tasks_blocked()
        assert len(parts.machine.watches) == 1
        assert parts.reads.blocking.statistics().waiting_count == 50
        await put(parts, "a", b"2")
        await trio.testing.wait_all_tasks_blocked()
        assert len({id(reply) for reply in replies}) == 1
        assert len(replies) == 50


async def test_a_wait_that_passes_answers_with_what_is_there(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts:
        await put(parts, "a", b"1")
        began_s = trio.current_time()
        reply = await parts.ask("KVS.Get", get("a", index_min=1000, wait_s=16))
        assert reply.entry.value == b"1"
        assert 16 <= trio.current_time() - began_s <= 17


async def test_a_wait_is_five_minutes_where_nothing_is_said_and_ten_at_most(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts:
        for asked_s, least_s, most_s in ((0.0, 300, 320), (7200.0, 600, 640)):
            began_s = trio.current_time()
            await parts.ask("KVS.Get", get("a", index_min=1000, wait_s=asked_s))
            assert least_s <= trio.current_time() - began_s <= most_s


async def test_cancelling_a_waiter_frees_everything(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts:
        with trio.move_on_after(0):
            await parts.ask("KVS.Get", get("a", index_min=1000, wait_s=60))
        assert parts.reads.blocking.statistics().waiting_count == 0
        assert len(parts.machine.watches) == 0


async def test_waiters_are_bounded(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(parts.ask, "KVS.Get", get(f"k{number}", index_min=1000, wait_s=60))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RateLimited):
            await parts.ask("KVS.Get", get("one-more", index_min=1000, wait_s=60))
        nursery.cancel_scope.cancel()


async def test_a_waiter_on_a_leader_that_lost_its_place_is_not_answered_by_it(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        errors: list[Exception] = []

        async def watch() -> None:
            try:
                await parts.ask("KVS.Get", get("a", index_min=1, wait_s=60))
            except NoLeader as error:
                errors.append(error)

        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        await put(parts, "a", b"1")
        parts.raft.change_leader(None)
        await trio.sleep(120)
        assert errors, "it was held for a leader, and then told"


async def test_a_consistent_waiter_proves_leadership_again_before_it_answers(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        replies: list[KVGetReply] = []
        await put(parts, "other", b"0")

        async def watch() -> None:
            replies.append(await parts.ask("KVS.Get", get("a", index_min=1, wait_s=60, mode=Consistency.CONSISTENT)))

        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        assert parts.raft.confirmed_count == 1
        await put(parts, "a", b"1")
        await trio.testing.wait_all_tasks_blocked()
        assert replies
        assert parts.raft.confirmed_count == 2


async def test_a_restore_answers_every_waiter_at_once(tmp_path: Path) -> None:
    async with server_parts(tmp_path) as parts, trio.open_nursery() as nursery:
        replies: list[KVGetReply] = []

        async def watch() -> None:
            replies.append(await parts.ask("KVS.Get", get("a", index_min=1000, wait_s=60)))

        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        parts.machine.watches.abandon_all()
        await trio.testing.wait_all_tasks_blocked()
        assert len(replies) == 1
