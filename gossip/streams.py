"""Sans-IO: what is around the one message of a stream. Source: wire format, sections 3.2, 3.3 and 4.

Each side sends one message and no sign of its end, so a reader has to see by itself when it is whole: it is fed with
bytes as they come and goes over each of them once. From the outside in: the seal with its length, compression, the
message. A sealed stream is looked into only when all of it is there: until then nobody knows who has written it.
"""

import struct
from collections.abc import Generator

from base.codec import OldReader, OldScanner, Truncated
from base.errors import InvalidRequest, TooLarge
from gossip.fields import LIST_ITEMS_MAX, F, Fields, from_map, same, to_bytes, unsigned
from gossip.keyring import SEAL_OVERHEAD_BYTES, Keyring
from gossip.messages import ErrorMessage, Type, encode
from gossip.packets import compressed, decompressed
from gossip.push_pull import HEADER_BYTES_MAX, Header

KIB = 1024
MIB = 1024 * KIB
STREAM_BYTES_MAX = 10 * MIB
"""What goes over one stream; foreign members refuse more, too. 50,000 members fit in, without compression."""
PLAIN_BYTES_MAX = 20 * MIB
"""The message in it, when it was compressed."""
COMPRESS_BYTES_MAX = 256 * KIB
"""Longer messages go as they are: compressing takes 0.1 s for each MiB, in which nothing else is done."""
USER_MESSAGE_BYTES_MAX = 64 * KIB
"""A message of the upper layer alone: no more than a packet could carry."""
SMALL_BYTES_MAX = 64 * KIB
"""All messages but tables: a few numbers, or the text of an error."""

SEALED_WITHOUT_KEY = "Remote state is encrypted and encryption is not configured"
PLAIN_WITH_KEY = "Encryption is configured but remote state is not encrypted"

_HEADER = struct.Struct(">BI")
_RAW_BYTES_MAX = _HEADER.size + STREAM_BYTES_MAX


class EnvelopeRefused(InvalidRequest):
    """What is around the message cannot be taken off. The sender is told by `error_answer`; other errors only close."""


def error_answer(error: EnvelopeRefused) -> bytes:
    """Return the message that tells the sender why; to be sealed like any other."""
    return encode(ErrorMessage(text=str(error)))


def remote_error_text(message: ErrorMessage) -> str:
    """Return how an error that came as the answer is reported here."""
    return f"remote error: {message.text}"


# Out


def seal_stream(message: bytes, keyring: Keyring | None, nonce: bytes) -> bytes:
    """Return the bytes to send; `nonce` is 12 random bytes, not looked at without a keyring.

    Raises TooLarge for what nobody would take.
    """
    if len(message) <= COMPRESS_BYTES_MAX:
        message = compressed(message)
    if _sealed_bytes(message) > STREAM_BYTES_MAX:
        raise TooLarge(_larger_than_limit(_sealed_bytes(message)))
    if not keyring:
        return message
    header = _HEADER.pack(Type.ENCRYPTED, _sealed_bytes(message))
    return header + keyring.seal(message, header, nonce)


def _sealed_bytes(message: bytes) -> int:
    return len(message) + SEAL_OVERHEAD_BYTES


def _larger_than_limit(bytes_count: int) -> str:
    return f"Remote node state is larger than limit ({bytes_count})"


class _UserHeader(Fields, frozen=True, kw_only=True):
    FIELDS = {"message_bytes": ("UserMsgLen", unsigned(USER_MESSAGE_BYTES_MAX), same)}
    message_bytes: int = 0


def encode_user_message(message: bytes) -> bytes:
    """Return a message of the upper layer as it stands on a stream, type byte included."""
    return bytes((Type.USER,)) + to_bytes(_UserHeader(message_bytes=len(message))) + message


def decode_user_message(data: bytes) -> bytes:
    """Return the message of the upper layer in what a `StreamReader` has found; raises InvalidRequest."""
    reader = OldReader(memoryview(data)[1:], list_items_max=LIST_ITEMS_MAX)
    header = from_map(_UserHeader, reader.read_within(HEADER_BYTES_MAX))
    message = bytes(reader.rest()[: header.message_bytes])
    if data[:1] != bytes((Type.USER,)) or len(message) < header.message_bytes:
        raise InvalidRequest("not a whole user message")
    return message


# In


class StreamReader:
    """Takes the bytes of one stream, until there is a message."""

    def __init__(self, keyring: Keyring | None, *, verify_incoming: bool = True) -> None:
        """With `verify_incoming`, whoever has a keyring takes nothing plain."""
        self._keyring = keyring
        self._verify_incoming = verify_incoming
        self._sealed = bytearray()
        self._finder: _Finder | None = None
        self.message: bytes | None = None
        """The plain message, type byte and body, once it is whole. What comes behind it is ignored."""

    def feed(self, data: bytes) -> bytes | None:
        """Take the next bytes and return `message`.

        Raises EnvelopeRefused for what the sender is to be told; InvalidRequest or TooLarge for a message that is none
        or belongs on no stream. The reader is of no use then.
        """
        if self.message is None and data:
            self.message = self._take(data)
        return self.message

    def end(self) -> None:
        """No more bytes come; raises Truncated if the message is not whole."""
        if self.message is None:
            raise Truncated("the stream ended in the middle of its message")

    def _take(self, data: bytes) -> bytes | None:
        if self._sealed or (self._finder is None and data[0] == Type.ENCRYPTED):
            if not self._keyring:
                raise EnvelopeRefused(SEALED_WITHOUT_KEY)
            return self._take_sealed(data)
        if self._finder is None:
            if self._keyring and self._verify_incoming:
                raise EnvelopeRefused(PLAIN_WITH_KEY)
            self._finder = _Finder(_RAW_BYTES_MAX)
        message = self._finder.feed(data)
        return message and _unwrapped(message)

    def _take_sealed(self, data: bytes) -> bytes | None:
        self._sealed += data
        if len(self._sealed) < _HEADER.size:
            return None
        _, size = _HEADER.unpack_from(self._sealed)
        if size > STREAM_BYTES_MAX:
            raise EnvelopeRefused(_larger_than_limit(size))
        if len(self._sealed) < _HEADER.size + size or not self._keyring:
            return None
        sealed = bytes(self._sealed[: _HEADER.size + size])
        try:
            plain = self._keyring.open(sealed[_HEADER.size :], sealed[: _HEADER.size])
        except InvalidRequest as error:
            raise EnvelopeRefused(str(error)) from error
        return _unwrapped(_whole(plain))


def _unwrapped(message: bytes) -> bytes:
    """Return the message without compression, which there is once at most."""
    if message[0] != Type.COMPRESSED:
        return message
    try:
        plain = decompressed(message, PLAIN_BYTES_MAX)
    except (InvalidRequest, TooLarge) as error:
        raise EnvelopeRefused(str(error)) from error
    if plain[:1] == bytes((Type.COMPRESSED,)):
        raise InvalidRequest("compressed twice")
    return _whole(plain)


def _whole(plain: bytes) -> bytes:
    message = _Finder(PLAIN_BYTES_MAX).feed(plain)
    if message is None:
        raise Truncated("a stream with half a message")
    return message


class _Finder:
    """Finds the end of one message in bytes that come piece by piece.

    It is in no cycle with its search: megabytes that somebody sent must not wait for the garbage collector.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._data = bytearray()
        self._scanner = OldScanner(bytes_max)
        self._search = _Search(self._data, self._scanner).find()

    def feed(self, data: bytes) -> bytes | None:
        """Return the message once it is whole; raises InvalidRequest or TooLarge."""
        if len(self._data) + len(data) > self._bytes_max:
            raise TooLarge(_larger_than_limit(len(self._data) + len(data)))
        body = data if self._data else data[1:]
        self._data += data
        if not self._data:
            return None
        self._scanner.feed(body)
        try:
            next(self._search)
        except StopIteration as found:
            return bytes(memoryview(self._data)[: found.value])
        return None


class _Search:
    """Goes over the bytes that a finder is fed with."""

    def __init__(self, data: bytearray, scanner: OldScanner) -> None:
        self._data = data
        self._scanner = scanner

    def find(self) -> Generator[None, None, int]:
        """Return where the message ends; yields whenever there are not enough bytes to tell."""
        kind = self._data[0]
        if kind == Type.PUSH_PULL:
            table = yield from self._header(Header)
            for _ in range(table.nodes_count):
                yield from self._value()
            end = self._position + table.user_state_bytes
        elif kind == Type.USER:
            end = (yield from self._header(_UserHeader)).message_bytes
            end += self._position
        elif kind == Type.COMPRESSED:
            try:
                yield from self._value()
            except InvalidRequest as error:
                raise EnvelopeRefused(str(error)) from error
            end = self._position
        elif kind in (Type.PING, Type.ACK, Type.ERROR):
            yield from self._value(SMALL_BYTES_MAX)
            end = self._position
        else:
            raise InvalidRequest(f"message type {kind} on a stream")
        while len(self._data) < end:
            yield
        return end

    @property
    def _position(self) -> int:
        return 1 + self._scanner.position

    def _value(self, bytes_max: int = PLAIN_BYTES_MAX) -> Generator[None, None, None]:
        start = self._position
        while not self._scanner.skip():
            if len(self._data) - start > bytes_max:
                raise TooLarge(f"a value of more than {bytes_max} bytes")
            yield
        if self._position - start > bytes_max:
            raise TooLarge(f"a value of more than {bytes_max} bytes")

    def _header(self, kind: type[F]) -> Generator[None, None, F]:
        yield from self._value(HEADER_BYTES_MAX)
        data = bytes(self._data[1 : self._position])
        return from_map(kind, OldReader(data, list_items_max=LIST_ITEMS_MAX).read())
