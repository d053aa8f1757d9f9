"""Reads the one message of a stream, without ever holding up the loop or filling memory for it.

What a stream brings cannot be judged before all of it is there: it may be sealed, and what is packed may be twenty
times as large. So all long messages together have a bound, from their second piece until they have been dealt with,
and they are unpacked in a thread, one after the other.
"""

from types import TracebackType
from typing import Final, Self

import trio

from base.errors import TooLarge, Unreachable
from base.network import Stream
from gossip.streams import StreamReader

RECEIVE_BYTES: Final = 64 * 1024
LONG_BYTES_MIN: Final = 16 * 1024
"""A message beyond this may take milliseconds to unpack: it is the table of a hundred members, or meant to harm."""
LONG_BYTES_MAX: Final = 48 * 1024 * 1024
"""What is held for all long messages together: four of the largest tables, or two that were packed."""


class Load:
    """What one stream holds; nothing once its block is left."""

    def __init__(self, intake: "Intake") -> None:
        self._intake = intake
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.set(0)

    def set(self, bytes_count: int) -> None:
        """Hold so much from now on; raises TooLarge, and then holds what it did, if all together are too many."""
        bytes_count = bytes_count if bytes_count > LONG_BYTES_MIN else 0
        others_bytes = self._intake.held_bytes - self._bytes
        if bytes_count > self._bytes and others_bytes + bytes_count > LONG_BYTES_MAX:
            raise TooLarge("too many long messages at once")
        self._intake.held_bytes = others_bytes + bytes_count
        self._bytes = bytes_count


class Intake:
    """All streams of one pool."""

    def __init__(self) -> None:
        self.held_bytes = 0
        """For all streams together."""
        self._unpacking = trio.CapacityLimiter(1)

    def load(self) -> Load:
        """Return the account of one stream, to be used in a `with` block."""
        return Load(self)

    async def read(self, stream: Stream, reader: StreamReader, load: Load) -> bytes:
        """Return the message, which `load` then holds. Raises what the reader raises, TooLarge, Unreachable."""
        size_bytes = 0
        while True:
            data = await stream.receive_some(RECEIVE_BYTES)
            if not data:
                raise Unreachable("the other side closed the stream")
            size_bytes += len(data)
            load.set(size_bytes)
            if size_bytes <= LONG_BYTES_MIN:
                message = reader.feed(data)
            else:
                message = await trio.to_thread.run_sync(reader.feed, data, limiter=self._unpacking)
            if message is not None:
                load.set(len(message))
                return message
