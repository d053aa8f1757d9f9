"""Secret: a text that does not print itself; and masking of tokens inside paths."""

import re

HIDDEN = "<hidden>"

_TOKEN_PARAMETER = re.compile(r"([?&]token=)[^&\s]*", re.IGNORECASE)
_TOKEN_IN_PATH = re.compile(r"(/v1/acl/(?:clone|destroy|info|token(?:/self)?)/)[^/?\s]+")


class Secret:
    """Holds a token, key or password. `str`, `repr` and formatting hide it; `reveal()` is the only way to the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one place that has to send or compare it."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})" if self._text else "Secret()"

    def __str__(self) -> str:
        return HIDDEN if self._text else ""


def masked_path(path: str) -> str:
    """Return an HTTP path and query with tokens replaced, for the log (HTTP conventions, section 9)."""
    return _TOKEN_IN_PATH.sub(r"\1" + HIDDEN, _TOKEN_PARAMETER.sub(r"\1" + HIDDEN, path))
