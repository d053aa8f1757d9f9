"""Sans-IO: filter expressions of strangers, such as `"v1" in ServiceTags and not Checks.Status == "critical"`.

`parsed` turns a text into a tree, `compiled` a tree into a predicate over one type of element: a msgspec struct, whose
fields count under the names that they have in JSON. What an expression can name is decided by that type alone, so a
mistake is reported whatever the data are, even when there are none.

- A list of structs on the way means "any of its elements"; a negated operator is negated inside of that.
- A key that a map doesn't have is unequal to everything, in nothing and empty; a struct that is null likewise.
- Values become what the field is: text, truth value in Go's spellings, number. Regular expressions are RE2's.

Source: modern deltas, section 4.
"""

import re
import types
import typing
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec

from base.errors import InvalidRequest
from base.patterns import Pattern

LENGTH_MAX: Final = 4096
"""Characters of one expression; those that clients make have some hundred."""
DEPTH_MAX: Final = 32
"""Nesting of `not` and parentheses. Evaluating goes as deep."""
COMPILED_MAX: Final = 256
"""Expressions kept compiled: the same few are asked again and again."""
ERROR_PREFIX: Final = "Failed to create boolean expression evaluator: "

Predicate = Callable[[Any], bool]


class Operator(StrEnum):
    """What can be asked of a selected value."""

    EQUAL = "=="
    EMPTY = "is empty"
    IN = "in"
    """Element of a list, part of a text, key of a map. `contains` is the same from the other side."""
    MATCHES = "matches"


class Match(NamedTuple):
    """One question about one selected value; `value` None where the operator needs none."""

    selector: tuple[str, ...]
    operator: Operator
    negated: bool
    value: str | None = None


class Negation(NamedTuple):
    """True where its inside is not."""

    inside: "Expression"


class Conjunction(NamedTuple):
    """True where all parts are."""

    parts: "tuple[Expression, ...]"


class Disjunction(NamedTuple):
    """True where any part is."""

    parts: "tuple[Expression, ...]"


Expression = Match | Negation | Conjunction | Disjunction


def parsed(text: str) -> Expression:
    """Return the tree of an expression; raises InvalidRequest, with the place of the mistake."""
    if len(text) > LENGTH_MAX:
        raise InvalidRequest(f"{ERROR_PREFIX}the expression has more than {LENGTH_MAX} characters")
    from base.expression_grammar import read  # the parser library is loaded by those only who have something to parse

    return read(text)


@lru_cache(maxsize=COMPILED_MAX)
def compiled(text: str, element: type[msgspec.Struct]) -> Predicate:
    """Return the predicate that an expression is over structs of one type.

    Raises InvalidRequest for what cannot be parsed, names what the type doesn't have, or compares what can't be.
    """
    return _predicate(parsed(text), element)


def _predicate(tree: Expression, element: Any) -> Predicate:
    match tree:
        case Match():
            return _at(element, tree, 0)
        case Negation():
            inside = _predicate(tree.inside, element)
            return lambda row: not inside(row)
        case Conjunction():
            needed = [_predicate(part, element) for part in tree.parts]
            return lambda row: all(part(row) for part in needed)
        case Disjunction():
            enough = [_predicate(part, element) for part in tree.parts]
            return lambda row: any(part(row) for part in enough)


def _at(hint: Any, match: Match, position: int) -> Predicate:
    """Return the question about a value of type `hint`, which is reached after `position` words of the selector."""
    hint, may_be_null = _without_null(hint)
    ends = position == len(match.selector)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        inside = _in_struct(hint, match, position)
        absent = _when_absent(match)
        return (lambda value: absent if value is None else inside(value)) if may_be_null else inside
    if origin is list:
        return _in_list(inner[0], match, position, ends)
    if origin is dict and not ends:
        return _under_key(inner[1], match, position)
    if origin is dict:
        return _in_collection(match)
    if not ends or hint not in _SCALARS:
        raise _refused(f'Selector "{_shown(match, position + 1)}" is not valid')
    return _of_scalar(hint, match)


def _in_struct(struct: type[msgspec.Struct], match: Match, position: int) -> Predicate:
    if position == len(match.selector):
        raise _refused(f'Selector "{_shown(match, position)}" is not a value but has fields')
    field = _fields_of(struct).get(match.selector[position])
    if field is None:
        raise _refused(f'Selector "{_shown(match, position + 1)}" is not valid')
    get, inside = attrgetter(field.name), _at(field.type, match, position + 1)
    return lambda row: inside(get(row))


def _in_list(item: Any, match: Match, position: int, ends: bool) -> Predicate:
    if ends and (_without_null(item)[0] is str or match.operator is Operator.EMPTY):
        return _in_collection(match)
    if ends and _without_null(item)[0] in _SCALARS:
        raise _unfit(match)
    if ends:
        raise _refused(f'Selector "{_shown(match, position)}" is not valid for "{match.operator}"')
    if _without_null(item)[0] in _SCALARS:
        raise _refused(f'Selector "{_shown(match, position + 1)}" is not valid')
    inside = _at(item, match, position)
    return lambda items: any(inside(each) for each in items or ())


def _under_key(item: Any, match: Match, position: int) -> Predicate:
    key, inside, absent = match.selector[position], _at(item, match, position + 1), _when_absent(match)
    return lambda items: inside(items[key]) if items and key in items else absent


def _when_absent(match: Match) -> bool:
    """Whether a question is answered yes where there is nothing to be asked about."""
    return match.negated != (match.operator is Operator.EMPTY)


def _in_collection(match: Match) -> Predicate:
    negated, wanted = match.negated, match.value
    if match.operator is Operator.EMPTY:
        return lambda items: (not items) != negated
    if match.operator is Operator.IN:
        return lambda items: (wanted in (items or ())) != negated
    raise _unfit(match)


def _of_scalar(hint: Any, match: Match) -> Predicate:
    operator, negated, text = match.operator, match.negated, match.value
    if operator is Operator.EQUAL:
        assert text is not None
        wanted = _coerced(hint, text, match)
        zero = hint()
        return lambda value: ((zero if value is None else value) == wanted) != negated
    if hint is not str:
        raise _unfit(match)
    if operator is Operator.EMPTY:
        return lambda value: (not value) != negated
    assert text is not None
    if operator is Operator.IN:
        return lambda value: (text in (value or "")) != negated
    try:
        pattern = Pattern(text)
    except InvalidRequest as error:
        raise _refused(str(error)) from error
    return lambda value: pattern.found_in(value or "") != negated


_BOOLS: Final = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)
_SCALARS: Final = (str, bool, int, float)
_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(?:\.[0-9]{1,20})?").fullmatch


def _coerced(hint: Any, text: str, match: Match) -> object:
    if hint is bool and text in _BOOLS:
        return _BOOLS[text]
    if hint is str or (hint in (int, float) and _NUMBER(text) is not None and (hint is float or "." not in text)):
        return hint(text)
    raise _refused(f'value "{text}" is not what "{".".join(match.selector)}" holds: {hint.__name__}')


_NEGATED: Final = {
    Operator.EQUAL: "!=",
    Operator.EMPTY: "is not empty",
    Operator.IN: "not in",
    Operator.MATCHES: "not matches",
}


def _without_null(hint: Any) -> tuple[Any, bool]:
    """Return a type without its None, and whether it had one."""
    if typing.get_origin(hint) not in (typing.Union, types.UnionType):
        return hint, False
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return (kinds[0] if len(kinds) == 1 else hint), True


@lru_cache(maxsize=64)
def _fields_of(struct: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(struct)}


def _shown(match: Match, count: int) -> str:
    return ".".join(match.selector[:count])


def _unfit(match: Match) -> InvalidRequest:
    shown = _NEGATED[match.operator] if match.negated else str(match.operator)
    return _refused(f'Invalid match operator "{shown}" for selector "{".".join(match.selector)}"')


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(ERROR_PREFIX + why)
