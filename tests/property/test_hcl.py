"""Any text is either read or refused with a place; what we write is read back."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from base import hcl
from base.errors import InvalidRequest

KEYS = st.from_regex(r"[a-z_][a-z0-9_-]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="$"), max_size=12)
VALUES = st.recursive(
    st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=6,
)


def written(value: object) -> str:
    """HCL text of a value."""
    if isinstance(value, dict):
        return "{\n" + "".join(f"{key} = {written(item)}\n" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_what_is_written_is_read_back(tree: dict[str, object]) -> None:
    assert hcl.parse("".join(f"{key} = {written(value)}\n" for key, value in tree.items())) == tree


@given(st.text(st.sampled_from('ab="{}[]<-\\\n\t ,:#/*$1.E'), max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        assert isinstance(hcl.parse(text), dict)
    except InvalidRequest as error:
        refusal = str(error)
    else:
        return
    assert re.match(r"line \d+, column \d+: ", refusal)
