"""HCL as configuration files and policies really write it."""

import pytest

from base import hcl
from base.errors import InvalidRequest


def test_scalars_lists_and_maps_are_what_they_look_like() -> None:
    text = """
    a = "x"      # comment
    b = 8500     // comment
    c = -1.5e2
    d = true
    e = ["p", "q",]
    f = { g = 1, h = 2 }
    "quoted" = 0x1F /* a
    longer comment */
    i : null
    """
    assert hcl.parse(text) == {
        "a": "x",
        "b": 8500,
        "c": -150.0,
        "d": True,
        "e": ["p", "q"],
        "f": {"g": 1, "h": 2},
        "quoted": 31,
        "i": None,
    }


def test_quoted_keys_work_inside_blocks() -> None:
    text = 'http_config { response_headers { "Access-Control-Allow-Origin" = "*" } }'
    assert hcl.parse(text) == {"http_config": {"response_headers": {"Access-Control-Allow-Origin": "*"}}}


def test_a_block_written_twice_is_a_list() -> None:
    assert hcl.parse("a { x = 1 }\na { x = 2 }\na { x = 3 }") == {"a": [{"x": 1}, {"x": 2}, {"x": 3}]}


def test_labels_nest() -> None:
    text = 'key "a" { policy = "read" }\nkey "b" { policy = "write" }\nkey_prefix "" { policy = "deny" }'
    assert hcl.parse(text) == {
        "key": {"a": {"policy": "read"}, "b": {"policy": "write"}},
        "key_prefix": {"": {"policy": "deny"}},
    }


def test_items_on_one_line_need_no_commas() -> None:
    assert hcl.parse('a { b = "1" c = [1] d { } }') == {"a": {"b": "1", "c": [1], "d": {}}}


def test_texts_keep_interpolation_and_undo_escapes() -> None:
    assert hcl.parse(r'a = "x\n\"${node.id}\" \u00e9 $5"') == {"a": 'x\n"${node.id}" é $5'}


def test_heredocs_keep_lines_and_strip_indentation_when_asked() -> None:
    assert hcl.parse("a = <<EOF\n  x\n y\nEOF\nb = 1") == {"a": "  x\n y\n", "b": 1}
    assert hcl.parse("a = <<-EOF\n    x\n      y\n    EOF\n") == {"a": "x\n  y\n"}


@pytest.mark.parametrize(
    ("text", "place", "word"),
    [
        ("a = 1\na = 2", "line 2, column 1", "twice"),
        ("a {", "line 1", "missing"),
        ("a = [1, 2", "line 1", "missing"),
        ("a = b", "line 1, column 5", "quotes"),
        ('a = "x', "line 1, column 5", "closed"),
        ("a", "line 1", "expected"),
        ("\n\n  }", "line 3, column 3", "key"),
        ("a = /* x", "line 1, column 5", "comment"),
        ("a = <<EOF\nx", "line 1", "end it"),
        (r'a = "\q"', "line 1", "escape"),
        ('a "b" = 1', "line 1", "block"),
        ('a "x" { }\na "x" { }', "line 2", "twice"),
        ("a = 1x", "line 1", "unexpected"),
    ],
)
def test_mistakes_are_refused_with_their_place(text: str, place: str, word: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        hcl.parse(text)
    assert place in str(caught.value)
    assert word in str(caught.value)


@pytest.mark.parametrize("opening", ["a = [", "a { ", "a = { "])
def test_hostile_nesting_is_refused_before_the_stack_ends(opening: str) -> None:
    with pytest.raises(InvalidRequest, match="deep"):
        hcl.parse(("a = " + "[" * 10_000) if opening == "a = [" else opening * 10_000)
