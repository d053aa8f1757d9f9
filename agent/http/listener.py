"""The sockets of the HTTP API: accepting, the pump that serves plain connections, and the sweeper of deadlines.

The pump owns one edge-triggered epoll with all plain connections. It wakes once for whatever became ready meanwhile, so
under load neither a task switch nor a re-registration is paid per request. Linux only, as are the servers.
"""

import errno
import select
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import trio
import trio.lowlevel

import agent.http.endpoints  # noqa: F401  # registers all routes
from agent.http.connection import Connection, Shared
from agent.http.dispatch import Dispatcher
from agent.http.plain import EVENTS, PlainConnection
from agent.http.registry import AgentInfo, Delegate, Services
from agent.http.response import Composer
from agent.http.settings import HTTPSettings

SWEEP_INTERVAL_S: Final = 0.5
"""How exact deadlines are. One look at 5,000 connections takes a third of a millisecond."""
READY_MAX: Final = 64
"""Connections served before other tasks get their turn: some 3 ms of work."""
ACCEPT_STREAK_MAX: Final = 64
ACCEPT_PAUSE_S: Final = 0.1
"""After the process ran out of file descriptors."""
BACKLOG: Final = 1024
_TOO_MANY_TEXT: Final = b"Your IP is issuing too many concurrent connections, please rate limit your calls\n"
TOO_MANY_ANSWER: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"X-Mesh-Outcome: refused\r\nContent-Length: %d\r\n\r\n%b" % (len(_TOO_MANY_TEXT), _TOO_MANY_TEXT)
)


class HTTPStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the start, and how many connections there are now."""

    connections_count: int
    connections_refused_count: int
    answers_count: int
    expired_count: int
    defects_count: int


class HTTPListener:
    """Serves the routes of `agent.http.registry` on sockets that are bound already."""

    def __init__(
        self, settings: HTTPSettings, delegate: Delegate, agent_info: AgentInfo, sockets: Sequence[socket.socket]
    ) -> None:
        """Take listening, non-blocking sockets (`listen_sockets`). The listener closes them."""
        services = Services(settings, delegate, agent_info)
        self._limits = settings.limits
        self._composer = Composer(settings)
        self._dispatcher = Dispatcher(services)
        self._shared = Shared(self._dispatcher, self._composer, settings.limits, 0.0)
        self._sockets = list(sockets)
        self._epoll = select.epoll()
        self._connections: dict[int, PlainConnection] = {}
        self._per_peer: Counter[str] = Counter()
        self._again: list[PlainConnection] = []
        self._refused_count = 0
        self._expired_count = 0

    def statistics(self) -> HTTPStatistics:
        """Return counts."""
        return HTTPStatistics(
            connections_count=len(self._connections),
            connections_refused_count=self._refused_count,
            answers_count=self._shared.answers_count,
            expired_count=self._expired_count,
            defects_count=self._dispatcher.defects_count,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then every connection is closed."""
        self._tick()
        try:
            async with trio.open_nursery() as nursery:

                def spawn(function: Callable[[], Awaitable[None]]) -> None:
                    nursery.start_soon(function)

                self._shared.spawn = spawn
                nursery.start_soon(self._sweep)
                nursery.start_soon(self._pump)
                for sock in self._sockets:
                    nursery.start_soon(self._accept, sock)
                task_status.started()
        finally:
            for connection in list(self._connections.values()):
                connection.close_now()
            for sock in self._sockets:
                sock.close()
            self._epoll.close()

    def _tick(self) -> None:
        self._shared.now_s = trio.current_time()
        self._composer.set_date(time.time())

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(SWEEP_INTERVAL_S)
            self._tick()
            now_s = self._shared.now_s
            overdue = [one for one in self._connections.values() if one.deadline_s < now_s]
            for connection in overdue:
                self._expired_count += 1
                connection.expire()

    async def _pump(self) -> None:
        epoll, connections = self._epoll, self._connections
        poll, descriptor = epoll.poll, epoll.fileno()
        while True:
            if self._again:
                await trio.lowlevel.checkpoint()
                again, self._again = self._again, []
                self._again.extend(one for one in again if one.run())
            else:
                await trio.lowlevel.wait_readable(descriptor)
            for fd, mask in poll(0, READY_MAX):
                connection = connections.get(fd)
                if connection is not None and connection.on_ready(mask):
                    self._again.append(connection)

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(listening)
            for _ in range(ACCEPT_STREAK_MAX):
                try:
                    sock, address = listening.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                        await trio.sleep(ACCEPT_PAUSE_S)
                    break
                self._admit(sock, address[0] if isinstance(address, tuple) else "")

    def _admit(self, sock: socket.socket, peer: str) -> None:
        limits = self._limits
        if len(self._connections) >= limits.connections_max:
            self._refused_count += 1
            sock.close()
            return
        sock.setblocking(False)
        if peer:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if limits.connections_per_client_max and self._per_peer[peer] >= limits.connections_per_client_max:
                self._refused_count += 1
                self._refuse(sock)
                return
            self._per_peer[peer] += 1
        connection = PlainConnection(self._shared, peer, sock, self._forget)
        self._connections[sock.fileno()] = connection
        self._epoll.register(sock.fileno(), EVENTS)

    @staticmethod
    def _refuse(sock: socket.socket) -> None:
        """Tell a client that it has too many connections. What it has sent may reset the answer: no harm is done."""
        try:
            sock.send(TOO_MANY_ANSWER)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        sock.close()

    def _forget(self, connection: Connection) -> None:
        assert isinstance(connection, PlainConnection)
        self._connections.pop(connection.sock.fileno(), None)
        peer = connection.peer
        if peer:
            self._per_peer[peer] -= 1
            if not self._per_peer[peer]:
                del self._per_peer[peer]


def listen_tcp(host: str, port: int) -> socket.socket:
    """Return a listening socket (port 0: any free one); raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
