"""Packets held back for a while on their way in: the kernel hands them to a queue, and waits for our verdict.

Only packets that a rule sends here cost anything. Where the reader ends, what it holds is lost, as packets may be.
Source: linux/netfilter/nfnetlink_queue.h.
"""

import math
import random
import socket
import struct
from collections import deque
from contextlib import suppress
from typing import Final

import trio

from jepsen.network import netlink

SUBSYSTEM = 3
PACKET, VERDICT, CONFIG = (SUBSYSTEM << 8 | kind for kind in (0, 1, 2))
BIND, COPY_HEADERS_ONLY = 1, 1
ACCEPT = 1
RECEIVE_BYTES: Final = 64 * 1024
REPLY_TIMEOUT_S: Final = 5
PACKETS_MAX: Final = 65_536
"""Held at once; more are dropped by the kernel, as by a full router."""
BUFFER_BYTES: Final = 4 * 1024 * 1024


class PacketQueue:
    """One queue of the namespace that `connection` was made in."""

    def __init__(self, connection: socket.socket, number: int, rng: random.Random) -> None:
        """Takes the netlink socket over. Raises OSError where the kernel has no such queues, or forbids it."""
        self._socket = connection
        self._number = number
        self._rng = rng
        self._held: deque[tuple[float, int]] = deque()
        """When due (trio's clock) and packet id, in order."""
        self._changed = trio.Event()
        self._mean_s = 0.0
        self._jitter_s = 0.0
        self._due_s = 0.0
        self.passed_late_count = 0
        """Packets that were held, and let pass when they were due."""
        connection.settimeout(REPLY_TIMEOUT_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self._configure(netlink.attribute(1, struct.pack(">BBH", BIND, 0, socket.AF_INET)))
        self._configure(netlink.attribute(2, struct.pack(">IB", 0, COPY_HEADERS_ONLY)) + netlink.number(3, PACKETS_MAX))
        connection.setblocking(False)

    def slow(self, mean_s: float, jitter_s: float) -> None:
        """Hold what comes from now on for that long."""
        self._mean_s, self._jitter_s = mean_s, jitter_s

    def release(self) -> None:
        """Let everything pass at once."""
        self._mean_s = self._jitter_s = self._due_s = 0.0
        while self._held:
            self._pass(self._held.popleft()[1])

    async def run(self) -> None:
        """Hold and release packets until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._release_when_due)
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                try:
                    data = self._socket.recv(RECEIVE_BYTES)
                except OSError:
                    continue  # ENOBUFS: more came than the buffer takes; those are lost
                self._take(data)

    def close(self) -> None:
        """Give the queue up. What it held is lost."""
        self._socket.close()

    def _configure(self, body: bytes) -> None:
        self._socket.send(
            netlink.message(
                CONFIG, netlink.REQUEST | netlink.ACK, 0, body, family=socket.AF_UNSPEC, resource=self._number
            )
        )
        for received in netlink.messages(self._socket.recv(RECEIVE_BYTES)):
            received.raise_for_error()

    def _take(self, data: bytes) -> None:
        for received in netlink.messages(data):
            if received.kind != PACKET:
                continue
            packet = int.from_bytes(netlink.attributes(received.payload)[1][:4], "big")
            if not self._mean_s:
                self._pass(packet)
                continue
            late_s = max(0.0, self._mean_s + self._rng.uniform(-self._jitter_s, self._jitter_s))
            # In order: what shall be out of order is another fault, and TCP would answer it by sending again.
            self._due_s = max(self._due_s, trio.current_time() + late_s)
            self._held.append((self._due_s, packet))
            self._changed.set()

    async def _release_when_due(self) -> None:
        while True:
            now_s = trio.current_time()
            while self._held and self._held[0][0] <= now_s:
                self._pass(self._held.popleft()[1])
                self.passed_late_count += 1
            self._changed = trio.Event()
            with trio.move_on_at(self._held[0][0] if self._held else math.inf):
                await self._changed.wait()

    def _pass(self, packet: int) -> None:
        body = netlink.attribute(2, struct.pack(">II", ACCEPT, packet))
        verdict = netlink.message(VERDICT, netlink.REQUEST, 0, body, family=socket.AF_UNSPEC, resource=self._number)
        with suppress(OSError):  # the namespace is going away, and the packet with it
            self._socket.send(verdict)
