"""How values, times and counts are written for people; the same in the page, the terminal and the docs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jepsen.history import Operation, Outcome

VALUE_CHARACTERS_MAX = 28
NS_PER_S = 1e9


def plural(count: int, noun: str) -> str:
    """`1 operation`, `2,000 operations`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def seconds(value_ns: float, digits: int = 3) -> str:
    """A moment of the run."""
    return f"{value_ns / NS_PER_S:.{digits}f} s"


def span(value_s: float) -> str:
    """A length of time, with as many digits as help."""
    if value_s < 0.0000995:
        return f"{value_s * 1e6:.0f} µs"
    if value_s < 0.9995:
        return f"{value_s * 1e3:.{0 if value_s >= 0.00995 else 1}f} ms"
    if value_s < 120:
        return f"{value_s:.{0 if value_s >= 99.5 else 1}f} s"
    minutes, rest_s = divmod(round(value_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest_s:02d} s"


def short(text: str, characters_max: int) -> str:
    """Cut at the end, visibly."""
    return text if len(text) <= characters_max else text[: characters_max - 1].rstrip() + "…"


def value(given: Any, characters_max: int = VALUE_CHARACTERS_MAX) -> str:
    """A value of an operation: JSON without the noise."""
    return short(_plain(given), characters_max)


def _plain(given: Any) -> str:
    if given is None:
        return "nil"
    if isinstance(given, str):
        return given if given and not any(letter.isspace() for letter in given) else json.dumps(given)
    if isinstance(given, Mapping):
        return "{" + " ".join(f"{key}:{_plain(each)}" for key, each in given.items()) + "}"
    if isinstance(given, Sequence):
        return "[" + " ".join(_plain(each) for each in given) + "]"
    return json.dumps(given, default=str)


def printable(text: str) -> str:
    """Without what would steer a terminal: the cluster's answers may contain anything."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text.replace("\n", " "))


def has_answer(operation: Operation) -> bool:
    """Whether something came back; nothing but that it was done is no answer, nothing to a question is."""
    return operation.outcome is Outcome.OK and (operation.output is not None or operation.input is None)


def call(operation: Operation, characters_max: int = VALUE_CHARACTERS_MAX) -> str:
    """`write 5`, `read → 3`, `cas [1 2]`: what was asked and what came back."""
    words = [operation.function]
    if operation.input is not None:
        words.append(value(operation.input, characters_max))
    if has_answer(operation):
        words.append(f"→ {value(operation.output, characters_max)}")
    elif operation.outcome is Outcome.FAILED:
        words.append("✗")
    elif operation.outcome is Outcome.UNKNOWN:
        words.append("?")
    return " ".join(words)
