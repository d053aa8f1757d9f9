"""Datagrams: one bound UDP socket, read in batches, written without waiting.

Whoever speaks UDP takes a `Datagrams`, so that a simulated one can stand in for it. A datagram that the kernel does not
take at once is dropped, as the network might drop it; protocols on top must live with that anyway.
"""

import errno
import socket
from contextlib import suppress
from typing import Final, Protocol

import trio
import trio.lowlevel

from base.errors import Unreachable
from base.network import join_address

DATAGRAM_BYTES_MAX: Final = 65_536
BATCH_COUNT_MAX: Final = 64
"""Datagrams taken before the caller gets a turn: a flood must not keep the timers waiting."""
RECEIVE_BUFFER_BYTES: Final = 2 * 1024 * 1024
"""What the kernel may keep while we are busy: some 1,500 full packets. It grants less where its own limit is lower."""
TRIES_MAX: Final = 32
"""Ports tried where any free one will do, until both protocols get the same number."""

Datagram = tuple[bytes, tuple[str, int]]
"""Bytes, and the host and port they came from."""


class Datagrams(Protocol):
    """A bound socket."""

    address: tuple[str, int]
    """Host and port that were really bound."""

    async def receive(self) -> list[Datagram]:
        """Return what has arrived, at least one; raises Unreachable once closed."""

    def send(self, data: bytes, host: str, port: int) -> bool:
        """Hand one datagram to the kernel; False where it was dropped on the spot."""

    def close(self) -> None:
        """Close at once. May be called again."""


class SocketDatagrams:
    """A UDP socket."""

    def __init__(self, bound: socket.socket) -> None:
        bound.setblocking(False)
        with suppress(OSError):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        self._socket = bound
        self._closed = False
        name = bound.getsockname()
        self.address: tuple[str, int] = (name[0], name[1])

    async def receive(self) -> list[Datagram]:
        """See Datagrams."""
        while True:
            if self._closed:
                raise Unreachable("the UDP socket is closed")
            try:
                await trio.lowlevel.wait_readable(self._socket)
            except (trio.ClosedResourceError, OSError, ValueError) as error:
                raise Unreachable("the UDP socket is closed") from error
            batch = self._take()
            if batch:
                return batch

    def _take(self) -> list[Datagram]:
        batch: list[Datagram] = []
        for _ in range(BATCH_COUNT_MAX):
            try:
                data, source = self._socket.recvfrom(DATAGRAM_BYTES_MAX)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                continue  # an ICMP error of something that was sent before; it says nothing about what comes in
            batch.append((data, (source[0], source[1])))
        return batch

    def send(self, data: bytes, host: str, port: int) -> bool:
        """See Datagrams."""
        try:
            self._socket.sendto(data, (host, port))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """See Datagrams."""
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


def bind_both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a listening TCP socket on one port (0: any that is free for both); raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for attempt in range(TRIES_MAX):
        listening = socket.socket(family, socket.SOCK_STREAM)
        bound = socket.socket(family, socket.SOCK_DGRAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
            bound.bind((host, listening.getsockname()[1]))
        except OSError as error:
            listening.close()
            bound.close()
            if port or error.errno != errno.EADDRINUSE or attempt == TRIES_MAX - 1:
                raise
        else:
            return bound, listening
    raise OSError(errno.EADDRINUSE, f"no port of {join_address(host, port)} is free for both protocols")
