"""Command-line flags as existing scripts write them: `-x`, `--x`, `-x=v`, `-x v`, before the arguments.

Parsing ends at the first word that is no flag, so that values may begin with a dash. Source: CLI specification.
"""

from collections.abc import Sequence
from enum import Enum

from base.errors import InvalidRequest


class FlagKind(Enum):
    """What follows the flag."""

    SWITCH = ""
    TEXT = "text"
    NUMBER = "number"
    TEXTS = "text, may be repeated"


class Flag:
    """One flag of one command. `environment` names the variable that is read where the flag is not given."""

    __slots__ = ("doc", "environment", "kind", "name")

    def __init__(self, name: str, kind: FlagKind, doc: str, *, environment: str = "") -> None:
        self.name = name
        self.kind = kind
        self.doc = doc
        self.environment = environment


class Given:
    """The flags that were given, and the arguments after them."""

    def __init__(self, flags: Sequence[Flag]) -> None:
        self._kinds = {flag.name: flag.kind for flag in flags}
        self._texts: dict[str, list[str]] = {}
        self.arguments: list[str] = []
        self.help_wanted = False

    def switch(self, name: str) -> bool:
        """Whether a switch is on."""
        return self._last(name, FlagKind.SWITCH, "false") == "true"

    def text(self, name: str, default: str = "") -> str:
        """The last value of a flag."""
        return self._last(name, FlagKind.TEXT, default)

    def number(self, name: str, default: int = 0) -> int:
        """The last value of a flag; it was checked when it was taken."""
        return int(self._last(name, FlagKind.NUMBER, str(default)))

    def texts(self, name: str) -> list[str]:
        """All values of a repeated flag."""
        assert self._kinds[name] is FlagKind.TEXTS, name
        return list(self._texts.get(name, []))

    def is_given(self, name: str) -> bool:
        """Whether the flag was on the command line."""
        return name in self._texts

    def _last(self, name: str, kind: FlagKind, default: str) -> str:
        assert self._kinds[name] is kind, name
        values = self._texts.get(name)
        return values[-1] if values else default

    def take(self, name: str, text: str) -> None:
        """Note one flag; raises InvalidRequest for a value it cannot have."""
        kind = self._kinds[name]
        if kind is FlagKind.SWITCH:
            lowered = text.lower()
            if lowered not in ("true", "false", "1", "0", "t", "f"):
                raise InvalidRequest(f"invalid boolean value {text!r} for -{name}")
            text = "true" if lowered in ("true", "1", "t") else "false"
        elif kind is FlagKind.NUMBER:
            try:
                number = int(text)
            except ValueError:
                number = -1
            if not 0 <= number < 1 << 64:
                raise InvalidRequest(f"invalid value {text!r} for flag -{name}: expected a number from 0 to 2^64-1")
        self._texts.setdefault(name, []).append(text)


def parse(flags: Sequence[Flag], words: Sequence[str]) -> Given:
    """Take a command's words apart; raises InvalidRequest for an unknown flag or a value that cannot be."""
    given = Given(flags)
    kinds = {flag.name: flag.kind for flag in flags}
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("-") or word == "-":
            break
        position += 1
        if word == "--":
            break
        name, has_value, text = word[2 if word.startswith("--") else 1 :].partition("=")
        if name in ("h", "help"):
            given.help_wanted = True
            continue
        if name not in kinds:
            raise InvalidRequest(f"flag provided but not defined: -{name}")
        if not has_value:
            if kinds[name] is FlagKind.SWITCH:
                text = "true"
            elif position < len(words):
                text = words[position]
                position += 1
            else:
                raise InvalidRequest(f"flag needs an argument: -{name}")
        given.take(name, text)
    given.arguments = list(words[position:])
    return given
