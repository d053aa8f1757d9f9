"""One connection a peer address: dialled when needed, kept while it lives, given back-off when it fails."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeVar

import trio

from base.errors import MeshError, RateLimited, Unreachable
from base.network import Network, Stream, split_address
from rpc.caller import Caller
from rpc.hub import Hub

if TYPE_CHECKING:
    from rpc.tls import TLSContexts

PEERS_MAX: Final = 1024
"""Addresses remembered; a pool talks to the servers of a few datacenters."""
BACKOFF_S_MIN: Final = 0.02
BACKOFF_S_MAX: Final = 0.5
"""After a failure calls are refused at once for a while, doubling up to this: callers turn to another server, and a
server that is back is used again before a client's patience ends."""
DatacenterOf = Callable[[str], str]
"""Address of a server -> its datacenter, "" for our own: it says which certificate is the right one there."""
FAILURES_COUNTED_MAX: Final = 16
"""Doubling any further changes nothing."""
YOUNG_S: Final = 1.0
"""A connection that ends younger than this counts as a failure, too."""
BYTE_TLS: Final = 3
"""First byte of a connection that goes on with a TLS handshake, in all wire formats."""


class Kept(Protocol):
    """A connection as the pool keeps it."""

    @property
    def usable(self) -> bool:
        """Whether something new can be begun on it."""

    async def run(self) -> None:
        """Read until it ends."""


C = TypeVar("C", bound=Kept)


class _Peer:
    __slots__ = ("address", "dialled", "error", "failures", "kept_count", "retry_at_s")

    def __init__(self, address: str) -> None:
        self.address = address
        self.dialled: trio.Event | None = None
        """Set when the dial that is under way has ended."""
        self.error: MeshError | None = None
        self.failures = 0
        self.kept_count = 0
        """Connections whose reader runs; more than one while an old one is finishing."""
        self.retry_at_s = 0.0


class Peers(Generic[C]):
    """The connections of a pool. Tasks live in the pool's hub."""

    def __init__(
        self, hub: Hub, dial: Callable[[str], Awaitable[tuple[Stream, Caller]]], make: Callable[[Stream, Caller], C]
    ) -> None:
        """`dial` returns a stream that has been greeted; `make` puts a connection on it. Both may raise MeshErrors."""
        self._hub = hub
        self._dial = dial
        self._make = make
        self._peers: dict[str, _Peer] = {}
        self.connections: dict[str, C] = {}
        """By address; may hold one that is not usable any more."""
        self.dials_count = 0
        self.dials_failed_count = 0

    def __len__(self) -> int:
        """Return how many addresses are remembered."""
        return len(self._peers)

    @property
    def dialling_count(self) -> int:
        """How many dials are under way."""
        return sum(peer.dialled is not None for peer in self._peers.values())

    async def connection(self, address: str, timeout_s: float) -> C:
        """Return the connection, dialling it if nobody does yet. The dial outlives whoever asked for it first.

        Raises Unreachable, RateLimited.
        """
        found = self.connections.get(address)
        if found is not None and found.usable:
            return found
        peer = self._peer(address)
        if peer.dialled is None:
            if peer.error is not None and trio.current_time() < peer.retry_at_s:
                raise Unreachable(str(peer.error))
            self._hub.spawn(self._keep, peer)
            peer.dialled = trio.Event()
        with trio.move_on_after(timeout_s):
            await peer.dialled.wait()
        found = self.connections.get(address)
        if found is None or not found.usable:
            raise Unreachable(str(peer.error) if peer.error is not None else f"rpc: dialling {address} takes too long")
        return found

    def forget(self, address: str) -> C | None:
        """Forget the failures of a peer and return its connection, which is the caller's to close."""
        peer = self._peers.pop(address, None)
        if peer is not None and peer.dialled is not None:
            self._peers[address] = peer  # somebody waits for this dial
        return self.connections.pop(address, None)

    def _peer(self, address: str) -> _Peer:
        peer = self._peers.get(address)
        if peer is None:
            if len(self._peers) >= PEERS_MAX:
                self._forget_idle()
            peer = self._peers[address] = _Peer(address)
        return peer

    def _forget_idle(self) -> None:
        for peer in [peer for peer in self._peers.values() if not peer.kept_count and peer.dialled is None]:
            del self._peers[peer.address]
        if len(self._peers) >= PEERS_MAX:
            raise RateLimited(f"rpc: connections to {PEERS_MAX} servers are open")

    async def _keep(self, peer: _Peer) -> None:
        """Dial, then be the connection's reader until it ends."""
        began_s = trio.current_time()
        connection: C | None = None
        self.dials_count += 1
        try:
            stream, caller = await self._dial(peer.address)
            connection = self._make(stream, caller)
            peer.kept_count += 1
            self.connections[peer.address] = connection
            peer.error = None
            self._dialled(peer)
            began_s = trio.current_time()
            await connection.run()
        except MeshError as error:
            self.dials_failed_count += 1
            peer.error = error
        finally:
            self._ended(peer, connection, began_s)

    def _ended(self, peer: _Peer, connection: C | None, began_s: float) -> None:
        now_s = trio.current_time()
        if connection is None or now_s - began_s < YOUNG_S:
            peer.retry_at_s = now_s + min(BACKOFF_S_MIN * 2.0**peer.failures, BACKOFF_S_MAX)
            peer.failures = min(peer.failures + 1, FAILURES_COUNTED_MAX)
        else:
            peer.failures = 0
        if connection is None:
            self._dialled(peer)
            return
        peer.kept_count -= 1
        if self.connections.get(peer.address) is connection:
            del self.connections[peer.address]
            peer.error = Unreachable(f"rpc: connection to {peer.address} broke a moment ago")

    @staticmethod
    def _dialled(peer: _Peer) -> None:
        if peer.dialled is not None:
            peer.dialled.set()
            peer.dialled = None


def own_datacenter(address: str) -> str:
    """Return "": all servers are of our own datacenter."""
    return ""


class Dialler:
    """Makes connections: TLS as configured, and the byte that says which protocol follows."""

    def __init__(
        self, network: Network, tls: "TLSContexts | None", datacenter_of: DatacenterOf = own_datacenter
    ) -> None:
        self._network = network
        self._tls = tls
        self._datacenter_of = datacenter_of

    async def dial(
        self, address: str, first_byte: int, timeout_s: float, *, answer: int | None = None
    ) -> tuple[Stream, Caller]:
        """Return a new stream to `address` and who is there; `answer` is the byte that has to come back first.

        Raises Unreachable, PeerRefused.
        """
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
                    stream, identity = await self._tls.connect(stream, datacenter=self._datacenter_of(address))
                    caller = Caller(address=address, role=identity.role, tls=True)
                await stream.send_all(bytes([first_byte]))
                if answer is not None and await stream.receive_some(1) != bytes([answer]):
                    raise Unreachable(f"rpc: {address} refused the connection")
                return stream, caller
            raise Unreachable(f"rpc: dial {address}: no answer within {timeout_s:g} s")
        except BaseException:
            if stream is not None:
                stream.close_now()
            raise
