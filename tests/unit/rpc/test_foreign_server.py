"""Foreign callers at a listener of ours, over real sockets: both first bytes, streams, cancelling, hostile ones."""

import gc
import socket
from contextlib import suppress

import pytest
import trio

from base.codec import OldFeed
from rpc import foreign_plain
from rpc.foreign_calls import CallStream
from rpc.foreign_messages import REQUEST_BYTES_MAX
from rpc.listener import ListenerLimits
from rpc.yamux import HEADER_BYTES
from rpc.yamux_session import YamuxConnection
from tests.fakes.foreign_site import TIMEOUT_S, ForeignSite, beside, foreign_site
from tests.fakes.foreign_wire import (
    DATA,
    FIN,
    PING,
    RST,
    SYN,
    UPDATE,
    ForeignSession,
    Line,
    PlainLine,
    dial,
    dial_plain,
    dial_raw,
    frame,
    old,
    readable,
    request_bytes,
)

PIECE = 65536


async def healthy(site: ForeignSite) -> None:
    """A well-behaved caller is served."""

    def ask() -> None:
        session = dial(site.address)
        assert session.open().call("Echo.Now", {"a": "b"}) == ("", {"a": "b"})
        session.close()

    await beside(ask)


async def test_calls_on_one_stream_come_one_after_the_other() -> None:
    def work(address: str) -> None:
        session = dial(address)
        line = session.open()
        for seq in range(1, 50):
            assert line.call("Echo.Now" if seq % 2 else "Echo.Later", {"n": seq}, seq) == ("", {"n": seq})
        line.write(b"".join(request_bytes(seq, "Echo.Later", seq) for seq in range(100, 150)))
        assert [line.answer(seq) for seq in range(100, 150)] == [("", seq) for seq in range(100, 150)]
        assert line.accepted
        session.close()

    async with foreign_site() as site:
        await beside(work, site.address)
        await site.until_connections(0)


async def test_a_slow_call_holds_up_no_other_stream() -> None:
    def work(address: str) -> None:
        session = dial(address)
        slow = session.open()
        slow.write(request_bytes(1, "Wait.Forever", {}))
        for _ in range(20):
            line = session.open()
            assert line.call("Echo.Later", {}) == ("", {})
            line.close()
            while not line.ended:
                session.pump()
        session.close()

    async with foreign_site() as site:
        await beside(work, site.address)
        await site.until_waiting(0)
        assert site.cancelled == 1


@pytest.mark.parametrize("method", ["Size.Now", "Size.Later"])
async def test_requests_and_answers_larger_than_a_window(method: str) -> None:
    def work(address: str) -> None:
        session = dial(address)
        lines = [session.open() for _ in range(3)]
        value = bytes(400 * 1024)
        for line in lines:
            assert line.call("Echo.Later", {"Value": value})[1] == {"Value": readable(value)}
        for line in lines:
            line.write(request_bytes(1, method, 3_000_000))
        assert [len(line.answer()[1]) for line in lines] == [3_000_000] * 3
        session.close()

    async with foreign_site() as site:
        await beside(work, site.address)


async def test_errors_keep_the_stream_except_for_arguments_that_are_not_understood() -> None:
    def work(address: str) -> None:
        session = dial(address)
        line = session.open()
        for method in ("No.Leader", "No.Leader_later"):
            assert line.call(method, {}) == ("No cluster leader", {})
        assert line.call("KVS.Nothing", {}) == ("rpc: can't find method KVS.Nothing", {})
        error, _ = line.call("No.Defect", {})
        assert error == "internal error in No.Defect: KeyError"
        assert line.call("Echo.Now", {}) == ("", {})
        for method in ("No.Type", "No.Type_later"):
            line = session.open()
            assert line.call(method, {}) == ("codec.decoder: Key: expected text", {})
            while not line.ended:
                session.pump()
        line = session.open()
        line.write(old({"Seq": 3, "ServiceMethod": "Echo.Now"}) + b"\xc1")
        assert line.answer(3)[0].startswith("codec.decoder: ")
        while not line.ended:
            session.pump()
        session.close()

    async with foreign_site() as site:
        await beside(work, site.address)


@pytest.mark.parametrize("flag", [FIN, RST])
async def test_who_closes_its_stream_has_its_call_cancelled(flag: int) -> None:
    def begin(address: str) -> tuple[ForeignSession, Line]:
        session = dial(address)
        line = session.open()
        line.write(request_bytes(1, "Wait.Forever", {}))
        return session, line

    async with foreign_site() as site:
        session, line = await beside(begin, site.address)
        await site.until_waiting(1)
        await beside(session.send, frame(UPDATE, flag, line.number, 0))
        await site.until_waiting(0)
        assert site.cancelled == 1
        assert await beside(session.open().call, "Echo.Now", {}) == ("", {})
        session.close()


async def test_streams_that_are_over_need_no_garbage_collector() -> None:
    def work(address: str, flag: int) -> None:
        session = dial(address)
        for method in ("Echo.Now", "Echo.Later", "No.Type"):
            session.open().call(method, {})
        session.open().write(request_bytes(1, "Wait.Forever", {}))
        session.open().write(b"\xc1" * 10)
        session.open().write(old({"Seq": 3, "ServiceMethod": "Echo.Now"}))
        half = session.open()
        assert session.open().call("Echo.Later", {}) == ("", {})
        session.send(b"".join(frame(UPDATE, flag, number, 0) for number in range(1, half.number + 1, 2)))
        assert session.open().call("Echo.Later", {}) == ("", {})
        session.close()

    def held() -> int:
        return sum(isinstance(each, CallStream | OldFeed) for each in gc.get_objects())

    async with foreign_site() as site:
        gc.collect()
        gc.disable()
        try:
            before = held()
            for flag in (FIN, RST):
                await beside(work, site.address, flag)
                await site.until_connections(0)
            assert held() - before == 0
        finally:
            gc.enable()


async def test_answers_that_nobody_reads_wait_with_their_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credit is never granted: what is answered beyond the bound stays where it is, and the session lives."""
    monkeypatch.setattr("rpc.yamux_session.CONGESTED_BYTES_MIN", 1_000_000)

    def begin(address: str) -> ForeignSession:
        session = dial(address)
        for method in ["Size.Later"] * 10 + ["Size.Now"] * 10:
            session.open().write(request_bytes(1, method, 800_000))
        return session

    async with foreign_site() as site:
        session = await beside(begin, site.address)
        await site.until_calls(1)
        (link,) = site.listener._hub.connections
        assert isinstance(link, YamuxConnection)
        with trio.fail_after(TIMEOUT_S):
            while not link.congested:  # how many calls have begun by then depends on how the requests arrived
                await trio.sleep(0.005)
        assert link.session.waiting_bytes <= 2_000_000
        for line in list(session.lines.values()):
            assert len((await beside(line.answer))[1]) == 800_000
        assert link.session.waiting_bytes == 0
        session.close()


async def test_calls_in_flight_are_counted_and_end_with_their_connection() -> None:
    def begin(address: str) -> ForeignSession:
        session = dial(address)
        for _ in range(100):
            session.open().write(request_bytes(1, "Wait.Forever", {}))
        return session

    async with foreign_site() as site:
        session = await beside(begin, site.address)
        await site.until_waiting(100)
        assert site.listener.statistics().calls_in_flight == 100
        session.close()
        await site.until_waiting(0)
        await site.until_connections(0)


async def test_a_session_that_went_away_is_still_answered() -> None:
    def work(address: str) -> None:
        session = dial(address)
        line = session.open()
        session.send(frame(3, 0, 0, 0))
        assert line.call("Echo.Later", {}) == ("", {})
        session.send(frame(PING, SYN, 0, 77))
        while not session.pongs:
            session.pump()
        assert session.pongs == [77]
        session.close()

    async with foreign_site() as site:
        await beside(work, site.address)


# Plain connections


async def test_plain_connections_answer_pipelined_calls_in_order() -> None:
    def work(address: str) -> None:
        line = dial_plain(address)
        methods = ["Echo.Later", "Echo.Now", "No.Leader", "Echo.Later"] * 25
        line.write(b"".join(request_bytes(seq, method, seq) for seq, method in enumerate(methods)))
        assert [line.answer(seq) for seq in range(len(methods))] == [
            ("No cluster leader", {}) if method == "No.Leader" else ("", seq) for seq, method in enumerate(methods)
        ]
        line.close()

    async with foreign_site() as site:
        await beside(work, site.address)
        await site.until_connections(0)


async def test_plain_connections_carry_large_values() -> None:
    def work(address: str) -> None:
        line = dial_plain(address)
        assert len(line.call("Echo.Later", {"Value": bytes(1 << 20)})[1]["Value"]) == 1 << 20
        assert len(line.call("Size.Now", 8_000_000)[1]) == 8_000_000
        line.close()

    async with foreign_site() as site:
        await beside(work, site.address)


async def test_closing_a_plain_connection_cancels_its_call() -> None:
    async with foreign_site() as site:
        connection = await beside(dial_raw, site.address, b"\x00" + request_bytes(1, "Wait.Forever", {}))
        await site.until_waiting(1)
        connection.close()
        await site.until_waiting(0)
        await site.until_connections(0)


async def test_an_argument_that_is_not_understood_ends_a_plain_connection_after_its_answer() -> None:
    def work(address: str, method: str) -> None:
        line = dial_plain(address)
        assert line.call(method, {}) == ("codec.decoder: Key: expected text", {})
        assert line.connection.recv(1) == b""
        line.close()

    async with foreign_site() as site:
        await beside(work, site.address, "No.Type")
        await beside(work, site.address, "No.Type_later")
        await site.until_connections(0)


async def test_a_plain_connection_that_asks_without_reading_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers fill the kernel's buffers and one output; no further call is taken then."""
    monkeypatch.setattr(foreign_plain, "OUT_BYTES_MAX", 1000)
    async with foreign_site() as site:
        connection = await beside(dial_raw, site.address, b"\x00")
        connection.setblocking(False)
        flood = b"".join(request_bytes(seq, "Size.Now", 1_000_000) for seq in range(200))
        with trio.move_on_after(5.0):
            sent = connection.send(flood)
            assert sent == len(flood)
            before = -1
            while len(site.callers) != before or before == 0:
                before = len(site.callers)
                await trio.sleep(0.1)
        assert 0 < len(site.callers) < 100
        connection.setblocking(True)
        line = PlainLine(connection)
        for seq in range(200):
            assert len((await beside(line.answer, seq))[1]) == 1_000_000
        connection.close()


# Strangers


def closed(connection: socket.socket) -> bool:
    try:
        while connection.recv(PIECE):
            pass
    except OSError:
        return True
    return True


@pytest.mark.parametrize(
    "data",
    [
        b"\x02",
        b"\x06",
        b"\x05",
        b"\x04" + b"GET / HTTP/1.1\r\n\r\n",
        b"\x04" + frame(DATA, SYN, 2, 0),
        b"\x04" + frame(DATA, SYN, 1, 0xFFFFFFFF),
        b"\x04" + frame(3, 0, 0, 2),
        b"\x00" + b"\xc1",
        b"\x00" + b"\xdd\xff\xff\xff\xff",
        b"\x00" + b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["old", "enterprise", "snapshot", "http", "parity", "huge", "gone", "plain", "list", "text"],
)
async def test_whoever_speaks_nonsense_loses_its_connection_and_nobody_else(data: bytes) -> None:
    async with foreign_site() as site:
        connection = await beside(dial_raw, site.address, data)
        connection.settimeout(20.0)
        assert await beside(closed, connection)
        connection.close()
        await healthy(site)
        await site.until_connections(0)


@pytest.mark.parametrize(
    "data",
    [old("no header"), b"\xc1", old({"Seq": "x"}) + old({}), b"\x93\x01\x02\x03\x80"],
    ids=["text", "unknown", "typed", "list"],
)
async def test_a_stream_that_speaks_nonsense_is_reset_and_its_session_lives(data: bytes) -> None:
    def work(address: str) -> None:
        session = dial(address)
        line = session.open()
        line.write(data)
        while not line.reset:
            session.pump()
        assert session.open().call("Echo.Now", {}) == ("", {})
        session.close()

    async with foreign_site() as site:
        await beside(work, site.address)


async def test_an_argument_without_end_is_refused_at_its_bound() -> None:
    def work(address: str) -> None:
        session = dial(address)
        line = session.open()
        line.write(old({"Seq": 1, "ServiceMethod": "Echo.Now"}) + b"\xdb\x7f\xff\xff\xff")
        sent = 0
        while not line.ended:
            assert sent <= REQUEST_BYTES_MAX + 2 * PIECE
            while not line.credit and not line.ended:
                session.pump()
            if line.ended:
                break
            size = min(PIECE, line.credit)
            line.credit -= size
            session.send(frame(DATA, 0, line.number, size, bytes(size)))
            sent += size
            session.connection.settimeout(0.02)
            with suppress(TimeoutError):  # nothing to read: the next piece goes out
                session.pump()
            session.connection.settimeout(20.0)
        assert line.answer(1)[0].startswith("codec.decoder: ")
        session.close()

    async with foreign_site() as site:
        await beside(work, site.address)


async def test_a_flood_of_pings_that_reads_nothing_is_bounded() -> None:
    async with foreign_site() as site:
        connection = await beside(dial_raw, site.address, b"\x04")
        connection.setblocking(False)
        flood = frame(PING, SYN, 0, 1) * 10_000
        stalled = 0
        sent = 0
        while stalled < 20 and sent < 400 * len(flood):
            try:
                sent += connection.send(flood[sent % HEADER_BYTES :])
                stalled = 0
            except BlockingIOError:
                stalled += 1
                await trio.sleep(0.01)
        assert stalled == 20, "it reads for ever what it cannot answer"
        await healthy(site)
        connection.close()


async def test_who_opens_more_streams_than_are_taken_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpc.yamux.STREAMS_MAX", 10)

    def work(address: str) -> None:
        session = dial(address)
        lines = [session.open() for _ in range(11)]
        while not lines[-1].reset:
            session.pump()
        assert lines[0].call("Echo.Now", {}) == ("", {})
        session.close()

    async with foreign_site() as site:
        await beside(work, site.address)


async def test_the_deadline_and_the_caps_of_the_listener_hold_here_too() -> None:
    limits = ListenerLimits(handshake_timeout_s=0.05, connections_max_per_address=3)
    async with foreign_site(limits=limits) as site:
        silent = await beside(dial_raw, site.address)
        assert await beside(closed, silent)
        silent.close()
        await site.until_connections(0)
        held = [await beside(dial_raw, site.address, first) for first in (b"\x04", b"\x00", b"\x04")]
        await site.until_connections(3)
        over = await beside(dial_raw, site.address)
        assert await beside(closed, over)
        for connection in (over, *held):
            connection.close()
        await site.until_connections(0)
        await healthy(site)
