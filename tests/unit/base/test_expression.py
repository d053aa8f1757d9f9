"""Filter expressions against a naive evaluator over plain JSON, and what is refused."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import InvalidRequest
from base.expression import (
    DEPTH_MAX,
    LENGTH_MAX,
    Conjunction,
    Disjunction,
    Expression,
    Match,
    Negation,
    Operator,
    compiled,
    parsed,
)


class Part(msgspec.Struct, frozen=True, kw_only=True):
    status: str = msgspec.field(name="Status")
    labels: list[str] = msgspec.field(name="Labels")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    name: str = msgspec.field(name="Name")
    port: int = msgspec.field(name="Port", default=0)
    weight: float = msgspec.field(name="Weight", default=0.0)
    native: bool = msgspec.field(name="Native", default=False)
    tags: list[str] | None = msgspec.field(name="Tags", default=None)
    meta: dict[str, str] | None = msgspec.field(name="Meta", default=None)
    header: dict[str, list[str]] = msgspec.field(name="Header", default_factory=dict)
    config: dict[str, object] = msgspec.field(name="Config", default_factory=dict)
    parts: list[Part] = msgspec.field(name="Parts", default_factory=list)
    near: Part | None = msgspec.field(name="Near", default=None)


WORDS = ("a", "b", "ab", "v1", "")
words = st.sampled_from(WORDS)
parts = st.builds(Part, status=words, labels=st.lists(words, max_size=2))
rows = st.builds(
    Row,
    name=words,
    port=st.integers(0, 2),
    native=st.booleans(),
    tags=st.none() | st.lists(words, max_size=2),
    meta=st.none() | st.dictionaries(st.sampled_from(("a", "b")), words, max_size=2),
    header=st.dictionaries(st.sampled_from(("a", "b")), st.lists(words, max_size=2), max_size=2),
    parts=st.lists(parts, max_size=2),
    near=st.none() | parts,
)
TEXTS = [("Name",), ("Meta", "a"), ("Parts", "Status"), ("Near", "Status")]
LISTS = [("Tags",), ("Header", "a"), ("Parts", "Labels"), ("Near", "Labels")]


def match(selectors: list[tuple[str, ...]], operators: list[Operator], values: st.SearchStrategy[str]) -> Any:
    def made(selector: tuple[str, ...], operator: Operator, negated: bool, value: str) -> Match:
        return Match(selector, operator, negated, None if operator is Operator.EMPTY else value)

    return st.builds(made, st.sampled_from(selectors), st.sampled_from(operators), st.booleans(), values)


matches = st.one_of(
    match(TEXTS, list(Operator), words),
    match([*LISTS, ("Meta",)], [Operator.IN, Operator.EMPTY], words),
    match([("Parts",)], [Operator.EMPTY], words),
    match([("Port",)], [Operator.EQUAL], st.sampled_from(("0", "1", "-1"))),
    match([("Native",)], [Operator.EQUAL], st.sampled_from(("true", "0", "F"))),
)
expressions: st.SearchStrategy[Expression] = st.recursive(
    matches,
    lambda inner: st.one_of(
        st.builds(Negation, inner),
        st.builds(Conjunction, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Disjunction, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


def written(tree: Expression) -> str:
    if isinstance(tree, Negation):
        return f"not ({written(tree.inside)})"
    if isinstance(tree, Conjunction):
        return "(" + " and ".join(written(part) for part in tree.parts) + ")"
    if isinstance(tree, Disjunction):
        return "(" + " or ".join(written(part) for part in tree.parts) + ")"
    selector = tree.selector[0] + "".join(f"[{json.dumps(word)}]" for word in tree.selector[1:])
    if tree.operator is Operator.EMPTY:
        return f"{selector} is {'not ' if tree.negated else ''}empty"
    if tree.operator is Operator.EQUAL:
        return f"{selector} {'!=' if tree.negated else '=='} {json.dumps(tree.value)}"
    if tree.operator is Operator.IN:
        return f"{json.dumps(tree.value)} {'not ' if tree.negated else ''}in {selector}"
    return f"{selector} {'not ' if tree.negated else ''}matches `{tree.value}`"


ABSENT = object()


def says(tree: Expression, row: Any) -> bool:
    """What an expression says of a JSON value, by looking each time anew."""
    if isinstance(tree, Negation):
        return not says(tree.inside, row)
    if isinstance(tree, Conjunction):
        return all(says(part, row) for part in tree.parts)
    if isinstance(tree, Disjunction):
        return any(says(part, row) for part in tree.parts)
    return asked(row, list(tree.selector), tree)


def asked(value: Any, path: list[str], tree: Match) -> bool:
    if not path:
        return answered(value, tree)
    if isinstance(value, list):
        return any(asked(item, path, tree) for item in value)
    if value is None or path[0] not in value:
        return answered(ABSENT, tree)
    return asked(value[path[0]], path[1:], tree)


def answered(value: Any, tree: Match) -> bool:
    wanted = tree.value or ""
    if tree.operator is Operator.EMPTY:
        yes = value is ABSENT or value is None or len(value) == 0
    elif value is ABSENT or value is None:
        yes = False
    elif tree.operator is Operator.EQUAL:
        told = (
            {"true": True, "0": 0, "F": False, "1": 1, "-1": -1}.get(wanted, wanted) if value in (0, 1, 2) else wanted
        )
        yes = value == told
    elif tree.operator is Operator.IN:
        yes = wanted in value
    else:
        yes = wanted in value  # the patterns of this test have no special characters
    return yes != tree.negated


@settings(max_examples=400, deadline=None)
@given(tree=expressions, row=rows)
def test_an_expression_says_what_a_naive_evaluator_says(tree: Expression, row: Row) -> None:
    text = written(tree)
    assert compiled(text, Row)(row) is says(tree, json.loads(msgspec.json.encode(row))), text


PIECES = [
    "Name",
    "a",
    "==",
    "!=",
    '"a"',
    "`a`",
    "(",
    ")",
    ".",
    '["a"]',
    " ",
    "not",
    "in",
    "and",
    "or",
    "is",
    "empty",
    "1",
]


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(st.sampled_from(PIECES) | st.characters(), max_size=20))
def test_any_text_is_an_expression_or_refused(pieces: list[str]) -> None:
    refusal = ""
    try:
        tree: Any = parsed("".join(pieces))
    except InvalidRequest as error:
        tree, refusal = None, str(error)
    assert isinstance(tree, Expression) or refusal.startswith("Failed to create boolean expression evaluator: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Name == a", Match(("Name",), Operator.EQUAL, False, "a")),
        ("Name!=a.b", Match(("Name",), Operator.EQUAL, True, "a.b")),
        ("Port == -3", Match(("Port",), Operator.EQUAL, False, "-3")),
        (r'Name == "a\"\\\u0041\n"', Match(("Name",), Operator.EQUAL, False, 'a"\\A\n')),
        (r"Name == `a\b`", Match(("Name",), Operator.EQUAL, False, r"a\b")),
        ('Meta["my-key"] is empty', Match(("Meta", "my-key"), Operator.EMPTY, False)),
        ("Meta.not is not empty", Match(("Meta", "not"), Operator.EMPTY, True)),
        ('"/Meta/a~1b~0" == x', Match(("Meta", "a/b~"), Operator.EQUAL, False, "x")),
        ("v1 in Tags", Match(("Tags",), Operator.IN, False, "v1")),
        ('"x" not in "/Tags"', Match(("Tags",), Operator.IN, True, "x")),
        ("Tags contains v1", Match(("Tags",), Operator.IN, False, "v1")),
        ("Tags not contains v1", Match(("Tags",), Operator.IN, True, "v1")),
        ("Name matches `^a`", Match(("Name",), Operator.MATCHES, False, "^a")),
        ("Name not matches `^a`", Match(("Name",), Operator.MATCHES, True, "^a")),
        ("\t( notes == or1 )\n", Match(("notes",), Operator.EQUAL, False, "or1")),
    ],
)
def test_texts_are_read_as_they_are_meant(text: str, expected: Expression) -> None:
    assert parsed(text) == expected


def test_not_binds_stronger_than_and_and_that_than_or() -> None:
    a, b, c = (Match(("Name",), Operator.EQUAL, False, name) for name in "abc")
    assert parsed("not Name==a and Name==b or Name==c") == Disjunction((Conjunction((Negation(a), b)), c))
    assert parsed("Name==a or Name==b and Name==c") == Disjunction((a, Conjunction((b, c))))
    assert parsed("(Name==a or Name==b) and not (Name==c)") == Conjunction((Disjunction((a, b)), Negation(c)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "ends too early"),
        ("Name", "ends too early"),
        ("Name == ", "ends too early"),
        ("Name = a", "column 6: unexpected '='"),
        ("Name == 'a'", 'column 9: unexpected "\'"'),
        ('Name == "a', "column 9: the text is not closed"),
        ("Name == a b", "column 11: unexpected 'b'"),
        ("AND Name == a", "column 5: unexpected 'Name'"),
        ("1 == Name", '"1" stands where a field must be named'),
        ('"a" == Name', '"a" stands where a field must be named'),
        ('Name == Meta["a"]', "a name with brackets stands where a value must be"),
        (r'Name == "\ud800"', "is not an escape"),
        (r'Name == "\q"', "is not an escape"),
        ("(" * (DEPTH_MAX + 1) + "Name==a" + ")" * (DEPTH_MAX + 1), f"more than {DEPTH_MAX} levels"),
        ("not " * (DEPTH_MAX + 1) + "Name==a", f"more than {DEPTH_MAX} levels"),
        ("Name==" + "a" * LENGTH_MAX, f"more than {LENGTH_MAX} characters"),
    ],
)
def test_a_mistake_in_the_text_is_named(text: str, why: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(text)
    assert str(caught.value).startswith("Failed to create boolean expression evaluator: ")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Nme == a", 'Selector "Nme" is not valid'),
        ("name == a", 'Selector "name" is not valid'),
        ("Near.Foo == a", 'Selector "Near.Foo" is not valid'),
        ("Name.x == a", 'Selector "Name.x" is not valid'),
        ("Tags.x == a", 'Selector "Tags.x" is not valid'),
        ("Tags == a", 'Invalid match operator "==" for selector "Tags"'),
        ("Meta matches a", 'Invalid match operator "matches" for selector "Meta"'),
        ("Near == a", 'Selector "Near" is not a value but has fields'),
        ("Parts == a", 'Selector "Parts" is not valid for "=="'),
        ("Config.a == b", 'Selector "Config.a" is not valid'),
        ("Port == a", 'value "a" is not what "Port" holds: int'),
        ('Port == "1_0"', 'value "1_0" is not what "Port" holds: int'),
        ("Native == yes", 'value "yes" is not what "Native" holds: bool'),
        ("1 in Port", 'Invalid match operator "in" for selector "Port"'),
        ("Port is not empty", 'Invalid match operator "is not empty" for selector "Port"'),
        ("Name matches `(`", "error parsing regexp: missing closing ): `(`"),
        (f"Name matches `{'a' * 1025}`", "a regular expression of more than 1024 characters"),
    ],
)
def test_what_the_rows_do_not_have_is_refused_whatever_they_are(text: str, why: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        compiled(text, Row)
    assert str(caught.value) == f"Failed to create boolean expression evaluator: {why}"


def test_regular_expressions_search_anywhere_in_bounded_time() -> None:
    assert compiled("Name matches `b$`", Row)(Row(name="ab"))
    assert not compiled("Name matches `^b`", Row)(Row(name="ab"))
    assert not compiled("Name matches `^(a+)+$`", Row)(Row(name="a" * 5000 + "b"))


def test_numbers_become_what_the_field_is() -> None:
    assert compiled("Weight == 1", Row)(Row(name="", weight=1.0))
    assert compiled('Port == "80"', Row)(Row(name="", port=80))
    assert compiled("Native == t", Row)(Row(name="", native=True))
