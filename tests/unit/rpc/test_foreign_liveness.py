"""Signs of life on the foreign wire: who gives none, takes nothing or wants nothing is closed. Looks are made quick."""

import pytest
import trio

from base.network import RealNetwork
from rpc import foreign_plain, foreign_pool, peers, yamux, yamux_session
from rpc.foreign_pool import ForeignPool
from tests.fakes.foreign_site import TIMEOUT_S, beside, foreign_site
from tests.fakes.foreign_wire import PING, SYN, ForeignServerDouble, dial, dial_raw, frame, request_bytes


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as the hub looks at all, and few of them."""
    for module in (yamux_session, foreign_plain):
        monkeypatch.setattr(module, "LOOK_INTERVAL_S", 0.0)
    monkeypatch.setattr(yamux, "PING_AFTER_LOOKS", 2)
    monkeypatch.setattr(yamux, "DEAD_AFTER_LOOKS", 6)


async def test_a_caller_that_answers_no_ping_is_closed_and_its_call_cancelled() -> None:
    async with foreign_site() as site:
        connection = await beside(dial_raw, site.address, b"\x04" + frame(1, SYN, 1, 0))
        call = request_bytes(1, "Wait.Forever", {})
        connection.sendall(frame(0, 0, 1, len(call), call))
        await site.until_waiting(1)
        await site.until_waiting(0)
        await site.until_connections(0)
        received = b""
        while piece := await beside(connection.recv, 1000):
            received += piece
        assert frame(PING, SYN, 0, 1) in received, "it was asked first"
        connection.close()


async def test_a_caller_that_answers_pings_may_wait_as_long_as_it_likes() -> None:
    async with foreign_site() as site:
        session = await beside(dial, site.address)
        line = session.open()
        line.write(request_bytes(1, "Wait.Forever", {}))
        await site.until_waiting(1)
        for _ in range(4):
            await beside(session.pump)  # answers the ping that it waits for, except the first time: the acceptance
        assert site.waiting == 1
        session.close()
        await site.until_waiting(0)


async def test_a_caller_that_takes_no_output_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamux, "DEAD_AFTER_LOOKS", 10_000)
    monkeypatch.setattr(yamux_session, "STALLED_LOOKS_MAX", 3)
    monkeypatch.setattr(foreign_plain, "STALLED_LOOKS_MAX", 3)
    async with foreign_site() as site:
        multiplexed = await beside(dial_raw, site.address, b"\x04")
        ask = request_bytes(1, "Size.Now", 16 << 20)
        multiplexed.sendall(
            b"".join(frame(1, SYN, number, 1 << 30) + frame(0, 0, number, len(ask), ask) for number in (1, 3))
        )
        plain = await beside(dial_raw, site.address, b"\x00" + ask + ask)
        await site.until_connections(2)
        await site.until_connections(0)
        multiplexed.close()
        plain.close()


async def test_a_plain_connection_without_calls_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_plain, "IDLE_S", 0.2)
    async with foreign_site() as site:
        connection = await beside(dial_raw, site.address, b"\x00")
        assert await beside(connection.recv, 1) == b""
        connection.close()
        await site.until_connections(0)


async def test_a_session_without_calls_is_closed_by_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_pool, "IDLE_S", 0.2)
    monkeypatch.setattr(peers, "YOUNG_S", 0.0)
    with ForeignServerDouble(lambda method, argument: ("", argument)) as double, trio.fail_after(TIMEOUT_S):
        async with trio.open_nursery() as nursery:
            pool = ForeignPool(RealNetwork())
            await nursery.start(pool.run)
            assert await pool.call(double.address, "Echo", 1, timeout_s=TIMEOUT_S) == 1
            while pool.statistics().connections:
                await trio.sleep(0.01)
            assert await pool.call(double.address, "Echo", 2, timeout_s=TIMEOUT_S) == 2
            assert len(double.sessions) == 2
            assert double.sessions[0].gone == 0
            nursery.cancel_scope.cancel()


async def test_a_server_that_is_doubted_and_silent_is_given_up() -> None:
    listener = await RealNetwork().listen("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        pool = ForeignPool(RealNetwork())
        await nursery.start(pool.run)

        async def silent() -> None:
            stream = await listener.accept()
            try:
                await trio.sleep_forever()
            finally:
                stream.close_now()

        async def call() -> None:
            with pytest.raises(Exception, match="no sign of life"):
                await pool.call(listener.address, "Echo", 1, timeout_s=TIMEOUT_S)
            nursery.cancel_scope.cancel()

        nursery.start_soon(silent)
        nursery.start_soon(call)
        with trio.fail_after(TIMEOUT_S):
            while not pool.statistics().calls_in_flight:
                await trio.sleep(0.005)
            pool.doubt(listener.address)
            await trio.sleep_forever()
    listener.close()
