"""Limits of metadata, word for word. Source: state store specification, section 2."""

import pytest

from structs.metadata import complaint


@pytest.mark.parametrize(
    ("meta", "text"),
    [
        (None, ""),
        ({}, ""),
        ({f"k{number}": "" for number in range(64)}, ""),
        ({f"k{number}": "" for number in range(65)}, "Node metadata cannot contain more than 64 key/value pairs"),
        ({"": "v"}, "Couldn't load metadata pair ('', 'v'): Key cannot be blank"),
        ({"a.b": "v"}, "Couldn't load metadata pair ('a.b', 'v'): Key contains invalid characters"),
        ({"a\n": "v"}, "Couldn't load metadata pair ('a\n', 'v'): Key contains invalid characters"),
        ({"é": "v"}, "Couldn't load metadata pair ('é', 'v'): Key contains invalid characters"),
        ({"k" * 128: "v" * 512}, ""),
        (
            {"k" * 129: "v"},
            f"Couldn't load metadata pair ('{'k' * 129}', 'v'): Key is too long (limit: 128 characters)",
        ),
        (
            {"k": "v" * 513},
            f"Couldn't load metadata pair ('k', '{'v' * 513}'): Value is too long (limit: 512 characters)",
        ),
        (
            {"consul-x": "v"},
            "Couldn't load metadata pair ('consul-x', 'v'): Key prefix 'consul-' is reserved for internal use",
        ),
    ],
)
def test_each_limit_has_its_text(meta: dict[str, str] | None, text: str) -> None:
    assert complaint(meta, reserved_allowed=False) == text


def test_agents_may_use_reserved_keys() -> None:
    assert complaint({"consul-network-segment": ""}, reserved_allowed=True) == ""
