"""What is known about one configuration key. Source: agent specification, section 2."""

from enum import Enum

import msgspec


class Kind(Enum):
    """What a value must be. The text is how an error message and the documentation name it."""

    BOOL = "true or false"
    INT = "a whole number"
    FLOAT = "a number"
    TEXT = "a text"
    SECRET = "a text (kept out of logs)"  # noqa: S105
    DURATION = 'a duration such as "10s"'
    TEXTS = "a list of texts"
    TEXT_MAP = "a map of texts"
    OPAQUE = "a map"
    ROWS = "a list of maps"


class Status(Enum):
    """Whether setting the key does anything in this version."""

    USED = "used"
    LATER = "accepted, no effect yet"


class Reader(Enum):
    """Who looks at the value."""

    BOTH = "both"
    SERVER = "server"
    AGENT = "agent"


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration key.

    `path` is dotted, as in `ports.http`. `flag` is the command-line spelling without its dash, or "". `default` is in
    the form a file would hold (durations are text). `caution` replaces the general warning of a key without effect
    where ignoring it silently could harm. `least` and `most` bound numbers, both inclusive.
    """

    path: str
    kind: Kind
    default: object
    doc: str
    flag: str = ""
    status: Status = Status.USED
    reader: Reader = Reader.BOTH
    reloadable: bool = False
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    caution: str = ""

    def warning(self) -> str:
        """What to say when the key is set although it has no effect yet."""
        return self.caution or "known, has no effect yet"
