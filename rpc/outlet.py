"""Hands the output of one connection to the kernel, and waits where the kernel waits."""

from collections.abc import Callable
from typing import Final

import trio

from base.errors import Unreachable
from base.network import Data, Stream
from rpc.hub import Hub

SEND_SLICE_BYTES: Final = 256 * 1024
"""Output is handed to a slow peer in slices, so that progress can be seen. TLS wants at least 16 KiB."""


class Outlet:
    """Sends what `take` returns, in order. What is not taken at once is sent by a task of its own."""

    __slots__ = ("_broke", "_closed", "_hub", "_moved", "_progress", "_sending", "_stream", "_take", "handed_bytes",
                 "stalled_looks")  # fmt: skip

    def __init__(
        self,
        stream: Stream,
        hub: Hub,
        *,
        take: Callable[[], Data],
        broke: Callable[[str], None],
        moved: Callable[[], None],
    ) -> None:
        """`take` returns the next output, empty if there is none; `broke` is told why nothing can be sent any more;
        `moved` that some output has left."""
        self._stream = stream
        self._hub = hub
        self._take = take
        self._broke = broke
        self._moved = moved
        self._sending = False
        self._closed = False
        self._progress: trio.Event | None = None
        self.handed_bytes = 0
        """Bytes that may have left this process."""
        self.stalled_looks = 0
        """How often `look` found that nothing had left since the time before."""

    @property
    def idle(self) -> bool:
        """Whether the kernel has taken all that was handed to it."""
        return not self._sending

    def flush(self) -> None:
        """Send what there is, as far as the kernel takes it."""
        if self._sending or self._closed:
            return
        try:
            while data := self._take():
                taken = self._stream.send_nowait(data)
                self.handed_bytes += taken
                if taken < len(data):
                    self._sending = True
                    self.stalled_looks = 0
                    self._hub.spawn(self._send_rest, memoryview(data)[taken:])
                    return
        except Unreachable as error:
            self._broke(str(error))
            return
        self._progressed()

    async def _send_rest(self, rest: memoryview) -> None:
        """Send what the kernel did not take at once, and what gathers meanwhile."""
        try:
            while rest and not self._closed:
                piece = rest[:SEND_SLICE_BYTES]
                self.handed_bytes += len(piece)
                await self._stream.send_all(piece)
                self.stalled_looks = 0
                rest = rest[len(piece) :] or memoryview(self._take())
                self._progressed()
        except Unreachable as error:
            self._broke(str(error))
        finally:
            self._sending = False
            self._progressed()

    def look(self) -> int:
        """Called once a second; returns how many looks in a row have seen no progress."""
        self.stalled_looks = self.stalled_looks + 1 if self._sending else 0
        return self.stalled_looks

    async def wait_progress(self) -> None:
        """Wait until something has left, or nothing will any more."""
        if not self._closed:
            if self._progress is None:
                self._progress = trio.Event()
            await self._progress.wait()

    def _progressed(self) -> None:
        if self._progress is not None:
            self._progress.set()
            self._progress = None
        self._moved()

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True
        if self._progress is not None:
            self._progress.set()
            self._progress = None
