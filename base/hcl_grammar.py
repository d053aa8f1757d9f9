"""The grammar of HCL 1, what each of its rules makes, and what is said of a text that it refuses; see `base/hcl.py`.

Maps are built while the text is read, so of several mistakes the first one is reported. Line ends are words of the
grammar: they may stand between items, but not between a key and what it is set to. Sans-IO.
"""

import re
from functools import cache
from typing import Any, Final

from lark import Lark, Token, Transformer, UnexpectedCharacters, UnexpectedToken, v_args

from base.errors import InvalidRequest
from base.hcl import DEPTH_MAX

_GRAMMAR: Final = r"""
?items:                               -> new_map
    | items _NEWLINE
    | items item ","?                 -> with_item
item: _key _ASSIGN _NEWLINE* value    -> setting
    | _key+ "{" items "}"             -> block
_key: NAME | TEXT
?value: "{" items "}"
    | "[" _NEWLINE* (_element ("," _NEWLINE* _element)* ("," _NEWLINE*)?)? "]" -> sequence
    | TEXT                            -> text
    | HEREDOC                         -> heredoc
    | NUMBER                          -> number
    | CONSTANT                        -> constant
_element: value _NEWLINE*

_NEWLINE: /\n[ \t\r\n]*/
_ASSIGN: "=" | ":"
NAME: /[A-Za-z_][A-Za-z0-9_.-]*/
CONSTANT: /(?:true|false|null)(?![A-Za-z0-9_.-])/
NUMBER: /-?(?:0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![A-Za-z0-9_])/
TEXT: /"(?:[^"\\\n$]|\\[^\n]|\$(?!\{)|\$\{[^}\n]*\})*"/
HEREDOC: /<<-?(?P<tag>[A-Za-z_][A-Za-z0-9_.-]*)[ \t\r]*\n(?:[^\n]*\n)*?[ \t]*(?P=tag)[ \t\r]*(?=\n|\Z)/
%ignore /[ \t\r]+/
%ignore /(?:#|\/\/)[^\n]*/
%ignore /\/\*.*?\*\//s
"""
_HEREDOC_OPENING: Final = re.compile(r"<<-?([A-Za-z_][A-Za-z0-9_.-]*)[ \t\r]*\n")
_ESCAPE: Final = re.compile(
    r"\$\{[^}\n]*\}|\\(?:u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-7]{3}|.)", re.DOTALL
)
_SIMPLE: Final = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_CONSTANTS: Final = {"true": True, "false": False, "null": None}


class _Item:
    """One key with its labels and what it is set to."""

    __slots__ = ("is_block", "keys", "value")

    def __init__(self, keys: list[Token], value: object, *, is_block: bool) -> None:
        self.keys = keys
        self.value = value
        self.is_block = is_block


class _Blocks(list[object]):
    """A block that was written more than once."""


def read(text: str) -> dict[str, object]:
    """As `base.hcl.parse`."""
    steps: Any = _parser().parse_interactive(text)  # partly untyped in the library
    before = last = Token("$END", "", line=1, column=1)
    depth = 0
    try:
        for token in steps.iter_parse():
            if token.type in ("LBRACE", "LSQB"):
                depth += 1
                if depth > DEPTH_MAX:
                    raise _refused(f"nested more than {DEPTH_MAX} deep", token)
            elif token.type in ("RBRACE", "RSQB"):
                depth -= 1
            before, last = last, token
        found: dict[str, object] = steps.feed_eof()
    except UnexpectedCharacters as error:
        raise _refused(_why_no_word(text, error.pos_in_stream or 0), error) from None
    except UnexpectedToken as error:
        why = _why_no_place(error.token, steps.accepts(), before if error.token is last else last)
        raise _refused(why, _end_of(text) if error.token.type == "$END" else error) from None
    return found


@cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, start="items", parser="lalr", lexer="contextual", transformer=_Builder())


@v_args(inline=True)
class _Builder(Transformer[Token, object]):
    """What the rules of the grammar make; called while the text is read."""

    def new_map(self) -> dict[str, object]:
        return {}

    def with_item(self, found: dict[str, object], item: _Item) -> dict[str, object]:
        keys = [_key(token) for token in item.keys]
        target = found
        for key in keys[:-1]:
            child = target.setdefault(key, {})
            if not isinstance(child, dict):
                raise _refused(f"{key!r} is written twice, with and without a label", item.keys[0])
            target = child
        last = keys[-1]
        old = target.get(last)
        if last not in target:
            target[last] = item.value
        elif isinstance(old, _Blocks):
            old.append(item.value)
        elif item.is_block and isinstance(old, dict) and len(keys) == 1:
            target[last] = _Blocks([old, item.value])
        else:
            raise _refused(f"{last!r} is written twice", item.keys[0])
        return found

    def setting(self, key: Token, value: object) -> _Item:
        return _Item([key], value, is_block=False)

    def block(self, *parts: Any) -> _Item:
        return _Item(list(parts[:-1]), parts[-1], is_block=True)

    def sequence(self, *values: object) -> list[object]:
        return list(values)

    def text(self, token: Token) -> str:
        return _unquoted(token)

    def heredoc(self, token: Token) -> str:
        opening, *lines, _ = token.value.split("\n")
        if opening.startswith("<<-"):
            indent = min((len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()), default=0)
            lines = [line[indent:] if line.strip() else line for line in lines]
        return "".join(line + "\n" for line in lines)

    def number(self, token: Token) -> int | float:
        word = str(token)
        try:
            if word.lower().lstrip("-").startswith("0x"):
                return int(word, 16)
            return float(word) if any(mark in word for mark in ".eE") else int(word)
        except ValueError:  # Python reads at most 4,300 digits
            raise _refused("the number has too many digits", token) from None

    def constant(self, token: Token) -> bool | None:
        return _CONSTANTS[token]


def _key(token: Token) -> str:
    return _unquoted(token) if token.type == "TEXT" else str(token)


def _unquoted(token: Token) -> str:
    inner = token[1:-1]
    return _ESCAPE.sub(lambda match: _unescaped(match[0], token), inner) if "\\" in inner else inner


def _unescaped(whole: str, token: Token) -> str:
    if whole.startswith("$"):
        return whole
    code = whole[1:]
    if code in _SIMPLE:
        return _SIMPLE[code]
    if len(code) > 1:
        number = int(code, 8) if code[0] in "01234567" else int(code[1:], 16)
        if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF:
            return chr(number)
    raise _refused(f"{whole!r} is not an escape", token)


def _refused(why: str, place: Token | UnexpectedCharacters | UnexpectedToken) -> InvalidRequest:
    return InvalidRequest(f"line {place.line}, column {place.column}: {why}")


def _end_of(text: str) -> Token:
    return Token("$END", "", line=text.count("\n") + 1, column=len(text) - text.rfind("\n"))


def _why_no_word(text: str, position: int) -> str:
    """Nothing of the language begins here."""
    opening = _HEREDOC_OPENING.match(text, position)
    if opening is not None:
        return f"the text that begins with {opening[0].strip()} has no line {opening[1]!r} to end it"
    if text.startswith('"', position):
        return "the text is not closed on this line, or holds a bad escape"
    if text.startswith("/*", position):
        return "the comment is not closed"
    return f"unexpected character {text[position]!r}"


def _why_no_place(token: Token, wanted: set[str], previous: Token) -> str:
    """A word of the language, where only those `wanted` may stand."""
    at_end = token.type == "$END"
    found = token.value if token.type != "HEREDOC" else token.value.partition("\n")[0] + "\n"
    if at_end and "RSQB" in wanted:
        return "the file ends inside a list: a ']' is missing"
    if "NUMBER" in wanted:
        if token.type == "NAME":
            return f"expected a value, found {found!r}: texts need quotes, and expressions do not exist here"
        return "expected a value" + ("" if at_end else f", found {found!r}")
    if "RSQB" in wanted:
        return f"expected ',' or ']', found {found!r}"
    if "LBRACE" in wanted:
        if token.type == "_ASSIGN":
            return f"expected a block after the label {_key(previous)!r}"
        return f"expected '=' or '{{' after the key {_key(previous)!r}"
    if at_end:
        return "the file ends inside a block: a '}' is missing"
    return f"expected a key, found {found!r}"
