"""Raft messages between servers: one TCP (or TLS) connection a direction, framed, ordered, bounded.

Theory of operation. Every server dials every peer that its configuration names, and dials back whoever has
dialled it (a joiner does not know the configuration yet). A connection begins with the byte that the RPC
listener hands to us and one hello frame; after that it carries messages one way only, so that a slow reader in
one direction never holds up the other. A peer counts as *connected* while both directions are up, and each
such time has its own epoch: what was read under an older epoch is dropped, so nothing overtakes a reconnect.

    frame    u32 length, big-endian | msgpack list            length 0: keep-alive
    hello    [protocol, datacenter, target id, sender id, sender name, sender address]

Bounds: one frame FRAME_BYTES_MAX; bytes waiting to leave WINDOW_BYTES_MAX a peer, beyond which the core is told
that the window is closed and sends nothing more; bytes waiting to be handled INBOX_BYTES_MAX, beyond which the
reader stops reading. A peer that takes nothing for STALL_S, or says nothing for SILENCE_S, is disconnected; both
times begin again with every piece that passes, so a slow network may take as long as it needs. Nobody ever writes
on a connection that we dialled: it is watched for its end, so that a restarted peer is dialled afresh at once.

Acts only: what to send and what a message means is decided in `core.py`. Source: DESIGN hazards H6, H15, H19.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

import trio

from base import codec
from base.errors import InvalidRequest, MeshError, Unreachable
from base.log import get_logger
from base.network import Stream
from structs.cluster import Peer

PROTOCOL = 1
FRAME_HEADER = struct.Struct(">I")
FRAME_BYTES_MAX = 12 * 1024 * 1024
"""An append carries at most one batch (4 MiB) and one command over it (2 MiB); the rest is framing."""
WINDOW_BYTES_MAX = 8 * 1024 * 1024
INBOX_BYTES_MAX = 32 * 1024 * 1024
HELLO_BYTES_MAX = 4096
HELLO_TIMEOUT_S = 5.0
KEEPALIVE_S = 1.0
SILENCE_S = 6.0
STALL_S = 6.0
RECEIVE_BYTES = 256 * 1024
SEND_PIECE_BYTES = 256 * 1024
MESSAGE_OVERHEAD_BYTES = 512
"""What a waiting message takes besides its bytes, so that very many small ones are bounded too."""
REDIAL_S_MIN = 0.05
REDIAL_S_MAX = 1.0
LINK_STEADY_S = 5.0
"""A connection that lasted as long as this was a good one: the next is dialled without delay."""
LINKS_IN_MAX = 64

_KEEPALIVE = FRAME_HEADER.pack(0)
_log = get_logger("raft.transport")

Dial = Callable[[str], Awaitable[Stream]]
"""Opens a connection to "host:port" over TLS where configured and sends the first byte of a Raft link."""


class Inbox(Protocol):
    """Where the transport puts what happens; the driver drains it in order."""

    def message(self, server_id: str, epoch: int, message: list[Any], bytes_count: int) -> None:
        """One message arrived."""

    def connected(self, server_id: str, epoch: int) -> None:
        """Both directions to a peer are up."""

    def disconnected(self, server_id: str, epoch: int) -> None:
        """One direction of that epoch broke."""

    def window(self, server_id: str, is_open: bool) -> None:
        """The peer takes more, or no more for now."""

    @property
    def bytes_waiting(self) -> int:
        """Bytes of messages not handled yet."""


class _Link:
    """Everything known about one peer. All state changes are plain functions."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.outgoing: Stream | None = None
        self.incoming: Stream | None = None
        self.epoch = 0
        self.announced = False
        self.buffer = bytearray()
        self.sending = False
        self.sending_bytes = 0
        self.wake = trio.Event()
        self.redial = trio.Event()
        self.window_open = True
        self.cancel = trio.CancelScope()
        self.dialing = False
        self.bytes_sent = 0

    @property
    def up(self) -> bool:
        return self.outgoing is not None and self.incoming is not None


class RaftTransport:
    """Owns the connections; its nursery lives inside `run`."""

    def __init__(self, *, self_peer: Peer, datacenter: str, dial: Dial, inbox: Inbox) -> None:
        self._self = self_peer
        self._datacenter = datacenter
        self._dial = dial
        self._inbox = inbox
        self._links: dict[str, _Link] = {}
        self._wanted: dict[str, Peer] = {}
        self._nursery: trio.Nursery | None = None
        self._drained = trio.Event()
        self._incoming_count = 0
        self._epoch_newest = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep connections to all wanted peers until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for peer in [*self._wanted.values(), *(link.peer for link in self._links.values())]:
                self._start_dialing(peer)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None  # whoever still brings news of peers while all of this ends finds nobody to dial

    def set_peers(self, peers: list[Peer]) -> None:
        """Connect to exactly these (ourselves excluded), besides whoever dials us."""
        self._wanted = {p.server_id: p for p in peers if p.server_id != self._self.server_id}
        for server_id, link in list(self._links.items()):
            wanted = self._wanted.get(server_id)
            if (wanted is None and link.incoming is None) or (
                wanted is not None and wanted.address != link.peer.address
            ):
                self._drop(server_id)
        if self._nursery is not None:
            for peer in self._wanted.values():
                self._start_dialing(peer)

    def send(self, server_id: str, message: list[Any]) -> None:
        """Send, or drop where the peer is not connected (Raft sends again). Never waits."""
        link = self._links.get(server_id)
        if link is None or not link.announced:
            return
        body = codec.pack(message)
        frame = FRAME_HEADER.pack(len(body)) + body
        link.bytes_sent += len(frame)
        outgoing = link.outgoing
        if not link.sending and not link.buffer and outgoing is not None:
            try:
                taken = outgoing.send_nowait(frame)
            except Unreachable:
                taken = 0  # the writer meets the same error and takes the link down
            if taken == len(frame):
                return
            frame = frame[taken:]
        link.buffer += frame
        link.wake.set()
        if link.window_open and len(link.buffer) + link.sending_bytes > WINDOW_BYTES_MAX:
            link.window_open = False
            self._inbox.window(server_id, False)

    def address_of(self, server_id: str) -> str | None:
        """The RPC address of a peer that is connected, or was named by the configuration."""
        link = self._links.get(server_id)
        return link.peer.address if link is not None else None

    def announce_all(self) -> None:
        """Tell the inbox again who is connected: another core listens from now on."""
        for server_id, link in self._links.items():
            if link.announced:
                self._inbox.connected(server_id, link.epoch)

    def inbox_drained(self) -> None:
        """The driver has handled everything: readers that were held back go on."""
        self._drained.set()
        self._drained = trio.Event()

    def statistics(self) -> dict[str, dict[str, object]]:
        """Per peer: connected, epoch, bytes waiting and sent."""
        return {
            server_id: {
                "address": link.peer.address,
                "connected": link.announced,
                "epoch": link.epoch,
                "bytes_waiting": len(link.buffer) + link.sending_bytes,
                "bytes_sent": link.bytes_sent,
            }
            for server_id, link in self._links.items()
        }

    async def serve(self, stream: Stream) -> None:
        """Read one incoming link until it ends. Called by the RPC listener after the first byte."""
        if self._incoming_count >= LINKS_IN_MAX:
            stream.close_now()
            return
        self._incoming_count += 1
        try:
            await self._serve(stream)
        except InvalidRequest as error:
            _log.warn("raft link refused", peer=stream.peer_address, error=str(error))
        except Unreachable:
            pass  # the other side went away: the epoch is closed below, and it will dial again
        finally:
            self._incoming_count -= 1
            stream.close_now()

    async def _serve(self, stream: Stream) -> None:
        reader = _FrameReader(stream)
        with trio.move_on_after(HELLO_TIMEOUT_S) as deadline:
            hello = await reader.receive(HELLO_BYTES_MAX, silence_s=HELLO_TIMEOUT_S)
        if deadline.cancelled_caught or hello is None:
            raise InvalidRequest("no hello on a raft link")
        peer = self._check_hello(codec.unpack(hello))
        link = self._links.setdefault(peer.server_id, _Link(peer))
        if link.incoming is not None:
            link.incoming.close_now()
            self._broken(link)
        link.incoming = stream
        self.inbox_drained()  # a reader of the old connection that waits for its turn sees that it is over
        link.redial.set()
        wanted = self._wanted.get(peer.server_id)
        if wanted is None:
            link.peer = peer
        self._start_dialing(wanted or peer)
        self._maybe_up(link)
        try:
            await self._read(link, stream, reader)
        finally:
            if link.incoming is stream:
                link.incoming = None
                self._broken(link)
                if peer.server_id not in self._wanted:
                    self._drop(peer.server_id)

    def _check_hello(self, hello: object) -> Peer:
        if not (isinstance(hello, list) and len(hello) >= 6 and all(isinstance(x, str) for x in hello[1:6])):
            raise InvalidRequest("malformed hello on a raft link")
        protocol, datacenter, target_id, server_id, name, address = hello[:6]
        if protocol != PROTOCOL:
            raise InvalidRequest(f"raft protocol {protocol!r} is not {PROTOCOL}")
        if datacenter != self._datacenter:
            raise InvalidRequest(f"raft link from datacenter {datacenter!r}, this is {self._datacenter!r}")
        if server_id == self._self.server_id:
            raise InvalidRequest(f"server {name} at {address} uses our own node id {server_id}")
        if target_id != self._self.server_id:
            raise InvalidRequest(f"raft link for server {target_id}, this is {self._self.server_id}")
        return Peer(server_id=server_id, name=name, address=address)

    async def _read(self, link: _Link, stream: Stream, reader: _FrameReader) -> None:
        while True:
            while self._inbox.bytes_waiting > INBOX_BYTES_MAX and link.incoming is stream:
                await self._drained.wait()
            if link.incoming is not stream:
                return
            body = await reader.receive(FRAME_BYTES_MAX, silence_s=SILENCE_S)
            if body is None:
                return
            if not body or link.incoming is not stream:
                continue
            message = codec.unpack(body)
            if not isinstance(message, list):
                raise InvalidRequest("a raft message is a list")
            if link.announced:
                self._inbox.message(link.peer.server_id, link.epoch, message, len(body) + MESSAGE_OVERHEAD_BYTES)

    def _start_dialing(self, peer: Peer) -> None:
        if self._nursery is None:
            return
        link = self._links.setdefault(peer.server_id, _Link(peer))
        if not link.dialing:
            link.dialing = True
            link.peer = peer
            self._nursery.start_soon(self._keep_dialed, link)

    async def _keep_dialed(self, link: _Link) -> None:
        wait_s = REDIAL_S_MIN
        with link.cancel:
            while True:
                try:
                    stream = await self._dial(link.peer.address)
                except MeshError as error:
                    _log.debug("cannot dial", peer=link.peer.name, address=link.peer.address, error=str(error))
                else:
                    began_s = trio.current_time()
                    try:
                        await self._write(link, stream)
                    except Unreachable as error:
                        _log.debug("raft link broke", peer=link.peer.name, error=str(error))
                    finally:
                        stream.close_now()
                        if link.outgoing is stream:
                            link.outgoing = None
                            self._broken(link)
                    if trio.current_time() - began_s > LINK_STEADY_S:
                        wait_s = REDIAL_S_MIN
                link.redial = trio.Event()  # only a peer that dials us from now on is worth another try at once
                with trio.move_on_after(wait_s):
                    await link.redial.wait()
                wait_s = min(wait_s * 2, REDIAL_S_MAX)

    async def _watch(self, link: _Link, stream: Stream) -> None:
        """End a connection that we dialled as soon as the other side ends it."""
        with suppress(Unreachable):
            await stream.receive_some(1)
        stream.close_now()
        if link.outgoing is stream:
            link.wake.set()

    async def _write(self, link: _Link, stream: Stream) -> None:
        mine = self._self
        hello = codec.pack([PROTOCOL, self._datacenter, link.peer.server_id, mine.server_id, mine.name, mine.address])
        await stream.send_all(FRAME_HEADER.pack(len(hello)) + hello)
        link.buffer.clear()
        link.sending, link.sending_bytes = False, 0
        link.outgoing = stream
        assert self._nursery is not None
        self._nursery.start_soon(self._watch, link, stream)
        self._maybe_up(link)
        while True:
            if not link.buffer:
                if not link.window_open:
                    link.window_open = True
                    self._inbox.window(link.peer.server_id, True)
                link.wake = trio.Event()
                with trio.move_on_after(KEEPALIVE_S):
                    await link.wake.wait()
                if not link.buffer:
                    link.buffer += _KEEPALIVE
            data, link.buffer = link.buffer, bytearray()
            link.sending, link.sending_bytes = True, len(data)  # what `send` is given meanwhile must not overtake
            view = memoryview(data)
            while view:
                with trio.move_on_after(STALL_S) as stall:
                    await stream.send_all(view[:SEND_PIECE_BYTES])
                if stall.cancelled_caught:
                    raise Unreachable(f"{link.peer.name} takes nothing")
                view = view[SEND_PIECE_BYTES:]
                link.sending_bytes = len(view)
            link.sending = False

    def _maybe_up(self, link: _Link) -> None:
        if link.up and not link.announced:
            self._epoch_newest += 1
            link.epoch = self._epoch_newest
            link.announced = True
            link.window_open = True
            self._inbox.connected(link.peer.server_id, link.epoch)

    def _broken(self, link: _Link) -> None:
        if link.announced:
            link.announced = False
            self._inbox.disconnected(link.peer.server_id, link.epoch)

    def _drop(self, server_id: str) -> None:
        link = self._links.pop(server_id, None)
        if link is None:
            return
        link.cancel.cancel()
        for stream in (link.incoming, link.outgoing):
            if stream is not None:
                stream.close_now()
        link.incoming = link.outgoing = None
        self._broken(link)


class _FrameReader:
    """Cuts a stream into frames."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def receive(self, bytes_max: int, *, silence_s: float) -> bytes | None:
        """Return the next frame's body, None at the end.

        Raises InvalidRequest for one over `bytes_max`, Unreachable where nothing at all arrives for `silence_s`.
        """
        buffer = self._buffer
        while True:
            if len(buffer) >= FRAME_HEADER.size:
                (length,) = FRAME_HEADER.unpack_from(buffer)
                if length > bytes_max:
                    raise InvalidRequest(f"raft frame of {length} bytes is over {bytes_max}")
                end = FRAME_HEADER.size + length
                if len(buffer) >= end:
                    body = bytes(memoryview(buffer)[FRAME_HEADER.size : end])
                    del buffer[:end]
                    return body
            with trio.move_on_after(silence_s) as silence:
                data = await self._stream.receive_some(RECEIVE_BYTES)
            if silence.cancelled_caught:
                raise Unreachable(f"{self._stream.peer_address} says nothing")
            if not data:
                return None
            buffer += data
