"""Calls for another datacenter: who is asked, how often, and what the caller hears."""

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio

from base import codec
from base.errors import NoLeader, NotFound, OutcomeUnknown, Refused, Unreachable
from server.elsewhere import ATTEMPTS_MAX, Elsewhere
from server.endpoints.registry import METHODS
from server.router import Router
from structs.cluster import Empty, Member
from structs.kv import KVApplyRequest, KVCommand, KVGetRequest, KVVerb
from structs.query import FROM_ELSEWHERE_MARK, QueryOptions, WriteOptions
from tests.fakes.members import server
from tests.fakes.server_parts import FakePool

READ = KVGetRequest(key="a", options=QueryOptions(datacenter="dc2"))
WRITE = KVApplyRequest(command=KVCommand(verb=KVVerb.SET, key="a"), options=WriteOptions(datacenter="dc2"))
GET, APPLY = METHODS["KVS.Get"], METHODS["KVS.Apply"]


def far(number: int) -> Member:
    return server(f"s{number}.dc2", dc="dc2", address=f"10.2.0.{number}")


class World:
    """The way to dc2, in which so many servers are known."""

    def __init__(self, servers_count: int) -> None:
        self.pool = FakePool()
        self.router = Router("dc1", random.Random(1))
        self.router.update([far(number) for number in range(1, servers_count + 1)])
        self.elsewhere = Elsewhere(own="dc1", router=self.router, pool=self.pool, hold_s=7.0, write_timeout_s=10.0)

    def answer(self, number: int, reply: bytes) -> None:
        self.pool.handlers[far(number).rpc_address] = lambda _method, _body, _caller: reply

    @property
    def asked(self) -> list[str]:
        return [address for address, _ in self.pool.calls]


@pytest.mark.parametrize(
    ("named", "found"), [("", ""), ("dc1", ""), ("DC1", ""), ("dc2", "dc2"), ("DC2", "dc2"), ("nowhere", "nowhere")]
)
def test_what_names_no_other_datacenter_is_for_this_one(named: str, found: str) -> None:
    elsewhere = World(0).elsewhere
    assert elsewhere.datacenter_of(KVGetRequest(key="a", options=QueryOptions(datacenter=named))) == found
    assert elsewhere.datacenter_of(Empty()) == "", "it cannot name any"


async def test_a_call_is_sent_as_it_is_and_its_answer_returned_as_it_is() -> None:
    world = World(1)
    world.answer(1, b"reply")
    assert await world.elsewhere.call("dc2", GET, READ, b"encoded before") == b"reply"
    assert await world.elsewhere.call("dc2", GET, READ, None) == b"reply"
    assert world.pool.calls == [(far(1).rpc_address, FROM_ELSEWHERE_MARK + "KVS.Get")] * 2


async def test_an_unknown_datacenter_has_no_path_and_nobody_is_asked() -> None:
    world = World(1)
    with pytest.raises(Refused, match=r"^No path to datacenter$"):
        await world.elsewhere.call("dc3", GET, READ, None)
    assert world.asked == []


@pytest.mark.parametrize(("method", "request_"), [(GET, READ), (APPLY, WRITE)])
async def test_the_next_server_is_asked_where_the_first_cannot_be_reached(method: object, request_: object) -> None:
    world = World(2)
    first = world.router.pick("dc2")
    assert first is not None
    other = next(number for number in (1, 2) if far(number).name != first.name)
    world.answer(other, b"reply")
    assert await world.elsewhere.call("dc2", method, request_, None) == b"reply"  # type: ignore[arg-type]
    assert await world.elsewhere.call("dc2", method, request_, None) == b"reply"  # type: ignore[arg-type]
    assert world.asked == [first.rpc_address, far(other).rpc_address, far(other).rpc_address], "and first from then on"


@pytest.mark.parametrize("servers_count", [1, 2, 5])
async def test_a_datacenter_that_does_not_answer_is_given_up_after_a_few(servers_count: int) -> None:
    world = World(servers_count)
    with pytest.raises(Unreachable):
        await world.elsewhere.call("dc2", GET, READ, None)
    assert len(set(world.asked)) == len(world.asked) == min(servers_count, ATTEMPTS_MAX)


async def test_a_write_that_may_have_happened_is_not_repeated_and_a_read_is() -> None:
    world = World(2)
    for number in (1, 2):
        world.answer(number, b"reply")
    world.pool.fail_next = [OutcomeUnknown("broke")]
    with pytest.raises(OutcomeUnknown):
        await world.elsewhere.call("dc2", APPLY, WRITE, None)
    assert len(world.asked) == 1
    world.pool.fail_next = [OutcomeUnknown("broke")]
    assert await world.elsewhere.call("dc2", GET, READ, None) == b"reply"


@pytest.mark.parametrize("error", [NoLeader(), NotFound("no such session"), Refused("no")])
async def test_what_the_other_side_answers_is_what_the_caller_hears(error: Exception) -> None:
    world = World(2)
    world.pool.fail_next = [error]
    with pytest.raises(type(error), match=str(error)):
        await world.elsewhere.call("dc2", GET, READ, None)
    assert len(world.asked) == 1


async def test_servers_that_go_while_they_are_asked_leave_no_path() -> None:
    world = World(3)

    def gone(_method: str, _body: bytes, _caller: object) -> bytes:
        world.router.update([])
        raise Unreachable("it goes")

    for number in (1, 2, 3):
        world.pool.handlers[far(number).rpc_address] = gone
    with pytest.raises(Refused, match="No path to datacenter"):
        await world.elsewhere.call("dc2", GET, READ, None)
    assert len(world.asked) == 1


async def test_a_stream_goes_to_one_server_and_is_not_repeated() -> None:
    world = World(1)
    opened: list[tuple[str, str, bytes]] = []

    @asynccontextmanager
    async def stream(address: str, method: str, body: bytes) -> AsyncGenerator[str, None]:
        await trio.lowlevel.checkpoint()
        opened.append((address, method, body))
        yield "there"

    world.pool.stream = stream  # type: ignore[method-assign]
    async with world.elsewhere.stream("dc2", "Snapshot.Save", READ) as there:
        assert there == "there"  # type: ignore[comparison-overlap]
    assert opened == [(far(1).rpc_address, FROM_ELSEWHERE_MARK + "Snapshot.Save", codec.encode(READ))]
    with pytest.raises(Refused, match="No path to datacenter"):
        async with world.elsewhere.stream("dc3", "Snapshot.Save", READ):
            pass
