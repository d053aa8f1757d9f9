"""Calls through a pool to a listener, over real sockets."""

from collections.abc import Awaitable

import pytest
import trio
import trio.testing

from base.errors import (
    Internal,
    InvariantBroken,
    NoLeader,
    OutcomeUnknown,
    PermissionDenied,
    TooLarge,
    Unreachable,
)
from base.network import RealNetwork, Stream
from rpc.caller import Caller
from rpc.connection import Connection
from rpc.frame import BODY_BYTES_MAX
from rpc.large import LARGE_BYTES_MAX, REPLY_BYTES_MAX
from rpc.listener import BYTE_RPC, RPCListener
from rpc.pool import RPCPool
from tests.fakes.rpc_pair import TIMEOUT_S, ours_of, running_pair


async def test_many_calls_share_one_connection() -> None:
    async with running_pair() as pair:
        answers: list[bytes] = []

        async def one(number: int) -> None:
            method = "echo" if number % 2 else "later"
            answers.append(await pair.call(method, str(number).encode()))

        async with trio.open_nursery() as nursery:
            for number in range(300):
                nursery.start_soon(one, number)
        assert sorted(answers) == sorted(str(number).encode() for number in range(300))
        assert pair.listener.statistics().connections == 1
        assert pair.pool.statistics().dials == 1


async def test_a_slow_call_holds_nobody_up() -> None:
    async with running_pair() as pair, trio.open_nursery() as nursery:
        nursery.start_soon(pair.call, "forever")
        await pair.served.until_waiting(1)
        assert await pair.call("later", b"x") == b"x"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("method", ["refuse", "refuse_later"])
async def test_an_error_of_the_handler_is_raised_at_the_caller(method: str) -> None:
    async with running_pair() as pair:
        with pytest.raises(NoLeader, match="No cluster leader"):
            await pair.call(method)
        assert await pair.call("echo", b"x") == b"x"


@pytest.mark.parametrize("method", ["defect", "defect_later"])
async def test_a_defect_fails_its_own_call_only_and_is_logged(method: str, capfd: pytest.CaptureFixture[str]) -> None:
    async with running_pair() as pair:
        with pytest.raises(Internal) as caught:
            await pair.call(method)
        assert not caught.value.definite
        assert "a defect" not in str(caught.value)
        assert f"defect in the handler of {method}" in capfd.readouterr().out
        assert await pair.call("echo", b"x") == b"x"


@pytest.mark.parametrize("late", [False, True])
async def test_a_broken_invariant_stops_the_listener(late: bool) -> None:
    def handler(method: str, body: bytes, caller: Caller) -> bytes | Awaitable[bytes]:
        async def later() -> bytes:
            raise InvariantBroken("corrupt")

        if late:
            return later()
        raise InvariantBroken("corrupt")

    listener = RPCListener(RealNetwork(), "127.0.0.1", 0, handler)
    pool = RPCPool(RealNetwork())
    outcomes: list[BaseException] = []
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.run)

            async def serve(task_status: trio.TaskStatus[str]) -> None:
                try:
                    await listener.run(task_status=task_status)
                except BaseExceptionGroup as group:
                    outcomes.append(group)

            address = await nursery.start(serve)
            with pytest.raises(OutcomeUnknown):
                await pool.call(address, "x", b"", timeout_s=TIMEOUT_S)
            nursery.cancel_scope.cancel()
    (group,) = outcomes
    assert isinstance(group, BaseExceptionGroup)
    assert group.subgroup(InvariantBroken) is not None


async def test_bodies_up_to_the_limit_go_both_ways() -> None:
    async with running_pair() as pair:
        body = bytes(range(256)) * (BODY_BYTES_MAX // 256)
        assert await pair.call("echo", body) == body
        with pytest.raises(TooLarge):
            await pair.call("echo", body + b"x")
        for size in (BODY_BYTES_MAX + 1, 5 * BODY_BYTES_MAX):
            assert await pair.call("size", str(size).encode()) == bytes(size)
        with pytest.raises(Internal, match="exceeds"):
            await pair.call("size", str(REPLY_BYTES_MAX + 1).encode())
        assert await pair.call("echo", b"x") == b"x"


async def test_small_calls_overtake_a_large_reply() -> None:
    async with running_pair() as pair, trio.open_nursery() as nursery:
        size = 16 * BODY_BYTES_MAX
        order: list[str] = []

        async def large() -> None:
            assert len(await pair.call("size", str(size).encode())) == size
            order.append("large")

        await pair.call("echo", b"")
        (connection,) = ours_of(pair.pool._hub)
        nursery.start_soon(large)
        while not any(slot.arriving for slot in connection.mux.calls.values()):
            await trio.lowlevel.checkpoint()
        assert await pair.call("echo", b"x") == b"x"
        assert await pair.call("later", b"y") == b"y"
        order.append("small")
    assert order == ["small", "large"]


async def test_a_large_reply_that_nobody_wants_any_more_leaves_nothing_behind() -> None:
    async with running_pair() as pair:
        hubs = (pair.pool._hub, pair.listener._hub)
        await pair.call("echo", b"")
        (connection,) = ours_of(pair.pool._hub)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pair.call, "size", str(32 * BODY_BYTES_MAX).encode())
                while not any(slot.arriving for slot in connection.mux.calls.values()):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        while any(hub.large.bytes_left != LARGE_BYTES_MAX for hub in hubs):
            await trio.lowlevel.checkpoint()
        assert await pair.call("echo", b"x") == b"x"


async def test_a_connection_that_breaks_in_a_large_reply_leaves_nothing_behind() -> None:
    async with running_pair() as pair:
        hubs = (pair.pool._hub, pair.listener._hub)
        await pair.call("echo", b"")
        (connection,) = ours_of(pair.pool._hub)
        async with trio.open_nursery() as nursery:

            async def large() -> None:
                with pytest.raises(OutcomeUnknown):
                    await pair.call("size", str(32 * BODY_BYTES_MAX).encode())

            nursery.start_soon(large)
            while not any(slot.arriving for slot in connection.mux.calls.values()):
                await trio.lowlevel.checkpoint()
            connection.close("is cut")
        while any(hub.large.bytes_left != LARGE_BYTES_MAX for hub in hubs):
            await trio.lowlevel.checkpoint()


async def test_many_large_calls_at_once_all_arrive() -> None:
    async with running_pair() as pair, trio.open_nursery() as nursery:

        async def one(number: int) -> None:
            body = bytes([number]) * 2**20
            assert await pair.call("echo" if number % 2 else "later", body) == body

        for number in range(24):
            nursery.start_soon(one, number)


async def test_a_call_without_answer_ends_in_time_as_unknown_and_is_freed_at_the_server() -> None:
    async with running_pair() as pair:
        await pair.call("echo")
        with pytest.raises(OutcomeUnknown, match="in time"):
            await pair.call("forever", timeout_s=0.01)
        await pair.served.until_waiting(0)
        await pair.until_quiet()


async def test_cancelling_the_caller_frees_the_call_at_the_server() -> None:
    async with running_pair() as pair:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(pair.call, "forever")
            await pair.served.until_waiting(20)
            assert pair.listener.statistics().calls_in_flight == 20
            nursery.cancel_scope.cancel()
        await pair.served.until_waiting(0)
        assert pair.served.cancelled == 20
        await pair.until_quiet()
        assert await pair.call("later", b"x") == b"x"


async def test_losing_the_connection_cancels_its_calls_at_the_server_and_leaves_the_caller_unsure() -> None:
    async with running_pair() as pair, trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(OutcomeUnknown):
                await pair.call("forever")

        for _ in range(5):
            nursery.start_soon(wait)
        await pair.served.until_waiting(5)
        pair.pool.close_peer(pair.address)
        await pair.served.until_waiting(0)
        assert pair.served.cancelled == 5
        assert await pair.call("echo", b"again") == b"again"


async def test_nobody_there_is_unreachable_and_asked_again_only_after_a_while() -> None:
    network = RealNetwork()
    unused = await network.listen("127.0.0.1", 0)
    address = unused.address
    unused.close()
    async with running_pair() as pair:
        for _ in range(50):
            with pytest.raises(Unreachable) as caught:
                await pair.pool.call(address, "echo", b"", timeout_s=TIMEOUT_S)
            assert caught.value.definite
        assert pair.pool.statistics().dials < 50


async def test_a_server_that_comes_back_is_used_again() -> None:
    network = RealNetwork()
    pool = RPCPool(network)

    def handler(method: str, body: bytes, caller: Caller) -> bytes:
        return body

    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(pool.run)
            async with trio.open_nursery() as first:
                address = await first.start(RPCListener(network, "127.0.0.1", 0, handler).run)
                assert await pool.call(address, "m", b"1", timeout_s=TIMEOUT_S) == b"1"
                first.cancel_scope.cancel()
            port = int(address.rpartition(":")[2])
            await nursery.start(RPCListener(network, "127.0.0.1", port, handler).run)
            while True:
                try:
                    assert await pool.call(address, "m", b"2", timeout_s=TIMEOUT_S) == b"2"
                    break
                except (Unreachable, OutcomeUnknown):
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()


async def _accept_and(answer: bytes, listener_stream: Stream) -> None:
    await listener_stream.receive_some(1)
    if answer:
        await listener_stream.send_all(answer)


@pytest.mark.parametrize("answer", [b"", b"\x00"])
async def test_a_refused_connection_is_definitely_unreachable(answer: bytes) -> None:
    listener = await RealNetwork().listen("127.0.0.1", 0)
    async with running_pair() as pair, trio.open_nursery() as nursery:

        async def refuse() -> None:
            stream = await listener.accept()
            await _accept_and(answer, stream)
            stream.close_now()

        nursery.start_soon(refuse)
        with pytest.raises(Unreachable, match="refused"):
            await pair.pool.call(listener.address, "echo", b"", timeout_s=TIMEOUT_S)
    listener.close()


async def test_a_peer_that_accepts_but_never_speaks_is_given_up_in_time() -> None:
    listener = await RealNetwork().listen("127.0.0.1", 0)
    async with running_pair() as pair:
        with pytest.raises(Unreachable, match="too long"):
            await pair.pool.call(listener.address, "echo", b"", timeout_s=0.02)
    listener.close()


async def test_requests_that_never_left_are_definitely_not_done() -> None:
    """The peer reads nothing: what the kernel has taken is unknown, what is queued behind it is definite."""
    listener = await RealNetwork().listen("127.0.0.1", 0)
    outcomes: list[type[Exception]] = []
    async with running_pair() as pair, trio.open_nursery() as nursery:

        async def one(size: int) -> None:
            try:
                await pair.pool.call(listener.address, "echo", bytes(size), timeout_s=TIMEOUT_S)
            except (OutcomeUnknown, Unreachable) as error:
                outcomes.append(type(error))

        async def accept_and_be_deaf() -> None:
            stream = await listener.accept()
            assert await stream.receive_some(1) == bytes([BYTE_RPC])
            await stream.send_all(bytes([BYTE_RPC]))
            await trio.testing.wait_all_tasks_blocked(0.01)
            stream.close_now()

        async with trio.open_nursery() as callers:
            nursery.start_soon(accept_and_be_deaf)
            callers.start_soon(one, 10)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(16):
                callers.start_soon(one, 2**22)
    listener.close()
    assert len(outcomes) == 17
    assert outcomes.count(OutcomeUnknown) >= 1
    assert outcomes.count(Unreachable) >= 8


async def test_server_only_methods_are_open_where_nobody_has_to_prove_anything() -> None:
    async with running_pair(server_only={"echo"}) as pair:
        assert await pair.call("echo", b"x") == b"x"


async def test_a_server_may_call_back_over_the_same_connection() -> None:
    near, far = await _connected_streams()
    answers: list[bytes] = []

    def handler(method: str, body: bytes, caller: Caller) -> bytes:
        return method.encode() + body

    from rpc.hub import Hub

    hub = Hub()
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(hub.run)
            dialled = Connection(near, hub, Caller(address="far"), dialler=True, handler=handler)
            accepted = Connection(far, hub, Caller(address="near"), dialler=False, handler=handler)
            nursery.start_soon(dialled.run)
            nursery.start_soon(accepted.run)
            answers.append(await dialled.call("a", b"1", TIMEOUT_S))
            answers.append(await accepted.call("b", b"2", TIMEOUT_S))
            nursery.cancel_scope.cancel()
    assert answers == [b"a1", b"b2"]
    assert dialled.closed
    assert accepted.closed


async def test_a_pool_without_handler_answers_calls_from_servers_with_a_refusal() -> None:
    near, far = await _connected_streams()
    from rpc.hub import Hub

    hub = Hub()
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(hub.run)
            dialled = Connection(near, hub, Caller(address="far"), dialler=True)
            accepted = Connection(far, hub, Caller(address="near"), dialler=False)
            nursery.start_soon(dialled.run)
            nursery.start_soon(accepted.run)
            with pytest.raises(PermissionDenied):
                await accepted.call("b", b"2", TIMEOUT_S)
            nursery.cancel_scope.cancel()


async def _connected_streams() -> tuple[Stream, Stream]:
    network = RealNetwork()
    listener = await network.listen("127.0.0.1", 0)
    near = await network.dial("127.0.0.1", listener.port, TIMEOUT_S)
    far = await listener.accept()
    listener.close()
    return near, far


async def test_a_raft_link_is_handed_over_as_it_is() -> None:
    async with running_pair() as pair:
        link = await pair.pool.open_link(pair.address, 17)
        await link.send_all(b"append")
        assert await link.receive_some(100) == b"append"
        link.close_now()
        assert len(pair.served.raft) == 1


async def test_addresses_that_are_none_are_unreachable() -> None:
    async with running_pair() as pair:
        for address in ("nonsense", "", "host:port"):
            with pytest.raises(Unreachable):
                await pair.pool.call(address, "echo", b"", timeout_s=TIMEOUT_S)


async def test_stopping_the_pool_ends_its_calls() -> None:
    async with running_pair() as pair:
        pool = RPCPool(RealNetwork())
        async with trio.open_nursery() as outer:

            async def wait() -> None:
                with pytest.raises(OutcomeUnknown, match=r"shutting down|closed"):
                    await pool.call(pair.address, "forever", b"", timeout_s=TIMEOUT_S)

            async with trio.open_nursery() as inner:
                await inner.start(pool.run)
                outer.start_soon(wait)
                await pair.served.until_waiting(1)
                inner.cancel_scope.cancel()
        await pair.served.until_waiting(0)


async def test_a_pool_that_does_not_run_reaches_nobody() -> None:
    async with running_pair() as pair:
        stopped = RPCPool(RealNetwork())
        with pytest.raises(Unreachable, match="not running"):
            await stopped.call(pair.address, "echo", b"", timeout_s=TIMEOUT_S)
