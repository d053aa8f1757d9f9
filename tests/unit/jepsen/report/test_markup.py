"""Text never becomes markup."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jepsen.report.markup import Markup, element, number, text
from tests.unit.jepsen.report.pages import Page


def test_text_is_escaped_and_markup_is_not() -> None:
    assert element("p", "<b>", element("i", "&")) == "<p>&lt;b&gt;<i>&amp;</i></p>"


def test_attributes_are_quoted_renamed_and_left_out() -> None:
    made = element("p", class_='"><script>', data_name="x", hidden=True, id=None, lang=False)
    assert made == '<p class="&quot;&gt;&lt;script&gt;" data-name="x" hidden></p>'


def test_iterables_are_flattened_and_nothing_leaves_nothing() -> None:
    assert element("p", [element("b", 1), [None, "x"]], None) == "<p><b>1</b>x</p>"


def test_what_is_no_content_is_refused() -> None:
    with pytest.raises(TypeError, match="no content"):
        element("p", object())


def test_numbers_are_short() -> None:
    assert [number(value) for value in (1.0, 2.04, 2.06, -0.5)] == ["1", "2", "2.1", "-0.5"]


@given(st.text())
def test_any_text_comes_back_as_text_without_control_characters(given_text: str) -> None:
    page = Page(element("p", given_text, title=given_text))
    assert [name for name, _ in page.elements] == ["p"]
    assert all(letter.isprintable() or letter.isspace() or ord(letter) > 0x7F for letter in "".join(page.texts))


def test_lone_surrogates_and_direction_marks_are_replaced() -> None:
    shown = text("a\ud800b\u202ec\x00")
    assert shown == Markup("a\ufffdb\ufffdc\ufffd")
    shown.encode("utf-8")
