"""A pool in a thread of its own, seen from the loop that runs it."""

import threading

import pytest
import trio

from base.errors import ConfigInvalid, InvalidRequest, NotFound, Refused, Unreachable
from gossip import instructions as ins
from gossip.config import USER_EVENT_BYTES_MAX
from gossip.driver import Deliver, GossipDriver
from gossip.pool import GossipPool
from tests.fakes.gossip_member import HOST, TIMEOUT_S, LoneMember, running, until

OLD, NEW = b"o" * 16, b"n" * 32


def pool_of(member: LoneMember, *, own_thread: bool = True) -> GossipPool:
    return GossipPool(member.make_driver, leave_propagate_s=0.01, own_thread=own_thread)


def statuses(pool: GossipPool) -> dict[str, str]:
    return {member.name: member.status.name.lower() for member in pool.members()}


@pytest.mark.parametrize("own_thread", [True, False])
async def test_what_is_asked_is_answered_here_and_what_happens_is_told_here(own_thread: bool) -> None:
    one, two = LoneMember("one", keys=[OLD]), LoneMember("two", keys=[OLD])
    pools = pool_of(one, own_thread=own_thread), pool_of(two, own_thread=own_thread)
    told: list[tuple[ins.Instruction, str]] = []
    pools[0].subscribe(lambda instruction: told.append((instruction, threading.current_thread().name)))
    async with running(*pools):
        result = await pools[1].join([one.address])
        assert (result.contacted_count, result.errors) == (1, {})
        await until(lambda: statuses(pools[0]) == statuses(pools[1]) == {"one": "alive", "two": "alive"})
        await pools[1].fire("deploy", b"v2")
        await until(lambda: any(isinstance(each, ins.UserEventArrived) for each, _ in told))
        asked = await pools[1].query("who", b"", names=["one"], wants_acks=True, timeout_s=0.5)
        assert asked.acks == ["one"]
        keys = await pools[0].keyring("list")
        assert (keys.nodes_count, keys.error) == (2, "")
        pools[1].set_tags({"role": "node", "rack": "b"})
        await until(lambda: any(member.tags.get("rack") == "b" for member in pools[0].members()))
        await until(lambda: pools[0].statistics().get("members") == 2)
        assert pools[0].coordinate() is not None
        await until(lambda: "two" in pools[0].coordinates())
        await pools[1].leave()
        await until(lambda: statuses(pools[0]) == {"one": "alive", "two": "left"})
    here = threading.current_thread().name
    assert {thread for _, thread in told} == {here}
    kinds = [each.kind for each, _ in told if isinstance(each, ins.MembersChanged)]
    assert kinds[:2] == ["join", "join"]
    assert kinds[-1] == "leave"


async def test_members_have_changed_before_anybody_is_told() -> None:
    one, two = LoneMember("one"), LoneMember("two")
    pools = pool_of(one), pool_of(two)
    known: list[bool] = []

    def told(instruction: ins.Instruction) -> None:
        if isinstance(instruction, ins.MembersChanged):
            known.append({member.name for member in instruction.members} <= {each.name for each in pools[0].members()})

    pools[0].subscribe(told)
    async with running(*pools):
        await pools[0].join([two.address])
        await until(lambda: len(known) == 2)
    assert known == [True, True]


async def test_a_query_is_answered_by_the_application() -> None:
    one, two = LoneMember("one"), LoneMember("two")
    pools = pool_of(one), pool_of(two)

    def answer(instruction: ins.Instruction) -> None:
        if isinstance(instruction, ins.QueryArrived):
            pools[0].answer(instruction.query_id, instruction.payload[::-1])

    pools[0].subscribe(answer)
    async with running(*pools):
        await pools[1].join([one.address])
        result = await pools[1].query("mirror", b"abc", names=["one"], wants_acks=False, timeout_s=1.0)
        assert result.answers == {"one": b"cba"}


# What cannot be


async def test_refusals_are_errors_of_the_asker() -> None:
    pool = pool_of(LoneMember("one"))
    async with running(pool):
        with pytest.raises(NotFound, match="No node found with name 'nobody'"):
            await pool.force_leave("nobody")
        with pytest.raises(InvalidRequest, match="user event exceeds limit of 512 bytes"):
            await pool.fire("deploy", bytes(USER_EVENT_BYTES_MAX))
        with pytest.raises(Refused, match="query exceeds limit of 1024 bytes"):
            await pool.query("who", bytes(2000))
        assert (await pool.keyring("install", NEW)).error == "1/1 nodes reported failure"
        result = await pool.join([])
        assert (result.contacted_count, result.errors) == (0, {})


async def test_who_asks_before_the_beginning_waits_for_it() -> None:
    pool = pool_of(LoneMember("one"))
    answers: list[ins.KeyringResult] = []

    async def ask() -> None:
        answers.append(await pool.keyring("list"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        pool.tell(ins.TagsChanged, tags={})
        assert pool.members() == ()
        async with running(pool):
            await until(lambda: bool(answers))


async def test_once_it_has_ended_whoever_asks_is_told_so() -> None:
    pool = pool_of(LoneMember("one"))
    async with running(pool):
        pass
    with pytest.raises(Unreachable, match="gossip has ended"):
        await pool.join([])
    pool.tell(ins.TagsChanged, tags={"a": "b"})
    pool.answer(1, b"")
    assert [member.name for member in pool.members()] == ["one"], "what was known last"


async def test_who_waits_when_it_ends_is_told_so() -> None:
    one = LoneMember("one")
    pool = pool_of(one)
    nowhere = trio.socket.socket()
    await nowhere.bind((HOST, 0))
    nowhere.listen(1)
    failed = trio.Event()

    async def ask() -> None:
        with pytest.raises(Unreachable, match="gossip has ended"):
            await pool.join([ins.Address(*nowhere.getsockname())])
        failed.set()

    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as waiting:
            async with trio.open_nursery() as nursery:
                await nursery.start(pool.run)
                waiting.start_soon(ask)
                await until(lambda: one.driver._streams_out_count == 1)
                nursery.cancel_scope.cancel()
            await failed.wait()
    nowhere.close()


async def test_a_driver_that_cannot_be_made_ends_the_run_with_its_error() -> None:
    def make(deliver: Deliver) -> GossipDriver:
        raise ConfigInvalid("no keys")

    pool = GossipPool(make, leave_propagate_s=0.0)
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigInvalid, match="no keys"), flatten_subgroups=True):
        async with running(pool):
            pass
    with pytest.raises(Unreachable, match="gossip has ended"):
        await pool.leave()


async def test_a_driver_that_fails_later_ends_the_run_with_its_error() -> None:
    one = LoneMember("one")
    pool = pool_of(one)
    with pytest.RaisesGroup(Unreachable, flatten_subgroups=True):
        async with running(pool):
            pool._in_own_loop(one.driver._datagrams.close)
            await trio.sleep_forever()


async def test_an_event_that_comes_when_all_is_over_is_nothing() -> None:
    one = LoneMember("one")
    pool = pool_of(one, own_thread=False)
    async with running(pool):
        pass
    pool._tell(ins.UserEventWanted, operation=0, name="late", payload=b"", coalesce=False)
