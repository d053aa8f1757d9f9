"""Calls to foreign servers by address: a yamux session each, whose streams carry one call at a time and are used again.

Source: RPC wire format, sections 3 and 8.
"""

from typing import TYPE_CHECKING, Any, Final

import trio

from base.errors import InvalidRequest, MeshError, OutcomeUnknown, TooLarge, Unreachable
from base.network import Network, Stream
from rpc.caller import Caller
from rpc.errors import ProtocolViolated
from rpc.foreign import BYTE_YAMUX
from rpc.foreign_messages import CALL_ERROR_PREFIX, DIAL_ERROR_PREFIX, encode_request, error_of_answer, reply_reader
from rpc.hub import Hub
from rpc.peers import DatacenterOf, Dialler, Peers, own_datacenter
from rpc.pool import PoolStatistics
from rpc.yamux import YamuxStream
from rpc.yamux_session import YamuxConnection

if TYPE_CHECKING:
    from rpc.tls import TLSContexts

DIAL_TIMEOUT_S: Final = 10.0
STREAMS_IDLE_MAX: Final = 32
"""Streams of a session that wait for their next call; the last one used is the first to be used again."""
IDLE_S: Final = 127.0
"""A session without calls is closed after this."""


class _Line:
    """One stream of a session, from our side."""

    __slots__ = ("_link", "answer", "changed", "failure", "reader", "stream")

    def __init__(self, link: YamuxConnection, stream: YamuxStream) -> None:
        self._link = link
        self.stream = stream
        self.reader = reply_reader()
        self.answer: tuple[MeshError | None, Any] | None = None
        """The error that was answered, and the body."""
        self.failure: MeshError | None = None
        self.changed: trio.Event | None = None
        """Set when the call that is under way has ended; None between calls."""
        stream.wake = self._woken

    @property
    def over(self) -> bool:
        """Whether no call can be made any more."""
        return self.stream.reset or self.stream.ended_far or self.stream.ended_near

    def _woken(self) -> None:
        session, stream = self._link.session, self.stream
        try:
            while data := session.take(stream):
                self.reader.feed(data)
                while (message := self.reader.next()) is not None:
                    self._answered(message)
            if not session.keep(stream, self.reader.bytes_kept):
                raise TooLarge("more is answered than can be kept")
        except (InvalidRequest, TooLarge) as error:
            self.failure = OutcomeUnknown(f"{CALL_ERROR_PREFIX}an answer that cannot be read: {error}")
            session.abort(stream)
        if self.changed is None:
            if self.over:
                session.close(stream)  # the other side has ended it between two calls
        elif self.over or self.answer is not None:
            self.changed.set()
        self._link.mark_dirty()

    def _answered(self, message: tuple[dict[Any, Any], Any]) -> None:
        if self.changed is None or self.answer is not None:
            raise InvalidRequest("an answer that nobody has asked for")
        header, body = message
        self.answer = error_of_answer(header), body


class ForeignConnection:
    """One session with a foreign server."""

    def __init__(self, stream: Stream, hub: Hub) -> None:
        self.link = YamuxConnection(
            stream, hub, dialler=True, accept=None, idle_timeout_s=IDLE_S, relieved=self._relieved
        )
        self._idle: list[_Line] = []
        self._room: trio.Event | None = None

    @property
    def usable(self) -> bool:
        """See Kept."""
        return self.link.usable

    async def run(self) -> None:
        """See Kept."""
        try:
            await self.link.run()
        finally:
            self._relieved()

    def close(self, reason: str) -> None:
        """Close at once."""
        self.link.close(reason)
        self._relieved()

    async def call(self, seq: int, method: str, argument: Any, timeout_s: float) -> Any:
        """Return the body of the answer; raises what the other side answers, Unreachable if the request cannot have
        arrived, else OutcomeUnknown if the stream broke or `timeout_s` passed."""
        link = self.link
        data = encode_request(seq, method, argument)
        line: _Line | None = None
        link.busy_count += 1
        try:
            with trio.move_on_after(timeout_s):
                line = await self._line()
                line.changed = trio.Event()
                try:
                    link.session.write(line.stream, data)
                except ProtocolViolated as error:
                    raise Unreachable(f"{CALL_ERROR_PREFIX}{error}") from error
                link.flush()
                await line.changed.wait()
            return self._outcome(line)
        finally:
            link.busy_count -= 1
            if line is not None:
                self._put_back(line)

    def _outcome(self, line: _Line | None) -> Any:
        """Return the body that was answered, or raise what happened instead."""
        link = self.link
        if line is None:
            raise Unreachable(f"{CALL_ERROR_PREFIX}{link.peer_address} does not take our requests")
        if line.answer is not None:
            error, body = line.answer
            if error is not None:
                line.failure = error
                raise error
            return body
        if line.failure is not None:
            raise line.failure
        if link.closed:
            text = link.describe()
        elif line.stream.reset:
            text = "stream reset"
        else:
            text = "EOF" if line.stream.ended_far else f"no answer from {link.peer_address} in time"
        arrived = link.may_have_left(line.stream)
        raise (OutcomeUnknown if arrived else Unreachable)(f"{CALL_ERROR_PREFIX}{text}")

    async def _line(self) -> _Line:
        """Return a stream for one call: an idle one, else a new one as soon as there is room."""
        link = self.link
        while True:
            if not link.usable and not self._idle:
                raise Unreachable(f"{CALL_ERROR_PREFIX}{link.describe()}")
            if not link.congested:
                while self._idle:
                    line = self._idle.pop()
                    if not line.over:
                        return line
                if link.usable and link.session.has_room:
                    return _Line(link, link.session.open())
            if self._room is None:
                self._room = trio.Event()
            await self._room.wait()

    def _put_back(self, line: _Line) -> None:
        """A call has ended: keep its stream if it ended well, else end it."""
        session = self.link.session
        good = line.answer is not None and line.failure is None and not line.over and not line.reader.bytes_kept
        answered = line.answer is not None
        line.answer = line.changed = None
        if len(self._idle) >= STREAMS_IDLE_MAX:
            self._idle = [each for each in self._idle if not each.over]
        if good and len(self._idle) < STREAMS_IDLE_MAX and self.link.usable:
            self._idle.append(line)
        elif answered:
            session.close(line.stream)
        else:
            session.abort(line.stream)  # a server that is still at it learns that nobody waits
        self.link.mark_dirty()
        self._relieved()

    def _relieved(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None


class ForeignPool:
    """Calls by address. `run` owns all tasks and must be under way before the first call."""

    def __init__(
        self, network: Network, *, tls: "TLSContexts | None" = None, datacenter_of: DatacenterOf = own_datacenter
    ) -> None:
        self._hub = Hub()
        self._dialler = Dialler(network, tls, datacenter_of)
        self._peers: Peers[ForeignConnection] = Peers(self._hub, self._dial, self._make)
        self._seq = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the pool's tasks until cancelled; then all sessions are closed."""
        await self._hub.run(task_status=task_status)

    async def call(self, address: str, method: str, argument: Any, *, timeout_s: float) -> Any:
        """Return the body of the answer as a plain value.

        Raises the server's error as the class that its text means; Unreachable (definite) if no session could be made
        or the request cannot have arrived; OutcomeUnknown if it may have; RateLimited. Cancelling resets its stream.
        """
        deadline_s = trio.current_time() + timeout_s
        try:
            connection = await self._peers.connection(address, min(timeout_s, DIAL_TIMEOUT_S))
        except Unreachable as error:
            raise Unreachable(f"{DIAL_ERROR_PREFIX}{error}") from error
        self._seq += 1
        return await connection.call(self._seq, method, argument, max(0.0, deadline_s - trio.current_time()))

    def doubt(self, address: str) -> None:
        """Something speaks against the server: ask it for a sign of life."""
        connection = self._peers.connections.get(address)
        if connection is not None and not connection.link.closed:
            connection.link.doubt()

    def close_peer(self, address: str) -> None:
        """Close the session with `address` and forget its failures."""
        connection = self._peers.forget(address)
        if connection is not None:
            connection.close("is not wanted any more")

    def statistics(self) -> PoolStatistics:
        """Return counts since the start, and what is held now."""
        return PoolStatistics(
            peers=len(self._peers),
            connections=len(self._peers.connections),
            calls_in_flight=sum(connection.link.busy_count for connection in self._peers.connections.values()),
            dials=self._peers.dials_count,
            dials_failed=self._peers.dials_failed_count,
        )

    async def _dial(self, address: str) -> tuple[Stream, Caller]:
        return await self._dialler.dial(address, BYTE_YAMUX, DIAL_TIMEOUT_S)

    def _make(self, stream: Stream, caller: Caller) -> ForeignConnection:
        return ForeignConnection(stream, self._hub)
