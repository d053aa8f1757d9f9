"""Our calls to a foreign server: a double on blocking sockets that knows only the wire."""

import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from base.errors import Internal, MeshError, NoLeader, OutcomeUnknown, PermissionDenied, Refused, Unreachable
from base.network import RealNetwork
from rpc import foreign_pool
from rpc.foreign_pool import ForeignPool
from tests.fakes.foreign_site import TIMEOUT_S, foreign_site
from tests.fakes.foreign_wire import Answer, ForeignServerDouble, frame


@asynccontextmanager
async def running_pool() -> AsyncGenerator[ForeignPool, None]:
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            pool = ForeignPool(RealNetwork())
            await nursery.start(pool.run)
            yield pool
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def pool_and_double(
    answer: Callable[[str, Any], Answer | None],
) -> AsyncGenerator[tuple[ForeignPool, ForeignServerDouble], None]:
    with ForeignServerDouble(answer) as double:
        async with running_pool() as pool:
            yield pool, double


async def ask(pool: ForeignPool, address: str, method: str, argument: Any = None, timeout_s: float = 20.0) -> Any:
    return await pool.call(address, method, argument if argument is not None else {}, timeout_s=timeout_s)


def echo(method: str, argument: Any) -> Answer | None:
    if method == "Never":
        return None
    if method == "Leave":
        raise EOFError
    if method.startswith("Fail:"):
        return method.removeprefix("Fail:"), {}
    return "", argument


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await trio.sleep(0.005)


async def test_calls_are_answered_on_one_stream_that_is_used_again() -> None:
    async with pool_and_double(echo) as (pool, double):
        for number in range(20):
            assert await ask(pool, double.address, "Echo", {"n": number}) == {"n": number}
        assert double.first_bytes == [b"\x04"]
        assert sorted(double.sessions[0].lines) == [1]
        assert pool.statistics().dials == 1


async def test_calls_side_by_side_take_a_stream_each_and_at_most_so_many_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_pool, "STREAMS_IDLE_MAX", 4)
    async with pool_and_double(echo) as (pool, double):
        async with trio.open_nursery() as nursery:
            for number in range(300):
                nursery.start_soon(ask, pool, double.address, "Echo", number)
        await until(lambda: len(double.sessions[0].lines) <= 4)
        assert len(double.asked) == 300
        assert await ask(pool, double.address, "Echo", 7) == 7


async def test_values_larger_than_a_window_go_both_ways() -> None:
    async with pool_and_double(echo) as (pool, double):
        value = b"\xff" * 1_000_000
        assert (await ask(pool, double.address, "Echo", {"Value": value}))["Value"] == value


@pytest.mark.parametrize(
    ("text", "kind"),
    [("No cluster leader", NoLeader), ("Permission denied", PermissionDenied), ("something else", Internal),
     ("rpc: can't find method X.Y", Refused)],
)  # fmt: skip
async def test_an_error_is_raised_as_what_it_means_and_its_stream_is_closed(text: str, kind: type[MeshError]) -> None:
    async with pool_and_double(echo) as (pool, double):
        with pytest.raises(kind) as caught:
            await ask(pool, double.address, f"Fail:{text}")
        assert str(caught.value) == f"rpc error making call: {text}"
        await until(lambda: not double.sessions[0].lines)
        assert await ask(pool, double.address, "Echo", 1) == 1
        assert sorted(double.sessions[0].lines) == [3]


async def test_who_gives_up_resets_the_stream() -> None:
    async with pool_and_double(echo) as (pool, double):
        with pytest.raises(OutcomeUnknown, match="in time"):
            await ask(pool, double.address, "Never", timeout_s=0.3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, pool, double.address, "Never")
            await until(lambda: len(double.asked) == 2)
            nursery.cancel_scope.cancel()
        await until(lambda: not double.sessions[0].lines)
        assert pool.statistics().calls_in_flight == 0
        assert await ask(pool, double.address, "Echo", 1) == 1


async def test_a_connection_that_breaks_in_the_middle_leaves_the_outcome_unknown() -> None:
    async with pool_and_double(echo) as (pool, double):
        with pytest.raises(OutcomeUnknown, match="rpc error making call"):
            await ask(pool, double.address, "Leave")
        with pytest.raises(Unreachable, match="moment ago"):
            await ask(pool, double.address, "Echo", 1)
        while True:
            try:
                assert await ask(pool, double.address, "Echo", 1) == 1
                break
            except Unreachable:
                await trio.sleep(0.01)  # the back-off after a connection that did not live long


async def test_what_was_never_sent_is_definite() -> None:
    """The server never reads: a request larger than the stream's credit cannot have arrived as a whole."""
    stuck = threading.Event()

    def never_reads(method: str, argument: Any) -> Answer | None:
        stuck.wait(TIMEOUT_S)
        raise EOFError

    async with pool_and_double(never_reads) as (pool, double), trio.open_nursery() as nursery:

        async def first() -> None:
            with pytest.raises(OutcomeUnknown):
                await ask(pool, double.address, "Echo")

        async def second() -> None:
            with pytest.raises(Unreachable, match="connection to"):
                await ask(pool, double.address, "Echo", {"Value": bytes(1_000_000)})

        nursery.start_soon(first)
        await until(lambda: len(double.asked) == 1)
        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked(0.05)
        stuck.set()


async def test_a_stream_that_ends_without_an_answer_leaves_the_outcome_unknown() -> None:
    double: ForeignServerDouble

    def closes(method: str, argument: Any) -> Answer | None:
        if method == "Echo":
            return "", argument
        for line in list(double.sessions[0].lines.values()):
            line.close()
        return None

    with ForeignServerDouble(closes) as double:
        async with running_pool() as pool:
            with pytest.raises(OutcomeUnknown, match="EOF"):
                await ask(pool, double.address, "Close")
            assert await ask(pool, double.address, "Echo", 1) == 1


async def test_nobody_there_is_unreachable() -> None:
    with ForeignServerDouble(echo) as double:
        address = double.address
    async with running_pool() as pool:
        with pytest.raises(Unreachable, match="rpc error getting client: "):
            await ask(pool, address, "Echo")


async def test_a_server_that_goes_away_is_dialled_anew_and_its_calls_go_on() -> None:
    release = threading.Event()

    def answer(method: str, argument: Any) -> Answer | None:
        if method == "Slow":
            double.sessions[0].send(frame(3, 0, 0, 0))
            release.wait(TIMEOUT_S)
        return "", method

    with ForeignServerDouble(answer) as double:
        async with running_pool() as pool, trio.open_nursery() as nursery:

            async def slow() -> None:
                assert await ask(pool, double.address, "Slow") == b"Slow"

            nursery.start_soon(slow)
            await until(lambda: len(double.asked) == 1)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert await ask(pool, double.address, "Quick") == b"Quick"
            assert len(double.sessions) == 2
            release.set()


@pytest.mark.parametrize("garbage", [b"\x01garbage garbage", b"\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff"])
async def test_a_server_that_breaks_the_protocol_loses_its_connection(garbage: bytes) -> None:
    def answer(method: str, argument: Any) -> Answer | None:
        double.sessions[0].send(garbage)
        return None

    with ForeignServerDouble(answer) as double:
        async with running_pool() as pool:
            with pytest.raises(OutcomeUnknown, match="broke the protocol"):
                await ask(pool, double.address, "Echo")


@pytest.mark.parametrize("garbage", [b"\xc1", b"\x05\x05", b"\x81\xa5Error\x05\x80"])
async def test_an_answer_that_cannot_be_read_leaves_the_outcome_unknown(garbage: bytes) -> None:
    def answer(method: str, argument: Any) -> Answer | None:
        if method == "Echo":
            return "", 1
        next(iter(double.sessions[0].lines.values())).write(garbage)
        return None

    with ForeignServerDouble(answer) as double:
        async with running_pool() as pool:
            with pytest.raises(OutcomeUnknown):
                await ask(pool, double.address, "Bad")
            assert await ask(pool, double.address, "Echo") == 1


async def test_our_pool_and_our_listener_understand_one_another() -> None:
    async with foreign_site() as site, running_pool() as pool:
        assert await ask(pool, site.address, "Echo.Later", {"a": [None, [], {}]}) == {"a": [None, [], {}]}
        assert len(await ask(pool, site.address, "Size.Later", 10_000_000)) == 10_000_000
        with pytest.raises(NoLeader):
            await ask(pool, site.address, "No.Leader")
        async with trio.open_nursery() as nursery:
            for _ in range(1000):
                nursery.start_soon(ask, pool, site.address, "Wait.Forever")
            await site.until_waiting(1000)
            assert await ask(pool, site.address, "Echo.Now", 5) == 5
            nursery.cancel_scope.cancel()
        await site.until_waiting(0)
        assert site.cancelled == 1000
