"""Signs of life: silence is asked about, then ends the connection; so does output nobody takes, and idleness.

The looks are called directly, since real ones are a second apart.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
import trio.testing

from base.errors import MeshError, OutcomeUnknown
from base.network import RealNetwork, SocketStream
from rpc.caller import Caller
from rpc.connection import DEAD_AFTER_S, DOUBTED_LOOKS, PING_AFTER_S, Connection
from rpc.frame import PING, PONG, FrameReader, encode_frame
from rpc.hub import Hub
from tests.fakes.rpc_pair import running_pair

TIMEOUT_S = 10.0


@asynccontextmanager
async def connection_and_peer(
    idle_timeout_s: float | None = None,
) -> AsyncGenerator[tuple[Connection, SocketStream], None]:
    network = RealNetwork()
    listener = await network.listen("127.0.0.1", 0)
    near = await network.dial("127.0.0.1", listener.port, TIMEOUT_S)
    far = await listener.accept()
    listener.close()
    hub = Hub()
    with trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(hub.run)
            connection = Connection(near, hub, Caller(address="far"), dialler=True, idle_timeout_s=idle_timeout_s)
            nursery.start_soon(connection.run)
            yield connection, far
            nursery.cancel_scope.cancel()
    far.close_now()


async def test_a_silent_peer_is_pinged_and_then_given_up() -> None:
    async with connection_and_peer() as (connection, far):
        looks = 0
        while not connection.closed:
            connection._look(trio.current_time())
            looks += 1
        assert looks == DEAD_AFTER_S + 1  # it counts as heard when it starts
        assert "no sign of life" in connection._describe()
        assert await far.receive_some(1000) == b""


async def test_a_ping_is_sent_and_its_answer_keeps_the_connection() -> None:
    async with connection_and_peer() as (connection, far):
        for _ in range(PING_AFTER_S + 1):
            connection._look(trio.current_time())
        await pinged(far)
        await answer(connection, far)
        for _ in range(DEAD_AFTER_S):
            connection._look(trio.current_time())
        assert not connection.closed


async def pinged(far: SocketStream) -> None:
    """Take a ping at the far side."""
    reader = FrameReader()
    reader.feed(await far.receive_some(1000))
    frame = reader.next()
    assert frame is not None
    assert frame.kind == PING


async def answer(connection: Connection, far: SocketStream) -> None:
    """Give a sign of life and wait until it is heard."""
    out: list[bytes] = []
    encode_frame(0, PONG, "", b"", out)
    await far.send_all(b"".join(out))
    while not connection._heard:
        await trio.lowlevel.checkpoint()


async def test_a_doubted_peer_is_asked_at_once_and_given_up_soon() -> None:
    async with connection_and_peer() as (connection, far), trio.open_nursery() as nursery:
        errors: list[MeshError] = []

        async def call() -> None:
            try:
                await connection.call("forever", b"", 600.0)
            except MeshError as error:
                errors.append(error)

        connection.doubt()
        await pinged(far)
        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(DOUBTED_LOOKS - 1):
            connection._look(trio.current_time())
        assert not connection.closed
        connection._look(trio.current_time())
        assert connection.closed
        await trio.testing.wait_all_tasks_blocked()
        assert [type(error) for error in errors] == [OutcomeUnknown]
        connection.doubt()  # one that is closed already: nothing happens


async def test_calls_that_are_hurried_end_early_and_those_after_them_do_not() -> None:
    async with running_pair() as pair, trio.open_nursery() as nursery:
        ended: list[str] = []

        async def call(name: str) -> None:
            try:
                await pair.call("forever", timeout_s=600.0)
            except OutcomeUnknown:
                ended.append(name)

        pair.pool.hurry(pair.address, 0.0)  # no connection yet: nothing happens
        nursery.start_soon(call, "before")
        await pair.served.until_waiting(1)
        pair.pool.hurry(pair.address, 0.0)
        nursery.start_soon(call, "after")
        with trio.fail_after(TIMEOUT_S):
            while not ended:
                await trio.sleep(0.01)
            assert await pair.call("echo", b"x") == b"x"  # the peer lives, and keeps its connection
        assert ended == ["before"]
        assert pair.pool.statistics().dials == 1
        nursery.cancel_scope.cancel()


async def test_a_doubted_peer_that_lives_keeps_its_connection_however_often_it_is_doubted() -> None:
    async with connection_and_peer() as (connection, far):
        for _ in range(3):
            connection.doubt()
            await pinged(far)
            connection._look(trio.current_time())
            await far.receive_some(1000)  # asked once more
            await answer(connection, far)
            connection.doubt()  # in the moment between its answer and the next look
            connection._look(trio.current_time())
            assert not connection.closed
            await far.receive_some(1000)
            await answer(connection, far)
            for _ in range(DEAD_AFTER_S):
                connection._look(trio.current_time())
            assert not connection.closed
            await far.receive_some(1000)
            await answer(connection, far)
            connection._look(trio.current_time())


async def test_output_that_nobody_takes_ends_the_connection() -> None:
    async with connection_and_peer() as (connection, _far):
        connection.mux.out.append(bytes(2**25))
        connection.mux.out_bytes += 2**25
        connection.flush()
        for _ in range(DEAD_AFTER_S):
            connection._heard = True
            connection._look(trio.current_time())
        assert connection.closed
        assert "does not take our output" in connection._describe()


async def test_an_idle_connection_is_closed_by_the_side_that_dialled_it() -> None:
    async with connection_and_peer(idle_timeout_s=60.0) as (connection, _far):
        now_s = trio.current_time()
        connection._look(now_s + 59.0)
        assert not connection.closed
        connection._look(now_s + 61.0)
        assert connection.closed


async def test_a_waiting_call_keeps_a_connection_from_being_idle() -> None:
    async with connection_and_peer(idle_timeout_s=60.0) as (connection, _far), trio.open_nursery() as nursery:
        nursery.start_soon(connection.call, "forever", b"", 600.0)
        await trio.testing.wait_all_tasks_blocked()
        now_s = trio.current_time()
        connection._look(now_s + 61.0)
        assert not connection.closed
        nursery.cancel_scope.cancel()
