"""The delegate of a server's embedded agent: calls go straight to the dispatcher, streams through a pipe in memory."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from base.errors import MeshError, OutcomeUnknown
from server.dispatch import Dispatcher
from server.endpoints.registry import StreamMethod, stream_named

CHUNKS_WAITING_MAX = 4
"""Chunks in a pipe before its writer waits; each is at most a mebibyte."""


class PipeEnd:
    """One end of a pipe in memory; b"" is the end of what the other side sends."""

    def __init__(self, outgoing: trio.MemorySendChannel[bytes], incoming: trio.MemoryReceiveChannel[bytes]) -> None:
        self._outgoing = outgoing
        self._incoming = incoming
        self.failure: MeshError | None = None
        """Why the other side ended early; raised to whoever receives once everything before it was taken."""

    async def receive_chunk(self) -> bytes:
        """Return the next chunk, b"" at the end; raises what ended the stream early."""
        try:
            return await self._incoming.receive()
        except trio.EndOfChannel:
            if self.failure is not None:
                raise self.failure from None
            return b""

    async def send_chunk(self, chunk: bytes) -> None:
        """Send one chunk; waits while the other side does not keep up. Raises what ended the stream early."""
        try:
            await self._outgoing.send(chunk)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise self.failure or OutcomeUnknown("the stream has ended") from error

    async def finish(self) -> None:
        """Say that nothing more will be sent."""
        self._outgoing.close()

    def close(self) -> None:
        """End both directions."""
        self._outgoing.close()
        self._incoming.close()


def pipe() -> tuple[PipeEnd, PipeEnd]:
    """Return the two ends of a new pipe."""
    there_in, there_out = trio.open_memory_channel[bytes](CHUNKS_WAITING_MAX)
    back_in, back_out = trio.open_memory_channel[bytes](CHUNKS_WAITING_MAX)
    return PipeEnd(there_in, back_out), PipeEnd(back_in, there_out)


class LocalDelegate:
    """Answers the agent of this process from the server of this process."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def call(self, method: str, request: Any, reply: type[Any]) -> Any:
        """Return the reply, or a coroutine of it where something has to be waited for."""
        return self._dispatcher.call(method, request)

    @asynccontextmanager
    async def stream(self, method: str, request: Any) -> AsyncGenerator[PipeEnd, None]:
        """Open a stream; leaving the block ends it. Raises what the method raises."""
        row = stream_named(method)
        near, far = pipe()
        failure: MeshError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve, row, request, far, near)
            try:
                yield near
            except MeshError as error:  # must not leave the nursery inside a group
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _serve(self, row: StreamMethod, request: Any, far: PipeEnd, near: PipeEnd) -> None:
        try:
            await self._dispatcher.serve_local_stream(row, request, far)
        except MeshError as error:
            near.failure = error
        finally:
            far.close()
