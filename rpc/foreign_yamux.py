"""Answers calls of the foreign wire on the streams of a yamux session. Source: RPC wire format."""

import trio

from base.network import Stream
from rpc.caller import Caller
from rpc.errors import ProtocolViolated
from rpc.foreign_calls import CallStream, ForeignHandler
from rpc.hub import Hub
from rpc.kept import Kept
from rpc.yamux import YamuxStream, nobody
from rpc.yamux_session import YamuxConnection


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

    def let_go(self) -> None:
        """See Port."""
        self._connection.ended(self)
        self._stream.wake = nobody
        self.calls = None


class YamuxCalls:
    """The calls of one yamux session."""

    def __init__(self, stream: Stream, hub: Hub, handler: ForeignHandler, caller: Caller, kept: Kept) -> None:
        self._hub = hub
        self._handler = handler
        self._caller = caller
        self._ports: set[_YamuxPort] = set()
        self._parked: dict[_YamuxPort, None] = {}
        """Streams whose next call waits until the other side has read more."""
        self._room: trio.Event | None = None
        self.link = YamuxConnection(
            stream, hub, dialler=False, accept=self._accept, kept=kept, served_count=self._busy_count,
            relieved=self._unpark,
        )  # fmt: skip

    async def run(self) -> None:
        """Serve until the session ends."""
        await self.link.run()

    def _accept(self, stream: YamuxStream) -> None:
        port = _YamuxPort(self, stream)
        port.calls = CallStream(port, self._hub, self._handler, self._caller)
        self._ports.add(port)

    def ended(self, port: _YamuxPort) -> None:
        """A stream is over."""
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
