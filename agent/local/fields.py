"""Sans-IO. Reads one map of a definition, from JSON or from a file, by names in any case and with or without `_`.

Source: HTTP conventions, section 6; agent specification, section 3. `docker_container_id`, `DockerContainerID` and
`dockercontainerid` are the same name. null is as good as absent.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from base.durations import parse_duration_s
from base.errors import InvalidRequest
from structs.json_codec import kind_name

DURATION_S_MAX = 10 * 365 * 86_400.0
"""Ten years: beyond it nobody means anything, and sums of times stay far from where they lose their seconds."""
NANOSECONDS_PER_S = 1_000_000_000
INTEGER_MAX = (1 << 31) - 1
LIST_COUNT_MAX = 1024
"""Items of any one list of a definition: tags, arguments, checks, upstreams."""


def folded(name: str) -> str:
    """Return a name as it is looked up."""
    return name.replace("_", "").lower()


class DefinitionFields:
    """One map. All methods raise InvalidRequest, naming the field, where a present value has the wrong type."""

    def __init__(self, value: object, what: str) -> None:
        if value is None:
            value = {}
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            value = value[0]  # writers of JSON wrap blocks in lists
        if not isinstance(value, dict):
            raise InvalidRequest(f"{what}: expected a map, got {kind_name(value)}")
        self.what = what
        self._names = {folded(name): name for name, item in value.items() if item is not None}
        self._values: dict[str, Any] = {folded(name): item for name, item in value.items() if item is not None}

    def __bool__(self) -> bool:
        """Whether there is anything in it."""
        return bool(self._values)

    def unknown(self, known: Iterable[str]) -> list[str]:
        """Return the names that nobody knows, as they were written."""
        allowed = {folded(name) for name in known}
        return [written for name, written in self._names.items() if name not in allowed]

    def get(self, *names: str) -> Any:
        """Return the value of the first of these names that is there, None where none is."""
        for name in names:
            value = self._values.get(folded(name))
            if value is not None:
                return value
        return None

    def text(self, *names: str) -> str:
        """Return a text, "" where absent."""
        value = self.get(*names)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(names[0], "string", value)
        return value

    def boolean(self, name: str, *, default: bool = False) -> bool:
        """Return a truth value."""
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(name, "bool", value)
        return value

    def integer(self, name: str) -> int:
        """Return a whole number of 32 bits, 0 where absent."""
        value = self.get(name)
        if value is None:
            return 0
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, "int", value)
        if not -INTEGER_MAX - 1 <= value <= INTEGER_MAX:
            raise InvalidRequest(f"{self.what}.{name}: the number is too large")
        return value

    def duration_s(self, *names: str) -> float:
        """Return seconds, from Go's text or from a number of nanoseconds; 0 where absent. May be negative."""
        value = self.get(*names)
        if value is None:
            return 0.0
        if isinstance(value, str):
            try:
                seconds = parse_duration_s(value) if value else 0.0
            except ValueError as error:
                raise InvalidRequest(f"{self.what}.{names[0]}: {error}") from error
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            seconds = value / NANOSECONDS_PER_S
        else:
            raise self._wrong(names[0], "duration", value)
        if abs(seconds) > DURATION_S_MAX:
            raise InvalidRequest(f"{self.what}.{names[0]}: the duration is too long")
        return seconds

    def texts(self, *names: str) -> list[str] | None:
        """Return a list of texts, None where absent."""
        value = self.get(*names)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(names[0], "list of strings", value)
        return list(self._bounded(names[0], value))

    def text_map(self, name: str) -> dict[str, str] | None:
        """Return a map of texts, None where absent."""
        value = self.free_map(name)
        if value is None:
            return None
        for item in value.values():
            if not isinstance(item, str):
                raise self._wrong(name, "map of strings", item)
        return dict(value)

    def free_map(self, name: str) -> dict[str, Any] | None:
        """Return a map of anything, None where absent. A block that is written twice is one map."""
        value = self.get(name)
        if value is None:
            return None
        blocks = value if isinstance(value, list) else [value]
        result: dict[str, Any] = {}
        for block in blocks:
            if not isinstance(block, Mapping):
                raise self._wrong(name, "map", block)
            result.update(block)
        return result

    def headers(self, name: str) -> dict[str, list[str]] | None:
        """Return a map of lists of texts, None where absent or empty."""
        value = self.free_map(name)
        if not value:
            return None
        for item in value.values():
            if not isinstance(item, list) or not all(isinstance(text, str) for text in item):
                raise self._wrong(name, "map of lists of strings", item)
        return {key: list(item) for key, item in value.items()}

    def section(self, *names: str) -> "DefinitionFields":
        """Return a map in this map, an empty one where absent."""
        return DefinitionFields(self.get(*names), f"{self.what}.{names[0]}")

    def sections(self, name: str) -> "list[DefinitionFields]":
        """Return the maps of a list, or the one that stands there alone."""
        value = self.get(name)
        if value is None:
            return []
        items = self._bounded(name, value if isinstance(value, list) else [value])
        return [DefinitionFields(item, f"{self.what}.{name}[{position}]") for position, item in enumerate(items)]

    def _bounded(self, name: str, items: list[Any]) -> list[Any]:
        if len(items) > LIST_COUNT_MAX:
            raise InvalidRequest(f"{self.what}.{name}: more than {LIST_COUNT_MAX} items")
        return items

    def _wrong(self, name: str, expected: str, value: object) -> InvalidRequest:
        return InvalidRequest(f"{self.what}.{name}: expected type '{expected}', got {kind_name(value)}")
