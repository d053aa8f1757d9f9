"""Answers calls of the foreign wire that come one after the other on the connection itself. Source: RPC wire format."""

from collections import deque
from typing import Final

import trio

from base.errors import Unreachable
from base.log import get_logger
from base.network import Stream
from rpc.caller import Caller
from rpc.foreign_calls import CallStream, ForeignHandler
from rpc.hub import Hub
from rpc.outlet import Outlet
from rpc.yamux_session import LOOK_INTERVAL_S, RECEIVE_BYTES, STALLED_LOOKS_MAX

AHEAD_BYTES_MAX: Final = 64 * 1024
"""What a plain connection may send while its call is being answered, before it is read no further."""
OUT_BYTES_MAX: Final = 1024 * 1024
"""Output of a plain connection beyond which no call is taken from it."""
IDLE_S: Final = 600.0
"""A plain connection without a call is closed after this: it has no sign of life of its own."""

_log = get_logger("rpc")


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
                if port.received_bytes > AHEAD_BYTES_MAX:
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
        if now_s - self._idle_since_s > IDLE_S or self._outlet.look() >= STALLED_LOOKS_MAX:
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
        self.parked = self.out_bytes > OUT_BYTES_MAX
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

    def let_go(self) -> None:
        """See Port: the connection itself holds the calls."""
