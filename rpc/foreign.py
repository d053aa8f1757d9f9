"""Answers callers that speak the foreign wire, on plain connections and on yamux sessions. Source: RPC wire format.

A stream carries one call at a time: the next request is read once the one before has been answered. Who closes a stream
in the middle of a call does not wait any more, and the call is cancelled.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Protocol

import trio

from base.codec import Mistyped
from base.errors import MeshError, Unreachable
from base.log import get_logger
from base.network import Stream
from rpc.caller import Caller
from rpc.errors import ProtocolViolated, as_mesh_error
from rpc.foreign_messages import (
    HeaderMalformed,
    Request,
    encode_answer_head,
    encode_failure,
    request_of,
    request_reader,
    text_of_error,
)
from rpc.hub import Hub, Worker
from rpc.outlet import Outlet
from rpc.yamux import BY_REFERENCE_BYTES, Kept, YamuxStream
from rpc.yamux_session import LOOK_INTERVAL_S, RECEIVE_BYTES, STALLED_LOOKS_MAX, YamuxConnection

BYTE_PLAIN: Final = 0
BYTE_YAMUX: Final = 4
BYTE_SNAPSHOT: Final = 5

ForeignHandler = Callable[[str, Any, Caller], "bytes | Awaitable[bytes]"]
"""Answers a call: name and argument in, the packed body out, at once or later. Raises Mistyped for an argument that is
not what the method takes."""
SnapshotHandler = Callable[[Stream, Caller], Awaitable[None]]
"""Serves one snapshot exchange on a connection of its own."""

PLAIN_AHEAD_BYTES_MAX: Final = 64 * 1024
"""What a plain connection may send while its call is being answered, before it is read no further."""
PLAIN_OUT_BYTES_MAX: Final = 1024 * 1024
"""Output of a plain connection beyond which no call is taken from it."""
PLAIN_IDLE_S: Final = 600.0
"""A plain connection without a call is closed after this: it has no sign of life of its own."""

_log = get_logger("rpc")


class Port(Protocol):
    """What carries one stream of calls."""

    @property
    def ended(self) -> bool:
        """Whether the other side sends nothing more, and all of it was taken; or everything is over."""

    @property
    def congested(self) -> bool:
        """Whether the other side has to read before it is answered more; `CallStream.advance` is called afterwards."""

    async def wait_room(self) -> None:
        """Wait while it is congested."""

    def take(self) -> bytes:
        """Return received bytes, b"" if there are none."""

    def keep(self, bytes_count: int) -> bool:
        """So many bytes of an unfinished request are held; False: too many."""

    def write(self, data: bytes) -> None:
        """Send, soon."""

    def close(self) -> None:
        """Send nothing more after what was written."""

    def abort(self) -> None:
        """End at once."""


class CallStream:
    """The calls of one stream, one after the other. `advance` is called whenever something has changed."""

    __slots__ = ("_caller", "_closing", "_handler", "_hub", "_port", "_reader", "_worker")

    def __init__(self, port: Port, hub: Hub, handler: ForeignHandler, caller: Caller) -> None:
        self._port = port
        self._hub = hub
        self._handler = handler
        self._caller = caller
        self._reader = request_reader()
        self._worker: Worker | None = None
        self._closing = False

    @property
    def busy(self) -> bool:
        """Whether a call is being answered."""
        return self._worker is not None

    def advance(self) -> None:
        """Read and answer as far as possible."""
        port, reader = self._port, self._reader
        try:
            while self._worker is None and not self._closing and not port.congested:
                message = reader.next()
                if message is not None:
                    self._serve(request_of(*message))
                    continue
                data = port.take()
                if not data:
                    break
                reader.feed(data)
        except HeaderMalformed as error:
            _log.debug("a stream of calls was ended", peer=self._caller.address, reason=str(error))
            self._closing = True
            port.abort()
        except MeshError as error:
            self._refuse_argument(error)
        if not self._closing and not port.keep(reader.bytes_kept):
            self._closing = True
        if port.ended:
            self.end()

    def end(self) -> None:
        """Nobody waits for an answer any more."""
        self._closing = True
        worker, self._worker = self._worker, None
        if worker is not None:
            self._hub.cancel_job(worker)
        self._port.close()

    def _refuse_argument(self, error: MeshError) -> None:
        self._closing = True
        try:
            request = request_of(self._reader.header, None)
        except HeaderMalformed:
            self._port.abort()
            return
        text = text_of_error(Mistyped(str(error)))
        self._port.write(encode_failure(request.seq, request.method, text))
        self._port.close()

    def _serve(self, request: Request) -> None:
        try:
            result = self._handler(request.method, request.argument, self._caller)
        except Exception as error:  # the border between one request and the process
            self._fail(request, as_mesh_error(error, request.method))
            return
        if isinstance(result, bytes):
            self._answer(request, result)
        else:
            self._worker = self._hub.start_job(partial(self._answer_later, request, result))

    async def _answer_later(self, request: Request, result: Awaitable[bytes]) -> None:
        worker = self._worker
        try:
            body = await result
        except Exception as error:  # the border between one request and the process
            if self._done(worker):
                self._fail(request, as_mesh_error(error, request.method))
        else:
            await self._port.wait_room()
            if self._done(worker):
                self._answer(request, body)
        if not self._closing:
            self.advance()

    def _answer(self, request: Request, body: bytes) -> None:
        head = encode_answer_head(request.seq, request.method)
        if len(body) < BY_REFERENCE_BYTES:
            self._port.write(head + body)
        else:
            self._port.write(head)
            self._port.write(body)  # many may be answered with the same bytes: they are not copied

    def _done(self, worker: Worker | None) -> bool:
        """The call has ended; return whether its caller still waits."""
        if worker is None or self._worker is not worker:
            return False
        self._worker = None
        return True

    def _fail(self, request: Request, error: MeshError) -> None:
        self._port.write(encode_failure(request.seq, request.method, text_of_error(error)))
        if isinstance(error, Mistyped):
            self._closing = True
            self._port.close()


class _YamuxPort:
    """One stream of a session."""

    __slots__ = ("_connection", "_stream", "calls")

    def __init__(self, connection: "YamuxCalls", stream: YamuxStream) -> None:
        self._connection = connection
        self._stream = stream
        self.calls: CallStream | None = None
        stream.wake = self._woken

    def _woken(self) -> None:
        assert self.calls is not None
        stream = self._stream
        if stream.ended_far or stream.reset:
            self._connection.ended(self)
            self.calls.end() if stream.reset or self.calls.busy else self.calls.advance()
        elif stream.received:
            self.calls.advance()

    @property
    def ended(self) -> bool:
        """See Port."""
        stream = self._stream
        return stream.reset or (stream.ended_far and not stream.received)

    @property
    def congested(self) -> bool:
        """See Port."""
        return self._connection.park_if_congested(self)

    async def wait_room(self) -> None:
        """See Port."""
        await self._connection.wait_room()

    def take(self) -> bytes:
        """See Port."""
        return self._connection.link.session.take(self._stream)

    def keep(self, bytes_count: int) -> bool:
        """See Port."""
        if bytes_count == self._stream.bytes_kept:
            return True
        return self._connection.link.session.keep(self._stream, bytes_count)

    def write(self, data: bytes) -> None:
        """See Port."""
        link = self._connection.link
        try:
            link.session.write(self._stream, data)
        except ProtocolViolated as error:
            link.close(str(error))
        link.mark_dirty()

    def close(self) -> None:
        """See Port."""
        link = self._connection.link
        link.session.close(self._stream)
        link.mark_dirty()

    def abort(self) -> None:
        """See Port."""
        link = self._connection.link
        link.session.abort(self._stream)
        link.mark_dirty()


class YamuxCalls:
    """The calls of one yamux session."""

    def __init__(
        self, stream: Stream, hub: Hub, handler: ForeignHandler, caller: Caller, kept: Kept | None = None
    ) -> None:
        self._hub = hub
        self._handler = handler
        self._caller = caller
        self._ports: set[_YamuxPort] = set()
        self._parked: dict[_YamuxPort, None] = {}
        """Streams whose next call waits until the other side has read more."""
        self._room: trio.Event | None = None
        self.link = YamuxConnection(
            stream,
            hub,
            dialler=False,
            accept=self._accept,
            kept=kept,
            served_count=self._busy_count,
            relieved=self._unpark,
        )

    async def run(self) -> None:
        """Serve until the session ends."""
        await self.link.run()

    def _accept(self, stream: YamuxStream) -> None:
        port = _YamuxPort(self, stream)
        port.calls = CallStream(port, self._hub, self._handler, self._caller)
        self._ports.add(port)

    def ended(self, port: _YamuxPort) -> None:
        """The other side of a stream has ended it."""
        self._ports.discard(port)
        self._parked.pop(port, None)

    def park_if_congested(self, port: _YamuxPort) -> bool:
        """Whether too much output waits; then the stream goes on when it has left."""
        if not self.link.congested:
            return False
        self._parked[port] = None
        return True

    async def wait_room(self) -> None:
        """Wait until the other side has read enough of what was answered before."""
        while self.link.congested:
            if self._room is None:
                self._room = trio.Event()
            await self._room.wait()

    def _unpark(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None
        while self._parked and not self.link.congested:
            port = next(iter(self._parked))
            del self._parked[port]
            assert port.calls is not None
            port.calls.advance()

    def _busy_count(self) -> int:
        return sum(port.calls is not None and port.calls.busy for port in self._ports)


class PlainCalls:
    """The calls of one plain connection: request and answer pairs directly on it."""

    def __init__(self, stream: Stream, hub: Hub, handler: ForeignHandler, caller: Caller) -> None:
        self._stream = stream
        self._hub = hub
        self._port = _PlainPort(self)
        self._calls = CallStream(self._port, hub, handler, caller)
        self._outlet = Outlet(stream, hub, take=self._port.take_out, broke=self.close, moved=self._moved)
        self._marked = False
        self._closed = False
        self._moving: trio.Event | None = None
        self._idle_since_s = trio.current_time()
        self.tick_at_s = self._idle_since_s + LOOK_INTERVAL_S
        hub.add(self)

    @property
    def calls_served_count(self) -> int:
        """See Member."""
        return int(self._calls.busy)

    async def run(self) -> None:
        """Serve until the connection ends."""
        port = self._port
        try:
            while not self._closed and not port.finishing:
                if port.received_bytes > PLAIN_AHEAD_BYTES_MAX:
                    await self._wait_moved()
                    continue
                data = await self._stream.receive_some(RECEIVE_BYTES)
                self._idle_since_s = trio.current_time()
                if data:
                    port.received.append(data)
                    port.received_bytes += len(data)
                    self._calls.advance()
                    self.flush()
                else:
                    port.ended_far = True
                    self._calls.end() if self._calls.busy else self._calls.advance()
            self.flush()
            while not self._outlet.idle and not self._closed:
                await self._wait_moved()
        except Unreachable as error:
            _log.debug("a plain connection of calls broke", peer=self._stream.peer_address, reason=str(error))
        finally:
            self._calls.end()
            self.close("is over")

    def flush(self) -> None:
        """See Member."""
        self._marked = False
        if not self._closed:
            self._outlet.flush()

    def mark_dirty(self) -> None:
        """Have gathered output sent soon."""
        if not self._marked and not self._closed:
            self._marked = True
            self._hub.mark_dirty(self)

    def moved(self) -> None:
        """Something was taken, or has left: whoever waits for that looks again."""
        if self._moving is not None:
            self._moving.set()
            self._moving = None

    def _moved(self) -> None:
        self.moved()
        if self._port.finishing and not self._port.out and self._outlet.idle:
            self.close("is over")
        elif self._port.parked and not self._port.congested:
            self._calls.advance()

    async def _wait_moved(self) -> None:
        if self._moving is None:
            self._moving = trio.Event()
        await self._moving.wait()

    def tick(self, now_s: float) -> None:
        """See Member."""
        self.tick_at_s = now_s + LOOK_INTERVAL_S
        if self._calls.busy:
            self._idle_since_s = now_s
        if now_s - self._idle_since_s > PLAIN_IDLE_S or self._outlet.look() >= STALLED_LOOKS_MAX:
            self.close("is idle")

    def close(self, reason: str) -> None:
        """See Member."""
        if not self._closed:
            self._closed = True
            self._hub.connections.discard(self)
            self._outlet.close()
            self._stream.close_now()
            self.moved()


class _PlainPort:
    """The one stream of a plain connection."""

    __slots__ = ("_connection", "ended_far", "finishing", "out", "out_bytes", "parked", "received", "received_bytes")

    def __init__(self, connection: PlainCalls) -> None:
        self._connection = connection
        self.received: deque[bytes] = deque()
        self.received_bytes = 0
        self.out: list[bytes] = []
        self.out_bytes = 0
        self.parked = False
        self.ended_far = False
        self.finishing = False

    @property
    def ended(self) -> bool:
        """See Port."""
        return self.ended_far and not self.received

    @property
    def congested(self) -> bool:
        """See Port."""
        self.parked = self.out_bytes > PLAIN_OUT_BYTES_MAX
        return self.parked

    async def wait_room(self) -> None:
        """See Port: there is one call at a time, and it was only begun when there was room."""

    def take(self) -> bytes:
        """See Port."""
        if not self.received:
            return b""
        data = self.received.popleft()
        self.received_bytes -= len(data)
        self._connection.moved()
        return data

    def keep(self, bytes_count: int) -> bool:
        """See Port: the reader has a bound of its own, and there is but one."""
        return True

    def write(self, data: bytes) -> None:
        """See Port."""
        self.out.append(data)
        self.out_bytes += len(data)
        self._connection.mark_dirty()

    def take_out(self) -> bytes:
        """Remove and return all output."""
        data = self.out[0] if len(self.out) == 1 else b"".join(self.out)
        self.out.clear()
        self.out_bytes = 0
        return data

    def close(self) -> None:
        """See Port."""
        self.finishing = True
        self._connection.mark_dirty()

    def abort(self) -> None:
        """See Port."""
        self._connection.close("broke the protocol")


class ForeignServer:
    """What a listener hands connections of the foreign wire to."""

    def __init__(self, handler: ForeignHandler, *, snapshot_handler: SnapshotHandler | None = None) -> None:
        self._handler = handler
        self._snapshot_handler = snapshot_handler
        self._kept = Kept()

    def speaks(self, first_byte: int) -> bool:
        """Whether a first byte names something that is served here."""
        return first_byte in (BYTE_PLAIN, BYTE_YAMUX) or (
            first_byte == BYTE_SNAPSHOT and self._snapshot_handler is not None
        )

    async def serve(self, first_byte: int, stream: Stream, hub: Hub, caller: Caller) -> None:
        """Serve a connection until it ends; raises Unreachable or PeerRefused."""
        if first_byte == BYTE_YAMUX:
            await YamuxCalls(stream, hub, self._handler, caller, self._kept).run()
        elif first_byte == BYTE_PLAIN:
            await PlainCalls(stream, hub, self._handler, caller).run()
        else:
            assert self._snapshot_handler is not None
            await self._snapshot_handler(stream, caller)
