"""Msgpack in and out, with limits. No other file imports msgpack or msgspec.msgpack.

Two dialects: `encode`/`decode` carry typed records (frozen structs of `structs/`), `pack`/`unpack` carry plain
lists and maps of primitives (frames, envelopes, journal payloads). Nothing is ever unpickled.

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
