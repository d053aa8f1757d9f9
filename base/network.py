"""Streams, dialling and listening, and the real network behind them.

Everything that speaks TCP takes a `Network`, so that a simulated one can stand in for it. The real streams sit on raw
non-blocking sockets under trio's readiness calls: `trio.SocketStream` pays two checkpoints and a lock a call, which is
more than the rest of a small request costs.

Rules of every `Stream`: one task receives and one task sends at a time. What `send_nowait` did not take must be the
next thing that is sent, in pieces of 16 KiB or more (TLS has already sealed as much of it). All failures of the peer
or of the wire are Unreachable; whoever knows what was in flight decides whether that is still definite.
"""

import errno
import ipaddress
import os
import socket
import stat
from contextlib import suppress
from typing import Final, Protocol

import trio
import trio.lowlevel

from base.errors import Unreachable

Data = bytes | bytearray | memoryview

BACKLOG: Final = 1024
"""Connections the kernel completes before we accept them: a herd of agents that dials at once must not see resets."""

RECEIVE_STREAK_MAX: Final = 4
"""Receives in a row without asking the scheduler, while the peer fills every one: then others get their turn."""

ACCEPT_STREAK_MAX: Final = 32
"""The same for connections that are accepted in a row."""

ACCEPT_PAUSE_S: Final = 0.05
"""Pause when the process or the machine has no file descriptor left; accepting again at once would only spin."""

_NO_DESCRIPTORS: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_LISTENER_GONE: Final = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK}
"""All other errors of accept belong to the one connection that was to be accepted (accept(2))."""


class Stream(Protocol):
    """A connected byte stream; plain TCP and TLS look the same."""

    peer_address: str
    """host:port of the other side."""

    async def receive_some(self, bytes_max: int) -> bytes:
        """Return 1 to `bytes_max` bytes, b"" at the end of the stream; raises Unreachable when it broke or closed."""

    async def send_all(self, data: Data) -> None:
        """Hand all of `data` to the kernel; raises Unreachable. No checkpoint when it is taken at once."""

    def send_nowait(self, data: Data) -> int:
        """Hand over what is taken at once and return its size (0: it would block); raises Unreachable."""

    async def aclose(self) -> None:
        """Close; never raises, and does not wait."""

    def close_now(self) -> None:
        """Close at once; whoever waits on this stream gets Unreachable. May be called again."""


class Listener(Protocol):
    """A listening socket."""

    address: str
    """host:port, with the port that was really bound."""

    async def accept(self) -> Stream:
        """Return the next connection; raises Unreachable once closed."""

    def close(self) -> None:
        """Stop listening. May be called again."""


class Network(Protocol):
    """Where streams come from."""

    async def dial(self, host: str, port: int, timeout_s: float) -> Stream:
        """Return a connection to host:port; raises Unreachable (definite) after `timeout_s` at the latest."""

    async def listen(self, host: str, port: int) -> Listener:
        """Listen on host:port (port 0: any free one); raises OSError, since the caller knows what it was for."""


def join_address(host: str, port: int) -> str:
    """Return "host:port", with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str, *, port_default: int | None = None) -> tuple[str, int]:
    """Return host and port of "host:port", "[v6]:port" or, given `port_default`, a bare host; raises ValueError."""
    host, colon, port_text = address.rpartition(":")
    if address.startswith("[") and address.endswith("]"):
        host, colon, port_text = address, "", ""
    elif address.count(":") > 1 and not address.startswith("["):
        host, colon, port_text = address, "", ""  # a bare IPv6 address
    elif not colon:
        host, port_text = address, ""
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not host:
        raise ValueError(f"address {address!r} has no host")
    if not colon:
        if port_default is None:
            raise ValueError(f"address {address!r} has no port")
        return host, port_default
    if not (port_text.isascii() and port_text.isdigit() and int(port_text) <= 65535):
        raise ValueError(f"address {address!r} has no valid port")
    return host, int(port_text)


def _name_of(address: object) -> str:
    return join_address(address[0], address[1]) if isinstance(address, tuple) else "unix"


class SocketStream:
    """A connected, non-blocking stream socket. TCP_NODELAY is on: we gather writes ourselves."""

    __slots__ = ("_closed", "_receive_full", "_receive_streak", "_sending", "_socket", "peer_address")

    def __init__(self, connected: socket.socket, peer_address: str) -> None:
        connected.setblocking(False)
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer_address = peer_address
        self._socket = connected
        self._closed = False
        self._sending = False
        self._receive_full = False
        self._receive_streak = 0

    def detach(self) -> socket.socket:
        """Give the socket away (to be wrapped in TLS); this stream is closed from now on."""
        self._closed = True
        return self._socket

    async def receive_some(self, bytes_max: int) -> bytes:
        """See Stream. Asks the kernel first only while the peer fills every receive; else that would mostly fail."""
        if self._receive_full and self._receive_streak < RECEIVE_STREAK_MAX and not self._closed:
            self._receive_streak += 1
        else:
            self._receive_streak = 0
            await self._wait_readable()
        while True:
            try:
                data = self._socket.recv(bytes_max)
            except (BlockingIOError, InterruptedError):
                await self._wait_readable()
                continue
            except OSError as error:
                raise self._broken(error) from error
            self._receive_full = len(data) == bytes_max
            return data

    async def _wait_readable(self) -> None:
        if self._closed:
            raise Unreachable(f"connection to {self.peer_address} is closed")
        try:
            await trio.lowlevel.wait_readable(self._socket)
        except (trio.ClosedResourceError, OSError, ValueError) as error:
            raise self._broken(error) from error

    def send_nowait(self, data: Data) -> int:
        """See Stream. Takes nothing while a `send_all` is under way: their bytes must not mix."""
        if self._sending:
            return 0
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise self._broken(error) from error

    async def send_all(self, data: Data) -> None:
        """See Stream; raises trio.BusyResourceError when another task is sending."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        sent = self.send_nowait(data)
        if sent == len(data):
            return
        rest = memoryview(data)[sent:]
        self._sending = True
        try:
            while rest:
                if self._closed:
                    raise Unreachable(f"connection to {self.peer_address} is closed")
                await trio.lowlevel.wait_writable(self._socket)
                with suppress(BlockingIOError, InterruptedError):
                    rest = rest[self._socket.send(rest) :]
        except (trio.ClosedResourceError, OSError, ValueError) as error:
            raise self._broken(error) from error
        finally:
            self._sending = False

    def _broken(self, error: Exception) -> Unreachable:
        if self._closed or isinstance(error, trio.ClosedResourceError):
            return Unreachable(f"connection to {self.peer_address} is closed")
        return Unreachable(f"connection to {self.peer_address} broke: {error}")

    def close_now(self) -> None:
        """See Stream."""
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    async def aclose(self) -> None:
        """See Stream."""
        self.close_now()


class SocketListener:
    """A listening TCP or unix socket."""

    def __init__(self, listening: socket.socket, address: str) -> None:
        listening.setblocking(False)
        self.address = address
        self._socket = listening
        self._closed = False
        self._streak = 0

    @property
    def port(self) -> int:
        """The TCP port that was bound."""
        return split_address(self.address)[1]

    async def accept(self) -> SocketStream:
        """Return the next connection; raises Unreachable once closed. Lack of descriptors is waited out."""
        while True:
            try:
                if self._streak == 0:
                    await trio.lowlevel.wait_readable(self._socket)
                self._streak = (self._streak + 1) % ACCEPT_STREAK_MAX
                accepted, peer = self._socket.accept()
                return SocketStream(accepted, _name_of(peer))
            except (BlockingIOError, InterruptedError):
                self._streak = 0
            except (trio.ClosedResourceError, ValueError) as error:
                raise Unreachable(f"listener on {self.address} is closed") from error
            except OSError as error:
                self._streak = 0
                if error.errno in _LISTENER_GONE:
                    raise Unreachable(f"listener on {self.address} is closed") from error
                if error.errno in _NO_DESCRIPTORS:
                    await trio.sleep(ACCEPT_PAUSE_S)

    def close(self) -> None:
        """See Listener."""
        if not self._closed:
            self._closed = True
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


class RealNetwork:
    """The machine's network."""

    async def dial(self, host: str, port: int, timeout_s: float) -> SocketStream:
        """See Network. Tries each address of a name in turn inside the one time-out."""
        name = join_address(host, port)
        failure = "no address"
        with trio.move_on_after(timeout_s):
            try:
                candidates = await _resolve(host, port)
            except OSError as error:
                raise Unreachable(f"dial {name}: {error}") from error
            for family, address in candidates:
                try:
                    return SocketStream(await _connect(family, address), name)
                except OSError as error:
                    failure = error.strerror or str(error)
            raise Unreachable(f"dial tcp {name}: {failure}")
        raise Unreachable(f"dial tcp {name}: i/o timeout")

    async def listen(self, host: str, port: int) -> SocketListener:
        """See Network."""
        family, address = (await _resolve(host, port))[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            # A restarted server must get its port back while old connections are still in TIME_WAIT.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(BACKLOG)
            return SocketListener(listening, _name_of(listening.getsockname()))
        except BaseException:
            listening.close()
            raise

    async def listen_unix(self, path: str, *, mode: int | None = None) -> SocketListener:
        """Listen on a unix socket; a socket that was left behind is replaced, any other file is an OSError."""
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                raise FileExistsError(errno.EEXIST, "a file that is no socket is in the way", path)
            os.unlink(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(path)
            if mode is not None:
                os.chmod(path, mode)
            listening.listen(BACKLOG)
            return SocketListener(listening, f"unix://{path}")
        except BaseException:
            listening.close()
            raise


async def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    """Return the addresses of `host`; only names cost a thread."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, (host, port))]


async def _connect(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    """Return a socket connected to `address`; raises OSError, closes the socket whenever it does not return it."""
    dialled = socket.socket(family, socket.SOCK_STREAM)
    try:
        dialled.setblocking(False)
        code = dialled.connect_ex(address)
        if code == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(dialled)
            code = dialled.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        if dialled.getsockname() == dialled.getpeername():
            # On one machine the kernel may pick the dialled port as the source port and connect us to ourselves.
            raise OSError(errno.ECONNREFUSED, "connected to itself")
    except BaseException:
        dialled.close()
        raise
    return dialled
