"""JSON as Go writes and reads it."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import InvalidRequest
from structs.json_codec import Fields, decode_json, encode_json, indent_json, kv_entry_json, quote
from structs.kv import KVEntry

UINT64 = st.integers(0, (1 << 64) - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT, st.binary(), UINT64, UINT64, UINT64, UINT64, st.booleans())
def test_entries_read_back(
    key: str, value: bytes, flags: int, lock: int, create: int, modify: int, with_value: bool
) -> None:
    entry = KVEntry(
        key=key, value=value, flags=flags, lock_index=lock, create_index=create, modify_index=modify, session=key[:1]
    )
    text = kv_entry_json(entry, with_value=with_value)
    row = json.loads(text)
    expected: dict[str, Any] = {
        "LockIndex": lock,
        "Key": key,
        "Flags": flags,
        "Value": base64.b64encode(value).decode() if value and with_value else None,
    }
    if key:
        expected["Session"] = key[0]
    expected |= {"CreateIndex": create, "ModifyIndex": modify}
    assert list(row.items()) == list(expected.items())
    assert not set("<>&\u2028\u2029") & set(text.decode())


@given(TEXT)
def test_quoting_is_encoding(text: str) -> None:
    assert quote(text) == encode_json(text)
    assert json.loads(quote(text)) == text


def test_maps_are_sorted_and_escaped() -> None:
    assert encode_json({"b": "<&>", "a": [], "\u2028": None}) == b'{"a":[],"b":"\\u003c\\u0026\\u003e","\\u2028":null}'


def test_indenting_keeps_escapes() -> None:
    assert indent_json(b'{"a":["\\u003c"],"b":{}}') == b'{\n    "a": [\n        "\\u003c"\n    ],\n    "b": {}\n}\n'


def test_names_match_in_any_case_and_the_last_counts() -> None:
    fields = Fields(decode_json(b'{"Key":"a","KEY":"b","Unknown":{},"Flags":null,"Value":null}'), "KV")
    assert fields.text("Key") == "b"
    assert fields.uint64("Flags") == 0
    assert fields.base64("Value") == b""


@pytest.mark.parametrize(
    "text", [b"", b"{", b"nul", b"[1,]", b'"\xff"', b'{"a":1}{"b":2}', b"[" * 100_000, b"NaN", b"'a'"]
)
def test_malformed_json_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_json(text)


@pytest.mark.parametrize("value", [-1, 1 << 64, 1.5, "1", True, [], {}])
def test_numbers_are_unsigned_64_bits(value: object) -> None:
    with pytest.raises(InvalidRequest, match="Flags"):
        Fields({"Flags": value}, "KV").uint64("Flags")


@pytest.mark.parametrize("value", ["%", "YQ", "YQ==YQ==", 5, "YQ= ="])
def test_bad_base64_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="Value"):
        Fields({"Value": value}, "KV").base64("Value")
