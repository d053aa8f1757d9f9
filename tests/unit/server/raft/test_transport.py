"""Links between servers over real sockets on the loopback: who is let in, epochs, windows, silence, bad bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from base import codec
from base.errors import Unreachable
from base.network import RealNetwork, Stream, split_address
from server.raft import transport as module
from server.raft.transport import FRAME_BYTES_MAX, FRAME_HEADER, PROTOCOL, RaftTransport
from structs.cluster import Peer

WAIT_S = 20.0


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(WAIT_S):
        while not condition():
            await trio.sleep(0.005)


class RecordingInbox:
    """Notes what happens, in order; `held_bytes` plays a driver that is behind."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.messages: list[list[Any]] = []
        self.epochs: dict[str, int] = {}
        self.held_bytes = 0

    @property
    def bytes_waiting(self) -> int:
        return self.held_bytes

    def message(self, server_id: str, epoch: int, message: list[Any], bytes_count: int) -> None:
        assert self.epochs.get(server_id) == epoch, "a message outside of its epoch"
        self.messages.append(message)

    def connected(self, server_id: str, epoch: int) -> None:
        assert epoch > max([each[2] for each in self.events if each[0] == "up"], default=0)
        self.epochs[server_id] = epoch
        self.events.append(("up", server_id, epoch))

    def disconnected(self, server_id: str, epoch: int) -> None:
        assert self.epochs.pop(server_id) == epoch
        self.events.append(("down", server_id, epoch))

    def window(self, server_id: str, is_open: bool) -> None:
        self.events.append(("window", server_id, is_open))


class Server:
    """A transport behind a listening socket."""

    def __init__(self, server_id: str, datacenter: str = "dc1") -> None:
        self.inbox = RecordingInbox()
        self.datacenter = datacenter
        self.server_id = server_id
        self.transport: RaftTransport
        self.peer: Peer
        self.accepted: list[Stream] = []
        self.dialled: list[Stream] = []
        self.dial_count = 0
        self.serve_count = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listener = await RealNetwork().listen("127.0.0.1", 0)
        self.peer = Peer(server_id=self.server_id, name=self.server_id, address=listener.address)
        self.transport = RaftTransport(
            self_peer=self.peer, datacenter=self.datacenter, dial=self._dial, inbox=self.inbox
        )
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self.transport.run)
                task_status.started()
                while True:
                    stream = await listener.accept()
                    self.accepted.append(stream)
                    nursery.start_soon(self._serve, stream)
        finally:
            listener.close()

    async def _serve(self, stream: Stream) -> None:
        await self.transport.serve(stream)
        self.serve_count += 1

    async def _dial(self, address: str) -> Stream:
        self.dial_count += 1
        stream = await RealNetwork().dial(*split_address(address), timeout_s=5.0)
        self.dialled.append(stream)
        return stream

    def is_up(self, other: Server | str) -> bool:
        return (other if isinstance(other, str) else other.server_id) in self.inbox.epochs


@asynccontextmanager
async def servers(*ids: str) -> AsyncIterator[list[Server]]:
    made = [Server(server_id) for server_id in ids]
    async with trio.open_nursery() as nursery:
        for server in made:
            await nursery.start(server.run)
        yield made
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected_pair() -> AsyncIterator[tuple[Server, Server]]:
    async with servers("a", "b") as (a, b):
        a.transport.set_peers([a.peer, b.peer])
        await until(lambda: a.is_up(b) and b.is_up(a))
        yield a, b


class RawPeer:
    """A peer played by hand: it takes the server's connection and makes one of its own."""

    def __init__(self, server: Server, server_id: str = "raw") -> None:
        self._server = server
        self._server_id = server_id
        self._streams: list[Stream] = []
        self.taken: Stream
        self.made: Stream

    def hello(self, **changes: Any) -> list[Any]:
        fields = {
            "protocol": PROTOCOL, "datacenter": "dc1", "target": self._server.server_id, "sender": self._server_id,
            "name": self._server_id, "address": self.address,
        }  # fmt: skip
        return list({**fields, **changes}.values())

    async def open(self) -> None:
        """Begin both directions."""
        self._listener = await RealNetwork().listen("127.0.0.1", 0)
        self.address = self._listener.address
        self.made = await self.dial(self.hello())
        with trio.fail_after(WAIT_S):
            self.taken = await self.accept()
        await until(lambda: self._server.is_up(self._server_id))

    async def accept(self) -> Stream:
        """The next connection that the server makes."""
        stream = await self._listener.accept()
        self._streams.append(stream)
        return stream

    async def dial(self, hello: object) -> Stream:
        stream = await RealNetwork().dial(*split_address(self._server.peer.address), timeout_s=5.0)
        self._streams.append(stream)
        await stream.send_all(frame(codec.pack(hello)))
        return stream

    def close(self) -> None:
        for stream in self._streams:
            stream.close_now()
        self._listener.close()


@asynccontextmanager
async def raw_peer(server: Server) -> AsyncIterator[RawPeer]:
    peer = RawPeer(server)
    await peer.open()
    try:
        yield peer
    finally:
        peer.close()


def frame(body: bytes) -> bytes:
    return FRAME_HEADER.pack(len(body)) + body


async def is_closed(stream: Stream) -> bool:
    with trio.fail_after(WAIT_S):
        try:
            return await stream.receive_some(100) == b""
        except Unreachable:
            return True


# --- who is let in


async def test_whoever_is_dialled_dials_back_and_messages_go_both_ways_in_order() -> None:
    async with connected_pair() as (a, b):
        for number in range(100):
            a.transport.send("b", [number, b"x" * number])
            b.transport.send("a", [-number])
        await until(lambda: len(a.inbox.messages) == len(b.inbox.messages) == 100)
        assert [message[0] for message in b.inbox.messages] == list(range(100))
        assert [message[0] for message in a.inbox.messages] == [-number for number in range(100)]


@pytest.mark.parametrize(
    "changes",
    [
        {"protocol": PROTOCOL + 1},
        {"protocol": "1"},
        {"datacenter": "dc2"},
        {"target": "somebody-else"},
        {"sender": "a"},
        {"sender": 7},
        {"name": None},
    ],
    ids=str,
)
async def test_a_hello_for_another_or_from_ourselves_is_refused(changes: dict[str, Any]) -> None:
    async with servers("a") as (server,), raw_peer(server) as peer:
        stream = await peer.dial(peer.hello(**{"sender": "other", **changes}))
        assert await is_closed(stream)
        assert not server.is_up("other")
        assert server.is_up("raw")
        stream.close_now()


@pytest.mark.parametrize("hello", [{}, [], [1, "dc1"], "hello", None, 5], ids=str)
async def test_a_hello_of_another_shape_is_refused(hello: object) -> None:
    async with servers("a") as (server,), raw_peer(server) as peer:
        stream = await peer.dial(hello)
        assert await is_closed(stream)
        stream.close_now()


async def test_whoever_says_no_hello_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELLO_TIMEOUT_S", 0.05)
    async with servers("a") as (server,):
        stream = await RealNetwork().dial(*split_address(server.peer.address), timeout_s=5.0)
        assert await is_closed(stream)
        stream.close_now()


async def test_a_server_that_was_reached_before_it_ran_dials_back_once_it_runs() -> None:
    async with servers("b") as (b,):
        listener = await RealNetwork().listen("127.0.0.1", 0)
        a = Server("a")
        a.peer = Peer(server_id="a", name="a", address=listener.address)
        a.transport = RaftTransport(self_peer=a.peer, datacenter="dc1", dial=a._dial, inbox=a.inbox)
        b.transport.set_peers([a.peer])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.transport.serve, await listener.accept())
            await until(lambda: a.transport.address_of("b") is not None)
            await nursery.start(a.transport.run)
            await until(lambda: a.is_up(b))
            nursery.cancel_scope.cancel()
        listener.close()


# --- epochs


async def test_a_broken_connection_comes_back_under_a_newer_epoch() -> None:
    async with connected_pair() as (a, b):
        epoch = a.inbox.epochs["b"]
        a.dialled[0].close_now()
        await until(lambda: a.inbox.epochs.get("b", 0) > epoch and b.is_up(a))
        a.transport.send("b", ["after"])
        await until(lambda: ["after"] in b.inbox.messages)


async def test_a_peer_that_closes_what_we_dialled_is_noticed_without_sending() -> None:
    async with servers("a") as (server,), raw_peer(server) as peer:
        epoch = server.inbox.epochs["raw"]
        peer.taken.close_now()
        await until(lambda: ("down", "raw", epoch) in server.inbox.events)


async def test_a_new_connection_of_the_same_peer_takes_the_place_of_the_old_one() -> None:
    async with servers("a") as (server,), raw_peer(server) as peer:
        old, epoch = peer.made, server.inbox.epochs["raw"]
        peer.made = await peer.dial(peer.hello())
        assert await is_closed(old)
        await until(lambda: server.inbox.epochs.get("raw", 0) > epoch)
        await peer.made.send_all(frame(codec.pack(["new"])))
        await until(lambda: server.inbox.messages == [["new"]])


async def test_a_reader_that_waits_for_the_driver_ends_when_its_connection_is_replaced() -> None:
    async with servers("a") as (server,), raw_peer(server) as peer:
        server.inbox.held_bytes = module.INBOX_BYTES_MAX + 1
        for _ in range(3):
            await peer.made.send_all(frame(codec.pack(["held"])) * 10)
            old, peer.made = peer.made, await peer.dial(peer.hello())
            assert await is_closed(old)
        await until(lambda: server.serve_count == 3)
        assert len(server.inbox.messages) <= 4
        server.inbox.held_bytes = 0
        server.transport.inbox_drained()
        await peer.made.send_all(frame(codec.pack(["again"])))
        await until(lambda: server.inbox.messages[-1:] == [["again"]])


async def test_nothing_is_read_while_the_driver_is_behind() -> None:
    async with servers("a") as (server,), raw_peer(server) as peer:
        server.inbox.held_bytes = module.INBOX_BYTES_MAX + 1
        await peer.made.send_all(frame(codec.pack(["held"])) * 100)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(server.inbox.messages) <= 1  # one that it was waiting for already
        server.inbox.held_bytes = 0
        server.transport.inbox_drained()
        await until(lambda: len(server.inbox.messages) == 100)


async def test_a_peer_that_is_wanted_no_more_is_let_go_unless_it_dials_us() -> None:
    async with connected_pair() as (a, b):
        a.transport.set_peers([])
        assert a.is_up(b)
        b.transport.set_peers([])
        b.dialled[0].close_now()
        await until(lambda: not a.is_up(b) and a.transport.address_of("b") is None)


async def test_a_peer_that_moved_is_dialled_at_its_new_address() -> None:
    async with servers("a", "b") as (a, b):
        listener = await RealNetwork().listen("127.0.0.1", 0)
        a.transport.set_peers([Peer(server_id="b", name="b", address=listener.address)])
        (await listener.accept()).close_now()
        a.transport.set_peers([b.peer])
        await until(lambda: a.is_up(b) and b.is_up(a))
        listener.close()


@pytest.fixture
def waits_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long is waited before each new attempt to dial."""
    seen: list[float] = []
    move_on_after = trio.move_on_after

    def noting(seconds: float) -> trio.CancelScope:
        if seconds <= module.REDIAL_S_MAX and seconds != module.KEEPALIVE_S:
            seen.append(seconds)
        return move_on_after(seconds)

    monkeypatch.setattr(module, "KEEPALIVE_S", 0.9)
    monkeypatch.setattr(trio, "move_on_after", noting)
    return seen


async def test_a_peer_that_refuses_us_is_dialled_less_and_less_often(waits_s: list[float]) -> None:
    async with servers("a", "b") as (a, b):
        a.transport.set_peers([Peer(server_id="renamed", name="b", address=b.peer.address)])
        await until(lambda: a.dial_count >= 5)
        assert waits_s[:4] == [module.REDIAL_S_MIN * 2**number for number in range(4)]
        assert a.inbox.events == []


async def test_a_peer_that_keeps_ending_its_connection_is_dialled_less_and_less_often(waits_s: list[float]) -> None:
    async with servers("a") as (server,), raw_peer(server) as peer:
        for _ in range(4):
            peer.taken.close_now()
            with trio.fail_after(WAIT_S):
                peer.taken = await peer.accept()
        assert waits_s[:4] == [module.REDIAL_S_MIN * 2**number for number in range(4)]


async def test_a_peer_that_comes_back_and_dials_us_is_dialled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REDIAL_S_MIN", 3600.0)
    monkeypatch.setattr(module, "REDIAL_S_MAX", 3600.0)
    async with servers("a") as (server,), raw_peer(server) as peer:
        server.transport.set_peers([Peer(server_id="raw", name="raw", address=peer.address)])
        epoch = server.inbox.epochs["raw"]
        peer.made.close_now()
        peer.taken.close_now()
        await trio.testing.wait_all_tasks_blocked(0.02)
        peer.made = await peer.dial(peer.hello())
        with trio.fail_after(WAIT_S):
            peer.taken = await peer.accept()
        await until(lambda: server.inbox.epochs.get("raw", 0) > epoch)


async def test_who_is_connected_can_be_told_again_to_another_core() -> None:
    async with connected_pair() as (a, _):
        epoch = a.inbox.epochs["b"]
        a.inbox.events.clear()
        a.transport.announce_all()
        assert a.inbox.events == [("up", "b", epoch)]


# --- windows


async def test_the_window_closes_on_a_peer_that_does_not_read_and_opens_when_it_does() -> None:
    async with servers("a") as (server,), raw_peer(server) as peer:
        message = [1, bytes(1 << 20)]
        sent = 0
        while ("window", "raw", False) not in server.inbox.events:
            server.transport.send("raw", message)
            sent += 1
            await trio.lowlevel.checkpoint()
            assert sent < 64, "the window never closed"
        facts = server.transport.statistics()["raw"]
        assert isinstance(facts["bytes_waiting"], int)
        assert module.WINDOW_BYTES_MAX < facts["bytes_waiting"] < module.WINDOW_BYTES_MAX + 2 * (1 << 20)
        read = 0
        while ("window", "raw", True) not in server.inbox.events:
            with trio.fail_after(WAIT_S):
                read += len(await peer.taken.receive_some(1 << 20))
        assert server.inbox.events.count(("window", "raw", False)) == 1
        assert server.is_up("raw")


async def test_a_peer_that_takes_nothing_for_long_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.1)
    async with servers("a") as (server,), raw_peer(server) as peer:
        epoch = server.inbox.epochs["raw"]
        for _ in range(16):
            server.transport.send("raw", [bytes(1 << 20)])
        await until(lambda: ("down", "raw", epoch) in server.inbox.events)
        server.transport.send("raw", ["dropped"])  # nobody is connected: nothing is kept
        assert not await is_closed(peer.taken)  # what was sent before is still there to be read


async def test_a_slow_peer_is_kept_as_long_as_it_takes_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STALL_S", 0.5)
    async with servers("a") as (server,), raw_peer(server) as peer:
        epoch = server.inbox.epochs["raw"]
        body_bytes = 12 << 20
        server.transport.send("raw", [bytes(body_bytes)])
        read = 0
        while read < body_bytes:  # some 2 s in all, four times as long as a stall
            await trio.sleep(0.02)
            read += len(await peer.taken.receive_some(128 << 10))
        assert ("down", "raw", epoch) not in server.inbox.events


# --- silence and bad bytes


async def test_a_peer_that_says_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.1)
    async with servers("a") as (server,), raw_peer(server) as peer:
        epoch = server.inbox.epochs["raw"]
        assert await is_closed(peer.made)
        await until(lambda: ("down", "raw", epoch) in server.inbox.events)


async def test_keep_alives_keep_an_idle_link_and_are_no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.4)
    monkeypatch.setattr(module, "KEEPALIVE_S", 0.05)
    async with connected_pair() as (a, b):
        await trio.sleep(1.0)
        assert [event[0] for event in (*a.inbox.events, *b.inbox.events)] == ["up", "up"]
        assert a.inbox.messages == b.inbox.messages == []


async def test_a_long_message_may_take_longer_than_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE_S", 0.4)
    async with servers("a") as (server,), raw_peer(server) as peer:
        data = frame(codec.pack([bytes(1000)]))
        for start in range(0, len(data), 100):
            await peer.made.send_all(data[start : start + 100])
            await trio.sleep(0.08)
        await until(lambda: len(server.inbox.messages) == 1)


@pytest.mark.parametrize(
    "data",
    [
        FRAME_HEADER.pack(FRAME_BYTES_MAX + 1),
        FRAME_HEADER.pack(0xFFFFFFFF),
        frame(b"\xc1"),
        frame(b"\x93\x01"),
        frame(codec.pack({"no": "list"})),
        frame(codec.pack("text")),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["too long", "far too long", "garbage", "half a list", "a map", "a text", "another protocol"],
)
async def test_bytes_that_are_no_message_end_the_connection_and_nothing_else(data: bytes) -> None:
    async with servers("a", "b") as (a, b), raw_peer(a) as peer:
        b.transport.set_peers([a.peer])
        await until(lambda: a.is_up(b) and b.is_up(a))
        epoch = a.inbox.epochs["raw"]
        await peer.made.send_all(data)
        assert await is_closed(peer.made)
        await until(lambda: ("down", "raw", epoch) in a.inbox.events)
        assert a.inbox.messages == []
        assert a.is_up(b)
        b.transport.send("a", ["still here"])
        await until(lambda: a.inbox.messages == [["still here"]])


async def test_what_is_sent_to_nobody_is_dropped() -> None:
    async with servers("a") as (a,):
        a.transport.send("nobody", ["lost"])
        assert a.transport.statistics() == {}
        assert a.transport.address_of("nobody") is None
