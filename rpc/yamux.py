"""Sans-IO: one yamux session, many byte streams on one connection. Source: RPC wire format, section 2.

Received bytes go in by `feed`; what has to be sent gathers in frames that `take_out` returns. Whoever uses a stream
gives it a `wake`, called when something about it has changed; it must not await.

Data waits in its stream until the other side has granted credit for it, and then until little other output is queued:
streams take turns, so that a large answer does not hold up small ones. Credit is given back as the reader takes data.
Frames about streams that are not open are ignored, since they crossed with the end on the way; what breaks the rules
ends the session.
"""

from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Final

from base.errors import RateLimited, Unreachable
from rpc.errors import ProtocolViolated
from rpc.kept import Kept

KIB: Final = 1024
MIB: Final = 1024 * KIB

VERSION: Final = 0
DATA: Final = 0
WINDOW_UPDATE: Final = 1
PING: Final = 2
GO_AWAY: Final = 3
SYN: Final = 1
ACK: Final = 2
FIN: Final = 4
RST: Final = 8
GO_AWAY_NORMAL: Final = 0
GO_AWAY_PROTOCOL_ERROR: Final = 1
GO_AWAY_INTERNAL_ERROR: Final = 2

HEADER: Final = Struct(">BBHII")
"""Version, type, flags, stream id, length."""
HEADER_BYTES: Final = HEADER.size
WINDOW_BYTES: Final = 256 * KIB
"""Credit of each direction of a stream when it opens. Part of the protocol: nobody announces it."""
GRANT_BYTES_MIN: Final = WINDOW_BYTES // 2
"""Credit is given back in pieces of at least this."""
NUMBER_MAX: Final = (1 << 32) - 2
"""The last stream id; then a session opens no more."""
NEVER: Final = 1 << 64
"""A position that no output reaches: data that was dropped."""
CREDIT_MAX: Final = (1 << 32) - 1
"""A window is an unsigned number of 32 bits."""

STREAMS_MAX: Final = 8192
"""Streams of a session: one a call, so 5,000 blocking queries of one agent and room to work. More are reset."""
UNACKNOWLEDGED_MAX: Final = 256
"""Streams that we have opened and that the other side has not accepted yet; it would reset more."""
PIECE_BYTES_MAX: Final = 64 * KIB
"""Data of one frame, so that streams take turns."""
OUT_BYTES_MIXED: Final = 256 * KIB
"""No data is put into the output while more than this is queued there: the answer to a ping is not stuck behind it."""
OUT_BYTES_MAX: Final = MIB
"""Output beyond which nothing more is read: only frames without data get it so far, so two honest sides never both
wait."""
WAITING_BYTES_MAX: Final = 64 * MIB
"""Data of all streams that waits for credit. Beyond it the other side asks and does not read: the session ends."""
JOIN_BYTES_MAX: Final = 128 * KIB
"""Output is joined to pieces of about this size."""
BY_REFERENCE_BYTES: Final = 4 * KIB
"""From here on data follows its header as a piece of its own, not copied."""
SMALL_BYTES_MAX: Final = KIB
"""A received piece up to this is joined with the next one: a piece of two bytes takes twenty times that in memory."""
PING_AFTER_LOOKS: Final = 10
"""Looks (a second apart) without a byte from the other side, after which it is asked for a sign of life."""
DEAD_AFTER_LOOKS: Final = 20
"""Looks without a byte after which it counts as dead; a ping had half of them to be answered."""
DOUBTED_LOOKS: Final = 2
"""How many looks are left to a side that something else speaks against: one to two seconds."""

assert PING_AFTER_LOOKS < DEAD_AFTER_LOOKS
assert PIECE_BYTES_MAX <= OUT_BYTES_MIXED < OUT_BYTES_MAX
assert STREAMS_MAX * HEADER_BYTES < OUT_BYTES_MAX, "every stream may be acknowledged or closed at once"


def nobody() -> None:
    """Nobody has to be woken."""


class YamuxStream:
    """One stream as one side sees it. Changed only by its session."""

    __slots__ = ("acknowledged", "bytes_kept", "bytes_received", "credit", "ended_far", "ended_near", "number",
                 "out_position", "owed", "received", "reset", "waiting", "waiting_bytes", "wake", "window")  # fmt: skip

    def __init__(self, number: int, *, acknowledged: bool) -> None:
        self.number = number
        self.acknowledged = acknowledged
        """Whether the other side has accepted it."""
        self.credit = WINDOW_BYTES
        """Bytes we may still send."""
        self.window = WINDOW_BYTES
        """Bytes the other side may still send."""
        self.owed = 0
        """Bytes taken by the reader that the other side was not told of yet."""
        self.received: deque[bytes] = deque()
        self.bytes_received = 0
        """Size of `received`."""
        self.bytes_kept = 0
        """What the reader holds of a message that is not complete."""
        self.waiting: deque[memoryview] = deque()
        """Data that has to be sent."""
        self.waiting_bytes = 0
        self.out_position = 0
        """Bytes of the session's output up to the end of this stream's last data, once none waits any more."""
        self.ended_near = False
        self.ended_far = False
        self.reset = False
        """Over at once in both directions: reset by either side, or the session has ended."""
        self.wake: Callable[[], None] = nobody


class Session:
    """The streams of one connection."""

    def __init__(
        self, *, dialler: bool, accept: Callable[[YamuxStream], None] | None = None, kept: Kept | None = None
    ) -> None:
        """`accept` gets the streams that the other side opens; None: they are reset. `kept` is shared with others."""
        self._kept = kept or Kept()
        self._accept = accept
        self._next = 1 if dialler else 2
        self._parity_far = 0 if dialler else 1
        self._head = b""
        """The beginning of a header."""
        self._payload_left = 0
        self._payload_stream: YamuxStream | None = None
        self._payload_flags = 0
        self.streams: dict[int, YamuxStream] = {}
        self._ready: dict[YamuxStream, None] = {}
        """Streams with data and credit, in the order of their turns."""
        self._unacknowledged_count = 0
        self.bytes_kept = 0
        """Received data of all streams that is not part of a complete message."""
        self.waiting_bytes = 0
        """Data of all streams that is not in the output."""
        self.out: list[bytes | memoryview] = []
        self.out_bytes = 0
        self.out_bytes_total = 0
        """Bytes that were ever put into the output."""
        self.gone_far = False
        """The other side takes no more streams."""
        self.gone_near = False
        self._looks_silent = 0
        self._ping_number = 0

    # Ours ----------------------------------------------------------------------------------------------------------

    @property
    def may_open(self) -> bool:
        """Whether `open` can work, now or after a while."""
        return not self.gone_far and not self.gone_near and self._next <= NUMBER_MAX

    @property
    def has_room(self) -> bool:
        """Whether `open` works now; if it may but does not, then after the other side has accepted or ended some."""
        return len(self.streams) < STREAMS_MAX and self._unacknowledged_count < UNACKNOWLEDGED_MAX

    def open(self) -> YamuxStream:
        """Open a stream; raises Unreachable if this session opens no more, RateLimited if it has no room."""
        if not self.may_open:
            raise Unreachable("rpc: this session opens no more streams")
        if not self.has_room:
            raise RateLimited(f"RPC rate limit exceeded: {len(self.streams)} streams are open to this server")
        stream = YamuxStream(self._next, acknowledged=False)
        self._next += 2
        self.streams[stream.number] = stream
        self._unacknowledged_count += 1
        self._frame(WINDOW_UPDATE, SYN, stream.number, 0)
        return stream

    def write(self, stream: YamuxStream, data: bytes) -> None:
        """Send data as soon as credit and turn allow. Nothing happens on a stream that is over."""
        if stream.reset or stream.ended_near or not data:
            return
        stream.waiting.append(memoryview(data))
        stream.waiting_bytes += len(data)
        self.waiting_bytes += len(data)
        if self.waiting_bytes > WAITING_BYTES_MAX:
            raise ProtocolViolated("the other side asks for more than it reads")
        if stream.credit:
            self._ready[stream] = None
            self.pump()

    def close(self, stream: YamuxStream) -> None:
        """Send nothing more, once everything written has left. May be called again."""
        if stream.ended_near or stream.reset:
            return
        stream.ended_near = True
        if not stream.waiting:
            self._finish(stream)

    def abort(self, stream: YamuxStream) -> None:
        """End a stream at once, in both directions. May be called again."""
        stream.reset = True
        if self._is_open(stream):
            self._frame(WINDOW_UPDATE, RST, stream.number, 0)
            self._forget(stream)

    def take(self, stream: YamuxStream) -> bytes:
        """Return received data, b"" if there is none, and give credit for it."""
        if not stream.received:
            return b""
        data = stream.received.popleft()
        if not self._is_open(stream):
            return data
        stream.bytes_received -= len(data)
        self._count_kept(-len(data))
        stream.owed += len(data)
        if stream.owed >= GRANT_BYTES_MIN and not stream.ended_far:
            self._frame(WINDOW_UPDATE, 0, stream.number, stream.owed)
            stream.window += stream.owed
            stream.owed = 0
        return data

    def keep(self, stream: YamuxStream, bytes_count: int) -> bool:
        """The reader holds so many bytes of an unfinished message; False: too many are held, the stream is reset."""
        if not self._is_open(stream):
            return True
        self._count_kept(bytes_count - stream.bytes_kept)
        stream.bytes_kept = bytes_count
        if not bytes_count or not self._kept.is_too_much(self.bytes_kept):
            return True
        self.abort(stream)
        return False

    def _count_kept(self, bytes_count: int) -> None:
        self.bytes_kept += bytes_count
        self._kept.bytes_count += bytes_count

    def go_away(self, code: int) -> None:
        """Tell the other side that no more streams are taken; with another code than 0 that the session is over."""
        self.gone_near = True
        self._frame(GO_AWAY, 0, 0, code)

    def end(self) -> None:
        """The connection is gone: every stream is over."""
        self.gone_near = True
        streams = list(self.streams.values())
        self.out.clear()
        self.out_bytes = 0
        for stream in streams:
            stream.reset = True
            self._forget(stream)
            stream.wake()

    def look(self, *, heard: bool) -> str | None:
        """Called once a second; returns why the session must end, if so. `heard`: bytes came since the last look."""
        if heard:
            self._looks_silent = 0
            return None
        self._looks_silent += 1
        if self._looks_silent >= DEAD_AFTER_LOOKS:
            return "gave no sign of life"
        if self._looks_silent == PING_AFTER_LOOKS:
            self.ping()
        return None

    def doubt(self) -> None:
        """Something else speaks against the other side: it has a few looks left to give a sign of life."""
        self._looks_silent = max(self._looks_silent, DEAD_AFTER_LOOKS - DOUBTED_LOOKS)
        self.ping()

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._ping_number = (self._ping_number + 1) & CREDIT_MAX
        self._frame(PING, SYN, 0, self._ping_number)

    # Output --------------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Move data into the output: each stream a piece in its turn, as far as credit and room go."""
        ready = self._ready
        while ready and self.out_bytes < OUT_BYTES_MIXED:
            stream = next(iter(ready))
            del ready[stream]
            self._send_piece(stream)
            if stream.waiting:
                if stream.credit:
                    ready[stream] = None
                continue
            stream.out_position = self.out_bytes_total
            if stream.ended_near:
                self._finish(stream)

    def _send_piece(self, stream: YamuxStream) -> None:
        data = stream.waiting[0]
        size = min(len(data), stream.credit, PIECE_BYTES_MAX)
        piece = data[:size]
        if size == len(data):
            stream.waiting.popleft()
        else:
            stream.waiting[0] = data[size:]
        stream.credit -= size
        stream.waiting_bytes -= size
        self.waiting_bytes -= size
        header = HEADER.pack(VERSION, DATA, 0, stream.number, size)
        if size < BY_REFERENCE_BYTES:
            self.out.append(header + piece)
        else:
            self.out.append(header)
            self.out.append(piece)
        self.out_bytes += HEADER_BYTES + size
        self.out_bytes_total += HEADER_BYTES + size

    def take_out(self) -> bytes | memoryview:
        """Remove and return the next output, b"" if there is none."""
        self.pump()
        out = self.out
        if not out:
            return b""
        size = 0
        position = 0
        for piece in out:
            size += len(piece)
            position += 1
            if size >= JOIN_BYTES_MAX:
                break
        data = b"".join(out[:position]) if position > 1 else out[0]
        del out[:position]
        self.out_bytes -= size
        return data

    def _frame(self, kind: int, flags: int, number: int, length: int) -> None:
        self.out.append(HEADER.pack(VERSION, kind, flags, number, length))
        self.out_bytes += HEADER_BYTES
        self.out_bytes_total += HEADER_BYTES

    def _finish(self, stream: YamuxStream) -> None:
        """Our side of the stream has ended and everything is in the output."""
        self._frame(WINDOW_UPDATE, FIN, stream.number, 0)
        if stream.ended_far:
            self._forget(stream)

    def _is_open(self, stream: YamuxStream) -> bool:
        """Whether the session still knows the stream; its last data can be read after that."""
        return self.streams.get(stream.number) is stream

    def _forget(self, stream: YamuxStream) -> None:
        self.streams.pop(stream.number, None)
        self._ready.pop(stream, None)
        if stream.waiting:
            self.waiting_bytes -= stream.waiting_bytes
            stream.waiting_bytes = 0
            stream.waiting.clear()
            stream.out_position = NEVER
        if stream.reset:
            stream.received.clear()
        self._acknowledge(stream)
        self._count_kept(-stream.bytes_kept - stream.bytes_received)
        stream.bytes_kept = stream.bytes_received = 0

    def _acknowledge(self, stream: YamuxStream) -> None:
        if not stream.acknowledged:
            stream.acknowledged = True
            self._unacknowledged_count -= 1

    # Received ------------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take received bytes; raises ProtocolViolated, or Unreachable where the other side ends the session."""
        if self._head:
            data = self._head + data
            self._head = b""
        position, size = 0, len(data)
        while True:
            left = self._payload_left
            if left:
                piece = data[position : position + left]
                position += len(piece)
                self._payload_left = left - len(piece)
                if self._payload_stream is not None and piece:
                    self._receive(self._payload_stream, piece)
                if self._payload_left:
                    return
                self._payload_over()
            if size - position < HEADER_BYTES:
                self._head = data[position:]
                return
            version, kind, flags, number, length = HEADER.unpack_from(data, position)
            position += HEADER_BYTES
            if version != VERSION or kind > GO_AWAY:
                raise ProtocolViolated(f"yamux: a frame of version {version}, type {kind}")
            if kind == DATA:
                self._data(flags, number, length)
            elif kind == WINDOW_UPDATE:
                self._window_update(flags, number, length)
            elif kind == PING:
                if flags & SYN:
                    self._frame(PING, ACK, 0, length)
            else:
                self._gone(length)

    def _data(self, flags: int, number: int, length: int) -> None:
        stream = self._flags(flags, number)
        if length > WINDOW_BYTES or (stream is not None and length > stream.window):
            raise ProtocolViolated(f"yamux: {length} bytes on stream {number} are more than its window")
        if stream is not None:
            stream.window -= length
        self._payload_stream = stream
        self._payload_flags = flags
        self._payload_left = length
        if not length:
            self._payload_over()

    def _payload_over(self) -> None:
        stream, self._payload_stream = self._payload_stream, None
        if stream is not None and self._payload_flags & (FIN | RST):
            self._ended(stream, self._payload_flags)

    def _receive(self, stream: YamuxStream, piece: bytes) -> None:
        if not self._is_open(stream):
            return
        if stream.ended_far:
            raise ProtocolViolated(f"yamux: data behind the end of stream {stream.number}")
        if stream.received and len(stream.received[-1]) <= SMALL_BYTES_MAX:
            stream.received[-1] += piece
        else:
            stream.received.append(piece)
        stream.bytes_received += len(piece)
        self._count_kept(len(piece))
        if self._kept.is_too_much(self.bytes_kept):
            self.abort(stream)
        stream.wake()

    def _window_update(self, flags: int, number: int, length: int) -> None:
        stream = self._flags(flags, number)
        if stream is None:
            return
        if length:
            stream.credit += length
            if stream.credit > CREDIT_MAX:
                raise ProtocolViolated(f"yamux: more credit on stream {number} than a window can hold")
            if stream.waiting:
                self._ready[stream] = None
                self.pump()
        if flags & (FIN | RST):
            self._ended(stream, flags)

    def _flags(self, flags: int, number: int) -> YamuxStream | None:
        """Open or acknowledge; return the stream that a frame is about, None if it is not open."""
        if flags & SYN:
            return self._opened(number)
        stream = self.streams.get(number)
        if stream is not None and flags & ACK:
            self._acknowledge(stream)
        return stream

    def _opened(self, number: int) -> YamuxStream | None:
        """Take a stream of the other side. Ids need not rise: its writers may overtake one another."""
        if not number or number & 1 != self._parity_far or number in self.streams:
            raise ProtocolViolated(f"yamux: stream {number} cannot be opened")
        if self._accept is None or self.gone_near or len(self.streams) >= STREAMS_MAX:
            self._frame(WINDOW_UPDATE, RST, number, 0)
            return None
        stream = self.streams[number] = YamuxStream(number, acknowledged=True)
        self._frame(WINDOW_UPDATE, ACK, number, 0)
        self._accept(stream)
        return stream

    def _ended(self, stream: YamuxStream, flags: int) -> None:
        if not self._is_open(stream):
            return
        if flags & RST:
            stream.reset = True
            self._forget(stream)
        elif stream.ended_far:
            raise ProtocolViolated(f"yamux: stream {stream.number} was ended twice")
        else:
            stream.ended_far = True
            if stream.ended_near and not stream.waiting:
                self._forget(stream)
        stream.wake()

    def _gone(self, code: int) -> None:
        if code != GO_AWAY_NORMAL:
            raise Unreachable(f"yamux: the other side has ended the session (code {code})")
        self.gone_far = True
