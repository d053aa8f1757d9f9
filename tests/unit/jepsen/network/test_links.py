"""User-space links, between two nodes that live in this process: "a" dials, "b" listens.

A node is known by the address that its sockets are bound to, as real nodes are by their processes.
"""

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from jepsen.network.links import LinkNetwork
from jepsen.network.network import Direction, count
from jepsen.network.pump import KEPT_BYTES_MAX

THERE: list[Direction] = [("a", "b")]
BACK: list[Direction] = [("b", "a")]
SOON_S = 0.3
"""Long enough for what passes to arrive, short enough to wait for what does not."""
PATIENCE_S = 5.0


class Pair:
    """A network with a listening "b", and connections of "a" to it."""

    def __init__(self, network: LinkNetwork, listening: trio.SocketListener) -> None:
        self.network = network
        self._listening = listening
        self.port: int = listening.socket.getsockname()[1]
        self._streams: list[trio.SocketStream] = []

    async def dial(self, source: str = "a") -> trio.SocketStream:
        """A connection of "a" to where "b" says it is."""
        dialled = trio.socket.socket()
        await dialled.bind((self.network.addresses(source).bind, 0))
        await dialled.connect((self.network.addresses("b").advertise, self.port))
        self._streams.append(trio.SocketStream(dialled))
        return self._streams[-1]

    async def accept(self) -> trio.SocketStream:
        """The other end, at "b"."""
        self._streams.append(await self._listening.accept())
        return self._streams[-1]

    async def connect(self) -> tuple[trio.SocketStream, trio.SocketStream]:
        """Both ends of a new connection."""
        near = await self.dial()
        with trio.fail_after(PATIENCE_S):
            return near, await self.accept()

    async def counted(self, kind: str, directions: list[Direction]) -> int:
        return count(await self.network.effects(), [kind], directions)

    async def close(self) -> None:
        for stream in self._streams:
            await trio.aclose_forcefully(stream)
        await self._listening.aclose()


@asynccontextmanager
async def pair() -> AsyncIterator[Pair]:
    network = LinkNetwork(random.Random(1))
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        listening = trio.socket.socket()
        await listening.bind((network.addresses("b").bind, 0))
        listening.listen(64)
        made = Pair(network, trio.SocketListener(listening))
        await network.open_port("b", made.port)
        try:
            yield made
        finally:
            await made.close()
            nursery.cancel_scope.cancel()


async def exactly(stream: trio.SocketStream, size: int) -> bytes:
    """So many bytes; fails if they do not come."""
    found = bytearray()
    with trio.fail_after(PATIENCE_S):
        while len(found) < size:
            data = await stream.receive_some(size - len(found))
            assert data, "the stream ended"
            found += data
    return bytes(found)


async def silent(stream: trio.SocketStream) -> bool:
    """Whether nothing comes for a while, the end included."""
    with trio.move_on_after(SOON_S) as scope:
        await stream.receive_some(1)
    return scope.cancelled_caught


async def ended_by_reset(stream: trio.SocketStream) -> bool:
    with trio.fail_after(PATIENCE_S):
        try:
            return await stream.receive_some(1) != b"" and False
        except trio.BrokenResourceError:
            return True


async def test_bytes_and_orderly_ends_pass_both_ways() -> None:
    async with pair() as link:
        near, far = await link.connect()
        await near.send_all(b"hello")
        await far.send_all(b"there")
        assert (await exactly(far, 5), await exactly(near, 5)) == (b"hello", b"there")
        await near.send_eof()
        assert await far.receive_some(1) == b""
        await far.send_all(b"still")
        assert await exactly(near, 5) == b"still"
        await far.aclose()
        assert await near.receive_some(1) == b""


async def test_the_listener_sees_who_dialled() -> None:
    async with pair() as link:
        _, far = await link.connect()
        assert far.socket.getpeername()[0] == link.network.addresses("a").bind


async def test_a_cut_is_silent_and_what_was_sent_arrives_after_the_healing() -> None:
    async with pair() as link:
        near, far = await link.connect()
        await link.network.cut(THERE + BACK)
        await near.send_all(b"late")
        await far.send_all(b"too")
        assert await silent(far)
        assert await silent(near)
        assert await link.counted("held", THERE) == 4
        assert await link.counted("held", BACK) == 3
        await link.network.heal()
        assert (await exactly(far, 4), await exactly(near, 3)) == (b"late", b"too")


async def test_one_direction_can_be_cut_alone() -> None:
    async with pair() as link:
        near, far = await link.connect()
        await link.network.cut(THERE)
        await near.send_all(b"lost")
        await far.send_all(b"heard")
        assert await exactly(near, 5) == b"heard"
        assert await silent(far)


async def test_reopening_one_direction_leaves_the_other_cut() -> None:
    async with pair() as link:
        near, far = await link.connect()
        await link.network.cut(THERE + BACK)
        await link.network.reopen(THERE)
        await near.send_all(b"heard")
        await far.send_all(b"lost")
        assert await exactly(far, 5) == b"heard"
        assert await silent(near)


async def test_ends_do_not_pass_a_cut_either() -> None:
    async with pair() as link:
        near, far = await link.connect()
        await link.network.cut(THERE)
        await near.aclose()
        assert await silent(far)
        await link.network.heal()
        with trio.fail_after(PATIENCE_S):
            assert await far.receive_some(1) == b""


async def test_a_reset_does_not_pass_a_cut_either_and_passes_later_as_a_reset() -> None:
    async with pair() as link:
        near, far = await link.connect()
        await link.network.cut(THERE)
        near.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        near.socket.close()
        assert await silent(far)
        await link.network.heal()
        assert await ended_by_reset(far)


async def test_that_the_receiver_is_gone_is_news_that_a_cut_of_the_way_back_holds_up() -> None:
    async with pair() as link:
        near, far = await link.connect()
        await link.network.cut(BACK)
        far.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.socket.close()
        await near.send_all(b"into the void")
        assert await silent(near)
        await link.network.heal()
        assert await ended_by_reset(near)


async def test_a_connection_dialled_during_a_cut_is_never_answered_and_reset_after_the_healing() -> None:
    async with pair() as link:
        await link.network.cut(BACK)
        near = await link.dial()
        await near.send_all(b"anybody?")
        assert await silent(near)
        assert await link.counted("refused", BACK) == 1
        await link.network.heal()
        assert await ended_by_reset(near)


async def test_what_a_cut_holds_is_bounded_and_then_the_sender_must_wait() -> None:
    async with pair() as link:
        near, _ = await link.connect()
        await link.network.cut(THERE)
        with trio.move_on_after(1) as scope:
            await near.send_all(bytes(64 * 1024 * 1024))
        assert scope.cancelled_caught
        held = await link.counted("held", THERE)
        assert KEPT_BYTES_MAX <= held < 2 * KEPT_BYTES_MAX


async def test_much_passes_whole_and_in_order_through_cuts_delays_and_healings() -> None:
    async with pair() as link:
        near, far = await link.connect()
        data = random.Random(3).randbytes(4_000_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.send_all, data)

            async def disturb() -> None:
                while True:
                    await link.network.delay(THERE, mean_s=0.01, jitter_s=0.01)
                    await trio.sleep(0.02)
                    await link.network.cut(THERE)
                    await trio.sleep(0.02)
                    await link.network.heal()
                    await trio.sleep(0.005)

            nursery.start_soon(disturb)
            assert await exactly(far, len(data)) == data
            nursery.cancel_scope.cancel()


async def test_delay_is_by_direction_and_about_as_long_as_it_was_told() -> None:
    async with pair() as link:
        near, far = await link.connect()
        await link.network.delay(THERE, mean_s=0.3, jitter_s=0.1)
        began_s = trio.current_time()
        await near.send_all(b"slow")
        await far.send_all(b"quick")
        await exactly(near, 5)
        assert trio.current_time() - began_s < 0.2
        await exactly(far, 4)
        assert trio.current_time() - began_s >= 0.2
        assert await link.counted("late", THERE) == 4
        assert await link.counted("late", BACK) == 0


async def test_healing_lets_what_is_delayed_pass_at_once() -> None:
    async with pair() as link:
        near, far = await link.connect()
        await link.network.delay(THERE, mean_s=60, jitter_s=0)
        await near.send_all(b"slow")
        assert await silent(far)
        await link.network.heal()
        assert await exactly(far, 4) == b"slow"


async def test_loss_breaks_connections_at_about_its_rate() -> None:
    async with pair() as link:
        ends = [await link.connect() for _ in range(40)]
        await link.network.lose(THERE, share=0.5)
        await trio.sleep(1)
        broken = await link.counted("broken", THERE)
        assert 5 <= broken <= 35  # of 40, each with the chance of 0.4 to be broken within a second
        await link.network.heal()
        seen = 0
        for near, _ in ends:
            with trio.move_on_after(0.01):
                seen += await ended_by_reset(near)
        assert seen == broken


async def test_flapping_cuts_again_and_again_until_it_is_healed() -> None:
    async with pair() as link:
        near, far = await link.connect()
        await link.network.flap(THERE, interval_s=(0.02, 0.05))
        with trio.fail_after(PATIENCE_S):
            while await link.counted("flapped", THERE) < 4:
                await near.send_all(b"x")
                await exactly(far, 1)
        await link.network.heal()
        flapped = await link.counted("flapped", THERE)
        await trio.sleep(0.2)
        assert await link.counted("flapped", THERE) == flapped
        await near.send_all(b"y")
        assert await exactly(far, 1) == b"y"


async def test_reaching_means_that_a_connection_gets_through_both_ways() -> None:
    async with pair() as link:
        assert await link.network.reaches("a", "b", link.port)
        for direction in (THERE, BACK):
            await link.network.cut(direction)
            assert not await link.network.reaches("a", "b", link.port)
            await link.network.heal()
        assert not await link.network.reaches("a", "b", 1)


async def test_a_port_where_nobody_listens_gives_a_reset() -> None:
    async with pair() as link:
        port = link.port
        await link.close()
        dialled = trio.socket.socket()
        await dialled.bind((link.network.addresses("a").bind, 0))
        await dialled.connect((link.network.addresses("b").advertise, port))
        async with trio.SocketStream(dialled) as stream:
            assert await ended_by_reset(stream)


async def test_the_harness_itself_is_never_cut_off() -> None:
    async with pair() as link:
        await link.network.cut(THERE + BACK)
        async with await trio.open_tcp_stream(link.network.addresses("b").advertise, link.port) as ours:
            with trio.fail_after(PATIENCE_S):
                far = await link.accept()
            await ours.send_all(b"hello")
            assert await exactly(far, 5) == b"hello"
