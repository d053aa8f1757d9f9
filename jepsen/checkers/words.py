"""Operations and times in words."""

import json
from collections.abc import Sequence

from jepsen.history import Operation, Outcome

VALUE_TEXT_MAX = 60
NAMED_MAX = 5


def seconds(span_ns: int) -> str:
    """Return a span or moment in seconds, or milliseconds where it is short."""
    return f"{span_ns / 1e9:.3f} s" if abs(span_ns) >= 1_000_000_000 else f"{span_ns / 1e6:.3f} ms"


def shown(value: object) -> str:
    """Return a value as JSON, cut if it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= VALUE_TEXT_MAX else text[: VALUE_TEXT_MAX - 1] + "…"


def some(values: Sequence[object]) -> str:
    """Return the first few values, and how many more there are."""
    text = ", ".join(shown(value) for value in values[:NAMED_MAX])
    more = len(values) - NAMED_MAX
    return f"{text} and {more:,} more" if more > 0 else text


def told(operation: Operation) -> str:
    """Return who did what, when, and how it ended: `client 3 read 7 (2.100–2.105 s, server-1)`."""
    what = operation.function
    if operation.input is not None or operation.function == "write":
        what += f" {shown(operation.input)}"
    if operation.outcome is not Outcome.OK:
        what += f" ({operation.outcome})"
    elif operation.output is not None or operation.function == "read":
        what += f" → {shown(operation.output)}"
    when = f"{operation.began_ns / 1e9:.3f}–{operation.ended_ns / 1e9:.3f} s"
    where = f", {operation.node}" if operation.node else ""
    return f"client {operation.process} {what} [{when}{where}]"
