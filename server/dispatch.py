"""One door to all methods of a server: records from the agent in this process, bytes from the network.

Both faces answer without an await wherever nothing has to be waited for. Bytes that only pass through, on their way to
the leader and back, are never decoded further than their consistency mode needs.

Unknown methods, callers whose certificate is not a server's, requests that are not what the method takes, and those for
another datacenter are refused here and nowhere else.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from base import codec
from base.codec import Record
from base.errors import PermissionDenied, Refused
from base.telemetry import counter
from server.endpoints.registry import (
    METHODS,
    ByteStream,
    Call,
    Caller,
    Kind,
    Method,
    StreamMethod,
    method_named,
    stream_named,
)
from server.forwarding import FORWARDED_MARK, Forwarding
from server.reads import Reads
from server.services import Services
from server.streams import exchange
from structs.foreign.methods import encode_reply, foreign_method_named
from structs.foreign.row import ForeignMethod
from structs.query import FROM_ELSEWHERE_MARK, NO_PATH_TEXT

MARKS = (FORWARDED_MARK, FROM_ELSEWHERE_MARK)

_requests = counter("rpc.request")
_cross = counter("rpc.cross-dc")


def split_mark(name: str) -> tuple[str, str]:
    """Return the mark of another server in front of a method's name, "" if there is none, and the name itself."""
    return (name[:1], name[1:]) if name.startswith(MARKS) else ("", name)


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
        self._elsewhere = services.elsewhere
        self._encoded_reply: Any = None
        self._encoded_bytes = b""
        self._foreign_reply: Any = None
        self._foreign_bytes = b""
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
        datacenter = self._elsewhere.datacenter_of(request)
        if datacenter:
            return self._call_elsewhere(datacenter, method, request)
        kind = method.kind
        if kind is Kind.READ:
            reply = self._reads.answer_nowait(method, request)
            if reply is not None:
                return reply
        elif kind is Kind.LOCAL:
            return method.handler(self._local_call, request)
        return self._call_slowly(method, request)

    async def _call_elsewhere(self, datacenter: str, method: Method, request: Any) -> Any:
        _cross.increment()
        return codec.decode(method.reply, await self._elsewhere.call(datacenter, method, request, None))

    async def _call_slowly(self, method: Method, request: Any) -> Any:
        reply = await self._forwarding.run(method, request, None, here=self._here_local, forwarded=False)
        if type(reply) is bytes:
            return codec.decode(method.reply, reply)
        return reply

    # From the network

    def handle(self, name: str, body: bytes, caller: Caller) -> bytes | Awaitable[bytes]:
        """Return the encoded reply to a remote call, or a coroutine of it. Raises what the method raises."""
        self._remote_total += 1
        _requests.increment()
        mark, name = split_mark(name)
        method = method_named(name)
        self._check_caller(method, caller)
        request = codec.decode(method.request, body)
        datacenter = self._elsewhere.datacenter_of(request)
        if datacenter:
            if mark:
                raise Refused(NO_PATH_TEXT)
            return self._elsewhere.call(datacenter, method, request, body)
        kind = method.kind
        if kind is Kind.READ:
            reply = self._reads.answer_nowait(method, request)
            if reply is not None:
                return self._reads.replies.encoded(method, reply)
        elif kind is Kind.LOCAL:
            reply = method.handler(Call(self._services, caller), request)
            return codec.encode(reply) if isinstance(reply, Record) else self._await_encoded(reply)
        return self._handle_slowly(method, request, body, caller, mark == FORWARDED_MARK)

    async def _handle_slowly(self, method: Method, request: Any, body: bytes, caller: Caller, forwarded: bool) -> bytes:
        reply = await self._run(method, request, body, caller, forwarded)
        return reply if type(reply) is bytes else self._encode(method, reply)

    async def _run(
        self, method: Method, request: Any, body: bytes | None, caller: Caller, forwarded: bool
    ) -> Record | bytes:
        call = Call(self._services, caller)

        async def here(method: Method, request: Any) -> Any:
            reply = method.handler(call, request)
            return reply if isinstance(reply, Record) else await reply

        reply: Record | bytes = await self._forwarding.run(method, request, body, here=here, forwarded=forwarded)
        return reply

    async def _await_encoded(self, reply: Awaitable[Any]) -> bytes:
        return codec.encode(await reply)

    def _encode(self, method: Method, reply: Any) -> bytes:
        # The waiters of one blocking query get the same reply, one after the other: encode it once.
        if reply is not self._encoded_reply:
            self._encoded_bytes = self._reads.replies.encoded(method, reply)
            self._encoded_reply = reply
        return self._encoded_bytes

    async def _here_local(self, method: Method, request: Any) -> Any:
        reply = method.handler(self._local_call, request)
        return reply if isinstance(reply, Record) else await reply

    def _check_caller(self, method: Method | StreamMethod, caller: Caller) -> None:
        if method.access.servers_only and not self._caller_is_server(caller):
            raise PermissionDenied("Permission denied: only servers may call this")

    # From the network, as foreign members speak

    def handle_foreign(self, name: str, argument: Any, caller: Caller) -> bytes | Awaitable[bytes]:
        """Return the packed reply to a foreign member's call, or a coroutine of it.

        Raises Refused for unknown methods and datacenters, Mistyped for an argument that is not what the method takes,
        and what the method raises.
        """
        self._remote_total += 1
        row = foreign_method_named(name)
        method = METHODS.get(row.method)
        if method is None:
            raise Refused(f"rpc: can't find method {name}")
        self._check_caller(method, caller)
        request = row.request.decode(argument)
        if row.has_datacenter and request.options.datacenter != self._services.config.datacenter:
            return self._foreign_elsewhere(row, method, request)
        kind = method.kind
        if kind is Kind.READ:
            reply = self._reads.answer_nowait(method, request)
            if reply is not None:
                return encode_reply(row, reply, request)
        elif kind is Kind.LOCAL:
            reply = method.handler(Call(self._services, caller), request)
            if isinstance(reply, Record):
                return encode_reply(row, reply, request)
            return self._await_foreign(row, request, reply)
        return self._handle_foreign_slowly(row, method, request, caller)

    async def _handle_foreign_slowly(self, row: ForeignMethod, method: Method, request: Any, caller: Caller) -> bytes:
        reply = await self._run(method, request, None, caller, False)
        if type(reply) is bytes:
            reply = codec.decode(method.reply, reply)
        if method.kind is not Kind.READ:
            return encode_reply(row, reply, request)
        if reply is not self._foreign_reply:  # as `_encode`: many may have waited for this one
            self._foreign_bytes = encode_reply(row, reply, request)
            self._foreign_reply = reply
        return self._foreign_bytes

    async def _foreign_elsewhere(self, row: ForeignMethod, method: Method, request: Any) -> bytes:
        datacenter = self._elsewhere.datacenter_of(request)
        if not datacenter:  # they always name one, and an empty one is none
            raise Refused(NO_PATH_TEXT)
        reply = await self._elsewhere.call(datacenter, method, request, None)
        return encode_reply(row, codec.decode(method.reply, reply), request)

    async def _await_foreign(self, row: ForeignMethod, request: Any, reply: Awaitable[Any]) -> bytes:
        return encode_reply(row, await reply, request)

    # Streams

    async def serve_stream(self, name: str, body: bytes, stream: ByteStream, caller: Caller) -> None:
        """Run one remote stream until it ends."""
        mark, name = split_mark(name)
        method = stream_named(name)
        self._check_caller(method, caller)
        request = codec.decode(method.request, body)
        if mark and self._elsewhere.datacenter_of(request):
            raise Refused(NO_PATH_TEXT)
        await self._stream(method, Call(self._services, caller, mark == FORWARDED_MARK), request, stream)

    async def serve_local_stream(self, method: StreamMethod, request: Any, stream: ByteStream) -> None:
        """Run one stream of the agent in this process."""
        await self._stream(method, self._local_call, request, stream)

    async def _stream(self, method: StreamMethod, call: Call, request: Any, stream: ByteStream) -> None:
        datacenter = self._elsewhere.datacenter_of(request)
        if not datacenter:
            await method.handler(call, request, stream)
            return
        async with self._elsewhere.stream(datacenter, method.name, request) as there:
            await exchange(stream, there)
