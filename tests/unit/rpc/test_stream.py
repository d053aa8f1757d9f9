"""Streams of chunks over real sockets: order, back-pressure, errors, cancelling."""

import pytest
import trio
import trio.testing

from base.errors import Internal, NoLeader, OutcomeUnknown, TooLarge
from rpc.flow import WINDOW_BYTES
from rpc.frame import CHUNK_BYTES_MAX
from rpc.stream import RPCStream
from tests.fakes.rpc_pair import Pair, running_pair

MIB = 2**20


async def receive_all(stream: RPCStream) -> bytes:
    chunks = []
    while chunk := await stream.receive_chunk():
        chunks.append(chunk)
    return b"".join(chunks)


async def send_for_ever(stream: RPCStream) -> None:
    while True:
        await stream.send_chunk(bytes(MIB))


async def test_a_download_larger_than_the_window_arrives_complete_and_in_order() -> None:
    async with running_pair() as pair:
        async with pair.pool.stream(pair.address, "download", b"20") as stream:
            data = await receive_all(stream)
            assert await stream.receive_chunk() == b""
        assert data == b"".join(bytes([number]) * MIB for number in range(20))
        await pair.until_quiet()


async def test_an_upload_larger_than_the_window_is_counted() -> None:
    async with running_pair() as pair:
        async with pair.pool.stream(pair.address, "upload", b"") as stream:
            for _ in range(20):
                await stream.send_chunk(bytes(MIB))
            await stream.send_chunk(b"")
            await stream.finish()
            await stream.finish()
            assert await receive_all(stream) == str(20 * MIB).encode()
        await pair.until_quiet()


async def test_both_directions_flow_at_once() -> None:
    async with running_pair() as pair, pair.pool.stream(pair.address, "mirror", b"") as stream:
        received = bytearray()

        async def receive() -> None:
            received.extend(await receive_all(stream))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            for number in range(32):
                await stream.send_chunk(bytes([number]) * (MIB // 2))
            await stream.finish()
        assert received == b"".join(bytes([number]) * (MIB // 2) for number in range(32))


async def test_a_reader_that_does_not_read_stops_the_sender_and_calls_go_on() -> None:
    async with running_pair() as pair, pair.pool.stream(pair.address, "download", b"50") as stream:
        await trio.testing.wait_all_tasks_blocked(0.05)
        held = sum(len(chunk) for chunk in stream._flow.chunks)
        assert held <= WINDOW_BYTES
        assert await pair.call("echo", b"x") == b"x"
        assert len(await receive_all(stream)) == 50 * MIB


async def test_many_tiny_chunks_are_bounded_too() -> None:
    async with running_pair() as pair, pair.pool.stream(pair.address, "forever", b"") as stream:
        sent = 0
        with trio.fail_after(60.0):
            while stream._flow.credit >= 65:
                await stream.send_chunk(b"x")
                sent += 1
        assert sent <= WINDOW_BYTES // 65 + 1


async def test_an_error_of_the_handler_reaches_a_sender_that_waits() -> None:
    async with running_pair() as pair, pair.pool.stream(pair.address, "refuse", b"") as stream:
        with pytest.raises(NoLeader):
            await send_for_ever(stream)
        with pytest.raises(NoLeader):
            await stream.receive_chunk()


async def test_a_defect_of_the_handler_is_internal(capfd: pytest.CaptureFixture[str]) -> None:
    async with running_pair() as pair:
        async with pair.pool.stream(pair.address, "defect", b"") as stream:
            with pytest.raises(Internal):
                await stream.receive_chunk()
        assert "defect in the handler" in capfd.readouterr().out
        assert await pair.call("echo", b"x") == b"x"


async def test_a_handler_that_ends_before_it_has_read_all_tells_the_sender() -> None:
    async with running_pair() as pair, pair.pool.stream(pair.address, "deaf", b"") as stream:
        with pytest.raises(Internal, match="completed"):
            await send_for_ever(stream)
        assert await stream.receive_chunk() == b""


async def test_leaving_the_block_cancels_the_handler() -> None:
    async with running_pair() as pair:
        async with pair.pool.stream(pair.address, "forever", b""):
            await pair.served.until_waiting(1)
        await pair.served.until_waiting(0)
        assert pair.served.cancelled == 1
        await pair.until_quiet()


async def test_losing_the_connection_ends_streams_on_both_sides() -> None:
    async with running_pair() as pair:
        async with pair.pool.stream(pair.address, "forever", b"") as stream:
            await pair.served.until_waiting(1)
            pair.pool.close_peer(pair.address)
            with pytest.raises(OutcomeUnknown):
                await stream.receive_chunk()
            with pytest.raises(OutcomeUnknown):
                await stream.send_chunk(b"x")
            await stream.finish()
        await pair.served.until_waiting(0)


async def test_chunks_over_the_limit_are_refused_and_the_stream_lives() -> None:
    async with running_pair() as pair, pair.pool.stream(pair.address, "upload", b"") as stream:
        with pytest.raises(TooLarge):
            await stream.send_chunk(bytes(CHUNK_BYTES_MAX + 1))
        await stream.send_chunk(bytes(CHUNK_BYTES_MAX))
        await stream.finish()
        assert await receive_all(stream) == str(CHUNK_BYTES_MAX).encode()


async def test_streams_and_calls_share_a_connection() -> None:
    async with running_pair() as pair:
        await _one_of_each(pair)
        assert pair.listener.statistics().connections == 1


async def _one_of_each(pair: Pair) -> None:
    async def download() -> None:
        async with pair.pool.stream(pair.address, "download", b"8") as stream:
            assert len(await receive_all(stream)) == 8 * MIB

    async def calls() -> None:
        for _ in range(100):
            assert await pair.call("later", b"x") == b"x"

    await pair.call("echo")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(download)
        nursery.start_soon(download)
        nursery.start_soon(calls)
