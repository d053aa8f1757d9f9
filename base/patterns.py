"""Sans-IO: regular expressions of strangers, matched in bounded time and memory.

The syntax is that of Go's `regexp`, since those who send expressions wrote them for it; the engine is RE2, its model:
a search takes time linear in the text whatever the expression, and an expression that would need too much memory
is refused. The standard library's matcher could be kept busy for years by thirty characters.
"""

from functools import lru_cache
from typing import Any, Final

import re2

from base.errors import InvalidRequest

PATTERN_LENGTH_MAX: Final = 1024
"""Characters; a user event has at most 512 bytes altogether, and filters over HTTP are no longer either."""
MEMORY_BYTES_MAX: Final = 256 * 1024
"""What one compiled expression may grow to while it searches."""
COMPILED_MAX: Final = 64
"""Expressions kept compiled: the same few are asked again and again."""

_GO_WORDS: Final = {
    "missing )": "missing closing )",
    "missing ]": "missing closing ]",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
}
"""Where the two engines call one mistake by two names: clients know Go's."""


class Pattern:
    """One expression. Raises InvalidRequest for one that cannot be understood or would cost too much."""

    def __init__(self, source: str) -> None:
        if len(source) > PATTERN_LENGTH_MAX:
            raise InvalidRequest(f"a regular expression of more than {PATTERN_LENGTH_MAX} characters")
        self._compiled = _compile(source.encode("utf-8", "surrogateescape"), captures=False)

    def found_in(self, text: str) -> bool:
        """Return whether a match stands anywhere in `text`."""
        return self._compiled.search(text.encode("utf-8", "surrogateescape")) is not None


class CapturingPattern:
    """One expression whose groups are wanted; raises as `Pattern`."""

    def __init__(self, source: str) -> None:
        if len(source) > PATTERN_LENGTH_MAX:
            raise InvalidRequest(f"a regular expression of more than {PATTERN_LENGTH_MAX} characters")
        self._compiled = _compile(source.encode("utf-8", "surrogateescape"), captures=True)

    def groups_in(self, text: str) -> list[str]:
        """Return the first match in `text` and its groups, "" for one that took no part; [] without a match."""
        found = self._compiled.search(text.encode("utf-8", "surrogateescape"))
        if found is None:
            return []
        groups = [found.group(number) for number in range(self._compiled.groups + 1)]
        return [(group or b"").decode("utf-8", "surrogateescape") for group in groups]


@lru_cache(maxsize=COMPILED_MAX)
def _compile(source: bytes, *, captures: bool) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.never_capture = not captures
    options.max_mem = MEMORY_BYTES_MAX
    try:
        return re2.compile(source, options)
    except re2.error as error:
        text = error.args[0].decode("utf-8", "replace") if error.args else "it cannot be understood"
        what, colon, where = text.partition(": ")
        said = f"{_GO_WORDS.get(what, what)}{colon}" + (f"`{where}`" if where else "")
        raise InvalidRequest(f"error parsing regexp: {said}") from error
