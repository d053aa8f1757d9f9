"""HTTP as checks and watch handlers speak it: one request on a new connection, to somebody who may mean no good.

The library reads all that has come and takes it apart before anybody else gets a turn, and a peer can fill it with
thousands of interim answers or tiny chunks, each of which costs more to read than to send. So what is read at a time,
and what comes before the answer, are bounded here.
"""

import ssl
from collections.abc import Iterable
from typing import Any, Final

import httpcore
import httpx

READ_BYTES: Final = 2048
"""At a time: some 10 ms of work at the worst."""
HEAD_BYTES_MAX: Final = 64 * 1024
"""Of an answer's head, interim answers and what of the body has come with it included."""


class _Reading:
    """What may still be read on the connections of one transport."""

    def __init__(self) -> None:
        self.head_bytes_left = HEAD_BYTES_MAX
        self.is_answered = False

    def take(self, count: int) -> None:
        """Note what was read; raises httpcore.ReadError."""
        if not self.is_answered:
            self.head_bytes_left -= count
            if self.head_bytes_left < 0:
                raise httpcore.ReadError(f"the other side sent more than {HEAD_BYTES_MAX} bytes without an answer")


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream, reading: _Reading) -> None:
        self._inner = inner
        self._reading = reading

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._inner.read(min(max_bytes, READ_BYTES), timeout)
        self._reading.take(len(data))
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout), self._reading)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, reading: _Reading) -> None:
        self._inner = httpcore.TrioBackend()
        self._reading = reading

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self._reading.head_bytes_left = HEAD_BYTES_MAX
        self._reading.is_answered = False
        return _Stream(await self._inner.connect_tcp(host, port, timeout, local_address, socket_options), self._reading)


class WaryTransport(httpx.AsyncHTTPTransport):
    """For one request at a time."""

    def __init__(self, verify: ssl.SSLContext | bool) -> None:
        """`verify`: how TLS is spoken, False: with anybody. The library has no other way to say who dials."""
        self._reading = _Reading()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(verify=verify, trust_env=False),
            max_connections=1,
            max_keepalive_connections=0,
            network_backend=_Backend(self._reading),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx.AsyncBaseTransport."""
        response = await super().handle_async_request(request)
        self._reading.is_answered = True
        return response
