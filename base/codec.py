"""Msgpack in and out, with limits. No other file imports msgpack or msgspec.msgpack.

Three dialects: `encode`/`decode` carry typed records (frozen structs of `structs/`), `pack`/`unpack` carry plain
lists and maps of primitives (frames, envelopes, journal payloads), and `pack_old`/`OldReader` speak the form of msgpack
that foreign members know: text and bytes alike are raw, without the later types. Nothing is ever unpickled.

Typed records are written as arrays in field order: new fields go to the end and have defaults, so that an
older reader ignores them and a newer reader fills them in.
"""

from typing import Any, TypeVar

import msgpack
import msgspec

from base.errors import InvalidRequest

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


class Record(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Base of all typed records that travel or are stored."""


def encode(record: object) -> bytes:
    """Return the bytes of a typed record."""
    return _encoder.encode(record)


def decode(kind: type[T], data: bytes | memoryview) -> T:
    """Return the record of type `kind` in `data`; raises InvalidRequest if it is not one."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(data)  # type: ignore[no-any-return]
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"malformed {getattr(kind, '__name__', kind)}: {error}") from error


def pack(value: object) -> bytes:
    """Return the bytes of a plain value: None, bool, int, float, str, bytes, list, dict of those."""
    return msgpack.packb(value, use_bin_type=True)  # type: ignore[no-any-return]


def unpack(data: bytes | memoryview) -> Any:
    """Return the one plain value in `data`; raises InvalidRequest if it is anything else."""
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False, use_list=True)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException, UnicodeDecodeError) as error:
        raise InvalidRequest(f"malformed msgpack: {error}") from error


class Truncated(InvalidRequest):
    """The bytes end in the middle of a value: more of them may make it whole."""


def pack_old(value: object) -> bytes:
    """Return the bytes of a plain value in the old form: str and bytes both become raw, never str8 or bin."""
    return msgpack.packb(value, use_bin_type=False)  # type: ignore[no-any-return]


class OldReader:
    """Reads consecutive values of the old form from one buffer. Raw values stay `bytes`; keys of maps become `str`."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data)
        self._unpacker = msgpack.Unpacker(
            raw=True, strict_map_key=False, use_list=True, max_buffer_size=max(1, len(self._data))
        )
        self._unpacker.feed(self._data)

    @property
    def position(self) -> int:
        """How many bytes have been read."""
        return self._unpacker.tell()  # type: ignore[no-any-return]

    def read(self) -> Any:
        """Return the next value; raises Truncated where the buffer ends too early, InvalidRequest for anything else."""
        try:
            return _with_text_keys(self._unpacker.unpack())
        except msgpack.OutOfData as error:
            raise Truncated("malformed msgpack: it ends in the middle of a value") from error
        except (ValueError, TypeError, RecursionError, msgpack.UnpackException, UnicodeDecodeError) as error:
            raise InvalidRequest(f"malformed msgpack: {error}") from error

    def rest(self) -> memoryview:
        """Return what has not been read."""
        return self._data[self.position :]


def unpack_old(data: bytes | bytearray | memoryview) -> Any:
    """Return the one value of the old form at the head of `data`; raises as `OldReader.read`."""
    return OldReader(data).read()


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key.decode("utf-8", "surrogateescape") if isinstance(key, bytes) else key: _with_text_keys(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_with_text_keys(item) for item in value]
    return value
