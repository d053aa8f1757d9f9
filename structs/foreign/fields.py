"""Sans-IO: the parts of a table that reads foreign maps into our records and writes them back.

A table lists, for one record, the foreign fields in the order in which they are declared there. Reading is strict about
types (Mistyped names the field) and lenient about presence: what is missing or nil is the zero value of its
type, *not* the default of our record; unknown fields are skipped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from struct import Struct
from typing import Any, Final, NamedTuple, Protocol

from base.codec import Mistyped, Record
from base.errors import InvalidRequest

NANOSECONDS: Final = 1_000_000_000
NANOSECONDS_PER_MS: Final = 1_000_000
DEPTH_MAX: Final = 32
"""Nesting of free values; nobody configures a proxy deeper."""


class Shape(NamedTuple):
    """One type of value: how it is read (None is nil) and written (None: as it is)."""

    decode: Callable[[Any], Any]
    encode: Callable[[Any], Any] | None = None


# Plain values ------------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if type(value) is bytes:
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise Mistyped("text that is not UTF-8") from error
    if value is None:
        return ""
    raise _wrong("text", value)


def _prose(value: Any) -> str:
    return value.decode("utf-8", "replace") if type(value) is bytes else _text(value)


def _bytes(value: Any) -> bytes:
    if type(value) is bytes:
        return value
    if value is None:
        return b""
    raise _wrong("bytes", value)


def _flag(value: Any) -> bool:
    if type(value) is bool:
        return value
    if value is None or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise _wrong("a bool", value)


def _number(value: Any) -> float:
    if type(value) is float or type(value) is int:
        return float(value)
    if value is None:
        return 0.0
    raise _wrong("a number", value)


def integer(low: int, high: int) -> Shape:
    """Whole numbers from `low` to `high`."""

    def decode(value: Any) -> int:
        if type(value) is int and low <= value <= high:
            return value
        if value is None:
            return 0
        raise _wrong(f"a whole number from {low} to {high}", value)

    return Shape(decode)


def _wrong(expected: str, value: Any) -> Mistyped:
    return Mistyped(f"expected {expected}, got {type(value).__name__}")


TEXT: Final = Shape(_text)
PROSE: Final = Shape(_prose)
"""Text for people, which may have been cut in the middle of a character: what is broken in it is replaced."""
BYTES: Final = Shape(_bytes, lambda value: value or None)
"""Raw; nothing is nil."""
FLAG: Final = Shape(_flag)
NUMBER: Final = Shape(_number)
UNSIGNED: Final = integer(0, (1 << 64) - 1)
SIGNED: Final = integer(-(1 << 63), (1 << 63) - 1)
DURATION: Final = SIGNED
"""Nanoseconds, here and there."""
SECONDS: Final = Shape(
    lambda value: max(0, SIGNED.decode(value)) / NANOSECONDS, lambda seconds: int(seconds * NANOSECONDS)
)
"""Nanoseconds there, seconds (float, at least 0) here."""
MILLISECONDS: Final = Shape(
    lambda value: max(0, SIGNED.decode(value)) // NANOSECONDS_PER_MS, lambda count: count * NANOSECONDS_PER_MS
)
"""Nanoseconds there, whole milliseconds here."""


def _free(value: Any, depth: int = 0) -> Any:
    if depth > DEPTH_MAX:
        raise Mistyped(f"more than {DEPTH_MAX} levels")
    if type(value) is bytes:
        return value.decode("utf-8", "replace")
    if type(value) is list:
        return [_free(item, depth + 1) for item in value]
    if type(value) is dict:
        return {_free_key(key): _free(item, depth + 1) for key, item in value.items()}
    if value is None or type(value) in (bool, int, float):
        return value
    raise _wrong("a plain value", value)


def _free_key(key: Any) -> str:
    if type(key) is not str:
        raise _wrong("a map with text keys", key)
    return _utf8(key)


def _utf8(key: str) -> str:
    """Keys come with what is no UTF-8 escaped, see base/codec.py; no record may hold that."""
    return key if key.isascii() else key.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


FREE: Final = Shape(_free)
"""Whatever the sender had. Text arrives as raw and is taken for text."""

TIME: Final = Struct(">BqIh")
TIME_VERSIONS: Final = {1: 15, 2: 16}
"""Version -> bytes; the second has the seconds of its offset behind."""
EPOCH_S: Final = 62_135_596_800
"""Seconds from the year 1 to 1970."""
OFFSET_UTC: Final = -1
TIME_ZERO: Final = TIME.pack(1, 0, 0, OFFSET_UTC)


def _time(value: Any) -> float:
    if value is None:
        return 0.0
    if type(value) is not bytes:
        raise _wrong("a time", value)
    if not value:
        raise Mistyped("Time.UnmarshalBinary: no data")
    if TIME_VERSIONS.get(value[0]) != len(value):
        raise Mistyped("Time.UnmarshalBinary: unsupported version or invalid length")
    _, seconds, nanoseconds, _ = TIME.unpack_from(value)
    if seconds == 0 and nanoseconds == 0:
        return 0.0
    return float(seconds - EPOCH_S + nanoseconds / NANOSECONDS)


def _time_bytes(unix_s: float) -> bytes:
    if unix_s == 0:
        return TIME_ZERO
    nanoseconds = round(unix_s * NANOSECONDS)
    return TIME.pack(1, nanoseconds // NANOSECONDS + EPOCH_S, nanoseconds % NANOSECONDS, OFFSET_UTC)


MOMENT: Final = Shape(_time, _time_bytes)
"""Seconds since 1970 here; 0 is "none", there the zero time."""


def word_of(kind: type[StrEnum], what: str) -> Shape:
    """One of the words of `kind`; another one is an InvalidRequest that names it as `what`."""

    def decode(value: Any) -> Any:
        text = _text(value)
        try:
            return kind(text)
        except ValueError as error:
            raise InvalidRequest(f'unknown {what} "{text}"') from error

    return Shape(decode)


# Lists and maps ----------------------------------------------------------------------------------------------------


def list_of(item: Shape) -> Shape:
    """A list; nil is None here, and stays apart from an empty one."""

    def decode(value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not list:
            raise _wrong("a list", value)
        return [item.decode(each) for each in value]

    def encode(items: Any) -> Any:
        if items is None or item.encode is None:
            return items
        return [item.encode(each) for each in items]

    return Shape(decode, encode if item.encode is not None else None)


def map_of(item: Shape) -> Shape:
    """A map with text keys; nil is None here, and stays apart from an empty one."""

    def decode(value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not dict:
            raise _wrong("a map", value)
        return {_free_key(key): item.decode(each) for key, each in value.items()}

    def encode(items: Any) -> Any:
        if items is None or item.encode is None:
            return items
        return {key: item.encode(each) for key, each in items.items()}

    return Shape(decode, encode if item.encode is not None else None)


def filled(shape: Shape, empty: Callable[[], Any]) -> Shape:
    """A list or map that is never None here: nil reads as empty, and empty is written as nil."""

    def decode(value: Any) -> Any:
        return empty() if value is None else shape.decode(value)

    def encode(items: Any) -> Any:
        return (shape.encode(items) if shape.encode is not None else items) if items else None

    return Shape(decode, encode)


def optional(shape: Shape) -> Shape:
    """A value that may be nil, None here."""

    def decode(value: Any) -> Any:
        return None if value is None else shape.decode(value)

    def encode(value: Any) -> Any:
        return value if value is None or shape.encode is None else shape.encode(value)

    return Shape(decode, encode)


TEXTS: Final = list_of(TEXT)
TEXT_MAP: Final = map_of(PROSE)
TEXT_MAP_FILLED: Final = filled(TEXT_MAP, dict)


# Tables ------------------------------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """One field as it is written: where its value stands below the record ("" the record itself), and its form."""

    name: str
    path: str
    convert: Callable[[Any], Any] | None


class Part(Protocol):
    """One line of a table."""

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """Put what the map says into the arguments of the record; raises Mistyped."""

    def entries(self, prefix: str) -> list[Entry]:
        """Return the fields to write; `prefix` ends with a dot unless it is ""."""

    def names(self) -> list[str]:
        """Return the foreign names in the order in which they are declared."""


@dataclass(frozen=True)
class Field:
    """A foreign field that is an attribute of the record."""

    name: str
    attribute: str
    shape: Shape

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """See Part."""
        try:
            arguments[self.attribute] = self.shape.decode(value.get(self.name))
        except Mistyped as error:
            raise Mistyped(f"{self.name}: {error}") from error

    def entries(self, prefix: str) -> list[Entry]:
        """See Part."""
        return [Entry(self.name, prefix + self.attribute, self.shape.encode)]

    def names(self) -> list[str]:
        """See Part."""
        return [self.name]


@dataclass(frozen=True)
class Constant:
    """A foreign field that the record does not have."""

    name: str
    value: Any

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """See Part."""

    def entries(self, prefix: str) -> list[Entry]:
        """See Part."""
        return [Entry(self.name, prefix.rstrip("."), lambda _: self.value)]

    def names(self) -> list[str]:
        """See Part."""
        return [self.name]


@dataclass(frozen=True)
class Absent:
    """An attribute of the record that is unknown there."""

    attribute: str
    value: Any

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """See Part."""
        arguments[self.attribute] = self.value

    def entries(self, prefix: str) -> list[Entry]:
        """See Part."""
        return []

    def names(self) -> list[str]:
        """See Part."""
        return []


@dataclass(frozen=True)
class Flat:
    """A record inside ours whose fields stand among ours there."""

    attribute: str
    table: "Table"

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """See Part."""
        arguments[self.attribute] = self.table.read(value)

    def entries(self, prefix: str) -> list[Entry]:
        """See Part."""
        return self.table.entries(f"{prefix}{self.attribute}.")

    def names(self) -> list[str]:
        """See Part."""
        return self.table.names()


class Inside:
    """A map there whose fields stand among ours here."""

    def __init__(self, name: str, *parts: Part) -> None:
        self.name = name
        self._parts = parts
        self._write = _writer(parts)
        self._order = [name for part in parts for name in part.names()]

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """See Part."""
        try:
            inner = _as_map(value.get(self.name), self._order)
            for part in self._parts:
                part.read(inner, arguments)
        except Mistyped as error:
            raise Mistyped(f"{self.name}: {error}") from error

    def entries(self, prefix: str) -> list[Entry]:
        """See Part."""
        return [Entry(self.name, prefix.rstrip("."), self._write)]

    def names(self) -> list[str]:
        """See Part."""
        return [self.name]


class Table:
    """One record and the foreign map it is made of."""

    def __init__(self, record: type[Record], *parts: Part) -> None:
        self.record = record
        self._parts = parts
        self._order = self.names()
        self.encode = _writer(parts)
        """Return the foreign map of a record, fields sorted by name."""
        self.shape = Shape(self.decode, self.encode)

    def decode(self, value: Any) -> Any:
        """Return the record of a foreign map; nil is the record of zero values, a list fills the fields in their order.

        Raises Mistyped, InvalidRequest.
        """
        return self.read(_as_map(value, self._order))

    def read(self, value: dict[Any, Any]) -> Any:
        """Return the record of a map that may have other fields besides."""
        arguments: dict[str, Any] = {}
        for part in self._parts:
            part.read(value, arguments)
        return self.record(**arguments)

    def entries(self, prefix: str) -> list[Entry]:
        """See Part; of all parts."""
        return [entry for part in self._parts for entry in part.entries(prefix)]

    def names(self) -> list[str]:
        """See Part; of all parts."""
        return [name for part in self._parts for name in part.names()]


def _as_map(value: Any, order: list[str]) -> dict[Any, Any]:
    if type(value) is dict:
        return value
    if value is None:
        return {}
    if type(value) is list:
        return dict(zip(order, value, strict=False))
    raise _wrong("a map", value)


def _writer(parts: tuple[Part, ...]) -> Callable[[Any], dict[str, Any]]:
    """Return a function that writes the parts of a record, most of it in one call of C code."""
    first: dict[str, Entry] = {}
    for part in parts:
        for entry in part.entries(""):
            first.setdefault(entry.name, entry)  # of two fields of one name the outer one counts
    entries = sorted(first.values())
    names = [entry.name for entry in entries]
    # Two paths at least, as attrgetter returns no tuple for one; what needs the record itself gets it below.
    get = attrgetter(*(entry.path or "__class__" for entry in entries), "__class__", "__class__")
    converted = [
        (position, entry.path == "", entry.convert)
        for position, entry in enumerate(entries)
        if entry.convert is not None
    ]

    def encode(record: Any) -> dict[str, Any]:
        values = list(get(record))
        for position, whole, convert in converted:
            values[position] = convert(record if whole else values[position])
        return dict(zip(names, values, strict=False))

    return encode
