"""Datagrams between nodes, through this process: what is cut or lost does not arrive, what is slow arrives later.

A node n binds 127.77.0.n and tells the others 127.78.0.n. On each of its ports a socket of ours is bound to the told
address. What comes in there is sent on to the node itself, from our socket of whoever sent it: so the receiver sees
the address that the sender tells everybody, and its answer takes the same way back. Who is no node is not carried.
"""

import random
import socket
from collections.abc import Callable, Mapping
from typing import Final

import trio

from jepsen.network.pump import Traffic

DATAGRAM_BYTES_MAX: Final = 65_536
BATCH_COUNT: Final = 64
LATE_MAX: Final = 10_000
"""Datagrams that are kept for later delivery, all together; more are lost, as in a full queue."""

TrafficOf = Callable[[tuple[str, str]], Traffic]


class DatagramLinks:
    """All sockets of a `LinkNetwork`; its nursery owns the tasks."""

    def __init__(self, traffic_of: TrafficOf, node_of: Callable[[str], str | None], rng: random.Random) -> None:
        """`node_of` tells which node binds an address."""
        self._traffic_of = traffic_of
        self._node_of = node_of
        self._rng = rng
        self._sockets: dict[tuple[str, int], socket.socket] = {}
        """(node, port) -> our socket at the address that the node tells the others."""
        self._late_count = 0

    def open(self, nursery: trio.Nursery, node: str, *, told: str, bound: str, port: int) -> None:
        """Carry what is sent to `told`:`port` on to `bound`:`port`; raises OSError."""
        ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._sockets[node, port] = ours
        ours.bind((told, port))
        nursery.start_soon(self._carry, nursery, ours, node, (bound, port))

    def close(self) -> None:
        """Take everything down."""
        for ours in self._sockets.values():
            trio.lowlevel.notify_closing(ours)
            ours.close()
        self._sockets.clear()

    async def _carry(self, nursery: trio.Nursery, ours: socket.socket, node: str, target: tuple[str, int]) -> None:
        while True:
            try:
                await trio.lowlevel.wait_readable(ours)
                for _ in range(BATCH_COUNT):
                    data, (host, port) = ours.recvfrom(DATAGRAM_BYTES_MAX)
                    source = self._node_of(host)
                    sender = self._sockets.get((source, port)) if source is not None else None
                    if source is not None and sender is not None:
                        self._pass(nursery, data, (source, node), sender, target)
            except (BlockingIOError, InterruptedError, ConnectionError):
                continue
            except (trio.ClosedResourceError, OSError, ValueError):
                return  # taken down

    def _pass(
        self,
        nursery: trio.Nursery,
        data: bytes,
        direction: tuple[str, str],
        sender: socket.socket,
        target: tuple[str, int],
    ) -> None:
        traffic = self._traffic_of(direction)
        if traffic.cut:
            traffic.dropped_count += 1
        elif traffic.loss_share and self._rng.random() < traffic.loss_share:
            traffic.lost_count += 1
        elif traffic.mean_s:
            if self._late_count < LATE_MAX:
                self._late_count += 1
                nursery.start_soon(self._send_late, traffic, data, sender, target)
        else:
            _send(data, sender, target)

    async def _send_late(self, traffic: Traffic, data: bytes, sender: socket.socket, target: tuple[str, int]) -> None:
        late_s = max(0.0, traffic.mean_s + self._rng.uniform(-traffic.jitter_s, traffic.jitter_s))
        await trio.sleep(late_s)
        self._late_count -= 1
        traffic.delayed_count += 1
        _send(data, sender, target)


def _send(data: bytes, sender: socket.socket, target: tuple[str, int]) -> None:
    try:
        sender.sendto(data, target)
    except (OSError, ValueError):
        return  # nobody listens, or it was closed: a datagram that is lost


def by_prefix(prefix: str, numbers: Mapping[str, int]) -> Callable[[str], str | None]:
    """Return a look-up of nodes by the addresses that they bind."""

    def node_of(host: str) -> str | None:
        return next((node for node, number in numbers.items() if host == f"{prefix}{number}"), None)

    return node_of
