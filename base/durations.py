"""Go duration text, such as "1m30s" or "9.87364s", to seconds and back.

Inside the program a duration is a float of seconds. The text form exists only in JSON, in configuration and in query
parameters. Source: HTTP conventions, sections 2 and 6; Go's `time.ParseDuration` defines the grammar.
"""

import re
from functools import lru_cache

_UNITS_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "\u00b5s": 1e-6,
    "\u03bcs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)", re.ASCII)
_TEXT_LENGTH_MAX = 128
"""Longer text is no duration that anybody means."""
_NS_MAX = (1 << 63) - 1
"""Go's durations are signed 64-bit nanoseconds; beyond that its parser refuses."""


@lru_cache(maxsize=256)
def parse_duration_s(text: str) -> float:
    """Return the seconds that a Go duration means; may be negative.

    Raises: ValueError, with Go's wording, for anything else; a bare number other than "0" has no unit and is refused.
    """
    refusal = f'time: invalid duration "{text[:_TEXT_LENGTH_MAX]}"'
    if len(text) > _TEXT_LENGTH_MAX:
        raise ValueError(refusal)
    body = text[1:] if text[:1] in ("-", "+") else text
    if body == "0":
        return 0.0
    if not body:
        raise ValueError(refusal)
    seconds = 0.0
    position = 0
    while position < len(body):
        part = _PART.match(body, position)
        if part is None:
            raise ValueError(refusal)
        seconds += float(part[1]) * _UNITS_S[part[2]]
        position = part.end()
    if seconds * 1e9 > _NS_MAX:
        raise ValueError(refusal)
    return -seconds if text[0] == "-" else seconds


def format_duration(seconds: float) -> str:
    """Return Go's text for a duration: "0s", "1.5µs", "200ms", "10s", "1m0s", "1h0m0.5s"."""
    nanoseconds = round(seconds * 1e9)
    sign = "-" if nanoseconds < 0 else ""
    nanoseconds = abs(nanoseconds)
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("\u00b5s", 1_000), ("ms", 1_000_000)):
        if nanoseconds < size * 1000:
            return f"{sign}{_decimal(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    text = f"{_decimal(rest, 1_000_000_000)}s"
    if minutes:
        hours, minutes = divmod(minutes, 60)
        text = f"{minutes}m{text}"
        if hours:
            text = f"{hours}h{text}"
    return sign + text


def _decimal(amount: int, size: int) -> str:
    """Return `amount / size` exactly, without trailing zeros."""
    whole, rest = divmod(amount, size)
    if not rest:
        return str(whole)
    digits = len(str(size)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0")
