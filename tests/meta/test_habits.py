"""Habits that a reader relies on and a tool can see."""

import ast
import re

import pytest

from tests.meta.sources import AROUND, ROOMS, Module, imports_of, modules_of

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "misc"}
PRODUCT = modules_of(*ROOMS)
EVERYTHING = modules_of(*ROOMS, *AROUND)


@pytest.mark.parametrize("module", EVERYTHING, ids=lambda module: module.place)
def test_files_stay_small_enough_to_read(module: Module) -> None:
    assert len(module.text.splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("module", PRODUCT, ids=lambda module: module.place)
def test_functions_stay_small_enough_to_read(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= FUNCTION_LINES_MAX, f"{module.place}:{node.lineno} {node.name} has {lines} lines"


@pytest.mark.parametrize("module", EVERYTHING, ids=lambda module: module.place)
def test_files_are_named_for_what_they_do_and_say_it(module: Module) -> None:
    assert not FORBIDDEN_NAMES & set(module.name.split("."))
    if module.text.strip():
        assert module.docstring, f"{module.place} has no docstring"


@pytest.mark.parametrize("module", EVERYTHING, ids=lambda module: module.place)
def test_nobody_sleeps_on_the_clock(module: Module) -> None:
    for target, line in imports_of(module):
        assert target != "time.sleep", f"{module.place}:{line}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("time", "sleep"), f"{module.place}:{node.lineno}"


@pytest.mark.parametrize("module", PRODUCT, ids=lambda module: module.place)
def test_errors_are_caught_by_name_except_at_a_documented_border(module: Module) -> None:
    lines = module.text.splitlines()
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        assert node.type is not None, f"{module.place}:{node.lineno} bare except"
        names = {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)}
        if "Exception" in names:
            near = " ".join(lines[max(0, node.lineno - 3) : node.lineno + 2])
            assert "order" in near, f"{module.place}:{node.lineno}: except Exception without a word why it is a border"
        if len(node.body) == 1 and isinstance(node.body[0], ast.Pass):
            near = " ".join(lines[max(0, node.lineno - 3) : node.lineno + 2])
            assert "#" in near, f"{module.place}:{node.lineno}: an error is dropped without a word why"


@pytest.mark.parametrize("module", EVERYTHING, ids=lambda module: module.place)
def test_nothing_is_left_for_later(module: Module) -> None:
    marks = re.compile(r"\b(" + "TO" + "DO|FIX" + "ME|XX" + r"X|HA" + r"CK)\b")
    for number, line in enumerate(module.text.splitlines(), start=1):
        assert not marks.search(line), f"{module.place}:{number}"


@pytest.mark.parametrize("module", PRODUCT, ids=lambda module: module.place)
def test_no_queue_is_unbounded(module: Module) -> None:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and "open_memory_channel" in ast.dump(node.func):
            assert "'inf'" not in ast.dump(node), f"{module.place}:{node.lineno}"
