"""The sockets of the HTTP API: accepting, the pump that serves plain connections, and the sweeper of deadlines.

The pump owns one edge-triggered epoll with all plain connections. It wakes once for whatever became ready meanwhile, so
under load neither a task switch nor a re-registration is paid per request. Linux only, as are the servers.
"""

import errno
import os
import select
import socket
import ssl
import stat
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import trio
import trio.lowlevel

import agent.http.endpoints  # noqa: F401  # registers all routes
from agent.cache.cache import Cache
from agent.http.connection import Shared
from agent.http.dispatch import Dispatcher
from agent.http.plain import EVENTS, PlainConnection
from agent.http.registry import AgentInfo, Delegate, Services
from agent.http.response import Composer
from agent.http.secure import SecureConnection
from agent.http.settings import HTTPSettings
from base.network import SocketStream

SWEEP_INTERVAL_S: Final = 0.5
"""How exact deadlines are. One look at 5,000 connections takes a third of a millisecond."""
READY_MAX: Final = 64
"""Connections served before other tasks get their turn: some 3 ms of work."""
ACCEPT_STREAK_MAX: Final = 64
ACCEPT_PAUSE_S: Final = 0.1
"""After the process ran out of file descriptors."""
BACKLOG: Final = 1024
EVENTS_SECURE: Final = select.EPOLLRDHUP | select.EPOLLET
"""A TLS connection receives by itself; the pump only watches for its client's end."""
_TOO_MANY_TEXT: Final = b"Your IP is issuing too many concurrent connections, please rate limit your calls\n"
TOO_MANY_ANSWER: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"X-Mesh-Outcome: refused\r\nContent-Length: %d\r\n\r\n%b" % (len(_TOO_MANY_TEXT), _TOO_MANY_TEXT)
)


AnyConnection = PlainConnection | SecureConnection


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
        self,
        settings: HTTPSettings,
        delegate: Delegate,
        agent_info: AgentInfo,
        sockets: Sequence[socket.socket],
        *,
        tls_sockets: Sequence[socket.socket] = (),
        tls_context: Callable[[], ssl.SSLContext | None] = lambda: None,
        cache: Cache | None = None,
    ) -> None:
        """Take listening, non-blocking sockets (`listen_tcp`, `listen_unix`). The listener closes them.

        `tls_sockets` speak HTTPS, each new connection with the context that `tls_context` then returns. `cache` answers
        requests that say `cached`.
        """
        services = Services(settings, delegate, agent_info, cache)
        self._limits = settings.limits
        self._composer = Composer(settings)
        self._dispatcher = Dispatcher(services)
        self._shared = Shared(self._dispatcher, self._composer, settings.limits, 0.0)
        self._sockets = list(sockets)
        self._tls_sockets = list(tls_sockets)
        self._tls_context = tls_context
        self._spawn_secure: Callable[[SecureConnection], None] | None = None
        self._epoll = select.epoll()
        self._connections: dict[int, AnyConnection] = {}
        self._per_peer: Counter[str] = Counter()
        self._again: list[AnyConnection] = []
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

                def spawn_secure(connection: SecureConnection) -> None:
                    nursery.start_soon(connection.serve)

                self._shared.spawn = spawn
                self._spawn_secure = spawn_secure
                nursery.start_soon(self._sweep)
                nursery.start_soon(self._pump)
                for sock in self._sockets:
                    nursery.start_soon(self._accept, sock, self._admit_plain)
                for sock in self._tls_sockets:
                    nursery.start_soon(self._accept, sock, self._admit_secure)
                task_status.started()
        finally:
            for connection in list(self._connections.values()):
                connection.close_now()
            for sock in [*self._sockets, *self._tls_sockets]:
                sock.close()
            self._epoll.close()

    def _tick(self) -> None:
        self._shared.now_s = trio.current_time()
        self._composer.set_date(time.time())

    async def _sweep(self) -> None:
        while True:
            looked_s = self._shared.now_s
            await trio.sleep(SWEEP_INTERVAL_S)
            self._tick()
            now_s = self._shared.now_s
            missed_s = now_s - looked_s - SWEEP_INTERVAL_S
            if missed_s > SWEEP_INTERVAL_S:
                # The process was stopped or stalled: what clients sent meanwhile nobody has read yet.
                for connection in self._connections.values():
                    connection.deadline_s += missed_s
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

    async def _accept(self, listening: socket.socket, admit: Callable[[socket.socket, str], None]) -> None:
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
                peer = address[0] if isinstance(address, tuple) else ""
                if self._may_enter(sock, peer):
                    admit(sock, peer)

    def _may_enter(self, sock: socket.socket, peer: str) -> bool:
        """Count a new connection in, or refuse and close it."""
        limits = self._limits
        if len(self._connections) >= limits.connections_max:
            self._refused_count += 1
            sock.close()
            return False
        sock.setblocking(False)
        if peer:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if limits.connections_per_client_max and self._per_peer[peer] >= limits.connections_per_client_max:
                self._refused_count += 1
                self._refuse(sock)
                return False
            self._per_peer[peer] += 1
        return True

    def _admit_plain(self, sock: socket.socket, peer: str) -> None:
        connection = PlainConnection(self._shared, peer, sock, self._forget)
        self._connections[connection.descriptor] = connection
        self._epoll.register(connection.descriptor, EVENTS)

    def _admit_secure(self, sock: socket.socket, peer: str) -> None:
        descriptor = sock.fileno()
        stream = SocketStream(sock, peer)
        context = self._tls_context()
        assert self._spawn_secure is not None  # we run
        if context is None:  # the certificate went away by a reload
            self._refused_count += 1
            self._uncount(peer)
            stream.close_now()
            return
        connection = SecureConnection(self._shared, peer, stream, descriptor, context, self._forget)
        self._connections[descriptor] = connection
        self._epoll.register(descriptor, EVENTS_SECURE)
        self._spawn_secure(connection)

    @staticmethod
    def _refuse(sock: socket.socket) -> None:
        """Tell a client that it has too many connections. What it has sent may reset the answer: no harm is done."""
        try:
            sock.send(TOO_MANY_ANSWER)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is gone already
        sock.close()

    def _forget(self, connection: AnyConnection) -> None:
        self._connections.pop(connection.descriptor, None)
        self._uncount(connection.peer)

    def _uncount(self, peer: str) -> None:
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


def listen_unix(path: str, *, mode: int | None = None) -> socket.socket:
    """Return a listening unix socket; a socket that a dead process left at `path` is replaced.

    Raises: OSError; EADDRINUSE where somebody still listens there, EEXIST where `path` is not a socket.
    """
    try:
        kind = os.lstat(path).st_mode
    except FileNotFoundError:
        kind = 0
    if kind and not stat.S_ISSOCK(kind):
        raise OSError(errno.EEXIST, "the path exists and is not a socket", path)
    if kind:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
            else:
                raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(path)
        if mode is not None:
            os.chmod(path, mode)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
