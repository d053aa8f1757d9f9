"""Sans-IO: many calls and streams on one connection.

Received bytes go in by `feed` and `process`; frames to send gather in `out`. What happens is told to the `Host`, whose
methods must not await. The rules: a sequence number is opened once and in rising order by its own side; frames about
a number that is not open are ignored, since they crossed with its end on the way; everything else that is not in the
table of `rpc/frame.py` is a violation, and closes the connection.
"""

from typing import Any, Final, Protocol

from base.errors import Internal, InvalidRequest, MeshError, RateLimited
from rpc.errors import ProtocolViolated, error_from_body, error_to_body
from rpc.flow import CHUNK_COST_BYTES, Flow
from rpc.frame import (
    BODY_BYTES_MAX,
    CANCEL,
    CREDIT,
    DATA,
    END,
    ERROR,
    FEATURES,
    KIB,
    LARGE,
    METHOD_CHARACTERS_MAX,
    MIB,
    PART,
    PING,
    PONG,
    REPLY,
    REQUEST,
    STREAM,
    Frame,
    FrameReader,
    encode_frame,
)
from rpc.large import REPLY_BYTES_MAX, Arriving, Budget, Leaving

CALLS_MAX: Final = 8192
"""Calls in flight in each direction of a connection: 5,000 blocking queries of one agent, and room to work."""
STREAMS_MAX: Final = 64
"""Streams open on a connection: each may hold two windows of memory."""
OUT_BYTES_MAX: Final = 2 * MIB
"""Output beyond which no call is made or taken on this connection until the peer has read some."""
JOIN_BYTES_MAX: Final = 128 * KIB
"""Output is joined to pieces of about this size: below it a send costs more than copying, above it less."""

_ANSWERED: Final = (REQUEST, STREAM, PING)


class Slot:
    """A call of ours that waits for its answer. `waiter` belongs to the host."""

    __slots__ = ("arriving", "deadline_s", "out_position", "seq", "waiter")

    def __init__(self, waiter: object, deadline_s: float) -> None:
        self.arriving: Arriving | None = None
        """A large reply that has begun to come."""
        self.waiter = waiter
        self.deadline_s = deadline_s
        self.seq = 0
        self.out_position = 0
        """Bytes of output up to the end of the request: the peer has it only if all of them have left."""


class Host(Protocol):
    """Told by the multiplexer what has arrived. None of it may await."""

    def replied(self, slot: Slot, body: bytes) -> None:
        """A call of ours was answered."""

    def failed(self, slot: Slot, error: MeshError) -> None:
        """A call of ours failed."""

    def requested(self, seq: int, method: str, body: bytes) -> object | None:
        """A call for us: answer by `reply` or `fail` now (None), or return what `cancelled` will need."""

    def cancelled(self, served: Any) -> None:
        """The caller does not wait any more for what `requested` or `opened` returned."""

    def opened(self, flow: Flow, method: str, body: bytes) -> object:
        """A stream for us."""


class Mux:
    """One connection's calls and streams."""

    __slots__ = ("_budget", "_far_takes_large", "_held", "_host", "_leaving", "_parity_far", "_reader", "_seq_far",
                 "_seq_near", "calls", "flows", "out", "out_bytes", "out_bytes_total", "served")  # fmt: skip

    def __init__(self, host: Host, *, dialler: bool, budget: Budget | None = None) -> None:
        """`budget` bounds the large replies of several connections together; without one, those of this one."""
        self._host = host
        self._budget = budget or Budget()
        self._leaving = Leaving(self._budget)
        self._far_takes_large = False
        self._reader = FrameReader()
        self._held: Frame | None = None
        """A frame that waits for room in the output."""
        self._seq_near = 1 if dialler else 2
        self._seq_far = 0
        self._parity_far = 0 if dialler else 1
        self.calls: dict[int, Slot] = {}
        """Ours, waiting for their answer."""
        self.served: dict[int, object] = {}
        """Theirs (calls and streams), under way."""
        self.flows: dict[int, Flow] = {}
        """Streams of both sides."""
        self.out: list[bytes] = []
        self.out_bytes = 0
        """Bytes in `out` and beyond it that the kernel has not taken; the owner subtracts what it took."""
        self.out_bytes_total = 0
        """Bytes that were ever put into `out`."""

    # Ours ----------------------------------------------------------------------------------------------------------

    def call(self, slot: Slot, method: str, body: bytes) -> None:
        """Send a request; raises RateLimited or TooLarge, and then nothing was sent."""
        if len(self.calls) >= CALLS_MAX:
            raise RateLimited(f"rpc: {CALLS_MAX} calls are already in flight to this server")
        seq = self._seq_near
        self._send(seq, REQUEST, method, body)
        self._seq_near = seq + 2
        slot.seq = seq
        slot.out_position = self.out_bytes_total
        self.calls[seq] = slot

    def abandon_call(self, slot: Slot) -> None:
        """Nobody waits for this call any more: tell the other side. Does nothing if it has ended."""
        if self.calls.pop(slot.seq, None) is not None:
            self._forget_arriving(slot)
            self._send(slot.seq, CANCEL, "", b"")

    def open_stream(self, method: str, body: bytes) -> Flow:
        """Open a stream; raises RateLimited or TooLarge."""
        if len(self.flows) >= STREAMS_MAX:
            raise RateLimited(f"rpc: {STREAMS_MAX} streams are already open to this server")
        seq = self._seq_near
        self._send(seq, STREAM, method, body)
        self._seq_near = seq + 2
        flow = self.flows[seq] = Flow(seq)
        return flow

    def abandon_stream(self, flow: Flow) -> None:
        """We opened this stream and are done with it: tell the other side unless it has ended too."""
        if self.flows.pop(flow.seq, None) is not None and not flow.ended_far and flow.failure is None:
            self._send(flow.seq, CANCEL, "", b"")

    # Theirs --------------------------------------------------------------------------------------------------------

    def reply(self, seq: int, body: bytes) -> None:
        """Answer their call."""
        if len(body) > BODY_BYTES_MAX:
            self._reply_large(seq, body)
            return
        self._send(seq, REPLY, "", body)

    def _reply_large(self, seq: int, body: bytes) -> None:
        size = len(body)
        bytes_max = REPLY_BYTES_MAX if self._far_takes_large else BODY_BYTES_MAX
        if size > bytes_max:
            self.fail(seq, Internal(f"rpc: a reply of {size} bytes exceeds {bytes_max}"))
        elif not self._leaving.add(seq, body):
            self.fail(seq, Internal(f"rpc: no room for a reply of {size} bytes beside others that are under way"))
        else:
            self._send(seq, LARGE, "", size.to_bytes(8, "big"))

    def fail(self, seq: int, error: MeshError) -> None:
        """Answer their call with an error, or end their stream with it."""
        self._send(seq, ERROR, "", error_to_body(error))

    def complete_stream(self, flow: Flow, error: MeshError | None) -> None:
        """Their stream is done with on our side."""
        self.served.pop(flow.seq, None)
        if self.flows.pop(flow.seq, None) is None:
            return
        if error is not None:
            self.fail(flow.seq, error)
        elif not flow.ended_near:
            self.end_chunks(flow)

    # Both ----------------------------------------------------------------------------------------------------------

    def send_chunk(self, flow: Flow, chunk: bytes) -> None:
        """Send a chunk; the caller has looked at `flow.credit`."""
        flow.credit -= len(chunk) + CHUNK_COST_BYTES
        self._send(flow.seq, DATA, "", chunk)

    def end_chunks(self, flow: Flow) -> None:
        """Send no more chunks."""
        flow.ended_near = True
        self._send(flow.seq, END, "", b"")

    def take_chunk(self, flow: Flow) -> bytes:
        """Return the next chunk received, which the caller knows to be there, and give back credit."""
        chunk, credit = flow.take_chunk()
        if credit and flow.seq in self.flows:
            self._send(flow.seq, CREDIT, "", credit.to_bytes(4, "big"))
        return chunk

    @property
    def large_waiting(self) -> bool:
        """Whether parts of large replies are to be sent once `out` is empty."""
        return len(self._leaving) > 0

    def take_out(self) -> bytes:
        """Remove and return the next output, which there is: small frames joined, a large body as it was given."""
        out = self.out
        if not out:
            seq, part = self._leaving.next_part()
            self._send(seq, PART, "", part)
            data = b"".join(out)
            out.clear()
            return data
        if len(out) == 1:
            return out.pop()
        size = 0
        for position, piece in enumerate(out):
            size += len(piece)
            if size > JOIN_BYTES_MAX:
                data = b"".join(out[:position]) if position else piece
                del out[: position or 1]
                return data
        data = b"".join(out)
        out.clear()
        return data

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._send(0, PING, "", b"")

    def greet(self) -> None:
        """Tell the other side what we know, and ask what it knows; one of the first version tells nothing."""
        self._send(0, PING, "", FEATURES)

    def close(self) -> None:
        """Nothing will be sent or received any more."""
        for slot in self.calls.values():
            self._forget_arriving(slot)
        self.calls.clear()
        self._leaving.clear()
        self.out.clear()

    def _send(self, seq: int, kind: int, method: str, body: bytes) -> None:
        size = encode_frame(seq, kind, method, body, self.out)
        self.out_bytes += size
        self.out_bytes_total += size

    # Received ------------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take received bytes; `process` handles them."""
        self._reader.feed(data)

    def process(self) -> bool:
        """Handle all complete frames; False: stopped, because the peer has to read our output first.

        Raises ProtocolViolated.
        """
        reader, calls, host = self._reader, self.calls, self._host
        frame, self._held = self._held or reader.next(), None
        while frame is not None:
            kind = frame.kind
            if kind == REPLY:
                slot = calls.pop(frame.seq, None)
                if slot is not None:
                    if slot.arriving is not None:
                        calls[frame.seq] = slot
                        raise ProtocolViolated("a second reply instead of the rest of the first")
                    host.replied(slot, frame.body)
            elif self.out_bytes > OUT_BYTES_MAX and kind in _ANSWERED:
                # Only what makes more output has to wait: if two full sides stopped reading replies, none ever moved.
                self._held = frame
                return False
            elif kind == REQUEST:
                self._request(frame)
            else:
                self._rare(frame, kind)
            frame = reader.next()
        return True

    def _open_far(self, frame: Frame) -> None:
        seq = frame.seq
        if seq <= self._seq_far or seq & 1 != self._parity_far or len(frame.method) > METHOD_CHARACTERS_MAX:
            raise ProtocolViolated(f"call {seq} out of order or badly named")
        self._seq_far = seq

    def _request(self, frame: Frame) -> None:
        self._open_far(frame)
        if len(self.served) >= CALLS_MAX:
            self.fail(frame.seq, RateLimited(f"rpc: {CALLS_MAX} calls are already in flight on this connection"))
            return
        served = self._host.requested(frame.seq, frame.method, frame.body)
        if served is not None:
            self.served[frame.seq] = served

    def _rare(self, frame: Frame, kind: int) -> None:
        seq = frame.seq
        if kind == ERROR:
            self._error(frame)
        elif kind == CANCEL:
            served = self.served.pop(seq, None)
            self._leaving.drop(seq)
            flow = self.flows.get(seq) if seq & 1 == self._parity_far else None
            if flow is not None:
                del self.flows[seq]
            if served is not None:
                self._host.cancelled(served)
        elif kind == STREAM:
            self._stream(frame)
        elif kind == PING:
            self._learn(frame.body)
            self._send(0, PONG, "", FEATURES if frame.body else b"")
        elif kind == PONG:
            self._learn(frame.body)
        elif kind == LARGE:
            self._announced(frame)
        elif kind == PART:
            self._part(frame)
        elif kind in (DATA, END, CREDIT):
            flow = self.flows.get(seq)
            if flow is not None:
                self._flow(flow, frame, kind)
        else:
            raise ProtocolViolated(f"frame of unknown kind {kind}")

    def _learn(self, features: bytes) -> None:
        if features:
            self._far_takes_large = bool(features[0] & FEATURES[0])

    def _announced(self, frame: Frame) -> None:
        slot = self.calls.get(frame.seq)
        if slot is None:
            return
        size = int.from_bytes(frame.body, "big")
        if len(frame.body) != 8 or size <= BODY_BYTES_MAX or slot.arriving is not None:
            raise ProtocolViolated("a large reply that is none, or is announced twice")
        if size > REPLY_BYTES_MAX:
            text = f"exceeds {REPLY_BYTES_MAX}"
        elif not self._budget.take(size):
            text = "has no room beside others that are under way"
        else:
            slot.arriving = Arriving(size)
            return
        self.abandon_call(slot)
        self._host.failed(slot, Internal(f"rpc: a reply of {size} bytes {text}"))

    def _part(self, frame: Frame) -> None:
        slot = self.calls.get(frame.seq)
        if slot is None:
            return
        if slot.arriving is None:
            raise ProtocolViolated("a part of a reply that was not announced")
        body = slot.arriving.part_received(frame.body)
        if body is not None:
            del self.calls[frame.seq]
            self._forget_arriving(slot)
            self._host.replied(slot, body)

    def _forget_arriving(self, slot: Slot) -> None:
        if slot.arriving is not None:
            self._budget.give(slot.arriving.size)
            slot.arriving = None

    def _flow(self, flow: Flow, frame: Frame, kind: int) -> None:
        if kind == DATA:
            flow.chunk_received(frame.body)
        elif kind == END:
            flow.ended_far = True
            flow.changed()
        elif len(frame.body) == 4:
            flow.credit_received(int.from_bytes(frame.body, "big"))
        else:
            raise ProtocolViolated("credit is not a number")

    def _error(self, frame: Frame) -> None:
        try:
            error = error_from_body(frame.body)
        except InvalidRequest as malformed:
            raise ProtocolViolated(str(malformed)) from malformed
        slot = self.calls.pop(frame.seq, None)
        if slot is not None:
            self._forget_arriving(slot)
            self._host.failed(slot, error)
            return
        flow = self.flows.get(frame.seq)
        if flow is not None:
            flow.fail(error)

    def _stream(self, frame: Frame) -> None:
        self._open_far(frame)
        if len(self.flows) >= STREAMS_MAX:
            self.fail(frame.seq, RateLimited(f"rpc: {STREAMS_MAX} streams are already open on this connection"))
            return
        flow = self.flows[frame.seq] = Flow(frame.seq)
        self.served[frame.seq] = self._host.opened(flow, frame.method, frame.body)
