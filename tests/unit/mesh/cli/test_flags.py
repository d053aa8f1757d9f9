"""Flags as existing scripts write them."""

import pytest

from base.errors import InvalidRequest
from mesh.cli.flags import Flag, FlagKind, parse

FLAGS = (
    Flag("cas", FlagKind.SWITCH, "."),
    Flag("flags", FlagKind.NUMBER, "."),
    Flag("token", FlagKind.TEXT, "."),
    Flag("name", FlagKind.TEXTS, "."),
)


def test_every_spelling_is_understood() -> None:
    given = parse(FLAGS, ["-cas", "--flags=7", "-token", "-x", "-name=a", "--name", "b", "key", "-5"])
    assert given.switch("cas")
    assert given.number("flags") == 7
    assert given.text("token") == "-x"
    assert given.texts("name") == ["a", "b"]
    assert given.arguments == ["key", "-5"]


def test_flags_end_at_the_first_argument_and_at_two_dashes() -> None:
    assert parse(FLAGS, ["-", "-cas"]).arguments == ["-", "-cas"]
    assert parse(FLAGS, ["--", "-cas"]).arguments == ["-cas"]


def test_switches_take_values_only_after_an_equals_sign() -> None:
    assert parse(FLAGS, ["-cas=false"]).switch("cas") is False
    assert parse(FLAGS, ["-cas", "false"]).arguments == ["false"]
    assert parse(FLAGS, []).switch("cas") is False


@pytest.mark.parametrize(
    "words",
    [["-nope"], ["-cas=maybe"], ["-flags=x"], ["-flags=-1"], [f"-flags={2**64}"], ["-token"], ["-flags", "1.5"]],
)
def test_anything_else_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidRequest):
        parse(FLAGS, words)


@pytest.mark.parametrize("word", ["-h", "-help", "--help"])
def test_help_is_always_there(word: str) -> None:
    assert parse((), [word]).help_wanted
