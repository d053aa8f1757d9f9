"""Accept, let the first byte pick the protocol, serve. Caps and deadlines come before anything is believed."""

from collections.abc import Awaitable, Callable, Container
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from base.errors import Unreachable
from base.limits import KeyedCap
from base.log import get_logger
from base.network import Listener, Network, Stream, split_address
from rpc.caller import Caller
from rpc.connection import Connection, Handler, StreamHandler
from rpc.errors import PeerRefused
from rpc.foreign import ForeignServer
from rpc.hub import Hub
from rpc.peers import BYTE_TLS

if TYPE_CHECKING:
    from rpc.tls import TLSContexts

BYTE_RPC: Final = 16
"""Repeated by the listener as its answer: until it arrives, a dialler knows that nothing it sent was served."""
BYTE_RAFT: Final = 17

HANDSHAKE_TIMEOUT_S: Final = 5.0

RaftHandler = Callable[[Stream, Caller], Awaitable[None]]

_log = get_logger("rpc")


class ListenerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one listener."""

    connections_max: int = 8192
    connections_max_per_address: int = 100
    """limits.rpc_max_conns_per_client: one agent needs one connection, a proxy in front of agents some more."""
    handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S


class ListenerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a listener has done and holds."""

    connections: int
    connections_refused: int
    handshakes_failed: int
    calls_in_flight: int


class RPCListener:
    """Serves the RPC port; `run` owns all of its tasks."""

    def __init__(
        self,
        network: Network,
        host: str,
        port: int,
        handler: Handler,
        *,
        stream_handler: StreamHandler | None = None,
        raft_handler: RaftHandler | None = None,
        foreign: ForeignServer | None = None,
        tls: "TLSContexts | None" = None,
        server_only: Container[str] = (),
        limits: ListenerLimits | None = None,
    ) -> None:
        self._network = network
        self._host = host
        self._port = port
        self._handler = handler
        self._stream_handler = stream_handler
        self._raft_handler = raft_handler
        self._foreign = foreign
        self._tls = tls
        self._server_only = server_only
        self._limits = limits or ListenerLimits()
        self._hub = Hub()
        self._cap = KeyedCap(
            per_key_max=self._limits.connections_max_per_address, total_max=self._limits.connections_max
        )
        self._handshakes_failed = 0
        self.address = ""

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started with the bound address. Raises OSError if it cannot be bound."""
        listener = await self._network.listen(self._host, self._port)
        self.address = listener.address
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._hub.run)
                task_status.started(self.address)
                await self._accept(listener)
        finally:
            listener.close()

    async def _accept(self, listener: Listener) -> None:
        while True:
            stream = await listener.accept()
            source = split_address(stream.peer_address, port_default=0)[0]
            if self._cap.enter(source):
                self._hub.spawn(self._serve, stream, source)
            else:
                stream.close_now()

    async def _serve(self, stream: Stream, source: str) -> None:
        try:
            with trio.move_on_after(self._limits.handshake_timeout_s) as scope:
                stream, caller, first_byte = await self._greet(stream)
            if scope.cancelled_caught:
                self._handshakes_failed += 1
                return
            if first_byte == BYTE_RAFT:
                assert self._raft_handler is not None
                await self._raft_handler(stream, caller)
            elif first_byte != BYTE_RPC:
                assert self._foreign is not None
                await self._foreign.serve(first_byte, stream, self._hub, caller)
            else:
                await Connection(
                    stream, self._hub, caller, dialler=False, handler=self._handler,
                    stream_handler=self._stream_handler, server_only=self._server_only,
                ).run()  # fmt: skip
        except (Unreachable, PeerRefused) as error:
            self._handshakes_failed += 1
            _log.debug("connection refused", peer=source, reason=str(error))
        finally:
            stream.close_now()
            self._cap.leave(source)

    async def _greet(self, stream: Stream) -> tuple[Stream, Caller, int]:
        """Return the stream to speak on, who is there, and the protocol; raises Unreachable or PeerRefused."""
        first = await _first_byte(stream)
        required = self._tls is not None and self._tls.identity_required
        caller = Caller(address=stream.peer_address, identity_required=required)
        if first != BYTE_TLS or self._tls is None:
            if required:
                raise PeerRefused("plaintext while verify_incoming is on")
            await self._agree(stream, caller, first)
            return stream, caller, first
        secured, identity = await self._tls.accept(stream)
        try:
            caller = Caller(address=stream.peer_address, role=identity.role, tls=True, identity_required=required)
            first = await _first_byte(secured)
            await self._agree(secured, caller, first)
        except BaseException:
            secured.close_now()
            raise
        return secured, caller, first

    async def _agree(self, stream: Stream, caller: Caller, first: int) -> None:
        """Let the caller speak the protocol it asks for, or raise PeerRefused."""
        if first == BYTE_RPC:
            await stream.send_all(bytes([BYTE_RPC]))
        elif self._foreign is not None and self._foreign.speaks(first):
            return
        elif first != BYTE_RAFT or self._raft_handler is None:
            raise PeerRefused(f"first byte {first} names no protocol spoken here")
        elif not caller.may_act_as_server:
            raise PeerRefused(f"{caller.address} is no server and may not speak Raft")

    def statistics(self) -> ListenerStatistics:
        """Return counts since the start, and what is held now."""
        return ListenerStatistics(
            connections=self._cap.count,
            connections_refused=self._cap.refused_count,
            handshakes_failed=self._handshakes_failed,
            calls_in_flight=sum(connection.calls_served_count for connection in self._hub.connections),
        )


async def _first_byte(stream: Stream) -> int:
    data = await stream.receive_some(1)
    if not data:
        raise Unreachable("closed before its first byte")
    return data[0]
