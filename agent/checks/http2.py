"""HTTP/2 as checks need it: one ping, or one gRPC call, on a connection that is used for nothing else."""

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import trio
from trio.abc import Stream

from base.errors import Unreachable

RECEIVE_BYTES = 1024
"""At a time: a peer may fill it with tiny frames, each of which costs some 0.1 ms, and others want their turn."""
RECEIVED_BYTES_MAX = 32 * 1024
"""All that one run takes from a peer; an honest answer has a few hundred bytes."""
PING_DATA = b"meshping"
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)
GRPC_HEAD_BYTES = 5
"""Not compressed, and the length of the message."""


class HTTP2Connection:
    """The client's side of one connection; raises Unreachable for whatever goes wrong."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._received_count = 0
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._h2.initiate_connection()

    async def ping(self) -> None:
        """Return when the other side has answered a ping."""
        self._h2.ping(PING_DATA)
        await self._send()
        while True:
            for event in await self._events():
                if isinstance(event, h2.events.PingAckReceived) and event.ping_data == PING_DATA:
                    return

    async def call(self, headers: list[tuple[str, str]], message: bytes) -> tuple[dict[str, str], bytes]:
        """Send one gRPC message, and return all headers of the answer, trailers included, and its data."""
        stream_id = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream_id, headers)
        self._h2.send_data(stream_id, b"\0" + len(message).to_bytes(GRPC_HEAD_BYTES - 1, "big") + message, True)
        await self._send()
        found: dict[str, str] = {}
        data = bytearray()
        while True:
            for event in await self._events():
                if getattr(event, "stream_id", stream_id) != stream_id:
                    continue
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    found.update((str(name), str(value)) for name, value in event.headers or [])
                elif isinstance(event, h2.events.DataReceived):
                    data += event.data or b""
                    self._h2.acknowledge_received_data(event.flow_controlled_length or 0, stream_id)
                    await self._send()
                elif isinstance(event, h2.events.StreamReset):
                    raise Unreachable(f"stream reset by the other side, code {event.error_code}")
                elif isinstance(event, h2.events.StreamEnded):
                    return found, bytes(data)

    async def _send(self) -> None:
        try:
            await self._stream.send_all(self._h2.data_to_send())
        except _BROKEN as error:
            raise Unreachable("the other side closed the connection") from error

    async def _events(self) -> list[h2.events.Event]:
        try:
            data = await self._stream.receive_some(RECEIVE_BYTES)
            if not data:
                raise Unreachable("the other side closed the connection")
            self._received_count += len(data)
            if self._received_count > RECEIVED_BYTES_MAX:
                raise Unreachable(f"the other side sent more than {RECEIVED_BYTES_MAX} bytes")
            events = self._h2.receive_data(data)
        except h2.exceptions.H2Error as error:
            raise Unreachable(f"no HTTP/2: {error or type(error).__name__}") from error
        except _BROKEN as error:
            raise Unreachable("the other side closed the connection") from error
        await self._send()
        if any(isinstance(event, h2.events.ConnectionTerminated) for event in events):
            raise Unreachable("the other side ended the connection")
        return events
