"""Takes connections that speak the foreign wire, each by its first byte. Source: RPC wire format."""

from collections.abc import Awaitable, Callable
from typing import Final

from base.network import Stream
from rpc.caller import Caller
from rpc.foreign_calls import ForeignHandler
from rpc.foreign_plain import PlainCalls
from rpc.foreign_yamux import YamuxCalls
from rpc.hub import Hub
from rpc.kept import Kept

BYTE_PLAIN: Final = 0
BYTE_YAMUX: Final = 4
BYTE_SNAPSHOT: Final = 5

SnapshotHandler = Callable[[Stream, Caller], Awaitable[None]]
"""Serves one snapshot exchange on a connection of its own."""


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
