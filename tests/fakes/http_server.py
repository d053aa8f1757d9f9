"""An HTTP listener over fakes, and a client that sends bytes as they are."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from agent.http.listener import HTTPListener, listen_tcp
from agent.http.settings import HTTPSettings
from tests.fakes.agent_info import FakeAgentInfo
from tests.fakes.delegate import FakeDelegate

PATIENCE_S = 10.0
"""How long a test waits for what must come. Never how long something takes."""


class RawClient:
    """One connection: what is sent is exactly what the test says."""

    def __init__(self, stream: trio.abc.HalfCloseableStream | trio.abc.Stream) -> None:
        self.stream: Any = stream
        self._buffer = b""

    async def send(self, *parts: bytes) -> None:
        for part in parts:
            await self.stream.send_all(part)

    async def reply(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (lower-case) and body of the next answer."""
        with trio.fail_after(PATIENCE_S):
            while b"\r\n\r\n" not in self._buffer:
                await self._more()
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            status = int(lines[0].split(" ")[1])
            if headers.get("transfer-encoding") == "chunked":
                return status, headers, await self._chunks()
            size = int(headers.get("content-length", "0"))
            while len(self._buffer) < size:
                await self._more()
            body, self._buffer = self._buffer[:size], self._buffer[size:]
            return status, headers, body

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            while (match := re.match(rb"([0-9a-f]+)\r\n", self._buffer)) is None:
                await self._more()
            size = int(match[1], 16)
            while len(self._buffer) < match.end() + size + 2:
                await self._more()
            body += self._buffer[match.end() : match.end() + size]
            self._buffer = self._buffer[match.end() + size + 2 :]
            if size == 0:
                return body

    async def _more(self) -> None:
        data = await self.stream.receive_some(65536)
        if not data:
            raise EOFError(self._buffer)
        self._buffer += data

    async def exchange(self, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
        await self.send(*parts)
        return await self.reply()

    async def is_closed(self) -> bool:
        """Whether the server ends the connection without sending any more."""
        with trio.fail_after(PATIENCE_S):
            if self._buffer:
                return False
            try:
                return bool(await self.stream.receive_some(65536) == b"")
            except trio.BrokenResourceError:
                return True


class Site:
    """A running listener, its address and its fake delegate."""

    def __init__(self, listener: HTTPListener, delegate: FakeDelegate, agent: FakeAgentInfo, port: int) -> None:
        self.listener = listener
        self.delegate = delegate
        self.agent = agent
        self.port = port
        self.address = f"127.0.0.1:{port}"

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[RawClient, None]:
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            yield RawClient(stream)

    async def exchange(self, *parts: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send on a connection of its own; returns the first answer."""
        async with self.client() as client:
            return await client.exchange(*parts)

    async def ask(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a well-formed request on a connection of its own."""
        return await self.exchange(request(method, target, body, headers))


def request(method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: test"]
    if body or method in ("PUT", "POST"):
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@asynccontextmanager
async def http_site(settings: HTTPSettings | None = None, *, delegate: Any = None) -> AsyncGenerator[Site, None]:
    """Run a listener on a free port of the loopback, over `delegate` or a fake one."""
    sock = listen_tcp("127.0.0.1", 0)
    port = sock.getsockname()[1]
    delegate = delegate or FakeDelegate()
    agent = FakeAgentInfo()
    listener = HTTPListener(settings or HTTPSettings(), delegate, agent, [sock])
    async with trio.open_nursery() as nursery:
        await nursery.start(listener.run)
        yield Site(listener, delegate, agent, port)
        nursery.cancel_scope.cancel()


async def until(condition: object) -> None:
    """Wait until `condition()` holds."""
    assert callable(condition)
    with trio.fail_after(PATIENCE_S):
        while not condition():  # what is waited for is inside the product
            await trio.sleep(0.002)
