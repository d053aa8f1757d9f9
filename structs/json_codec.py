"""JSON as Go writes and reads it: escapes, base64, null for empty bytes, case-insensitive names, unknown names ignored.

Source: HTTP conventions, section 6. Wire shapes are msgspec structs with `rename`d fields (declaration order is wire
order) or dicts (sorted, as Go sorts maps); 64-bit integers are plain numbers.
"""

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from typing import Any

import msgspec

from base.durations import parse_duration_s
from base.errors import InvalidRequest
from base.nesting import DOCUMENT_LEVELS_MAX, is_deeper
from structs.kv import KVEntry

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_unsafe = re.compile(r"[^ !#-%\'-;=?-\[\]-~]").search
"""Finds the first character of a string that cannot stand between quotes as it is."""
INDENT_COUNT = 4


def encode_json(value: object) -> bytes:
    """Return compact JSON with Go's escapes; no newline at the end."""
    return _escape(_encoder.encode(value))


def indent_json(body: bytes) -> bytes:
    """Return `body` indented by four spaces, with one newline at the end (`?pretty`)."""
    return msgspec.json.format(body, indent=INDENT_COUNT) + b"\n"


def quote(text: str) -> bytes:
    """Return `text` as a JSON string; fast for what keys usually look like."""
    if _unsafe(text) is None:
        return b'"%b"' % text.encode()
    return _escape(_encoder.encode(text.encode("utf-8", "replace").decode()))


def _escape(body: bytes) -> bytes:
    """Escape what Go escapes for the sake of HTML and JavaScript. None of these bytes occurs outside of strings."""
    if b"<" in body:
        body = body.replace(b"<", b"\\u003c")
    if b">" in body:
        body = body.replace(b">", b"\\u003e")
    if b"&" in body:
        body = body.replace(b"&", b"\\u0026")
    if b"\xe2\x80" in body:
        body = body.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return body


def kv_entry_json(entry: KVEntry, *, with_value: bool = True) -> bytes:
    """Return one entry as clients see it (HTTP API, section 4). An empty or withheld value is null."""
    value = entry.value
    return b'{"LockIndex":%d,"Key":%b,"Flags":%d,"Value":%b,%b"CreateIndex":%d,"ModifyIndex":%d}' % (
        entry.lock_index,
        quote(entry.key),
        entry.flags,
        b'"%b"' % b2a_base64(value, newline=False) if value and with_value else b"null",
        b'"Session":%b,' % quote(entry.session) if entry.session else b"",
        entry.create_index,
        entry.modify_index,
    )


def decode_json(body: bytes) -> Any:
    """Return the one JSON value in `body`; of repeated names the last counts.

    Raises InvalidRequest, also for more levels of lists and maps than `DOCUMENT_LEVELS_MAX`.
    """
    try:
        value = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(str(error)) from error
    if body.count(b"{") + body.count(b"[") > DOCUMENT_LEVELS_MAX and is_deeper(value, DOCUMENT_LEVELS_MAX):
        raise InvalidRequest(f"JSON is nested in more than {DOCUMENT_LEVELS_MAX} levels")
    return value


class Fields:
    """Reads one JSON object the way Go decodes into a struct: any case of a name, null as absent, unknown ignored.

    Raises InvalidRequest, naming the field, where a present value has the wrong type.
    """

    def __init__(self, value: object, what: str) -> None:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise InvalidRequest(f"{what}: expected a map, got {kind_name(value)}")
        self._what = what
        self._values = {name.lower(): item for name, item in value.items()}

    def get(self, name: str) -> Any:
        """Return the value as it is, None where absent or null."""
        return self._values.get(name.lower())

    def text(self, name: str) -> str:
        """Return a string, "" where absent."""
        value = self.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(name, "string", value)
        return value

    def uint64(self, name: str) -> int:
        """Return an unsigned 64-bit integer, 0 where absent."""
        value = self.get(name)
        if value is None:
            return 0
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
            raise self._wrong(name, "uint64", value)
        return value

    def integer(self, name: str) -> int:
        """Return a signed 64-bit integer, 0 where absent."""
        value = self.get(name)
        if value is None:
            return 0
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
            raise self._wrong(name, "int", value)
        return value

    def texts(self, name: str) -> list[str] | None:
        """Return a list of strings, None where absent."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(name, "list of strings", value)
        return value

    def text_map(self, name: str) -> dict[str, str] | None:
        """Return a map of strings, case of its keys kept; None where absent."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise self._wrong(name, "map of strings", value)
        return value

    def inner(self, name: str) -> "Fields":
        """Return the object in a field, one without anything in it where absent."""
        return Fields(self.get(name), f"{self._what}.{name}")

    def boolean(self, name: str) -> bool:
        """Return a boolean, False where absent."""
        value = self.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self._wrong(name, "bool", value)
        return value

    def number(self, name: str) -> float:
        """Return a finite number, 0.0 where absent."""
        value = self.get(name)
        return 0.0 if value is None else self._finite(name, value)

    def numbers(self, name: str) -> list[float]:
        """Return a list of finite numbers, [] where absent."""
        value = self.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._wrong(name, "list", value)
        return [self._finite(name, item) for item in value]

    def _finite(self, name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, "number", value)
        try:
            return float(value)
        except OverflowError as error:
            raise InvalidRequest(f"{self._what}.{name}: the number is too large") from error

    def duration_ns(self, name: str) -> int:
        """Return nanoseconds, from Go's text or a number of them, 0 where absent. Never negative."""
        value = self.get(name)
        if isinstance(value, str):
            try:
                value = round(parse_duration_s(value) * 1e9)
            except ValueError as error:
                raise InvalidRequest(f"{self._what}.{name}: {error}") from error
        elif value is None:
            value = 0
        elif isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(name, "duration", value)
        if not 0 <= value < 1 << 63:
            raise InvalidRequest(f"{self._what}.{name}: not a duration from 0 on")
        return value

    def base64(self, name: str) -> bytes:
        """Return the bytes that standard base64 text means, b"" where absent."""
        text = self.text(name)
        if not text:
            return b""
        try:
            return a2b_base64(text.replace("\n", "").replace("\r", ""), strict_mode=True)
        except (Base64Error, ValueError) as error:
            raise InvalidRequest(f"{self._what}.{name}: illegal base64 data") from error

    def _wrong(self, name: str, expected: str, value: object) -> InvalidRequest:
        return InvalidRequest(f"{self._what}.{name}: expected type '{expected}', got {kind_name(value)}")


def kind_name(value: object) -> str:
    """Return the JSON name of a decoded value's type."""
    names = {dict: "map", list: "list", str: "string", bool: "bool", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), type(value).__name__)
