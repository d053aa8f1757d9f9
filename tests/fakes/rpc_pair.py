"""A pool and a listener of their own on the loopback, with a handler that knows a few useful methods."""

from collections.abc import AsyncGenerator, Awaitable, Container
from contextlib import asynccontextmanager

import trio

from base.errors import NoLeader
from base.network import RealNetwork, Stream
from rpc.caller import Caller
from rpc.connection import Connection
from rpc.hub import Hub
from rpc.listener import ListenerLimits, RPCListener
from rpc.pool import RPCPool
from rpc.stream import RPCStream
from rpc.tls import TLSContexts

TIMEOUT_S = 10.0
"""Far beyond what anything here takes; tests fail by it instead of hanging."""


class Served:
    """What the handlers have seen."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []
        self.waiting = 0
        self.cancelled = 0
        self.raft: list[tuple[bytes, Caller]] = []
        self.changed = trio.Event()

    def note(self) -> None:
        """Wake whoever waits in `until`."""
        self.changed.set()
        self.changed = trio.Event()

    async def until_waiting(self, count: int) -> None:
        """Wait until so many calls wait in "forever"."""
        while self.waiting != count:
            await self.changed.wait()

    def handler(self, method: str, body: bytes, caller: Caller) -> bytes | Awaitable[bytes]:
        """Methods: echo (at once), later, forever, refuse, refuse_later, defect, size (a reply of so many bytes)."""
        self.callers.append(caller)
        if method == "echo":
            return body
        if method == "size":
            return bytes(int(body))
        if method == "refuse":
            raise NoLeader
        if method == "defect":
            raise KeyError("a defect")
        return self._later(method, body)

    async def _later(self, method: str, body: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        if method == "refuse_later":
            raise NoLeader
        if method == "defect_later":
            raise KeyError("a defect")
        if method == "forever":
            self.waiting += 1
            self.note()
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                self.cancelled += 1
                raise
            finally:
                self.waiting -= 1
                self.note()
        return body

    async def stream_handler(self, method: str, body: bytes, stream: RPCStream, caller: Caller) -> None:
        """Methods: download (so many MiB), upload (answers the size), deaf (reads nothing), refuse, defect, forever."""
        if method == "download":
            for number in range(int(body)):
                await stream.send_chunk(bytes([number % 256]) * 2**20)
        elif method == "upload":
            size = 0
            while chunk := await stream.receive_chunk():
                size += len(chunk)
            await stream.send_chunk(str(size).encode())
        elif method == "mirror":
            while chunk := await stream.receive_chunk():
                await stream.send_chunk(chunk)
        elif method == "refuse":
            await stream.receive_chunk()
            raise NoLeader
        elif method == "defect":
            raise KeyError("a defect")
        elif method == "forever":
            await self._later(method, body)

    async def raft_handler(self, stream: Stream, caller: Caller) -> None:
        """Echo until the end."""
        self.raft.append((b"", caller))
        while data := await stream.receive_some(1024):
            await stream.send_all(data)


def ours_of(hub: Hub) -> list[Connection]:
    """Return those of a hub's connections that speak our own wire."""
    return [connection for connection in hub.connections if isinstance(connection, Connection)]


class Pair:
    """A running pool and listener."""

    def __init__(self, pool: RPCPool, listener: RPCListener, served: Served, address: str) -> None:
        self.pool = pool
        self.listener = listener
        self.served = served
        self.address = address

    async def call(self, method: str, body: bytes = b"", *, timeout_s: float = TIMEOUT_S) -> bytes:
        """Call the listener through the pool."""
        return await self.pool.call(self.address, method, body, timeout_s=timeout_s)

    def accepted(self) -> list[Connection]:
        """Return the listener's connections that speak our own wire."""
        return ours_of(self.listener._hub)

    async def until_quiet(self) -> None:
        """Wait until neither side has a call or stream under way."""
        while self.listener.statistics().calls_in_flight or self.pool.statistics().calls_in_flight:
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def running_pair(
    *,
    server_tls: TLSContexts | None = None,
    client_tls: TLSContexts | None = None,
    server_only: Container[str] = (),
    limits: ListenerLimits | None = None,
) -> AsyncGenerator[Pair, None]:
    """Run a pool and a listener for the time of the block."""
    served = Served()
    network = RealNetwork()
    listener = RPCListener(
        network,
        "127.0.0.1",
        0,
        served.handler,
        stream_handler=served.stream_handler,
        raft_handler=served.raft_handler,
        tls=server_tls,
        server_only=server_only,
        limits=limits,
    )
    pool = RPCPool(network, tls=client_tls)
    with trio.fail_after(TIMEOUT_S * 2):
        async with trio.open_nursery() as nursery:
            address = await nursery.start(listener.run)
            await nursery.start(pool.run)
            yield Pair(pool, listener, served, address)
            nursery.cancel_scope.cancel()
