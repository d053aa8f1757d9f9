"""A connection with TLS: a task of its own from handshake to end. The pump only tells it that its client has gone."""

import ssl
from collections.abc import Callable

import trio

from agent.http.connection import Connection, Shared
from agent.http.plain import PEER_GONE_MASK, RECEIVE_BYTES
from base.errors import Unreachable
from base.network import SocketStream
from rpc.tls import TLSStream


class SecureConnection(Connection):
    """One TLS connection. `descriptor` stays the same from TCP to TLS."""

    __slots__ = ("_context", "_on_close", "_plain", "_stream", "closed", "descriptor")

    def __init__(
        self,
        shared: Shared,
        peer: str,
        plain: SocketStream,
        descriptor: int,
        context: ssl.SSLContext,
        on_close: Callable[["SecureConnection"], None],
    ) -> None:
        super().__init__(shared, peer)
        self._plain = plain
        self._stream: TLSStream | None = None
        self._context = context
        self._on_close = on_close
        self.descriptor = descriptor
        self.closed = False

    def on_ready(self, mask: int) -> bool:
        """The pump saw events; they matter only while a blocking query is being held."""
        if mask & PEER_GONE_MASK and self.is_blocking and self.scope is not None:
            self.scope.cancel()
        return False

    def run(self) -> bool:
        """Nothing is ever left to the pump."""
        return False

    async def serve(self) -> None:
        """Serve requests until either side ends the connection."""
        with trio.CancelScope() as scope:
            self.scope = scope
            try:
                self._stream = await TLSStream.handshake(self._plain, self._context, server_side=True)
                while not self.closing:
                    data = await self.receive()
                    if not data:
                        break
                    self.reader.feed(data)
                    await self._answer_all()
            except Unreachable:
                pass  # the client is gone, or never spoke TLS: there is nobody to tell
            finally:
                self.scope = None
                self.close_now()

    async def _answer_all(self) -> None:
        while True:
            work = self.advance()
            if work is not None:
                await self.finish(work)
            if self._out:
                await self.send()
            if work is None and not self.has_more:
                return

    async def send(self) -> None:
        """See Connection."""
        stream = self._stream
        assert stream is not None  # nothing is sent before the handshake
        data = self.take_out()
        self.deadline_s = max(self.deadline_s, self._shared.now_s + self._shared.limits.write_s)
        await stream.send_all(data)

    async def receive(self) -> bytes:
        """See Connection."""
        stream = self._stream
        assert stream is not None  # nothing is received before the handshake
        return await stream.receive_some(RECEIVE_BYTES)

    def close_now(self) -> None:
        """See Connection."""
        if self.closed:
            return
        self.closed = True
        self.closing = True
        self._on_close(self)
        if self._stream is not None:
            self._stream.close_now()
        else:
            self._plain.close_now()
