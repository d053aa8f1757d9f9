"""Sans-IO: one stream of chunks inside a connection, with credit in both directions.

Each side may have `WINDOW_BYTES` outstanding that the other's reader has not taken. A chunk costs its size and a fixed
amount, so that many tiny chunks cannot fill the receiver's memory either.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from base.errors import MeshError
from rpc.errors import ProtocolViolated
from rpc.frame import CHUNK_BYTES_MAX, MIB

WINDOW_BYTES: Final = 4 * MIB
CHUNK_COST_BYTES: Final = 64
"""What a chunk costs the receiver besides its bytes: the object and its place in the queue."""
CREDIT_BYTES_MIN: Final = WINDOW_BYTES // 4
"""Credit is given back in pieces of this size, so that a bulk transfer pays few frames for it."""

assert CHUNK_BYTES_MAX + CHUNK_COST_BYTES < WINDOW_BYTES - CREDIT_BYTES_MIN


class Flow:
    """The state of one stream; changed by the multiplexer and by the stream's user, woken through `wake`."""

    __slots__ = ("chunks", "credit", "ended_far", "ended_near", "failure", "owed", "seq", "wake", "window")

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self.chunks: deque[bytes] = deque()
        self.credit = WINDOW_BYTES
        """Bytes this side may still send."""
        self.window = WINDOW_BYTES
        """Bytes the other side may still send."""
        self.owed = 0
        """Bytes that the reader has taken and that the other side was not told of yet."""
        self.ended_near = False
        self.ended_far = False
        self.failure: MeshError | None = None
        self.wake: Callable[[], None] | None = None

    def chunk_received(self, chunk: bytes) -> None:
        """Queue a chunk; raises ProtocolViolated if the other side had no credit for it or had already ended."""
        cost = len(chunk) + CHUNK_COST_BYTES
        if not chunk or len(chunk) > CHUNK_BYTES_MAX or cost > self.window or self.ended_far:
            raise ProtocolViolated("an empty chunk, or one beyond the end, the size or the window of its stream")
        self.window -= cost
        self.chunks.append(chunk)
        self.changed()

    def take_chunk(self) -> tuple[bytes, int]:
        """Return the next chunk, and the credit to give to the other side now (mostly 0)."""
        chunk = self.chunks.popleft()
        self.owed += len(chunk) + CHUNK_COST_BYTES
        if self.owed < CREDIT_BYTES_MIN or self.ended_far:
            return chunk, 0
        credit, self.owed = self.owed, 0
        self.window += credit
        return chunk, credit

    def credit_received(self, credit: int) -> None:
        """The other side has read something; raises ProtocolViolated if it gives more than it ever can."""
        if self.credit + credit > WINDOW_BYTES:
            raise ProtocolViolated("more credit than a window")
        self.credit += credit
        self.changed()

    def fail(self, error: MeshError) -> None:
        """End both directions with `error`, once."""
        if self.failure is None:
            self.failure = error
            self.changed()

    def changed(self) -> None:
        """Wake whoever waits on this stream."""
        if self.wake is not None:
            self.wake()
