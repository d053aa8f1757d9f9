"""Msgpack in and out, with limits. No other file imports msgpack or msgspec.msgpack.

Three dialects: `encode`/`decode` carry typed records (frozen structs of `structs/`), `pack`/`unpack` carry plain
lists and maps of primitives (frames, envelopes, journal payloads), and `pack_old`/`OldReader` speak the form of msgpack
that foreign members know: text and bytes alike are raw, without the later types. Nothing is ever unpickled.

Typed records are written as arrays in field order: new fields go to the end and have defaults, so that an
older reader ignores them and a newer reader fills them in.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgpack
import msgspec

from base.errors import InvalidRequest, TooLarge

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[Any, msgspec.msgpack.Decoder[Any]] = {}


class Record(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Base of all typed records that travel or are stored."""


def encode(record: object) -> bytes:
    """Return the bytes of a typed record; raises InvalidRequest for half a character or a number beyond 64 bits."""
    try:
        return _encoder.encode(record)
    except (UnicodeEncodeError, OverflowError) as error:
        raise InvalidRequest(f"no text or no number of 64 bits: {error}") from error


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


READER_BYTES_MIN = 1024
"""Buffer of a reader of pieces to begin with: most requests are smaller, and there is one for each stream."""
READER_BYTES_KEPT = 64 * 1024
"""Pieces fed at a time are no larger; a reader that had to grow beyond is made anew for the next value."""


class Mistyped(InvalidRequest):
    """A value of the old form that is not what its field takes."""


class Truncated(InvalidRequest):
    """The bytes end in the middle of a value: more of them may make it whole."""


def pack_old(value: object) -> bytes:
    """Return the bytes of a plain value in the old form: str and bytes both become raw, never str8 or bin."""
    return msgpack.packb(value, use_bin_type=False)  # type: ignore[no-any-return]


OLD_LIST_ITEMS_MAX = 1 << 16
"""Items of one list. The decoder makes room for all that a list announces, level by level, before it has seen any."""
_NIL_BYTES = b"\xc0"
_SMALL_HEADS = frozenset((*range(0x80), *range(0xA0, 0xC1), 0xC2, 0xC3, *range(0xCA, 0xD4), *range(0xE0, 0x100)))
"""First bytes of values that hold no others and take little: numbers, nil, truth values, short raw values."""
_SMALL_BYTES_MAX = 32
"""The largest of them: a raw value of 31 bytes."""
_RAW_HEADS = frozenset((*range(0xA0, 0xC0), *range(0xC4, 0xC7), *range(0xD9, 0xDC)))
"""First bytes of raw values: short ones; those of later forms, which are taken too; long ones."""


def _old_unpacker(bytes_max: int, list_items_max: int) -> Any:
    return msgpack.Unpacker(
        raw=True, strict_map_key=True, use_list=True, max_buffer_size=bytes_max, max_array_len=list_items_max
    )


class _ErrorsOfOurs:
    """Turns the errors of the msgpack library into ours; a class, since a generator would cost more than a value."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, msgpack.OutOfData):
            raise Truncated("malformed msgpack: it ends in the middle of a value") from error
        if isinstance(error, _NOT_MSGPACK):
            raise InvalidRequest(f"malformed msgpack: {error or type(error).__name__}") from error


_NOT_MSGPACK = (ValueError, TypeError, RecursionError, msgpack.UnpackException, UnicodeDecodeError)
_errors_of_ours = _ErrorsOfOurs()


class OldReader:
    """Reads consecutive values of the old form from one buffer.

    Raw values stay `bytes`; keys of maps must be raw and become `str`. All methods raise Truncated where the buffer
    ends too early and InvalidRequest for anything else that is wrong; the reader is of no use afterwards.
    """

    def __init__(self, data: bytes | bytearray | memoryview, *, list_items_max: int = OLD_LIST_ITEMS_MAX) -> None:
        self._data = memoryview(data)
        self._list_items_max = list_items_max
        self._unpacker = _old_unpacker(max(1, len(self._data)), list_items_max)
        self._unpacker.feed(self._data)

    @property
    def position(self) -> int:
        """How many bytes have been read."""
        return self._unpacker.tell()  # type: ignore[no-any-return]

    def read(self) -> Any:
        """Return the next value."""
        with _errors_of_ours:
            return _with_text_keys(self._unpacker.unpack())

    def read_within(self, bytes_max: int) -> Any:
        """Return the next value; TooLarge, before anything is built of it, if it takes more than `bytes_max` bytes.

        A tree of tiny values takes a hundred times the memory of its bytes, so large buffers are best read like this.
        """
        start = self.position
        if bytes_max >= _SMALL_BYTES_MAX and start < len(self._data) and self._data[start] in _SMALL_HEADS:
            with _errors_of_ours:
                return self._unpacker.unpack()
        with _errors_of_ours:
            self._unpacker.skip()
        data = self._data[start : self.position]
        if len(data) > bytes_max:
            raise TooLarge(f"a value of {len(data)} bytes where at most {bytes_max} are expected")
        with _errors_of_ours:
            return _with_text_keys(
                msgpack.unpackb(data, raw=True, strict_map_key=True, use_list=True, max_array_len=self._list_items_max)
            )

    def read_raw(self, bytes_max: int) -> bytes:
        """Return the next value, which must be raw: anything else is InvalidRequest before anything is built of it."""
        head = self.rest()[:1].tobytes()
        if head and head[0] not in _RAW_HEADS:
            raise InvalidRequest("malformed msgpack: raw bytes expected")
        return self.read_within(bytes_max)  # type: ignore[no-any-return]

    def skip(self) -> None:
        """Go past the next value and build nothing of it."""
        with _errors_of_ours:
            self._unpacker.skip()

    def enter_map(self, pairs_max: int) -> int:
        """Return how many pairs the map ahead has, and go to the first key; nil counts as empty."""
        return self._enter(self._unpacker.read_map_header, pairs_max)

    def enter_list(self, items_max: int) -> int:
        """Return how many items the list ahead has, and go to the first; nil counts as empty."""
        return self._enter(self._unpacker.read_array_header, items_max)

    def _enter(self, read_header: Callable[[], int], most: int) -> int:
        if self.rest()[:1] == _NIL_BYTES:
            self.skip()
            return 0
        with _errors_of_ours:
            count = read_header()
        if count > most:
            raise TooLarge(f"{count} items where at most {most} are expected")
        return count

    def rest(self) -> memoryview:
        """Return what has not been read."""
        return self._data[self.position :]


class OldScanner:
    """Finds where values of the old form end while their bytes are still coming in; builds nothing of them.

    It goes on where it stopped, so the time for a value is that of its bytes, in however many pieces they come.
    """

    def __init__(self, bytes_max: int) -> None:
        """Make a scanner that will be fed at most `bytes_max` bytes."""
        self._unpacker = _old_unpacker(bytes_max, 0)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; raises TooLarge beyond the bound."""
        try:
            self._unpacker.feed(data)
        except msgpack.BufferFull as error:
            raise TooLarge("more bytes than were announced") from error

    def skip(self) -> bool:
        """Go past one value; False if it is not whole yet. Raises InvalidRequest for what is no value."""
        try:
            with _errors_of_ours:
                self._unpacker.skip()
        except Truncated:
            return False
        return True

    @property
    def position(self) -> int:
        """How many bytes the values take that were passed; means nothing in the middle of one."""
        return self._unpacker.tell()  # type: ignore[no-any-return]


class OldFeed:
    """Reads values of the old form from bytes that come in pieces; every byte is looked at once.

    What is announced is bounded before memory is taken for it, and so is what a value may grow to: after TooLarge or
    InvalidRequest the reader is of no more use.
    """

    __slots__ = ("_containers_count", "_containers_max", "_fed_bytes", "_items_max", "_start", "_unpacker",
                 "_value_bytes_max")  # fmt: skip

    def __init__(self, *, value_bytes_max: int, items_max: int, containers_max: int) -> None:
        """`items_max` bounds one list or map, `containers_max` how many of them a value has."""
        self._value_bytes_max = value_bytes_max
        self._items_max = items_max
        self._containers_max = containers_max
        self._containers_count = 0
        self._fed_bytes = 0
        self._start = 0
        """Where the value under way begins, counted as `_fed_bytes`."""
        self._unpacker: Any = None

    @property
    def bytes_kept(self) -> int:
        """Bytes fed that are part of no value returned."""
        return self._fed_bytes - self._start

    def feed(self, data: bytes) -> None:
        """Take what was received; raises TooLarge."""
        if self._unpacker is None:
            self._unpacker = self._fresh()
            self._fed_bytes = self._start = 0
        self._fed_bytes += len(data)
        try:
            self._unpacker.feed(data)
        except msgpack.BufferFull as error:
            raise TooLarge(f"msgpack: a value of more than {self._value_bytes_max} bytes") from error

    def read(self) -> Any:
        """Return the next value; raises Truncated where more has to be fed, TooLarge, InvalidRequest."""
        if self._unpacker is None:
            raise Truncated("msgpack: nothing there")
        try:
            value = self._unpacker.unpack()
        except msgpack.OutOfData as error:
            if self._fed_bytes - self._start > self._value_bytes_max:
                raise TooLarge(f"msgpack: a value of more than {self._value_bytes_max} bytes") from error
            raise Truncated("msgpack: it goes on") from error
        except (ValueError, TypeError, RecursionError, msgpack.UnpackException, UnicodeDecodeError) as error:
            raise InvalidRequest(f"malformed msgpack: {error}") from error
        self._containers_count = 0
        self._start = self._unpacker.tell()
        if self._start == self._fed_bytes > READER_BYTES_KEPT:
            self._unpacker = None  # its buffer has grown to the largest value and would stay so
        return value

    def let_go(self) -> None:
        """Forget what was fed. Until then it is in a cycle with its buffer, which only the garbage collector ends."""
        self._unpacker = None
        self._start = self._fed_bytes

    def _fresh(self) -> Any:
        return msgpack.Unpacker(
            raw=True,
            strict_map_key=False,
            use_list=True,
            read_size=READER_BYTES_MIN,
            max_buffer_size=self._value_bytes_max + READER_BYTES_KEPT,
            max_str_len=self._value_bytes_max,
            max_bin_len=self._value_bytes_max,
            max_array_len=self._items_max,
            max_map_len=self._items_max,
            max_ext_len=0,
            list_hook=self._list_read,
            object_hook=self._map_read,
        )

    def _list_read(self, items: list[Any]) -> list[Any]:
        self._containers_count += 1
        if self._containers_count > self._containers_max:
            raise ValueError(f"more than {self._containers_max} lists and maps")
        return items

    def _map_read(self, items: dict[Any, Any]) -> dict[Any, Any]:
        self._containers_count += 1
        if self._containers_count > self._containers_max:
            raise ValueError(f"more than {self._containers_max} lists and maps")
        return {
            key.decode("utf-8", "surrogateescape") if type(key) is bytes else key: item for key, item in items.items()
        }


def unpack_old(data: bytes | bytearray | memoryview) -> Any:
    """Return the one value of the old form at the head of `data`; raises as `OldReader.read`."""
    return OldReader(data).read()


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key.decode("utf-8", "surrogateescape"): _with_text_keys(item) if type(item) in _CONTAINERS else item
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_with_text_keys(item) if type(item) in _CONTAINERS else item for item in value]
    return value


_CONTAINERS = (dict, list)
