"""Foreign members save and restore snapshots on a connection of its own: served by the same methods as ours.

The other side sends a request, for a restore the archive too, and then ends its direction; it gets a response, and for
a save the archive up to the end of the connection. Source: RPC wire format, section 7.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from base import codec
from base.codec import OldReader, Truncated
from base.errors import InvalidRequest, MeshError, Refused, TooLarge, Unreachable
from base.log import get_logger
from base.network import Stream
from rpc.foreign_messages import text_of_error
from server.endpoints.registry import ByteStream, Caller
from structs.foreign.snapshot import EXCHANGE, OPERATION_RESTORE, SnapshotExchange, answer_map
from structs.query import NO_PATH_TEXT, Consistency, QueryOptions, WriteOptions
from structs.snapshot import SnapshotRestoreRequest, SnapshotSaveReply, SnapshotSaveRequest

REQUEST_BYTES_MAX = 4096
"""Five small fields."""
RECEIVE_BYTES = 64 * 1024
PIECE_TIMEOUT_S = 60.0
"""One piece, either way: a disk may be slow, but who stands still for so long holds a connection for nothing."""
SEND_BYTES_MAX = 64 * 1024
"""Handed to the connection at a time, so that progress can be seen."""

ServeStream = Callable[[str, bytes, ByteStream, Caller], Awaitable[None]]

_log = get_logger("server")


class SnapshotExchanges:
    """Serves the exchanges of one server."""

    def __init__(self, serve_stream: ServeStream) -> None:
        """`serve_stream` runs a streaming method: name, encoded request, stream, caller."""
        self._serve_stream = serve_stream

    async def serve(self, stream: Stream, caller: Caller) -> None:
        """Serve one exchange; raises Unreachable when the connection breaks or stands still."""
        connection = _Pieces(stream)
        try:
            exchange, rest = await _request(connection)
            connection.received = rest
            await self._run(exchange, connection, caller)
        except Unreachable:
            raise
        except MeshError as error:
            if connection.answered:
                # Too late to say so: without the end of the archive its checksums will not match.
                _log.warn("a snapshot for a foreign member broke off", peer=caller.address, reason=str(error))
            else:
                await connection.answer(answer_map(error=text_of_error(error)))

    async def _run(self, exchange: SnapshotExchange, connection: "_Pieces", caller: Caller) -> None:
        if not exchange.datacenter:  # they always name one, and an empty one is none
            raise Refused(NO_PATH_TEXT)
        if exchange.operation == OPERATION_RESTORE:
            write = WriteOptions(token=exchange.token, datacenter=exchange.datacenter)
            body = codec.encode(SnapshotRestoreRequest(options=write))
            await self._serve_stream("Snapshot.Restore", body, _Restore(connection), caller)
            return
        consistency = Consistency.STALE if exchange.stale else Consistency.DEFAULT
        read = QueryOptions(token=exchange.token, datacenter=exchange.datacenter, consistency=consistency)
        body = codec.encode(SnapshotSaveRequest(options=read))
        await self._serve_stream("Snapshot.Save", body, _Save(connection), caller)


class _Pieces:
    """The connection, with a bound on how long it may stand still."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.received = b""
        """Taken off the connection, and not looked at yet."""
        self.answered = False

    async def receive(self) -> bytes:
        """Return the next piece, b"" at the end; raises Unreachable."""
        if self.received:
            data, self.received = self.received, b""
            return data
        with trio.move_on_after(PIECE_TIMEOUT_S):
            return await self._stream.receive_some(RECEIVE_BYTES)
        raise Unreachable(f"{self._stream.peer_address} sends nothing more of its snapshot")

    async def send(self, data: bytes) -> None:
        """Send all of it; raises Unreachable."""
        rest = memoryview(data)
        while rest:
            with trio.move_on_after(PIECE_TIMEOUT_S) as scope:
                await self._stream.send_all(rest[:SEND_BYTES_MAX])
            if scope.cancelled_caught:
                raise Unreachable(f"{self._stream.peer_address} does not take its snapshot")
            rest = rest[SEND_BYTES_MAX:]

    async def answer(self, response: dict[str, Any]) -> None:
        """Send the one response."""
        self.answered = True
        await self.send(codec.pack_old(response))


class _Save:
    """What Snapshot.Save writes to: its first chunk becomes the response, the others are the archive."""

    def __init__(self, connection: _Pieces) -> None:
        self._connection = connection

    async def receive_chunk(self) -> bytes:
        """See ByteStream: nothing is sent to it."""
        return b""

    async def send_chunk(self, data: bytes) -> None:
        """See ByteStream."""
        if self._connection.answered:
            await self._connection.send(data)
        else:
            await self._connection.answer(answer_map(meta=codec.decode(SnapshotSaveReply, data).meta))

    async def finish(self) -> None:
        """See ByteStream: the connection is closed by its listener."""


class _Restore:
    """What Snapshot.Restore reads from: the archive. What it writes means that all is well."""

    def __init__(self, connection: _Pieces) -> None:
        self._connection = connection

    async def receive_chunk(self) -> bytes:
        """See ByteStream."""
        return await self._connection.receive()

    async def send_chunk(self, data: bytes) -> None:
        """See ByteStream."""
        await self._connection.answer(answer_map())

    async def finish(self) -> None:
        """See ByteStream."""


async def _request(connection: _Pieces) -> tuple[SnapshotExchange, bytes]:
    """Return the request, and what came behind it; raises InvalidRequest, TooLarge, Unreachable."""
    data = b""
    while True:
        piece = await connection.receive()
        if not piece:
            raise InvalidRequest("the connection ended before its request")
        data += piece
        reader = OldReader(data)
        try:
            value = reader.read()
        except Truncated:
            if len(data) > REQUEST_BYTES_MAX:
                raise TooLarge(f"a snapshot request of more than {REQUEST_BYTES_MAX} bytes") from None
            continue
        exchange: SnapshotExchange = EXCHANGE.decode(value)
        return exchange, bytes(reader.rest())
