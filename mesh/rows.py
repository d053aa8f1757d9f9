"""Sans-IO: records of `structs/` from the JSON of an agent and back; a table each, in `mesh/shapes.py`."""

import base64
import binascii
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from base.durations import format_duration, parse_duration_s
from base.errors import Internal

R = TypeVar("R", bound=msgspec.Struct)
NANOSECONDS = 1_000_000_000


class Codec(Protocol):
    """How one value looks in JSON."""

    def read(self, value: Any) -> Any:
        """Return what a value that is not null means; raises Internal."""

    def write(self, value: Any) -> Any:
        """Return how it is sent."""


class Shape(Generic[R]):
    """How one record looks in JSON: `Name="field"`, or `Name=("field", codec)` where the value is not plain."""

    def __init__(self, record: type[R], **fields: "str | tuple[str, Codec]") -> None:
        self._record = record
        self._given = {name: (spec, None) if isinstance(spec, str) else spec for name, spec in fields.items()}

    @property
    def names(self) -> tuple[str, ...]:
        """The names in JSON."""
        return tuple(self._given)

    @cached_property
    def _fields(self) -> dict[str, tuple[str, Codec | None, msgspec.structs.FieldInfo]]:
        known = {info.name: info for info in msgspec.structs.fields(self._record)}
        return {name: (field, codec, known[field]) for name, (field, codec) in self._given.items()}

    def read(self, row: Any) -> R:
        """Return the record in a JSON object; null counts as absent. Raises Internal for what it cannot be."""
        if not isinstance(row, dict):
            raise Internal(f"the agent's answer has {type(row).__name__} where a {self._record.__name__} is expected")
        values: dict[str, Any] = {}
        for name, (field, codec, info) in self._fields.items():
            value = row.get(name)
            if value is None:
                continue
            if codec is not None:
                values[field] = codec.read(value)
                continue
            try:
                values[field] = msgspec.convert(value, info.type)
            except msgspec.ValidationError as error:
                raise Internal(f"the agent's answer has an impossible {name}: {error}") from error
        try:
            return self._record(**values)
        except TypeError as error:
            raise Internal(f"the agent's answer lacks a part of a {self._record.__name__}: {error}") from error

    def write(self, record: R) -> dict[str, Any]:
        """Return the record as a JSON object, without what is as it would be anyway."""
        row: dict[str, Any] = {}
        for name, (field, codec, info) in self._fields.items():
            value = getattr(record, field)
            if value is None or value == _default_of(info):
                continue
            row[name] = value if codec is None else codec.write(value)
        return row

    def rows(self, value: Any) -> list[R]:
        """Return the records in a JSON list; null is an empty one."""
        return [self.read(row) for row in checked(value, list)]

    def mapped(self, value: Any) -> dict[str, R]:
        """Return the records in a JSON object by its names."""
        return {name: self.read(row) for name, row in checked(value, dict).items()}

    def first(self, value: Any) -> R | None:
        """Return the only record of a JSON list, None where there is none."""
        found = self.rows(value)
        return found[0] if found else None


def _default_of(info: msgspec.structs.FieldInfo) -> Any:
    return info.default_factory() if info.default_factory is not msgspec.NODEFAULT else info.default


def checked(value: Any, kind: type) -> Any:
    """Return a list or an object of an answer, an empty one for null; raises Internal for anything else."""
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise Internal(f"the agent's answer is {type(value).__name__} where {kind.__name__} is expected")
    return value


class ListOf:
    """A list of records."""

    def __init__(self, shape: Shape[Any]) -> None:
        self._shape = shape

    def read(self, value: Any) -> Any:
        """See Codec."""
        return self._shape.rows(value)

    def write(self, value: Any) -> Any:
        """See Codec."""
        return [self._shape.write(each) for each in value]


class MapOf:
    """Records by name."""

    def __init__(self, shape: Shape[Any]) -> None:
        self._shape = shape

    def read(self, value: Any) -> Any:
        """See Codec."""
        return self._shape.mapped(value)

    def write(self, value: Any) -> Any:
        """See Codec."""
        return {name: self._shape.write(each) for name, each in value.items()}


class Inside:
    """A text that stands alone in an object."""

    def __init__(self, name: str) -> None:
        self._name = name

    def read(self, value: Any) -> Any:
        """See Codec."""
        return str(text_map(value).get(self._name) or "")

    def write(self, value: Any) -> Any:
        """See Codec."""
        return {self._name: value}


class Duration:
    """Go's text in JSON, numbers in records: `unit_ns` nanoseconds each."""

    def __init__(self, unit_ns: int, kind: Callable[[float], Any]) -> None:
        self._unit_ns = unit_ns
        self._kind = kind

    def read(self, value: Any) -> Any:
        """See Codec."""
        try:
            nanoseconds = value if isinstance(value, int) else parse_duration_s(str(value) or "0s") * NANOSECONDS
        except ValueError as error:
            raise Internal(f"the agent's answer: {error}") from error
        return self._kind(nanoseconds / self._unit_ns)

    def write(self, value: Any) -> Any:
        """See Codec."""
        return format_duration(value * self._unit_ns / NANOSECONDS)


class Base64:
    """Bytes."""

    def read(self, value: Any) -> Any:
        """See Codec."""
        try:
            return base64.b64decode(value, validate=True)
        except (TypeError, ValueError, binascii.Error) as error:
            raise Internal(f"the agent's answer: {error}") from error

    def write(self, value: Any) -> Any:
        """See Codec."""
        return base64.b64encode(value).decode()


DURATION_NS = Duration(1, round)
DURATION_S = Duration(NANOSECONDS, float)
BASE64 = Base64()


def text_map(value: Any) -> Mapping[str, Any]:
    """Return an object of an answer as it is; raises Internal for anything else."""
    found: Mapping[str, Any] = checked(value, dict)
    return found
