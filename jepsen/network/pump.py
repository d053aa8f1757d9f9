"""One direction of one connection through a link: bytes in, bytes out, late or not at all.

A cut is silent: what arrives meanwhile, the end of the stream and a reset included, is kept and delivered after the
healing. What is kept is bounded: beyond `KEPT_BYTES_MAX` nothing more is read, and the sender meets a full window.
"""

import random
import socket
import struct
from collections import deque
from typing import Final

import trio

CHUNK_BYTES: Final = 64 * 1024
KEPT_BYTES_MAX: Final = 512 * 1024
"""One direction of one connection; the kernel's own buffers come on top."""
RETRANSMIT_S: Final = 0.2
"""What one lost packet costs a TCP connection at least (Linux, TCP_RTO_MIN)."""

End = Exception | None
"""How a stream ended: None for an orderly end, else the error."""


class Traffic:
    """What befalls one direction between two nodes: shared by all connections between them, changed from outside."""

    def __init__(self) -> None:
        self.cut = False
        self.mean_s = 0.0
        self.jitter_s = 0.0
        self.loss_share = 0.0
        self.changed = trio.Event()
        """Set, and replaced, at each change of the above."""
        self.held_bytes = 0
        """Bytes (an end counts as one) that met a cut."""
        self.late_bytes = 0
        """Bytes that were delayed, and have been delivered since."""
        self.refused_count = 0
        """New connections that met a cut."""
        self.broken_count = 0
        self.dropped_count = 0
        """Datagrams that met a cut."""
        self.lost_count = 0
        """Datagrams that were lost by share."""
        self.delayed_count = 0
        """Datagrams that were delayed, and have been delivered since."""

    @property
    def clear(self) -> bool:
        """Whether everything passes at once."""
        return not (self.cut or self.mean_s or self.loss_share)

    def close(self) -> None:
        """Let nothing pass from now on."""
        self.cut = True
        self._tell()

    def reopen(self) -> None:
        """The cut is over; what else befalls it is not."""
        self.cut = False
        self._tell()

    def slow(self, mean_s: float, jitter_s: float) -> None:
        """Let pieces pass that much later."""
        self.mean_s, self.jitter_s = mean_s, jitter_s
        self._tell()

    def lose(self, share: float) -> None:
        """Let this share of pieces pass a retransmission later; who breaks connections is the link."""
        self.loss_share = share
        self._tell()

    def heal(self) -> None:
        """Let everything pass at once."""
        self.cut = False
        self.mean_s = self.jitter_s = self.loss_share = 0.0
        self._tell()

    async def wait_open(self) -> None:
        """Return when it is not cut."""
        while self.cut:
            await self.changed.wait()

    def lateness_s(self, rng: random.Random) -> float:
        """How much later the next piece arrives."""
        late_s = max(0.0, self.mean_s + rng.uniform(-self.jitter_s, self.jitter_s)) if self.mean_s else 0.0
        if self.loss_share and rng.random() < self.loss_share:
            late_s += RETRANSMIT_S
        return late_s

    def _tell(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


class Pump:
    """Carries bytes from `source` to `target`, both non-blocking. `run` returns how the stream ended."""

    def __init__(self, traffic: Traffic, source: socket.socket, target: socket.socket, rng: random.Random) -> None:
        self._traffic = traffic
        self.opposite: Pump | None = None
        """The other direction: a reset by the target is news that travels there."""
        self._source = source
        self._target = target
        self._rng = rng
        self._kept: deque[tuple[float, float, bytes]] = deque()
        """Pieces with the time (trio's clock) before which they may not arrive, and how much later that is."""
        self._kept_bytes = 0
        self._due_s = 0.0
        self._sending = False
        self._ended = False
        self._end: End = None
        self._delivered = False
        self._changed = trio.Event()

    async def run(self) -> End:
        """Carry everything, the end included; returns when the end has been delivered.

        An orderly end (None) has then been passed on; an error is left to the caller, who must break both sides.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            await self._write()
            nursery.cancel_scope.cancel()
        return self._end

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def _read(self) -> None:
        while True:
            while self._kept_bytes >= KEPT_BYTES_MAX:
                await self._changed.wait()
            try:
                await trio.lowlevel.wait_readable(self._source)
                data = self._source.recv(CHUNK_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                self._finish(error)
                return
            if not data:
                self._finish(None)
                return
            if self._traffic.clear and not self._kept and not self._sending:
                data = self._send_now(data)
            if data:
                self._keep(data)

    def _send_now(self, data: bytes) -> bytes:
        """Send what the kernel takes at once and return the rest."""
        try:
            return data[self._target.send(data) :]
        except (BlockingIOError, InterruptedError):
            return data
        except OSError:
            return data  # the writer will meet the same error, and it is the one who reports it

    def _keep(self, data: bytes) -> None:
        late_s = self._traffic.lateness_s(self._rng)
        if self._traffic.cut:
            self._traffic.held_bytes += len(data)
        # Within a connection nothing overtakes: each piece is due no earlier than the one before.
        self._due_s = max(self._due_s, trio.current_time() + late_s)
        self._kept.append((self._due_s, late_s, data))
        self._kept_bytes += len(data)
        self._tell()

    def _finish(self, end: End) -> None:
        if self._traffic.cut and not self._ended:
            self._traffic.held_bytes += 1
        self._ended, self._end = True, self._end or end
        self._tell()

    async def _write(self) -> None:
        try:
            while await self._wait_kept():
                self._sending = True
                _, late_s, data = self._kept.popleft()
                await self._send_all(data)
                self._sending = False
                if late_s:
                    self._traffic.late_bytes += len(data)
            if self._end is None:
                self._target.shutdown(socket.SHUT_WR)
            self._delivered = True
        except OSError as error:
            self._delivered = True
            self._end = await self._target_broke(error)

    async def _target_broke(self, error: OSError) -> End:
        opposite = self.opposite
        assert opposite is not None
        if opposite._delivered:
            await opposite._traffic.wait_open()
            return error
        # The kernel tells of a reset only once, here or at the other's next receive, which would then see an end.
        opposite._finish(error)
        return None

    async def _wait_kept(self) -> bool:
        """Return True when the next piece is due, False when there is none left and the end is."""
        while True:
            await self._traffic.wait_open()
            if self._kept:
                due_s = self._kept[0][0]
                if self._traffic.clear or due_s <= trio.current_time():
                    return True
                with trio.move_on_at(due_s):
                    await self._traffic.changed.wait()
            elif self._ended:
                return False
            else:
                await self._changed.wait()

    async def _send_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            # A cut also stops what waits for the other side's window.
            await self._traffic.wait_open()
            try:
                rest = rest[self._target.send(rest) :]
            except (BlockingIOError, InterruptedError):
                await trio.lowlevel.wait_writable(self._target)
        self._kept_bytes -= len(data)
        self._tell()


def reset(broken: socket.socket) -> None:
    """Close at once, and let the other side see a reset instead of an orderly end. Nobody may wait on it any more."""
    broken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    broken.close()
