"""A stream of chunks inside a connection, in both directions, with back-pressure."""

from typing import TYPE_CHECKING, Final

import trio

from base.errors import Internal, TooLarge
from rpc.flow import CHUNK_COST_BYTES, Flow
from rpc.frame import CHUNK_BYTES_MAX

if TYPE_CHECKING:
    from rpc.connection import Connection

OUT_BYTES_BEFORE_CHUNK: Final = 256 * 1024
"""A chunk waits while more output than this is queued, so that calls on the connection are not stuck behind streams."""


class RPCStream:
    """One side of a stream. One task receives and one task sends at a time."""

    def __init__(self, connection: "Connection", flow: Flow) -> None:
        self._connection = connection
        self._flow = flow
        self._changed = trio.Event()
        flow.wake = self._wake

    def _wake(self) -> None:
        self._changed.set()

    async def _wait_changed(self) -> None:
        self._changed = trio.Event() if self._changed.is_set() else self._changed
        await self._changed.wait()

    async def receive_chunk(self) -> bytes:
        """Return the next chunk, b"" once the other side has finished; raises what ended the stream early."""
        flow = self._flow
        while not flow.chunks:
            if flow.failure is not None:
                raise flow.failure
            if flow.ended_far:
                return b""
            await self._wait_changed()
        chunk = self._connection.mux.take_chunk(flow)
        self._connection.mark_dirty()
        return chunk

    async def send_chunk(self, chunk: bytes) -> None:
        """Send 1 byte to 1 MiB, as soon as the other side has room; raises TooLarge, or what ended the stream early."""
        cost = len(chunk) + CHUNK_COST_BYTES
        if len(chunk) > CHUNK_BYTES_MAX:
            raise TooLarge(f"rpc: a chunk of {len(chunk)} bytes exceeds {CHUNK_BYTES_MAX}")
        if not chunk:
            return
        flow = self._flow
        while True:
            self._check_open()
            if flow.credit < cost:
                await self._wait_changed()
            elif self._connection.mux.out_bytes > OUT_BYTES_BEFORE_CHUNK:
                await self._connection.wait_room(OUT_BYTES_BEFORE_CHUNK)
            else:
                break
        self._connection.mux.send_chunk(flow, chunk)
        self._connection.mark_dirty()

    def _check_open(self) -> None:
        flow = self._flow
        if flow.failure is not None:
            raise flow.failure
        if flow.ended_near:
            raise RuntimeError("a chunk after finish()")
        if flow.ended_far and flow.seq not in self._connection.mux.served:
            raise Internal("rpc: the other side completed the stream before it had read all of it")

    async def finish(self) -> None:
        """Send no more chunks; receiving goes on. Does nothing when called again or when the stream has failed."""
        flow = self._flow
        if not flow.ended_near and flow.failure is None and not self._connection.closed:
            self._connection.mux.end_chunks(flow)
            self._connection.mark_dirty()

    def abandon(self) -> None:
        """The side that opened the stream is done with it."""
        self._connection.mux.abandon_stream(self._flow)
        self._connection.mark_dirty()
