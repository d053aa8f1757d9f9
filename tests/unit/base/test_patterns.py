"""base/patterns.py: expressions of strangers."""

import time

import pytest

from base.errors import InvalidRequest
from base.patterns import PATTERN_LENGTH_MAX, Pattern


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("", "", True),
        ("^web-[0-9]+$", "web-12", True),
        ("^web-[0-9]+$", "web-12\n", False),
        ("(?m)^b$", "a\nb\nc", True),
        ("a.b", "a\nb", False),
        ("(?i)WEB", "my-Web", True),
        ("(?P<name>x)(?-i)y", "xy", True),
        ("[[:alpha:]]{3}", "ab1", False),
        ("b", "abc", True),
        ("é", "café", True),
        ("x", "\udcff", False),
    ],
)
def test_a_match_may_stand_anywhere(source: str, text: str, expected: bool) -> None:
    assert Pattern(source).found_in(text) is expected


@pytest.mark.parametrize("source", ["(", "a{2000}", "((a{100}){100}){100}", "(a)\\1", "a(?=b)", "[z-a]", "\udcff"])
def test_what_cannot_be_understood_or_costs_too_much_is_refused(source: str) -> None:
    with pytest.raises(InvalidRequest, match="error parsing regexp"):
        Pattern(source)


def test_a_long_expression_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidRequest, match="more than 1024 characters"):
        Pattern("a" * (PATTERN_LENGTH_MAX + 1))


def test_the_expression_that_ruins_other_matchers_ends_soon() -> None:
    pattern = Pattern("(a+)+$")
    began_s = time.perf_counter()
    assert not pattern.found_in("a" * 100_000 + "b")
    assert time.perf_counter() - began_s < 30.0  # the standard library would need longer than the universe is old
