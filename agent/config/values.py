"""Is this value what the option asks for? Turns what a file or flag holds into what the program uses."""

import math

from agent.config.option import Kind, Option
from base.durations import parse_duration_s

TEXT_SHOWN_MAX = 60
"""Characters of a wrong value that an error message repeats."""


class WrongValue(Exception):
    """The value cannot be this option's; the text says what was expected."""


def checked(option: Option, value: object) -> object:
    """Return `value` in its final form (durations as seconds, lists as lists of texts); raises WrongValue."""
    result = _CHECKS[option.kind](value)
    if result is None:
        raise WrongValue(f"expected {option.kind.value}, found {_shown(option, value)}")
    if option.choices and result not in option.choices:
        allowed = ", ".join(repr(choice) for choice in option.choices if choice)
        raise WrongValue(f"expected one of {allowed}, found {_shown(option, value)}")
    if isinstance(result, int | float) and not isinstance(result, bool):
        _check_bounds(option, result)
    return result


def from_text(option: Option, text: str) -> object:
    """Return the value that a flag's text means; raises WrongValue."""
    kind = option.kind
    if kind is Kind.BOOL:
        return checked(option, _FLAG_BOOLS.get(text, text))
    if kind in (Kind.INT, Kind.FLOAT):
        try:
            number: object = int(text) if kind is Kind.INT else float(text)
        except ValueError:
            number = text
        return checked(option, number)
    if kind is Kind.TEXTS:
        return [text]
    if kind is Kind.TEXT_MAP:
        key, _, value = text.partition(":")
        return {key: value}
    return checked(option, text)


def _check_bounds(option: Option, number: float) -> None:
    least = 0 if option.least is None and option.kind is Kind.DURATION else option.least
    if least is not None and number < least:
        raise WrongValue(f"must be at least {least:g}, found {number:g}")
    if option.most is not None and number > option.most:
        raise WrongValue(f"must be at most {option.most:g}, found {number:g}")


def _shown(option: Option, value: object) -> str:
    if option.kind is Kind.SECRET:
        return "something else"
    text = repr(value)
    return text if len(text) <= TEXT_SHOWN_MAX else text[:TEXT_SHOWN_MAX] + "..."


def _bool(value: object) -> object:
    return value if isinstance(value, bool) else None


def _int(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _text(value: object) -> object:
    return value if isinstance(value, str) and "\x00" not in value else None


def _seconds(value: object) -> object:
    if not isinstance(value, str):
        return None
    try:
        return parse_duration_s(value)
    except ValueError:
        return None


def _texts(value: object) -> object:
    return list(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else None


def _text_map(value: object) -> object:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        return None
    return dict(value)


def _map(value: object) -> object:
    return value if isinstance(value, dict) else None


def _rows(value: object) -> object:
    rows = value if isinstance(value, list) else [value]
    return rows if all(isinstance(row, dict) for row in rows) else None


_CHECKS = {
    Kind.BOOL: _bool,
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.TEXT: _text,
    Kind.SECRET: _text,
    Kind.DURATION: _seconds,
    Kind.TEXTS: _texts,
    Kind.TEXT_MAP: _text_map,
    Kind.OPAQUE: _map,
    Kind.ROWS: _rows,
}

_FLAG_BOOLS: dict[str, bool] = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
"""What the flags of the other implementation take for true and false."""
