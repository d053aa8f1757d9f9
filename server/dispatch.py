"""One door to all methods of a server: records from the agent in this process, bytes from the network.

Both faces answer without an await wherever nothing has to be waited for. Bytes that only pass through, on their way to
the leader and back, are never decoded further than their consistency mode needs.

Unknown methods, callers whose certificate is not a server's, and requests that are not
what the method takes are refused here and nowhere else.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from base import codec
from base.codec import Record
from base.errors import PermissionDenied
from server.endpoints.registry import ByteStream, Call, Caller, Kind, Method, StreamMethod, method_named, stream_named
from server.forwarding import FORWARDED_MARK, Forwarding
from server.reads import Reads
from server.services import Services


class DispatchStatistics(Record, frozen=True, kw_only=True):
    """Calls since the start."""

    local_total: int
    remote_total: int


class Dispatcher:
    """Runs methods on behalf of one caller each; keeps nothing but counters and the last encoded reply."""

    def __init__(
        self,
        *,
        services: Services,
        reads: Reads,
        forwarding: Forwarding,
        caller_is_server: Callable[[Caller], bool],
    ) -> None:
        """`caller_is_server` says whether a remote caller may use what only servers may use."""
        self._services = services
        self._reads = reads
        self._forwarding = forwarding
        self._caller_is_server = caller_is_server
        self._local_call = Call(services, None)
        self._encoded_reply: Any = None
        self._encoded_bytes = b""
        self._local_total = 0
        self._remote_total = 0

    def statistics(self) -> DispatchStatistics:
        """How many calls came from this process and from others."""
        return DispatchStatistics(local_total=self._local_total, remote_total=self._remote_total)

    # From the agent in this process

    def call(self, name: str, request: Any) -> Any:
        """Return the reply to a local call, or a coroutine of it. Raises what the method raises."""
        self._local_total += 1
        method = method_named(name)
        kind = method.kind
        if kind is Kind.READ:
            reply = self._reads.answer_nowait(method, request)
            if reply is not None:
                return reply
        elif kind is Kind.LOCAL:
            return method.handler(self._local_call, request)
        return self._call_slowly(method, request)

    async def _call_slowly(self, method: Method, request: Any) -> Any:
        reply = await self._forwarding.run(method, request, None, here=self._here_local, forwarded=False)
        if type(reply) is bytes:
            return codec.decode(method.reply, reply)
        return reply

    # From the network

    def handle(self, name: str, body: bytes, caller: Caller) -> bytes | Awaitable[bytes]:
        """Return the encoded reply to a remote call, or a coroutine of it. Raises what the method raises."""
        self._remote_total += 1
        forwarded = name.startswith(FORWARDED_MARK)
        method = method_named(name[len(FORWARDED_MARK) :] if forwarded else name)
        if method.access.servers_only and not self._caller_is_server(caller):
            raise PermissionDenied("Permission denied: only servers may call this")
        request = codec.decode(method.request, body)
        kind = method.kind
        if kind is Kind.READ:
            reply = self._reads.answer_nowait(method, request)
            if reply is not None:
                return codec.encode(reply)
        elif kind is Kind.LOCAL:
            reply = method.handler(Call(self._services, caller), request)
            return codec.encode(reply) if isinstance(reply, Record) else self._await_encoded(reply)
        return self._handle_slowly(method, request, body, caller, forwarded)

    async def _handle_slowly(self, method: Method, request: Any, body: bytes, caller: Caller, forwarded: bool) -> bytes:
        call = Call(self._services, caller)

        async def here(method: Method, request: Any) -> Any:
            reply = method.handler(call, request)
            return reply if isinstance(reply, Record) else await reply

        reply = await self._forwarding.run(method, request, body, here=here, forwarded=forwarded)
        return reply if type(reply) is bytes else self._encode(reply)

    async def _await_encoded(self, reply: Awaitable[Any]) -> bytes:
        return codec.encode(await reply)

    def _encode(self, reply: Any) -> bytes:
        # The waiters of one blocking query get the same reply, one after the other: encode it once.
        if reply is not self._encoded_reply:
            self._encoded_bytes = codec.encode(reply)
            self._encoded_reply = reply
        return self._encoded_bytes

    async def _here_local(self, method: Method, request: Any) -> Any:
        reply = method.handler(self._local_call, request)
        return reply if isinstance(reply, Record) else await reply

    # Streams

    async def serve_stream(self, name: str, body: bytes, stream: ByteStream, caller: Caller) -> None:
        """Run one remote stream until it ends."""
        forwarded = name.startswith(FORWARDED_MARK)
        method = stream_named(name[len(FORWARDED_MARK) :] if forwarded else name)
        if method.access.servers_only and not self._caller_is_server(caller):
            raise PermissionDenied("Permission denied: only servers may call this")
        await method.handler(Call(self._services, caller, forwarded), codec.decode(method.request, body), stream)

    async def serve_local_stream(self, method: StreamMethod, request: Any, stream: ByteStream) -> None:
        """Run one stream of the agent in this process."""
        await method.handler(self._local_call, request, stream)
