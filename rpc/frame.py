"""Sans-IO: bytes and frames. Limits are checked before memory is taken.

A frame is its length, u32 big-endian, and a msgpack array `[seq, kind, method, body]`. `seq` names the call or stream:
odd ones were opened by the side that dialled, even ones by the side that accepted. `method` is "" except where a call
or stream is opened. `body` is always bytes: an encoded record, a chunk, an error (`rpc/errors.py`) or a number.
"""

from typing import Final

from base.codec import Record, decode, encode
from base.errors import InvalidRequest, TooLarge
from rpc.errors import ProtocolViolated

KIB: Final = 1024
MIB: Final = 1024 * KIB

REQUEST: Final = 1
"""Opens a call: method and body."""
REPLY: Final = 2
"""Ends a call of the receiver."""
ERROR: Final = 3
"""Ends a call or stream of the receiver; the body is an error."""
CANCEL: Final = 4
"""The sender of a request or stream does not want it any more; there is no answer."""
STREAM: Final = 5
"""Opens a stream: method and body."""
DATA: Final = 6
"""One chunk of a stream; costs the sender its credit."""
END: Final = 7
"""No more chunks from this side. From the side that was asked: the stream is complete."""
CREDIT: Final = 8
"""The receiver of this frame may send so many more bytes: u32 big-endian."""
PING: Final = 9
"""Are you there? `seq` 0. The body, if there is one, says what the sender knows besides (`FEATURES`)."""
PONG: Final = 10
"""Yes. `seq` 0. With a body, as that of a ping, if the ping had one."""
LARGE: Final = 11
"""Announces a reply of the size in the body, u64 big-endian: it comes in parts, and ends the call."""
PART: Final = 12
"""The next bytes of such a reply."""

FEATURES: Final = b"\x01"
"""What this side knows besides the first version, a bit each: 1, large replies. Others' unknown bits are ignored."""

PREFIX_BYTES: Final = 4
CHUNK_BYTES_MAX: Final = MIB
"""One chunk of a stream."""
BODY_BYTES_MAX: Final = 4 * MIB
"""One request, and one reply in a frame of its own; larger replies come in parts (`rpc/large.py`)."""
FRAME_BYTES_MAX: Final = BODY_BYTES_MAX + 64 * KIB
"""Body, method name and array: what a receiver accepts behind a length prefix."""
METHOD_CHARACTERS_MAX: Final = 128
BODY_BY_REFERENCE_BYTES: Final = 32 * KIB
"""From here on a body is appended to the output as it is, since copying it costs more than a second piece."""

assert CHUNK_BYTES_MAX < BODY_BYTES_MAX < FRAME_BYTES_MAX < 1 << 32


class Frame(Record, frozen=True, kw_only=True):
    """One frame as it was received."""

    seq: int
    kind: int
    method: str
    body: bytes


def encode_frame(seq: int, kind: int, method: str, body: bytes, out: list[bytes]) -> int:
    """Append the pieces of a frame to `out` and return their size in bytes; raises TooLarge."""
    body_bytes = len(body)
    if body_bytes < BODY_BY_REFERENCE_BYTES:
        payload = encode((seq, kind, method, body))
        size = len(payload)
        out.append(size.to_bytes(PREFIX_BYTES, "big") + payload)
        return PREFIX_BYTES + size
    if body_bytes > BODY_BYTES_MAX:
        raise TooLarge(f"rpc: a body of {body_bytes} bytes exceeds {BODY_BYTES_MAX}")
    # The array with an empty body ends in "bin8, 0 bytes"; in its place goes "bin32, n bytes".
    head = encode((seq, kind, method, b""))[:-2] + b"\xc6" + body_bytes.to_bytes(4, "big")
    size = len(head) + body_bytes
    out.append(size.to_bytes(PREFIX_BYTES, "big") + head)
    out.append(body)
    return PREFIX_BYTES + size


class FrameReader:
    """Received bytes in, frames out. Keeps at most one unfinished frame and the last bytes fed."""

    __slots__ = ("_data", "_position")

    def __init__(self) -> None:
        self._data: bytes | bytearray = b""
        self._position = 0

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        if self._position == len(self._data):
            self._data = data
        elif isinstance(self._data, bytearray):
            del self._data[: self._position]
            self._data += data
        else:
            rest = bytearray(memoryview(self._data)[self._position :])
            rest += data
            self._data = rest
        self._position = 0

    @property
    def bytes_kept(self) -> int:
        """Bytes that were fed and are not part of a returned frame."""
        return len(self._data) - self._position

    def next(self) -> Frame | None:
        """Return the next complete frame, None if there is none yet; raises ProtocolViolated for ever after."""
        data = self._data
        start = self._position + PREFIX_BYTES
        if start > len(data):
            return None
        size = int.from_bytes(data[self._position : start], "big")
        if size > FRAME_BYTES_MAX:
            raise ProtocolViolated(f"a frame of {size} bytes exceeds {FRAME_BYTES_MAX}")
        end = start + size
        if end > len(data):
            return None
        try:
            frame = decode(Frame, memoryview(data)[start:end])
        except InvalidRequest as error:
            raise ProtocolViolated(str(error)) from error
        self._position = end
        return frame
