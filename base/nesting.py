"""Sans-IO. How deeply lists, maps and records of other people are nested.

Decoders descend one call for each level, and what one of them just manages another one, called from further down, does
not: a value that a server could log but none could apply would end them all. So the bound is far below any decoder's.
"""

from base.codec import Record

LEVELS_MAX = 64
"""Levels of what is kept for others without being read, with the record that holds it."""
DOCUMENT_LEVELS_MAX = 2 * LEVELS_MAX
"""Levels of a whole request or file, which has some of its own around what is kept."""


def is_deeper(value: object, levels_max: int) -> bool:
    """Return whether lists, maps and records stand in one another at more than `levels_max` levels."""
    level = [value] if _holds(value) else []
    for _ in range(levels_max):
        if not level:
            return False
        level = [item for holder in level for item in _items(holder) if _holds(item)]
    return bool(level)


def _holds(value: object) -> bool:
    return isinstance(value, dict | list | Record)


def _items(holder: object) -> list[object]:
    if isinstance(holder, dict):
        return list(holder.values())
    if isinstance(holder, list):
        return holder
    return [getattr(holder, name) for name in type(holder).__struct_fields__]  # type: ignore[attr-defined]
