"""The grammar of filter expressions, and what each of its rules makes; see `base/expression.py`. Sans-IO.

The tree is built while the text is read. Which side of an operator names something is decided by the operator, so both
sides are the same to the grammar.
"""

import re
from functools import cache
from typing import Any, Final, NamedTuple

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedInput, UnexpectedToken, v_args

from base.errors import InvalidRequest
from base.expression import (
    DEPTH_MAX,
    ERROR_PREFIX,
    Conjunction,
    Disjunction,
    Expression,
    Match,
    Negation,
    Operator,
)

_GRAMMAR: Final = r"""
start: either
either: both ("or" both)*
both: _single ("and" _single)*
_single: negation | inside | match
negation: "not" _single
inside: "(" either ")"
?match: side "==" side              -> equal
    | side "!=" side                -> unequal
    | side "is" "empty"             -> empty
    | side "is" "not" "empty"       -> filled
    | side "in" side                -> within
    | side "not" "in" side          -> outside
    | side "contains" side          -> contains
    | side "not" "contains" side    -> lacks
    | side "matches" side           -> matches
    | side "not" "matches" side     -> differs
side: NAME (_DOT NAME | "[" TEXT "]")*  -> path
    | TEXT                              -> text
    | NUMBER                            -> number

_DOT: "."
NAME: /[A-Za-z_][A-Za-z0-9_\/:-]*/
NUMBER: /-?\d+(?:\.\d+)?(?![A-Za-z0-9_.])/
TEXT: /"(?:[^"\\\n]|\\[^\n])*"|`[^`]*`/
%ignore /[ \t\r\n]+/
"""
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)")
_SIMPLE: Final = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


class _Side(NamedTuple):
    """One side of an operator: what it names, and what it says; None where it can't."""

    selector: tuple[str, ...] | None
    value: str | None


class _Nested(NamedTuple):
    """A part of the tree and how deep it is."""

    tree: Expression
    depth: int


def _match(selected: _Side, operator: Operator, negated: bool, said: _Side | None = None) -> _Nested:
    if selected.selector is None:
        raise _refused(f'"{selected.value}" stands where a field must be named')
    if said is not None and said.value is None:
        raise _refused("a name with brackets stands where a value must be")
    return _Nested(Match(selected.selector, operator, negated, said.value if said is not None else None), 1)


def _joined(kind: type[Conjunction] | type[Disjunction], parts: tuple[_Nested, ...]) -> _Nested:
    if len(parts) == 1:
        return parts[0]
    return _Nested(kind(tuple(part.tree for part in parts)), max(part.depth for part in parts) + 1)


def _deeper(part: _Nested, tree: Expression) -> _Nested:
    if part.depth >= DEPTH_MAX:
        raise _refused(f"more than {DEPTH_MAX} levels")
    return _Nested(tree, part.depth + 1)


@v_args(inline=True)
class _Reader(Transformer[Token, Any]):
    """One method a rule of the grammar."""

    def start(self, part: _Nested) -> Expression:
        return part.tree

    def either(self, *parts: _Nested) -> _Nested:
        return _joined(Disjunction, parts)

    def both(self, *parts: _Nested) -> _Nested:
        return _joined(Conjunction, parts)

    def negation(self, part: _Nested) -> _Nested:
        return _deeper(part, Negation(part.tree))

    def inside(self, part: _Nested) -> _Nested:
        return _deeper(part, part.tree)

    def equal(self, left: _Side, right: _Side) -> _Nested:
        return _match(left, Operator.EQUAL, False, right)

    def unequal(self, left: _Side, right: _Side) -> _Nested:
        return _match(left, Operator.EQUAL, True, right)

    def empty(self, left: _Side) -> _Nested:
        return _match(left, Operator.EMPTY, False)

    def filled(self, left: _Side) -> _Nested:
        return _match(left, Operator.EMPTY, True)

    def within(self, left: _Side, right: _Side) -> _Nested:
        return _match(right, Operator.IN, False, left)

    def outside(self, left: _Side, right: _Side) -> _Nested:
        return _match(right, Operator.IN, True, left)

    def contains(self, left: _Side, right: _Side) -> _Nested:
        return _match(left, Operator.IN, False, right)

    def lacks(self, left: _Side, right: _Side) -> _Nested:
        return _match(left, Operator.IN, True, right)

    def matches(self, left: _Side, right: _Side) -> _Nested:
        return _match(left, Operator.MATCHES, False, right)

    def differs(self, left: _Side, right: _Side) -> _Nested:
        return _match(left, Operator.MATCHES, True, right)

    def path(self, *words: Token) -> _Side:
        names = tuple(_unquoted(word) if word.type == "TEXT" else str(word) for word in words)
        plain = all(word.type == "NAME" for word in words)
        return _Side(names, ".".join(names) if plain else None)

    def text(self, token: Token) -> _Side:
        said = _unquoted(token)
        return _Side(_pointed(said) if said.startswith("/") else None, said)

    def number(self, token: Token) -> _Side:
        return _Side(None, str(token))


def _pointed(text: str) -> tuple[str, ...]:
    """Return the words of a JSON pointer."""
    return tuple(word.replace("~1", "/").replace("~0", "~") for word in text[1:].split("/"))


def _unquoted(token: Token) -> str:
    inner = str(token[1:-1])
    if token[0] == "`" or "\\" not in inner:
        return inner
    return _ESCAPE.sub(_unescaped, inner)


def _unescaped(found: re.Match[str]) -> str:
    code = found[1]
    if code in _SIMPLE:
        return _SIMPLE[code]
    number = int(code[1:], 16) if len(code) > 1 else 0xD800
    if 0xD800 <= number <= 0xDFFF:
        raise _refused(f"{found[0]!r} is not an escape")
    return chr(number)


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(ERROR_PREFIX + why)


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr", lexer="contextual", transformer=_Reader(), propagate_positions=False)


def read(text: str) -> Expression:
    """Return the tree of `text`; raises InvalidRequest with the column of what is wrong."""
    try:
        return _parser().parse(text)  # type: ignore[return-value]
    except UnexpectedInput as error:
        raise _refused(_why(text, error)) from error


def _why(text: str, error: UnexpectedInput) -> str:
    if isinstance(error, UnexpectedCharacters):
        if text.startswith(('"', "`"), error.pos_in_stream or 0):
            return f"column {(error.pos_in_stream or 0) + 1}: the text is not closed, or holds a bad escape"
        return f"column {(error.pos_in_stream or 0) + 1}: unexpected {text[error.pos_in_stream or 0]!r}"
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        return f"column {(error.token.start_pos or 0) + 1}: unexpected {str(error.token)!r}"
    return "the expression ends too early"
