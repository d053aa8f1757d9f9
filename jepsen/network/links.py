"""User-space links between nodes: no privileges, no tools, any Linux.

Node n binds 127.77.0.n and tells the others 127.78.0.n. There, on the same port, a link listens for it and carries
each connection on, so everything between nodes passes through this process, and each direction can be cut, slowed
and broken on its own. Who dials is found by the kernel's tables; the harness itself is never cut off, and speaks HTTP
to the nodes directly.

How it differs from real packets:
- The kernel completes a connection before the link knows of it. One that is dialled while either direction is cut
  is therefore accepted, never answered, and reset after the healing; in a real network it would not come about.
- Loss shows as TCP shows it: delays of a retransmission, and connections that break at the given rate a second.
- Datagrams are lost and late as packets are: what a cut meets is gone, and nothing is sent again.
- A dialled port where nobody listens gives a connection that is reset at once instead of a refusal.
"""

import os
import random
import socket
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import trio

from jepsen.network.datagram_links import DatagramLinks, by_prefix
from jepsen.network.flapping import Flapper
from jepsen.network.network import Addresses, Direction, Pids, Unbreakable, effect
from jepsen.network.pump import Pump, Traffic, reset
from jepsen.network.sockets import owner_of

BIND_PREFIX: Final = "127.77.0."
ADVERTISE_PREFIX: Final = "127.78.0."
NODES_MAX: Final = 254
BACKLOG: Final = 128
BUFFER_BYTES: Final = 256 * 1024
"""Of a link's sockets: what they hold comes on top of what the link keeps, and must be bounded too."""
CONNECTIONS_MAX: Final = 1024
REACH_TIMEOUT_S: Final = 1.0
DIAL_TIMEOUT_S: Final = 5.0
BREAK_INTERVAL_S: Final = 0.1
OUTSIDER: Final = ""
"""Whoever is no node: the harness."""


class _Connection:
    """Two sockets and who they belong to."""

    def __init__(self, direction: Direction, near: socket.socket, dialled_from: tuple[str, int]) -> None:
        self.direction = direction
        self.dialled_from = dialled_from
        self.near = near
        """To the one who dialled."""
        self.far = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.scope = trio.CancelScope()
        """Cancelled to break it."""


class LinkNetwork:
    """See Network."""

    mode = "links"
    abilities = frozenset({"cut", "one-way", "delay", "loss"})

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._numbers: dict[str, int] = {}
        self._traffic: dict[Direction, Traffic] = {}
        self._pids: Pids = dict
        self._flapper = Flapper(self.cut, self.reopen, rng)
        self._datagrams = DatagramLinks(self._traffic_of, by_prefix(BIND_PREFIX, self._numbers), rng)
        self._nursery: trio.Nursery | None = None
        self._listening: dict[tuple[str, int], socket.socket] = {}
        self._connections: set[_Connection] = set()
        self._probes: dict[tuple[str, int], trio.Event] = {}
        """Own connections of `reaches`, by their local address: set when they have been carried through."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Network."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                task_status.started()
                await self._break_at_random()
        finally:
            self._nursery = None
            await self.close()

    def know(self, pids: Pids) -> None:
        """See Network."""
        self._pids = pids

    def addresses(self, node: str) -> Addresses:
        """See Network."""
        number = self._numbers.setdefault(node, len(self._numbers) + 1)
        if number > NODES_MAX:
            raise Unbreakable(f"no room for more than {NODES_MAX} nodes")
        bind = f"{BIND_PREFIX}{number}"
        return Addresses(bind=bind, advertise=f"{ADVERTISE_PREFIX}{number}", client=bind)

    def wrap(self, node: str, command: Sequence[str]) -> list[str]:
        """See Network."""
        return list(command)

    async def open_port(self, node: str, port: int) -> None:
        """See Network; raises OSError if somebody else listens there."""
        assert self._nursery is not None, "`run` must be under way"
        if (node, port) in self._listening:
            return
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listening[node, port] = listening
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        listening.bind((self.addresses(node).advertise, port))
        listening.listen(BACKLOG)
        self._nursery.start_soon(self._accept, self._nursery, listening, node, port)
        addresses = self.addresses(node)
        self._datagrams.open(self._nursery, node, told=addresses.advertise, bound=addresses.bind, port=port)

    async def cut(self, directions: Collection[Direction]) -> None:
        """See Network."""
        for direction in directions:
            self._traffic_of(direction).close()

    async def reopen(self, directions: Collection[Direction]) -> None:
        """See Network."""
        for direction in directions:
            self._traffic_of(direction).reopen()

    async def flap(self, directions: Collection[Direction], *, interval_s: tuple[float, float]) -> None:
        """See Network."""
        assert self._nursery is not None, "`run` must be under way"
        self._nursery.start_soon(self._flapper.run, [*directions], interval_s)

    async def delay(self, directions: Collection[Direction], *, mean_s: float, jitter_s: float) -> None:
        """See Network."""
        for direction in directions:
            self._traffic_of(direction).slow(mean_s, jitter_s)

    async def lose(self, directions: Collection[Direction], *, share: float) -> None:
        """See Network."""
        for direction in directions:
            self._traffic_of(direction).lose(share)

    async def heal(self) -> None:
        """See Network."""
        self._flapper.stop()
        for traffic in self._traffic.values():
            traffic.heal()

    async def effects(self) -> dict[str, int]:
        """See Network."""
        found: dict[str, int] = {**self._flapper.counted}
        for direction, traffic in self._traffic.items():
            found[effect("held", direction)] = traffic.held_bytes
            found[effect("late", direction)] = traffic.late_bytes
            found[effect("refused", direction)] = traffic.refused_count
            found[effect("broken", direction)] = traffic.broken_count
            found[effect("dropped", direction)] = traffic.dropped_count
            found[effect("lost", direction)] = traffic.lost_count
            found[effect("delayed", direction)] = traffic.delayed_count
        return found

    async def reaches(self, source: str, target: str, port: int) -> bool:
        """See Network."""
        dialled = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            await dialled.bind((self.addresses(source).bind, 0))
            local = dialled.getsockname()
            carried = self._probes[local] = trio.Event()
            try:
                with trio.move_on_after(REACH_TIMEOUT_S):
                    await dialled.connect((self.addresses(target).advertise, port))
                    await carried.wait()
                    return True
            except OSError:
                return False
            finally:
                del self._probes[local]
            return False
        finally:
            dialled.close()

    async def close(self) -> None:
        """See Network."""
        for listening in self._listening.values():
            trio.lowlevel.notify_closing(listening)
            listening.close()
        self._listening.clear()
        self._datagrams.close()
        for connection in self._connections:
            connection.scope.cancel()

    # Connections ---------------------------------------------------------------------------------------------------

    def _traffic_of(self, direction: Direction) -> Traffic:
        return self._traffic.setdefault(direction, Traffic())

    async def _accept(self, nursery: trio.Nursery, listening: socket.socket, node: str, port: int) -> None:
        while True:
            try:
                await trio.lowlevel.wait_readable(listening)
                near, dialled_from = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                continue
            except (trio.ClosedResourceError, OSError, ValueError):
                return  # taken down
            near.setblocking(False)
            if len(self._connections) < CONNECTIONS_MAX:
                nursery.start_soon(self._carry, near, dialled_from, node, port)
            else:
                reset(near)

    def _source_of(self, near: socket.socket, dialled_from: tuple[str, int]) -> str | None:
        """The node that dialled, OUTSIDER, or None when nobody holds the other end any more. Raises OSError."""
        for node, number in self._numbers.items():
            if dialled_from[0] == f"{BIND_PREFIX}{number}":
                return node
        everybody: Mapping[str, int] = {**self._pids(), OUTSIDER: os.getpid()}
        return owner_of(dialled_from, near.getsockname(), everybody)

    async def _carry(self, near: socket.socket, dialled_from: tuple[str, int], node: str, port: int) -> None:
        try:
            source = self._source_of(near, dialled_from)
        except OSError:
            source = None  # gone already
        if source is None:
            reset(near)
            return
        connection = _Connection((source, node), near, dialled_from)
        self._connections.add(connection)
        try:
            with connection.scope:
                await self._serve(connection, source, node, port)
        except OSError:
            pass  # nobody listens, or somebody left while it was set up: reset, as at every other end
        finally:
            self._connections.discard(connection)
            reset(connection.near)
            reset(connection.far)

    async def _serve(self, connection: _Connection, source: str, node: str, port: int) -> None:
        there, back = self._traffic_of((source, node)), self._traffic_of((node, source))
        if there.cut or back.cut:
            (there if there.cut else back).refused_count += 1
            await there.wait_open()
            await back.wait_open()
        elif await self._dial(connection, source, node, port):
            await self._pump(connection, there, back)
        else:
            await back.wait_open()  # that nobody answers is news, too

    async def _dial(self, connection: _Connection, source: str, node: str, port: int) -> bool:
        far = connection.far
        for end in (connection.near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        if source is not OUTSIDER:
            far.bind((self.addresses(source).bind, 0))  # the node sees who dialled, as it would in earnest
        with trio.move_on_after(DIAL_TIMEOUT_S):
            try:
                far.connect((self.addresses(node).bind, port))
            except BlockingIOError:
                await trio.lowlevel.wait_writable(far)
            except ConnectionError:
                return False
            if far.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                probe = self._probes.get(connection.dialled_from)
                if probe is not None:
                    probe.set()
                return True
        return False

    async def _pump(self, connection: _Connection, there: Traffic, back: Traffic) -> None:
        forward = Pump(there, connection.near, connection.far, self._rng)
        backward = Pump(back, connection.far, connection.near, self._rng)
        forward.opposite, backward.opposite = backward, forward
        async with trio.open_nursery() as nursery:

            async def carry(pump: Pump) -> None:
                if await pump.run() is not None:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(carry, forward)
            nursery.start_soon(carry, backward)

    async def _break_at_random(self) -> None:
        while True:
            await trio.sleep(BREAK_INTERVAL_S)
            for connection in [*self._connections]:
                source, target = connection.direction
                for direction in ((source, target), (target, source)):
                    traffic = self._traffic_of(direction)
                    if traffic.loss_share and self._rng.random() < traffic.loss_share * BREAK_INTERVAL_S:
                        traffic.broken_count += 1
                        connection.scope.cancel()
