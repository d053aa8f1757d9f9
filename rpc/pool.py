"""Calls by peer address, over connections that `rpc/peers.py` keeps."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from base.network import Network, Stream
from rpc.caller import Caller, Role
from rpc.connection import Connection, Handler
from rpc.hub import Hub
from rpc.listener import BYTE_RPC, HANDSHAKE_TIMEOUT_S
from rpc.peers import DatacenterOf, Dialler, Peers, own_datacenter
from rpc.stream import RPCStream

if TYPE_CHECKING:
    from rpc.tls import TLSContexts

DIAL_TIMEOUT_S: Final = HANDSHAKE_TIMEOUT_S
IDLE_S: Final = 120.0
"""A connection without calls is closed after this."""


class PoolStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a pool has done and holds."""

    peers: int
    connections: int
    calls_in_flight: int
    dials: int
    dials_failed: int


class RPCPool:
    """Calls by address. `run` owns all tasks and must be under way before the first call."""

    def __init__(
        self,
        network: Network,
        *,
        tls: "TLSContexts | None" = None,
        handler: Handler | None = None,
        datacenter_of: DatacenterOf = own_datacenter,
    ) -> None:
        self._handler = handler
        self._tls = tls
        self._hub = Hub()
        self._dialler = Dialler(network, tls, datacenter_of)
        self._peers: Peers[Connection] = Peers(self._hub, self._greeted, self._connection)

    async def _greeted(self, address: str) -> tuple[Stream, Caller]:
        return await self._dialler.dial(address, BYTE_RPC, DIAL_TIMEOUT_S, answer=BYTE_RPC)

    def _connection(self, stream: Stream, caller: Caller) -> Connection:
        return Connection(stream, self._hub, caller, dialler=True, handler=self._handler, idle_timeout_s=IDLE_S)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the pool's tasks until cancelled; then all connections are closed."""
        await self._hub.run(task_status=task_status)

    async def call(self, address: str, method: str, body: bytes, *, timeout_s: float) -> bytes:
        """Return the reply to one call.

        Raises the peer's error; Unreachable (definite) if no connection could be made or the request cannot have
        arrived; OutcomeUnknown if it may have; RateLimited or TooLarge if it was not sent. Cancelling frees it there.
        """
        connection = self._peers.connections.get(address)
        if connection is None or connection.closed:
            deadline_s = trio.current_time() + timeout_s
            connection = await self._peers.connection(address, timeout_s)
            timeout_s = max(deadline_s - trio.current_time(), 0.0)
        return await connection.call(method, body, timeout_s)

    @asynccontextmanager
    async def stream(
        self, address: str, method: str, body: bytes, *, dial_timeout_s: float = DIAL_TIMEOUT_S
    ) -> AsyncGenerator[RPCStream, None]:
        """Open a stream; leaving the block before the other side has completed it cancels it there."""
        connection = await self._peers.connection(address, dial_timeout_s)
        stream = connection.open_stream(method, body)
        try:
            yield stream
        finally:
            stream.abandon()

    async def open_link(self, address: str, first_byte: int, *, timeout_s: float = DIAL_TIMEOUT_S) -> Stream:
        """Return a new stream of its own to `address`, TLS as configured, `first_byte` sent; raises Unreachable."""
        stream, _ = await self._dialler.dial(address, first_byte, timeout_s)
        return stream

    def close_peer(self, address: str) -> None:
        """Close the connection to `address` and forget its failures."""
        connection = self._peers.forget(address)
        if connection is not None:
            connection.close("is not wanted any more")

    def doubt(self, address: str) -> None:
        """Something speaks against the peer: if it gives no sign of life for a moment, its connection is closed."""
        connection = self._peers.connections.get(address)
        if connection is not None:
            connection.doubt()

    def hurry(self, address: str, within_s: float) -> None:
        """Another has taken the peer's place: calls under way end within `within_s`, and the peer is doubted."""
        connection = self._peers.connections.get(address)
        if connection is not None:
            connection.hurry(trio.current_time() + within_s)
            connection.doubt()

    def proves_server(self, address: str) -> bool:
        """Whether who answers at `address` now has proved to be a server, or nobody has to."""
        if self._tls is None or not self._tls.servers_prove_themselves:
            return True
        connection = self._peers.connections.get(address)
        return connection is not None and connection.caller.role is Role.SERVER

    def statistics(self) -> PoolStatistics:
        """Return counts since the start, and what is held now."""
        return PoolStatistics(
            peers=len(self._peers),
            connections=len(self._peers.connections),
            calls_in_flight=sum(len(connection.mux.calls) for connection in self._peers.connections.values()),
            dials=self._peers.dials_count,
            dials_failed=self._peers.dials_failed_count,
        )
