"""A small HTTP/1.1 client on trio that knows how an exchange ended: answered, certainly not sent, or unknown.

Used by process tests, the bench and the demo, where a library's own retries would hide what the servers did.
Only what our servers send is understood: Content-Length or chunked bodies.
"""

import json
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import trio

HEAD_BYTES_MAX = 64 * 1024
BODY_BYTES_MAX = 1024 * 1024 * 1024
DIAL_TIMEOUT_S = 2.0


class NotSent(Exception):
    """The request certainly never reached a server."""


class NotAnswered(Exception):
    """The connection broke or time ran out after the request may have left: the outcome is unknown."""


@dataclass(frozen=True)
class Reply:
    """One answer. Header names are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def index(self) -> int:
        return int(self.headers["x-consul-index"])


class HTTPConnection:
    """One keep-alive connection, dialled on first use and again after it broke. One request at a time."""

    def __init__(self, address: str) -> None:
        self.host, _, port = address.rpartition(":")
        self.port = int(port)
        self._stream: trio.SocketStream | None = None
        self._buffer = bytearray()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close at once; the next request dials anew."""
        if self._stream is not None:
            self._stream.socket.close()
            self._stream = None
        self._buffer.clear()

    async def request(self, method: str, path: str, body: bytes = b"", *, timeout_s: float = 15.0) -> Reply:
        """Send one request and return its answer; raises NotSent or NotAnswered."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Length: {len(body)}\r\n\r\n"
        await self._dial()
        stream = self._stream
        assert stream is not None
        try:
            with trio.fail_after(timeout_s):
                await stream.send_all(head.encode() + body)
                reply = await self._read_reply()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError, OSError, EOFError) as error:
            self.close()
            raise NotAnswered(f"{method} {path}: {error!r}") from error
        except (ValueError, IndexError) as error:
            self.close()
            raise NotAnswered(f"{method} {path}: no answer in HTTP: {error!r}") from error
        except BaseException:
            self.close()
            raise
        if reply.headers.get("connection", "").lower() == "close":
            self.close()
        return reply

    async def _dial(self) -> None:
        if self._stream is not None and _is_stale(self._stream):
            self.close()
        if self._stream is None:
            try:
                with trio.fail_after(DIAL_TIMEOUT_S):
                    self._stream = await trio.open_tcp_stream(self.host, self.port)
            except (OSError, trio.TooSlowError) as error:
                raise NotSent(f"{self.host}:{self.port}: {error}") from error

    async def _read_reply(self) -> Reply:
        while True:
            head = (await self._read_until(b"\r\n\r\n", HEAD_BYTES_MAX)).decode("latin-1").split("\r\n")
            status = int(head[0].split(" ", 2)[1])
            if status >= 200:
                break
        headers: dict[str, str] = {}
        for line in head[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = await self._read_chunks()
        else:
            body = await self._read_exactly(int(headers.get("content-length", "0")))
        return Reply(status, headers, body)

    async def _read_chunks(self) -> bytes:
        parts = bytearray()
        while True:
            size = int((await self._read_until(b"\r\n", 64)).split(b";")[0], 16)
            parts += await self._read_exactly(size)
            await self._read_until(b"\r\n", 64)
            if size == 0:
                return bytes(parts)

    async def _read_until(self, mark: bytes, bytes_max: int) -> bytes:
        while True:
            position = self._buffer.find(mark)
            if position >= 0:
                found = bytes(self._buffer[:position])
                del self._buffer[: position + len(mark)]
                return found
            if len(self._buffer) > bytes_max:
                raise OSError(f"no {mark!r} within {bytes_max} bytes")
            await self._fill()

    async def _read_exactly(self, size: int) -> bytes:
        if size > BODY_BYTES_MAX:
            raise OSError(f"a body of {size} bytes")
        while len(self._buffer) < size:
            await self._fill()
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found

    async def _fill(self) -> None:
        assert self._stream is not None
        data = await self._stream.receive_some(65536)
        if not data:
            raise EOFError("the server closed the connection")
        self._buffer += data


def _is_stale(stream: trio.SocketStream) -> bool:
    """Whether the idle connection was closed by the server, so that sending on it would be a gamble."""
    try:
        return stream.socket._sock.recv(1, socket.MSG_PEEK) == b""  # type: ignore[attr-defined, no-any-return]
    except BlockingIOError:
        return False
    except OSError:
        return True


async def fetch(address: str, method: str, path: str, body: bytes = b"", *, timeout_s: float = 15.0) -> Reply:
    """One request on a connection of its own; raises NotSent or NotAnswered."""
    async with HTTPConnection(address) as connection:
        return await connection.request(method, path, body, timeout_s=timeout_s)
