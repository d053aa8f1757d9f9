"""One stream of calls of the foreign wire, whatever carries it. Source: RPC wire format.

A stream carries one call at a time: the next request is read once the one before has been answered. Who closes a stream
in the middle of a call does not wait any more, and the call is cancelled.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

from base.codec import Mistyped
from base.errors import MeshError
from base.log import get_logger
from rpc.caller import Caller
from rpc.errors import as_mesh_error
from rpc.foreign_messages import (
    HeaderMalformed,
    Request,
    encode_answer_head,
    encode_failure,
    request_of,
    request_reader,
    text_of_error,
)
from rpc.hub import Hub, Worker
from rpc.yamux import BY_REFERENCE_BYTES

ForeignHandler = Callable[[str, Any, Caller], "bytes | Awaitable[bytes]"]
"""Answers a call: name and argument in, the packed body out, at once or later. Raises Mistyped for an argument that is
not what the method takes."""

_log = get_logger("rpc")


class Port(Protocol):
    """What carries one stream of calls."""

    @property
    def ended(self) -> bool:
        """Whether the other side sends nothing more, and all of it was taken; or everything is over."""

    @property
    def congested(self) -> bool:
        """Whether the other side has to read before it is answered more; `CallStream.advance` is called afterwards."""

    async def wait_room(self) -> None:
        """Wait while it is congested."""

    def take(self) -> bytes:
        """Return received bytes, b"" if there are none."""

    def keep(self, bytes_count: int) -> bool:
        """So many bytes of an unfinished request are held; False: too many."""

    def write(self, data: bytes) -> None:
        """Send, soon."""

    def close(self) -> None:
        """Send nothing more after what was written."""

    def abort(self) -> None:
        """End at once."""

    def let_go(self) -> None:
        """The stream is over and nobody is called any more: hold no reference to its calls."""


class CallStream:
    """The calls of one stream, one after the other. `advance` is called whenever something has changed."""

    __slots__ = ("_caller", "_closing", "_handler", "_hub", "_port", "_reader", "_worker")

    def __init__(self, port: Port, hub: Hub, handler: ForeignHandler, caller: Caller) -> None:
        self._port = port
        self._hub = hub
        self._handler = handler
        self._caller = caller
        self._reader = request_reader()
        self._worker: Worker | None = None
        self._closing = False

    @property
    def busy(self) -> bool:
        """Whether a call is being answered."""
        return self._worker is not None

    def advance(self) -> None:
        """Read and answer as far as possible."""
        port, reader = self._port, self._reader
        try:
            while self._worker is None and not self._closing and not port.congested:
                message = reader.next()
                if message is not None:
                    self._serve(request_of(*message))
                    continue
                data = port.take()
                if not data:
                    break
                reader.feed(data)
        except HeaderMalformed as error:
            _log.debug("a stream of calls was ended", peer=self._caller.address, reason=str(error))
            self._closing = True
            port.abort()
        except MeshError as error:
            self._refuse_argument(error)
        if not self._closing and not port.keep(reader.bytes_kept):
            self._closing = True
        if port.ended:
            self.end()

    def end(self) -> None:
        """Nobody waits for an answer any more.

        What is over must not wait for the garbage collector, which runs seldom and knows nothing of a reader's buffer:
        some thousand streams a second, opened and reset, would fill memory.
        """
        self._closing = True
        worker, self._worker = self._worker, None
        if worker is not None:
            self._hub.cancel_job(worker)
        self._port.close()
        self._port.let_go()
        self._reader.let_go()

    def _refuse_argument(self, error: MeshError) -> None:
        self._closing = True
        try:
            request = request_of(self._reader.header, None)
        except HeaderMalformed:
            self._port.abort()
            return
        text = text_of_error(Mistyped(str(error)))
        self._port.write(encode_failure(request.seq, request.method, text))
        self._port.close()

    def _serve(self, request: Request) -> None:
        try:
            result = self._handler(request.method, request.argument, self._caller)
        except Exception as error:  # the border between one request and the process
            self._fail(request, as_mesh_error(error, request.method))
            return
        if isinstance(result, bytes):
            self._answer(request, result)
        else:
            self._worker = self._hub.start_job(partial(self._answer_later, request, result))

    async def _answer_later(self, request: Request, result: Awaitable[bytes]) -> None:
        worker = self._worker
        try:
            body = await result
        except Exception as error:  # the border between one request and the process
            if self._done(worker):
                self._fail(request, as_mesh_error(error, request.method))
        else:
            await self._port.wait_room()
            if self._done(worker):
                self._answer(request, body)
        if not self._closing:
            self.advance()

    def _answer(self, request: Request, body: bytes) -> None:
        head = encode_answer_head(request.seq, request.method)
        if len(body) < BY_REFERENCE_BYTES:
            self._port.write(head + body)
        else:
            self._port.write(head)
            self._port.write(body)  # many may be answered with the same bytes: they are not copied

    def _done(self, worker: Worker | None) -> bool:
        """The call has ended; return whether its caller still waits."""
        if worker is None or self._worker is not worker:
            return False
        self._worker = None
        return True

    def _fail(self, request: Request, error: MeshError) -> None:
        self._port.write(encode_failure(request.seq, request.method, text_of_error(error)))
        if isinstance(error, Mistyped):
            self._closing = True
            self._port.close()
