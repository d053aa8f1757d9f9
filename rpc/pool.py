"""Connections by peer address: dialled when needed, one each, given back-off when they fail."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from base.errors import MeshError, RateLimited, Unreachable
from base.network import Network, Stream, split_address
from rpc.caller import Caller
from rpc.connection import Connection, Handler
from rpc.hub import Hub
from rpc.listener import BYTE_RPC, BYTE_TLS, HANDSHAKE_TIMEOUT_S
from rpc.stream import RPCStream

if TYPE_CHECKING:
    from rpc.tls import TLSContexts

PEERS_MAX: Final = 1024
"""Addresses remembered; a pool talks to the servers of a few datacenters."""
DIAL_TIMEOUT_S: Final = HANDSHAKE_TIMEOUT_S
BACKOFF_S_MIN: Final = 0.02
BACKOFF_S_MAX: Final = 0.5
"""After a failure calls are refused at once for a while, doubling up to this: callers turn to another server, and a
server that is back is used again before a client's patience ends."""
YOUNG_S: Final = 1.0
"""A connection that ends younger than this counts as a failure, too."""
IDLE_S: Final = 120.0
"""A connection without calls is closed after this."""


class PoolStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a pool has done and holds."""

    peers: int
    connections: int
    calls_in_flight: int
    dials: int
    dials_failed: int


class _Peer:
    __slots__ = ("address", "connection", "dialled", "error", "failures", "retry_at_s")

    def __init__(self, address: str) -> None:
        self.address = address
        self.connection: Connection | None = None
        self.dialled: trio.Event | None = None
        """Set when the dial that is under way has ended."""
        self.error: MeshError | None = None
        self.failures = 0
        self.retry_at_s = 0.0


class RPCPool:
    """Calls by address. `run` owns all tasks and must be under way before the first call."""

    def __init__(self, network: Network, *, tls: "TLSContexts | None" = None, handler: Handler | None = None) -> None:
        self._network = network
        self._tls = tls
        self._handler = handler
        self._hub = Hub()
        self._peers: dict[str, _Peer] = {}
        self._connections: dict[str, Connection] = {}
        self._dials_count = 0
        self._dials_failed_count = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the pool's tasks until cancelled; then all connections are closed."""
        await self._hub.run(task_status=task_status)

    async def call(self, address: str, method: str, body: bytes, *, timeout_s: float) -> bytes:
        """Return the reply to one call.

        Raises the peer's error; Unreachable (definite) if no connection could be made or the request cannot have
        arrived; OutcomeUnknown if it may have; RateLimited or TooLarge if it was not sent. Cancelling frees it there.
        """
        connection = self._connections.get(address)
        if connection is None or connection.closed:
            deadline_s = trio.current_time() + timeout_s
            connection = await self._connect(address, timeout_s)
            timeout_s = max(deadline_s - trio.current_time(), 0.0)
        return await connection.call(method, body, timeout_s)

    @asynccontextmanager
    async def stream(
        self, address: str, method: str, body: bytes, *, dial_timeout_s: float = DIAL_TIMEOUT_S
    ) -> AsyncGenerator[RPCStream, None]:
        """Open a stream; leaving the block before the other side has completed it cancels it there."""
        connection = self._connections.get(address)
        if connection is None or connection.closed:
            connection = await self._connect(address, dial_timeout_s)
        stream = connection.open_stream(method, body)
        try:
            yield stream
        finally:
            stream.abandon()

    async def open_link(self, address: str, first_byte: int, *, timeout_s: float = DIAL_TIMEOUT_S) -> Stream:
        """Return a new stream of its own to `address`, TLS as configured, `first_byte` sent; raises Unreachable."""
        stream, _ = await self._dial(address, first_byte, timeout_s)
        return stream

    def close_peer(self, address: str) -> None:
        """Close the connection to `address` and forget its failures."""
        peer = self._peers.pop(address, None)
        connection = self._connections.pop(address, None)
        if connection is not None:
            connection.close("is not wanted any more")
        if peer is not None and peer.dialled is not None:
            self._peers[address] = peer  # somebody waits for this dial

    def doubt(self, address: str) -> None:
        """Something speaks against the peer: if it gives no sign of life for a moment, its connection is closed."""
        connection = self._connections.get(address)
        if connection is not None:
            connection.doubt()

    def hurry(self, address: str, within_s: float) -> None:
        """Another has taken the peer's place: calls under way end within `within_s`, and the peer is doubted."""
        connection = self._connections.get(address)
        if connection is not None:
            connection.hurry(trio.current_time() + within_s)
            connection.doubt()

    def statistics(self) -> PoolStatistics:
        """Return counts since the start, and what is held now."""
        return PoolStatistics(
            peers=len(self._peers),
            connections=len(self._connections),
            calls_in_flight=sum(len(connection.mux.calls) for connection in self._connections.values()),
            dials=self._dials_count,
            dials_failed=self._dials_failed_count,
        )

    # Connecting ----------------------------------------------------------------------------------------------------

    async def _connect(self, address: str, timeout_s: float) -> Connection:
        """Return the connection, dialling it if nobody does yet. The dial outlives whoever asked for it first."""
        if not self._hub.running:
            raise Unreachable("rpc: the pool is not running")
        peer = self._peer(address)
        if peer.dialled is None:
            if peer.error is not None and trio.current_time() < peer.retry_at_s:
                raise Unreachable(str(peer.error))
            self._hub.spawn(self._keep, peer)
            peer.dialled = trio.Event()
        with trio.move_on_after(timeout_s):
            await peer.dialled.wait()
        connection = self._connections.get(address)
        if connection is None:
            raise Unreachable(str(peer.error) if peer.error is not None else f"rpc: dialling {address} takes too long")
        return connection

    def _peer(self, address: str) -> _Peer:
        peer = self._peers.get(address)
        if peer is None:
            if len(self._peers) >= PEERS_MAX:
                self._forget_idle_peers()
            peer = self._peers[address] = _Peer(address)
        return peer

    def _forget_idle_peers(self) -> None:
        for peer in [peer for peer in self._peers.values() if peer.connection is None and peer.dialled is None]:
            del self._peers[peer.address]
        if len(self._peers) >= PEERS_MAX:
            raise RateLimited(f"rpc: connections to {PEERS_MAX} servers are open")

    async def _keep(self, peer: _Peer) -> None:
        """Dial, then be the connection's reader until it ends."""
        began_s = trio.current_time()
        connection: Connection | None = None
        self._dials_count += 1
        try:
            stream, caller = await self._dial(peer.address, BYTE_RPC, DIAL_TIMEOUT_S)
            connection = Connection(
                stream, self._hub, caller, dialler=True, handler=self._handler, idle_timeout_s=IDLE_S
            )
            peer.connection = self._connections[peer.address] = connection
            peer.error = None
            self._dialled(peer)
            began_s = trio.current_time()
            await connection.run()
        except MeshError as error:
            self._dials_failed_count += 1
            peer.error = error
        finally:
            now_s = trio.current_time()
            if connection is None or now_s - began_s < YOUNG_S:
                peer.retry_at_s = now_s + min(BACKOFF_S_MIN * 2.0**peer.failures, BACKOFF_S_MAX)
                peer.failures = min(peer.failures + 1, 16)
            else:
                peer.failures = 0
            if connection is not None:
                peer.error = Unreachable(f"rpc: connection to {peer.address} broke a moment ago")
                if self._connections.get(peer.address) is connection:
                    del self._connections[peer.address]
            peer.connection = None
            self._dialled(peer)

    @staticmethod
    def _dialled(peer: _Peer) -> None:
        if peer.dialled is not None:
            peer.dialled.set()
            peer.dialled = None

    async def _dial(self, address: str, first_byte: int, timeout_s: float) -> tuple[Stream, Caller]:
        try:
            host, port = split_address(address)
        except ValueError as error:
            raise Unreachable(f"rpc: {error}") from error
        stream: Stream | None = None
        try:
            with trio.move_on_after(timeout_s):
                stream = await self._network.dial(host, port, timeout_s)
                caller = Caller(address=address)
                if self._tls is not None and self._tls.outgoing:
                    await stream.send_all(bytes([BYTE_TLS]))
                    stream, identity = await self._tls.connect(stream)
                    caller = Caller(address=address, role=identity.role, tls=True)
                await stream.send_all(bytes([first_byte]))
                if first_byte == BYTE_RPC and await stream.receive_some(1) != bytes([BYTE_RPC]):
                    raise Unreachable(f"rpc: {address} refused the connection")
                return stream, caller
            raise Unreachable(f"rpc: dial {address}: no answer within {timeout_s:g} s")
        except BaseException:
            if stream is not None:
                stream.close_now()
            raise
