"""HCL as configuration files and policies really write it."""

import subprocess
import sys

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


def test_keys_may_be_words_that_are_values_elsewhere() -> None:
    assert hcl.parse("true = 1\nnullable = false\nnull { }") == {"true": 1, "nullable": False, "null": {}}


def test_a_heredoc_ends_only_at_a_line_of_its_own() -> None:
    text = "a = [<<EOF\n EOFX\nX EOF\n EOF\n, <<E\nE\n]\nb = <<EOF\n\nEOF"
    assert hcl.parse(text) == {"a": [" EOFX\nX EOF\n", ""], "b": "\n"}


def test_line_ends_stand_where_nothing_is_left_open() -> None:
    text = "\r\na =\n\n1,\nb = [\n\n1\n,\n2\n,\n]\n// c\nc {\n\n} d = {}"
    assert hcl.parse(text) == {"a": 1, "b": [1, 2], "c": {}, "d": {}}


def test_who_has_no_hcl_to_read_does_not_load_the_parser() -> None:
    program = "import sys; import agent.config.load, server.main; print('lark' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "False\n"


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
        ("a\nb = 1", "line 1, column 2", "expected '=' or '{' after the key 'a'"),
        ('a "b"\n{ }', "line 1, column 6", "after the key 'b'"),
        ("x = 1\na b = 1", "line 2, column 5", "a block after the label 'b'"),
        ("a = ]", "line 1, column 5", "expected a value, found ']'"),
        ("a = 1 ]", "line 1, column 7", "expected a key, found ']'"),
        ("a = [1 2]", "line 1, column 8", "expected ',' or ']', found '2'"),
        ("a = [1,,]", "line 1, column 8", "expected a value, found ','"),
        ("a = [b]", "line 1, column 6", "quotes"),
        ("a = 1\na = 2\nb = ~", "line 2, column 1", "twice"),
        (r'"\q" = 1', "line 1, column 1", "escape"),
        ("a = " + "9" * 5000, "line 1, column 5", "too many digits"),
        ("a = 1\n<<EOF\n" + "x\n" * 1000 + "EOF\n", "line 2, column 1", "expected a key, found '<<EOF\\n'"),
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
