"""HCL, version 1: the subset that configuration files, policies and configuration entries are written in.

    datacenter = "dc1"                       scalars: texts, numbers, true, false
    ports { http = 8500 }                    a block is a map; a block written twice is a list of maps
    response_headers { "X-Frame" = "DENY" }  keys may be quoted (version 2 of the language refuses that)
    key_prefix "app/" { policy = "write" }   labels nest: {"key_prefix": {"app/": {"policy": "write"}}}
    retry_join = ["a", "b"]                  lists and maps, with commas or line ends between the items
    script = <<EOF                           heredocs, <<-EOF to strip the indentation

Expressions, functions and interpolation do not exist; `${...}` in a text is kept as it is written. A scalar key may be
written once. Sans-IO. Source: github.com/hashicorp/hcl v1, README and scanner.
"""

import re
from typing import NoReturn

from base.errors import InvalidRequest

DEPTH_MAX = 64
"""Nesting. Real files need five; a hostile one must not exhaust the stack."""

_WORD = re.compile(
    r"""
      (?P<space>   [ \t\r]+ | \#[^\n]* | //[^\n]* | /\*.*?\*/ )
    | (?P<newline> \n )
    | (?P<heredoc> <<-?[A-Za-z_][A-Za-z0-9_.-]*[ \t\r]*\n )
    | (?P<text>    "(?:[^"\\\n$] | \\[^\n] | \$(?!\{) | \$\{[^}\n]*\})*" )
    | (?P<number>  -?(?:0[xX][0-9a-fA-F]+ | \d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![A-Za-z0-9_]) )
    | (?P<name>    [A-Za-z_][A-Za-z0-9_.-]* )
    | (?P<mark>    [\[\]{}=:,] )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\$\{[^}\n]*\}|\\(?:u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-7]{3}|.)", re.DOTALL)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}


def parse(text: str) -> dict[str, object]:
    """Return the map that `text` describes; raises InvalidRequest with line and column."""
    return _Parser(text).file()


class _Blocks(list[object]):
    """A block that was written more than once."""


class _Parser:
    """Recursive descent over one word of look-ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._kind = ""
        self._word = ""
        self._start = 0
        self._advance()

    def file(self) -> dict[str, object]:
        return self._items(end="", depth=0)

    def _fail(self, text: str, position: int | None = None) -> NoReturn:
        at = self._start if position is None else position
        line = self._text.count("\n", 0, at) + 1
        column = at - (self._text.rfind("\n", 0, at) + 1) + 1
        raise InvalidRequest(f"line {line}, column {column}: {text}")

    def _advance(self) -> None:
        while True:
            self._start = self._position
            if self._position >= len(self._text):
                self._kind = self._word = ""
                return
            match = _WORD.match(self._text, self._position)
            if match is None:
                self._fail(self._why_no_word(), self._position)
            self._position = match.end()
            if match.lastgroup != "space":
                self._kind, self._word = match.lastgroup or "", match[0]
                return

    def _why_no_word(self) -> str:
        character = self._text[self._position]
        if character == '"':
            return "the text is not closed on this line, or holds a bad escape"
        if self._text.startswith("/*", self._position):
            return "the comment is not closed"
        return f"unexpected character {character!r}"

    def _skip_newlines(self) -> None:
        while self._kind == "newline":
            self._advance()

    def _items(self, *, end: str, depth: int) -> dict[str, object]:
        """Keys and values up to `end`, which is "}" or, for the file, ""."""
        if depth > DEPTH_MAX:
            self._fail(f"nested more than {DEPTH_MAX} deep")
        found: dict[str, object] = {}
        while True:
            self._skip_newlines()
            if self._word == end and self._kind in ("", "mark"):
                return found
            if not self._kind:
                self._fail("the file ends inside a block: a '}' is missing")
            self._item(found, depth)
            if self._word == "," and self._kind == "mark":
                self._advance()

    def _item(self, found: dict[str, object], depth: int) -> None:
        start = self._start
        keys = [self._key()]
        while self._kind in ("name", "text"):
            keys.append(self._key())
        if self._kind == "mark" and self._word in ("=", ":"):
            if len(keys) > 1:
                self._fail(f"expected a block after the label {keys[-1]!r}")
            self._advance()
            self._skip_newlines()
            self._put(found, keys, self._value(depth), start, block=False)
        elif self._kind == "mark" and self._word == "{":
            self._advance()
            value = self._items(end="}", depth=depth + 1)
            self._advance()
            self._put(found, keys, value, start, block=True)
        else:
            self._fail(f"expected '=' or '{{' after the key {keys[-1]!r}")

    def _key(self) -> str:
        kind, word = self._kind, self._word
        if kind not in ("name", "text"):
            self._fail(f"expected a key, found {word!r}")
        key = self._unquoted(word) if kind == "text" else word
        self._advance()
        return key

    def _put(self, found: dict[str, object], keys: list[str], value: object, start: int, *, block: bool) -> None:
        target = found
        for key in keys[:-1]:
            child = target.setdefault(key, {})
            if not isinstance(child, dict):
                self._fail(f"{key!r} is written twice, with and without a label", start)
            target = child
        last = keys[-1]
        if last not in target:
            target[last] = value
            return
        old = target[last]
        if isinstance(old, _Blocks):
            old.append(value)
        elif block and isinstance(old, dict) and len(keys) == 1:
            target[last] = _Blocks([old, value])
        else:
            self._fail(f"{last!r} is written twice", start)

    def _value(self, depth: int) -> object:
        kind, word = self._kind, self._word
        if kind == "mark" and word == "[":
            return self._list(depth + 1)
        if kind == "mark" and word == "{":
            self._advance()
            value: object = self._items(end="}", depth=depth + 1)
        elif kind == "heredoc":
            return self._heredoc()
        elif kind == "text":
            value = self._unquoted(word)
        elif kind == "number":
            value = _number(word)
        elif kind == "name" and word in ("true", "false", "null"):
            value = {"true": True, "false": False, "null": None}[word]
        elif kind == "name":
            self._fail(f"expected a value, found {word!r}: texts need quotes, and expressions do not exist here")
        else:
            self._fail("expected a value" + (f", found {word!r}" if kind not in ("", "newline") else ""))
        self._advance()
        return value

    def _list(self, depth: int) -> list[object]:
        if depth > DEPTH_MAX:
            self._fail(f"nested more than {DEPTH_MAX} deep")
        self._advance()
        found: list[object] = []
        while True:
            self._skip_newlines()
            if self._kind == "mark" and self._word == "]":
                self._advance()
                return found
            if not self._kind:
                self._fail("the file ends inside a list: a ']' is missing")
            found.append(self._value(depth))
            self._skip_newlines()
            if self._kind == "mark" and self._word == ",":
                self._advance()
            elif self._kind and not (self._kind == "mark" and self._word == "]"):
                self._fail(f"expected ',' or ']', found {self._word!r}")

    def _heredoc(self) -> str:
        marker = self._word.strip()
        stripped = marker.startswith("<<-")
        name = marker[3:] if stripped else marker[2:]
        end = re.compile(rf"^[ \t]*{re.escape(name)}[ \t\r]*$", re.MULTILINE).search(self._text, self._position)
        if end is None:
            self._fail(f"the text that begins with {marker} has no line {name!r} to end it")
        lines = self._text[self._position : end.start()].splitlines(keepends=True)
        if stripped:
            indents = [len(line) - len(line.lstrip(" \t")) for line in lines if line.strip()]
            lines = [line[min(indents, default=0) :] if line.strip() else line for line in lines]
        self._position = end.end()
        self._advance()
        return "".join(lines)

    def _unquoted(self, word: str) -> str:
        if "\\" not in word:
            return word[1:-1]
        return _ESCAPE.sub(self._escape, word[1:-1])

    def _escape(self, match: re.Match[str]) -> str:
        whole = match[0]
        if whole.startswith("$"):
            return whole
        code = whole[1:]
        if code in _SIMPLE:
            return _SIMPLE[code]
        if len(code) > 1:
            number = int(code, 8) if code[0] in "01234567" else int(code[1:], 16)
            if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF:
                return chr(number)
        return self._fail(f"{whole!r} is not an escape")


def _number(word: str) -> int | float:
    if word.lower().lstrip("-").startswith("0x"):
        return int(word, 16)
    return float(word) if any(mark in word for mark in ".eE") else int(word)
