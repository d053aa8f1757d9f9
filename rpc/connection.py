"""One connection: call, serve, stream, close. `rpc/mux.py` decides, `rpc/hub.py` holds the tasks that are shared.

All state changes are plain functions. The only task of a connection is its reader (`run`); a second one exists while
the peer does not take our output.
"""

from collections.abc import Awaitable, Callable, Container
from functools import partial
from typing import Any, Final

import trio
import trio.lowlevel

from base.errors import MeshError, OutcomeUnknown, PermissionDenied, Unreachable
from base.network import Stream
from rpc.caller import Caller
from rpc.errors import ProtocolViolated, as_mesh_error
from rpc.flow import Flow
from rpc.hub import Hub, Worker, wake_with, wake_with_error
from rpc.mux import OUT_BYTES_MAX, Mux, Slot
from rpc.stream import RPCStream

Handler = Callable[[str, bytes, Caller], "bytes | Awaitable[bytes]"]
"""Answers a call at once (bytes: no task is spent on it) or later (an awaitable, cancelled with its call)."""
StreamHandler = Callable[[str, bytes, RPCStream, Caller], Awaitable[None]]
"""Serves a stream; the stream is complete when it returns."""

RECEIVE_BYTES: Final = 64 * 1024
"""One receive: hundreds of small frames; more would make the allocator map and unmap pages each time."""
SEND_SLICE_BYTES: Final = 256 * 1024
"""Output is handed to a slow peer in slices, so that progress can be seen."""
WATCH_INTERVAL_S: Final = 1.0
"""How often a connection is looked at when no call is due."""
PING_AFTER_S: Final = 4
"""Silence after which the peer is asked for a sign of life."""
DEAD_AFTER_S: Final = 10
"""Silence, or output not taken, after which the peer counts as dead. Counted in looks of `WATCH_INTERVAL_S`, not on the
clock: if this process was stopped for a while, its peers are not to blame."""
DOUBTED_LOOKS: Final = 2
"""How many of those looks a peer is left that something else speaks against: one to two seconds."""

assert SEND_SLICE_BYTES >= 16 * 1024, "see base/network.py"
assert PING_AFTER_S * 2 < DEAD_AFTER_S, "a lost ping may not kill a connection"


class Connection:
    """One connection to a peer; carries calls of both sides."""

    __slots__ = ("_closed_reason", "_handler", "_heard", "_hub", "_idle_since_s", "_idle_timeout_s", "_marked",
                 "_muted_looks", "_room", "_server_only", "_stalled_looks", "_stream", "_stream_handler", "_tail",
                 "_watch_at_s", "bytes_left", "caller", "calls_count", "mux", "served_count", "tick_at_s")  # fmt: skip

    def __init__(
        self,
        stream: Stream,
        hub: Hub,
        caller: Caller,
        *,
        dialler: bool,
        handler: Handler | None = None,
        stream_handler: StreamHandler | None = None,
        server_only: Container[str] = (),
        idle_timeout_s: float | None = None,
    ) -> None:
        self.caller = caller
        self.mux = Mux(self, dialler=dialler, budget=hub.large)
        if dialler:
            self.mux.greet()  # leaves with the first request
        self._stream = stream
        self._hub = hub
        self._handler = handler
        self._stream_handler = stream_handler
        self._server_only = server_only
        self._closed_reason: str | None = None
        self._marked = False
        """Waiting for the hub's flusher."""
        self._tail: memoryview | None = None
        """Output that the kernel did not take, or part of a large reply; a task of its own is sending it."""
        self._room: trio.Event | None = None
        """Set when output has shrunk."""
        self.bytes_left = 0
        """Bytes of output that may have left this process."""
        self._heard = True
        self._muted_looks = 0
        self._stalled_looks = 0
        self.calls_count = 0
        self.served_count = 0
        self._idle_timeout_s = idle_timeout_s
        self._idle_since_s = trio.current_time()
        self._watch_at_s = self._idle_since_s + WATCH_INTERVAL_S
        self.tick_at_s = self._watch_at_s
        hub.add(self)

    @property
    def closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closed_reason is not None

    @property
    def usable(self) -> bool:
        """See Kept."""
        return self._closed_reason is None

    @property
    def calls_served_count(self) -> int:
        """See Member."""
        return len(self.mux.served)

    # Ours ----------------------------------------------------------------------------------------------------------

    async def call(self, method: str, body: bytes, timeout_s: float) -> bytes:
        """Return the reply; raises what the peer raised, Unreachable if the request cannot have arrived, else
        OutcomeUnknown if the connection broke or `timeout_s` passed, RateLimited or TooLarge if it was not sent."""
        mux = self.mux
        deadline_s = trio.current_time() + timeout_s
        if mux.out_bytes > OUT_BYTES_MAX:
            await self._wait_room_until(deadline_s)
        if self._closed_reason is not None:
            raise Unreachable(self._describe())
        slot = Slot(trio.lowlevel.current_task(), deadline_s)
        mux.call(slot, method, body)
        self.calls_count += 1
        if deadline_s < self.tick_at_s:
            self.tick_at_s = deadline_s
        if not self._marked:
            if len(mux.calls) == 1 and self._hub.quiet:
                self._send_pending()  # nobody to wait for
            else:
                self._marked = True
                self._hub.mark_dirty(self)

        def abort(_: Any) -> trio.lowlevel.Abort:
            mux.abandon_call(slot)
            self.mark_dirty()
            return trio.lowlevel.Abort.SUCCEEDED

        return await trio.lowlevel.wait_task_rescheduled(abort)  # type: ignore[no-any-return]

    def open_stream(self, method: str, body: bytes) -> RPCStream:
        """Open a stream; raises Unreachable, RateLimited or TooLarge, and then nothing was sent."""
        if self._closed_reason is not None:
            raise Unreachable(self._describe())
        flow = self.mux.open_stream(method, body)
        self.mark_dirty()
        return RPCStream(self, flow)

    def replied(self, slot: Slot, body: bytes) -> None:
        """See Host."""
        wake_with(slot.waiter, body)  # type: ignore[arg-type]

    def failed(self, slot: Slot, error: MeshError) -> None:
        """See Host."""
        wake_with_error(slot.waiter, error)  # type: ignore[arg-type]

    # Theirs --------------------------------------------------------------------------------------------------------

    def requested(self, seq: int, method: str, body: bytes) -> Worker | None:
        """See Host."""
        self.served_count += 1
        try:
            if self._handler is None or (method in self._server_only and not self.caller.may_act_as_server):
                raise PermissionDenied(f"rpc: {method} is not open to this peer")
            result = self._handler(method, body, self.caller)
        except Exception as error:  # the border between one request and the process
            self.mux.fail(seq, as_mesh_error(error, method))
            return None
        if isinstance(result, bytes):
            self.mux.reply(seq, result)
            return None
        return self._hub.start_job(partial(self._answer_later, seq, method, result))

    async def _answer_later(self, seq: int, method: str, result: Awaitable[bytes]) -> None:
        try:
            body = await result
        except Exception as error:  # the border between one request and the process
            if self.mux.served.pop(seq, None) is not None:
                self.mux.fail(seq, as_mesh_error(error, method))
        else:
            if self.mux.served.pop(seq, None) is not None:
                self.mux.reply(seq, body)
        self.mark_dirty()

    def opened(self, flow: Flow, method: str, body: bytes) -> Worker:
        """See Host."""
        self.served_count += 1
        return self._hub.start_job(partial(self._serve_stream, flow, method, body))

    async def _serve_stream(self, flow: Flow, method: str, body: bytes) -> None:
        failure: MeshError | None = None
        try:
            if self._stream_handler is None or (method in self._server_only and not self.caller.may_act_as_server):
                raise PermissionDenied(f"rpc: {method} is not open to this peer")
            await self._stream_handler(method, body, RPCStream(self, flow), self.caller)
        except Exception as error:  # the border between one request and the process
            failure = as_mesh_error(error, method)
        self.mux.complete_stream(flow, failure)
        self.mark_dirty()

    def cancelled(self, served: Worker) -> None:
        """See Host."""
        self._hub.cancel_job(served)

    # Output --------------------------------------------------------------------------------------------------------

    def mark_dirty(self) -> None:
        """Have gathered output sent soon."""
        if not self._marked and self._closed_reason is None:
            self._marked = True
            self._hub.mark_dirty(self)

    def flush(self) -> None:
        """Send gathered output now, as far as the kernel takes it; called where no caller is half-way in `call`."""
        self._marked = False
        if self._closed_reason is None:
            error = self._send_pending()
            if error is not None:
                self.close(error)

    def _send_pending(self) -> str | None:
        """Hand output to the kernel. A failure is only noted for `flush`, which may wake callers."""
        mux = self.mux
        out = mux.out
        if self._tail is not None:
            return None
        while out:
            data = mux.take_out()
            try:
                taken = self._stream.send_nowait(data)
            except Unreachable as error:
                out.insert(0, data)  # the kernel refused all of it
                self.mark_dirty()
                return str(error)
            self.bytes_left += taken
            mux.out_bytes -= taken
            if taken < len(data):
                return self._send_later(memoryview(data)[taken:])
        if self._room is not None:
            self._room.set()
            self._room = None
        if mux.large_waiting:
            return self._send_later(memoryview(mux.take_out()))
        return None

    def _send_later(self, data: memoryview) -> str | None:
        """Have a task of its own send this, and what gathers meanwhile; returns why it cannot."""
        self._tail = data
        self._stalled_looks = 0
        try:
            self._hub.spawn(self._send_tail)
        except Unreachable as error:
            return str(error)
        return None

    async def _send_tail(self) -> None:
        """Send what the kernel did not take at once, and what gathers meanwhile."""
        mux = self.mux
        try:
            while self._tail is not None and self._closed_reason is None:
                piece = self._tail[:SEND_SLICE_BYTES]
                self.bytes_left += len(piece)
                await self._stream.send_all(piece)
                self._stalled_looks = 0
                mux.out_bytes -= len(piece)
                rest = self._tail[len(piece) :]
                if not rest and mux.large_waiting:
                    await trio.lowlevel.checkpoint()  # the kernel may take many parts in a row
                if not rest and (mux.out or mux.large_waiting):
                    rest = memoryview(mux.take_out())
                self._tail = rest or None
                if self._room is not None and mux.out_bytes <= OUT_BYTES_MAX // 2:
                    self._room.set()
                    self._room = None
        except Unreachable as error:
            self.close(str(error))

    async def wait_room(self, bytes_max: int) -> None:
        """Wait until at most `bytes_max` of output are queued; returns as well when the connection is closed."""
        while self.mux.out_bytes > bytes_max and self._closed_reason is None:
            self.mark_dirty()
            if self._room is None:
                self._room = trio.Event()
            await self._room.wait()

    async def _wait_room_until(self, deadline_s: float) -> None:
        with trio.move_on_at(deadline_s) as scope:
            await self.wait_room(OUT_BYTES_MAX)
        if scope.cancelled_caught:
            raise Unreachable(f"rpc: {self.caller.address} does not take our requests")

    # Life ----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Read until the connection ends. The one task of this connection; closes it however it ends."""
        mux, stream = self.mux, self._stream
        reason = "is closed"
        try:
            while True:
                data = await stream.receive_some(RECEIVE_BYTES)
                if not data:
                    reason = "was closed by the other side"
                    return
                self._heard = True
                mux.feed(data)
                while not mux.process() and self._closed_reason is None:
                    self.flush()
                    await self.wait_room(OUT_BYTES_MAX)
                if mux.out or mux.large_waiting:
                    self.flush()
                if self._closed_reason is not None:
                    return
        except Unreachable as error:
            reason = str(error)
        except ProtocolViolated as error:
            reason = f"broke the protocol: {error}"
        finally:
            self.close(reason)

    def tick(self, now_s: float) -> None:
        """Look after deadlines and signs of life; called by the hub when `tick_at_s` has come."""
        next_s = now_s + WATCH_INTERVAL_S
        expired = []
        for slot in self.mux.calls.values():
            if slot.deadline_s <= now_s:
                expired.append(slot)
            elif slot.deadline_s < next_s:
                next_s = slot.deadline_s
        for slot in expired:
            self.mux.abandon_call(slot)
            self.failed(slot, OutcomeUnknown(f"rpc: no answer from {self.caller.address} in time"))
        if expired:
            self.mark_dirty()
        if now_s >= self._watch_at_s:
            self._watch_at_s = now_s + WATCH_INTERVAL_S
            self._look(now_s)
        self.tick_at_s = min(next_s, self._watch_at_s)

    def _look(self, now_s: float) -> None:
        mux = self.mux
        if mux.calls or mux.served or mux.flows:
            self._idle_since_s = now_s
        elif self._idle_timeout_s is not None and now_s - self._idle_since_s > self._idle_timeout_s:
            self.close("was idle")
            return
        if self._tail is not None:
            self._stalled_looks += 1
            if self._stalled_looks >= DEAD_AFTER_S:
                self.close("does not take our output")
                return
        if self._heard:
            self._heard = False
            self._muted_looks = 0
            return
        self._muted_looks += 1
        if self._muted_looks >= DEAD_AFTER_S:
            self.close("gave no sign of life")
        elif self._muted_looks >= PING_AFTER_S:
            mux.ping()
            self.mark_dirty()

    def doubt(self) -> None:
        """Something else speaks against the peer: ask for a sign of life, and close soon if none comes."""
        if self._closed_reason is not None:
            return
        if self._heard:
            self._muted_looks = 0
        self._heard = False
        self._muted_looks = max(self._muted_looks, DEAD_AFTER_S - DOUBTED_LOOKS)
        self.mux.ping()
        self.mark_dirty()

    def hurry(self, deadline_s: float) -> None:
        """Calls of ours that are under way get no later than `deadline_s` (trio's clock)."""
        for slot in self.mux.calls.values():
            slot.deadline_s = min(slot.deadline_s, deadline_s)
        self.tick_at_s = min(self.tick_at_s, deadline_s)

    def close(self, reason: str) -> None:
        """Close at once: calls of ours fail, calls of theirs are cancelled. May be called again."""
        if self._closed_reason is not None:
            return
        self._closed_reason = reason
        mux, hub = self.mux, self._hub
        hub.connections.discard(self)
        self._stream.close_now()
        text = self._describe()
        calls = list(mux.calls.values())
        mux.close()
        for slot in calls:
            arrived = slot.out_position <= self.bytes_left
            self.failed(slot, OutcomeUnknown(text) if arrived else Unreachable(text))
        flows = list(mux.flows.values())
        mux.flows.clear()
        for flow in flows:
            flow.fail(OutcomeUnknown(text))
        served = list(mux.served.values())
        mux.served.clear()
        for worker in served:
            assert isinstance(worker, Worker)
            hub.cancel_job(worker)
        self._tail = None
        if self._room is not None:
            self._room.set()
            self._room = None

    def _describe(self) -> str:
        return f"rpc: connection to {self.caller.address}: {self._closed_reason}"
