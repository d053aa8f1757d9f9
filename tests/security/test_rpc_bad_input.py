"""Whatever a stranger sends to the RPC port, a healthy client goes on working and memory stays bounded.

Among others CVE-2020-7219: connections that never authenticate were kept without limit.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from base.errors import OutcomeUnknown, Unreachable
from base.network import RealNetwork, SocketStream
from rpc.frame import (
    CANCEL,
    CHUNK_BYTES_MAX,
    DATA,
    FRAME_BYTES_MAX,
    LARGE,
    PART,
    PING,
    REPLY,
    REQUEST,
    STREAM,
    encode_frame,
)
from rpc.large import LARGE_BYTES_MAX, REPLY_BYTES_MAX
from rpc.listener import BYTE_RPC, ListenerLimits
from rpc.mux import OUT_BYTES_MAX
from tests.fakes.rpc_pair import TIMEOUT_S, Pair, running_pair

QUICK = ListenerLimits(handshake_timeout_s=0.05)
KERNEL_BYTES = 16 * 2**20
"""More than the kernel buffers on a loopback connection."""


@asynccontextmanager
async def stranger(pair: Pair, *, greeted: bool = True) -> AsyncGenerator[SocketStream, None]:
    """A raw connection to the listener; afterwards a healthy client must work."""
    host, _, port = pair.address.rpartition(":")
    stream = await RealNetwork().dial(host, int(port), TIMEOUT_S)
    try:
        if greeted:
            await stream.send_all(bytes([BYTE_RPC]))
            assert await stream.receive_some(1) == bytes([BYTE_RPC])
        yield stream
    finally:
        stream.close_now()
    assert await pair.call("echo", b"healthy") == b"healthy"
    assert await pair.call("later", b"healthy") == b"healthy"


async def closed_by_peer(stream: SocketStream) -> bool:
    try:
        while await stream.receive_some(65536):
            pass
    except Unreachable:
        pass
    return True


def frame(seq: int, kind: int, method: str = "", body: bytes = b"") -> bytes:
    out: list[bytes] = []
    encode_frame(seq, kind, method, body, out)
    return b"".join(out)


@pytest.mark.parametrize("first", [b"\x00", b"\x01", b"\x02", b"\x04", b"\x05", b"G", b"\xff"])
async def test_a_first_byte_that_names_no_protocol_is_closed(first: bytes) -> None:
    async with running_pair() as pair, stranger(pair, greeted=False) as stream:
        await stream.send_all(first)
        assert await closed_by_peer(stream)


async def test_tls_at_a_listener_without_certificates_is_closed() -> None:
    async with running_pair() as pair, stranger(pair, greeted=False) as stream:
        await stream.send_all(b"\x03\x16\x03\x01")
        assert await closed_by_peer(stream)


async def test_who_says_nothing_is_closed_after_the_handshake_deadline() -> None:
    async with running_pair(limits=QUICK) as pair, stranger(pair, greeted=False) as stream:
        assert await closed_by_peer(stream)
        assert pair.listener.statistics().handshakes_failed == 1


async def test_who_leaves_at_once_costs_nothing() -> None:
    async with running_pair() as pair:
        for _ in range(20):
            async with stranger(pair, greeted=False):
                pass
        while pair.listener.statistics().connections > 1:
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\xff\xff\xff\xff",
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x05hello",
        frame(1, 77),
        frame(2, REQUEST, "echo"),
        frame(1, REQUEST, "echo") * 2,
        frame(1, STREAM, "forever") + frame(1, DATA, "", bytes(CHUNK_BYTES_MAX)) * 8,
        bytes(range(256)) * 1000,
    ],
    ids=["http", "huge", "over", "empty", "text", "kind", "parity", "twice", "window", "noise"],
)
async def test_garbage_frames_close_their_connection(data: bytes) -> None:
    async with running_pair() as pair, stranger(pair) as stream:
        try:
            await stream.send_all(data)
        except Unreachable:
            return
        assert await closed_by_peer(stream)


async def test_half_a_frame_is_waited_for_and_then_forgotten_with_its_connection() -> None:
    async with running_pair() as pair:
        async with stranger(pair) as stream:
            await stream.send_all(frame(1, REQUEST, "echo", bytes(1000))[:500])
            assert await pair.call("echo", b"x") == b"x"
        while pair.listener.statistics().connections > 1:
            await trio.lowlevel.checkpoint()


async def test_unknown_methods_and_wild_cancels_are_answered_or_ignored() -> None:
    async with running_pair() as pair, stranger(pair) as stream:
        for seq in range(1, 2001, 2):
            await stream.send_all(frame(seq, CANCEL) + frame(seq, REQUEST, "forever") + frame(seq, CANCEL))
        await stream.send_all(frame(0, PING))
        assert await stream.receive_some(100)
        await pair.served.until_waiting(0)


async def test_a_peer_that_never_reads_its_replies_is_not_served_without_bound() -> None:
    async with running_pair() as pair, stranger(pair) as stream, trio.open_nursery() as nursery:

        async def ask() -> None:
            for seq in range(1, 4001, 2):
                await stream.send_all(frame(seq, REQUEST, "size", b"1000000"))

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked(0.05)
        answered = len(pair.served.callers)
        (connection,) = pair.accepted()
        assert connection.mux.out_bytes <= OUT_BYTES_MAX + 1_100_000
        assert answered * 1_000_000 <= KERNEL_BYTES + OUT_BYTES_MAX
        assert await pair.call("echo", b"x") == b"x"
        nursery.cancel_scope.cancel()


async def test_a_flood_of_pings_that_reads_nothing_is_bounded() -> None:
    async with running_pair() as pair, stranger(pair) as stream:
        flood = frame(0, PING) * 10_000
        sent = 0
        with trio.move_on_after(2.0) as scope:
            while sent < 400 and not scope.cancel_called:
                with trio.move_on_after(0.2) as stalled:
                    await stream.send_all(flood)
                if stalled.cancelled_caught:
                    break
                sent += 1
        (connection,) = pair.accepted()
        assert connection.mux.out_bytes <= OUT_BYTES_MAX + 100


async def test_one_address_cannot_take_all_connections() -> None:
    limits = ListenerLimits(connections_max_per_address=4)
    async with running_pair(limits=limits) as pair:
        assert await pair.call("echo", b"x") == b"x"
        host, _, port = pair.address.rpartition(":")
        kept = []
        for _ in range(3):
            stream = await RealNetwork().dial(host, int(port), TIMEOUT_S)
            await stream.send_all(bytes([BYTE_RPC]))
            assert await stream.receive_some(1) == bytes([BYTE_RPC])
            kept.append(stream)
        for _ in range(20):
            refused = await RealNetwork().dial(host, int(port), TIMEOUT_S)
            assert await closed_by_peer(refused)
            refused.close_now()
        assert pair.listener.statistics().connections_refused == 20
        assert await pair.call("echo", b"x") == b"x"
        kept.pop().close_now()
        while pair.listener.statistics().connections > 3:
            await trio.lowlevel.checkpoint()
        async with stranger(pair):
            pass
        for stream in kept:
            stream.close_now()


async def test_the_total_is_capped_too() -> None:
    async with running_pair(limits=ListenerLimits(connections_max=1)) as pair:
        assert await pair.call("echo", b"x") == b"x"
        host, _, port = pair.address.rpartition(":")
        refused = await RealNetwork().dial(host, int(port), TIMEOUT_S)
        assert await closed_by_peer(refused)
        refused.close_now()


async def test_a_server_that_answers_garbage_ends_the_call_as_unknown() -> None:
    listener = await RealNetwork().listen("127.0.0.1", 0)
    async with running_pair() as pair, trio.open_nursery() as nursery:

        async def serve_garbage() -> None:
            stream = await listener.accept()
            await stream.receive_some(1)
            await stream.send_all(bytes([BYTE_RPC]))
            await stream.receive_some(1)
            await stream.send_all(b"\xff\xff\xff\xffgarbage")
            await closed_by_peer(stream)
            stream.close_now()

        nursery.start_soon(serve_garbage)
        with pytest.raises(OutcomeUnknown, match="protocol"):
            await pair.pool.call(listener.address, "echo", b"", timeout_s=TIMEOUT_S)
        assert await pair.call("echo", b"x") == b"x"
    listener.close()


ANNOUNCED = frame(1, LARGE, "", (REPLY_BYTES_MAX // 2).to_bytes(8, "big"))


@pytest.mark.parametrize(
    ("sent", "match"),
    [
        (ANNOUNCED + frame(1, PART, "", bytes(CHUNK_BYTES_MAX)), "no answer"),
        (ANNOUNCED + frame(3, PART, "", b"x") + frame(3, REPLY, "", b"x"), "no answer"),
        (ANNOUNCED + frame(1, REPLY, "", b"x"), "protocol"),
        (frame(1, PART, "", b"x"), "protocol"),
    ],
    ids=["never ends", "of another call", "replies twice", "unannounced"],
)
async def test_a_server_whose_large_reply_is_none_ends_that_call_and_holds_nothing(sent: bytes, match: str) -> None:
    listener = await RealNetwork().listen("127.0.0.1", 0)
    async with running_pair() as pair, trio.open_nursery() as nursery:

        async def serve() -> None:
            stream = await listener.accept()
            await stream.receive_some(1)
            await stream.send_all(bytes([BYTE_RPC]))
            await stream.receive_some(1)
            await stream.send_all(sent)
            await closed_by_peer(stream)
            stream.close_now()

        nursery.start_soon(serve)
        with pytest.raises(OutcomeUnknown, match=match):
            await pair.pool.call(listener.address, "echo", b"", timeout_s=0.3)
        assert pair.pool._hub.large.bytes_left == LARGE_BYTES_MAX
        assert await pair.call("echo", b"x") == b"x"
        pair.pool.close_peer(listener.address)
    listener.close()


async def test_a_peer_that_asks_for_large_replies_and_reads_none_is_bounded() -> None:
    async with running_pair() as pair, stranger(pair) as stream:
        await stream.send_all(frame(0, PING, "", b"\x01"))
        size = REPLY_BYTES_MAX // 4
        for seq in range(1, 41, 2):
            await stream.send_all(frame(seq, REQUEST, "size", str(size).encode()))
        while len(pair.served.callers) < 20:
            await trio.lowlevel.checkpoint()
        (connection,) = pair.accepted()
        assert connection.mux.out_bytes <= OUT_BYTES_MAX
        assert pair.listener._hub.large.bytes_left >= 0
        stream.close_now()
        while pair.listener._hub.large.bytes_left != LARGE_BYTES_MAX:
            await trio.lowlevel.checkpoint()
