"""One HTTP connection: requests in, answers out in order, one at a time.

Two kinds. A `PlainConnection` is driven by the listener's pump: it receives, answers and sends without a task of its
own until a request must wait; then its lane, a task, takes over and parks again when nothing is left to wait for. A
`StreamConnection` (TLS) is a task from the start. Both share `Connection`, which takes all decisions but when to wait.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from agent.http.dispatch import Dispatcher
from agent.http.errors import OUTCOME_REFUSED
from agent.http.reader import Request, RequestReader
from agent.http.registry import RequestContext
from agent.http.response import STREAMED, Composer, Response, text_response
from agent.http.settings import HTTPLimits
from base.errors import InvalidRequest
from base.log import Level, get_logger
from base.telemetry import TELEMETRY, Samples

OUT_BYTES_HIGH: Final = 256 * 1024
"""Answers to pipelined requests that are gathered before they must leave."""
IDLE, HEAD, BODY = range(3)
CONTINUE_LINE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"


_log = get_logger("http")
_token = re.compile(rb"([?&]token=)[^&]*").sub


class Work:
    """A request whose answer must be awaited."""

    __slots__ = ("context", "request", "result", "took_ms")

    def __init__(
        self, request: Request, result: Awaitable[Response] | Response, context: RequestContext, took_ms: Samples
    ) -> None:
        self.request = request
        self.result = result
        self.context = context
        self.took_ms = took_ms


class Shared:
    """What all connections of a listener share; `now_s` is the sweeper's coarse monotonic clock."""

    __slots__ = ("answers_count", "composer", "dispatcher", "limits", "now_s", "spawn")

    def __init__(self, dispatcher: Dispatcher, composer: Composer, limits: HTTPLimits, now_s: float) -> None:
        self.dispatcher = dispatcher
        self.composer = composer
        self.limits = limits
        self.now_s = now_s
        self.answers_count = 0
        self.spawn: Callable[[Callable[[], Awaitable[None]]], None] = _not_running


def _not_running(_: Callable[[], Awaitable[None]]) -> None:
    raise RuntimeError("the listener does not run")


class Connection:
    """What both kinds share."""

    __slots__ = (
        "_out",
        "_out_bytes",
        "_phase",
        "_shared",
        "closing",
        "deadline_s",
        "is_blocking",
        "peer",
        "reader",
        "scope",
    )

    def __init__(self, shared: Shared, peer: str) -> None:
        self._shared = shared
        self.peer = peer
        """Source address without port; "" for unix sockets."""
        self.reader = RequestReader(shared.limits, shared.dispatcher.rule_of)
        self._out: list[bytes] = []
        self._out_bytes = 0
        self.closing = False
        """No further request is taken; the connection ends when what is gathered has left."""
        self._phase = HEAD
        """What the deadline is for; it is set when the phase begins, so that a trickle of bytes does not move it."""
        self.deadline_s = shared.now_s + shared.limits.head_s
        self.is_blocking = False
        """Whether a blocking query is being held: it ends when the client hangs up."""
        self.scope: trio.CancelScope | None = None

    def advance(self) -> Work | None:
        """Answer what can be answered at once; returns the first request that cannot, None if there is none.

        Stops early when enough is gathered to be sent; `has_more` tells.
        """
        requests = self.reader.requests
        shared = self._shared
        dispatcher = shared.dispatcher
        while requests and not self.closing and self._out_bytes < OUT_BYTES_HIGH:
            request = requests.popleft()
            begun_s = request.begun_s = TELEMETRY.now_s()
            prepared = dispatcher.prepare(request)
            if type(prepared) is Response:
                self.answer(request, prepared)
                continue
            context, endpoint = prepared  # type: ignore[misc]
            context.peer = self.peer
            if request.pieces is not None:
                context.exchange_or_none = Exchange(self, shared, request)
            result = dispatcher.run(context, endpoint)
            if type(result) is Response and not shared.composer.is_slow(result, accepts_gzip=request.head.accepts_gzip):
                self.answer(request, result)
                endpoint.took_ms.since(begun_s)
                continue
            self._phase = IDLE
            self.is_blocking = context.is_blocking
            self.deadline_s = shared.now_s + shared.limits.call_s
            return Work(request, result, context, endpoint.took_ms)
        if not requests and not self.closing:
            self._after_requests()
        return None

    def _after_requests(self) -> None:
        reader = self.reader
        shared = self._shared
        if reader.refusal is not None:
            refusal = reader.refusal
            self.write_last(refusal.status, refusal.text)
        elif reader.in_head:
            if self._phase != HEAD:
                self._phase = HEAD
                self.deadline_s = shared.now_s + shared.limits.head_s
        elif reader.in_body:
            if self._phase != BODY:
                self._phase = BODY
                self.deadline_s = shared.now_s + shared.limits.body_s
            if reader.must_continue():
                self.write(CONTINUE_LINE)
        else:
            self._phase = IDLE
            self.deadline_s = shared.now_s + shared.limits.idle_s

    def write_last(self, status: int, text: str) -> None:
        """Gather the answer that ends the connection."""
        response = text_response(status, text, headers=OUTCOME_REFUSED)
        self.write(self._shared.composer.compose(response, accepts_gzip=False, pretty=False, keep_alive=False, minor=1))
        self.closing = True

    def write(self, data: bytes) -> None:
        """Gather bytes to be sent."""
        self._out.append(data)
        self._out_bytes += len(data)

    def take_out(self) -> bytes:
        """Return what is gathered, and forget it."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        self._out = []
        self._out_bytes = 0
        return data

    def answer(self, request: Request, response: Response) -> None:
        """Gather the bytes of an answer."""
        keep_alive = request.keep_alive and request.complete
        shared = self._shared
        shared.answers_count += 1
        if _log.is_enabled(Level.DEBUG):
            self._log_answer(request, response)
        self.write(
            shared.composer.compose(
                response,
                accepts_gzip=request.head.accepts_gzip,
                pretty=request.pretty,
                keep_alive=keep_alive,
                minor=request.minor,
            )
        )
        if not keep_alive:
            self.closing = True

    def _log_answer(self, request: Request, response: Response) -> None:
        """Tokens stay out of the log (HTTP conventions, section 9)."""
        target = _token(rb"\1<hidden>", request.target).decode("latin-1")
        took_s = TELEMETRY.now_s() - request.begun_s
        method = request.method.decode()
        _log.debug(f"Request {method} {target}", status=response.status, took_s=took_s, from_address=self.peer)

    def begin_stream(self, request: Request, response: Response) -> None:
        """Gather the head of an answer of unknown size."""
        keep_alive = request.keep_alive and request.complete and request.minor > 0
        self._shared.answers_count += 1
        self.write(self._shared.composer.compose_stream_head(response, keep_alive=keep_alive, minor=request.minor))
        if not keep_alive:
            self.closing = True

    @property
    def has_more(self) -> bool:
        """Whether requests wait that can be taken now."""
        return bool(self.reader.requests) and not self.closing

    # What differs between the kinds.

    async def send(self) -> None:
        """Send what is gathered; raises Unreachable."""
        raise NotImplementedError

    async def receive(self) -> bytes:
        """Return what arrives next, b"" at the end; raises Unreachable."""
        raise NotImplementedError

    def close_now(self) -> None:
        """Close the socket; may be called again."""
        raise NotImplementedError

    async def finish(self, work: Work) -> None:
        """Await and gather one answer; raises Unreachable."""
        result = work.result
        response = result if isinstance(result, Response) else await result
        self.is_blocking = False
        request, exchange = work.request, work.context.exchange_or_none
        shared = self._shared
        self.deadline_s = shared.now_s + shared.limits.write_s
        if isinstance(exchange, Exchange) and exchange.is_begun:
            exchange.end(complete=response is STREAMED)
        elif shared.composer.is_slow(response, accepts_gzip=request.head.accepts_gzip):
            await trio.to_thread.run_sync(self.answer, request, response)  # nobody else answers meanwhile
        else:
            self.answer(request, response)
        work.took_ms.since(request.begun_s)

    def cancel(self) -> None:
        """End the connection and whatever it waits for."""
        if self.scope is not None:
            self.scope.cancel()
        else:
            self.close_now()

    def expire(self) -> None:
        """The deadline has passed."""
        self.cancel()


class Exchange:
    """A request whose body or answer travels in pieces, as its handler sees it. Nothing is received unasked."""

    def __init__(self, connection: Connection, shared: Shared, request: Request) -> None:
        self._connection = connection
        self._shared = shared
        self._request = request
        self.is_begun = False
        """Whether the head of the answer is out: from then on an error can only cut the answer off."""

    async def receive_piece(self) -> bytes:
        """Return the next piece of the body, b"" at its end; raises InvalidRequest, Unreachable."""
        request, connection, limits = self._request, self._connection, self._shared.limits
        pieces = request.pieces
        assert pieces is not None  # only such requests come here
        while not pieces:
            if request.complete:
                return b""
            reader = connection.reader
            if reader.refusal is not None:
                raise InvalidRequest(reader.refusal.text)
            if reader.must_continue():
                connection.write(CONTINUE_LINE)
                await connection.send()
            connection.deadline_s = self._shared.now_s + limits.body_s
            data = await connection.receive()
            if not data:
                raise InvalidRequest("the request body breaks off")
            reader.feed(data)
            connection.deadline_s = self._shared.now_s + limits.call_s
        return pieces.popleft()

    async def begin_answer(self, response: Response) -> None:
        """Send the head of an answer of unknown size."""
        self.is_begun = True
        self._connection.begin_stream(self._request, response)
        await self._connection.send()

    async def send_piece(self, piece: bytes) -> None:
        """Send the next piece of the body; waits while the client does not keep up."""
        connection = self._connection
        if self._request.minor:
            connection.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            connection.write(piece)
        await connection.send()
        connection.deadline_s = self._shared.now_s + self._shared.limits.call_s

    def stay(self) -> None:
        """See `agent.http.registry.Exchange`."""
        self._connection.deadline_s = self._shared.now_s + self._shared.limits.call_s

    def end(self, *, complete: bool) -> None:
        """End the answer. An incomplete one lacks its last chunk, and the connection closes."""
        if not complete:
            self._connection.closing = True
        elif self._request.minor:
            self._connection.write(LAST_CHUNK)
