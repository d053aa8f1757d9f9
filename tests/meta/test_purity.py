"""What decides does not act: no clock, chance, file or socket in Sans-IO files and in command handlers."""

import ast

import pytest

from tests.meta.sources import ROOMS, Module, imports_of, is_within, modules_of

FORBIDDEN_MODULES = frozenset(
    {"trio", "asyncio", "time", "socket", "select", "random", "secrets", "uuid", "ssl", "threading", "os"}
)
FORBIDDEN_CALLS = ("open", "input", "hash", "id", "eval", "exec")
FORBIDDEN_METHODS = {("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}
TYPES_ONLY = {"random", "random.Random"}
"""A seeded generator handed in is how chance comes through the door: it may be named, but not made or used at large."""


def deciding_modules() -> list[Module]:
    return [
        module
        for module in modules_of(*ROOMS)
        if module.docstring.startswith("Sans-IO") or is_within(module.name, "fsm.commands")
    ]


def complaints(module: Module) -> list[str]:
    """What in the file breaks the rule, each with its line."""
    found = [
        f"{line}: imports {target}"
        for target, line in imports_of(module)
        if any(is_within(target, name) for name in FORBIDDEN_MODULES) and target not in TYPES_ONLY
    ]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            found.append(f"{node.lineno}: {type(node).__name__}")
        elif isinstance(node, ast.Call):
            found.extend(f"{node.lineno}: calls {name}" for name in _forbidden_calls(node))
        elif isinstance(node, ast.For) and _is_bare_set(node.iter):
            found.append(f"{node.lineno}: iterates over a set, whose order is not the same everywhere")
        elif isinstance(node, ast.comprehension) and _is_bare_set(node.iter):
            found.append(f"{node.iter.lineno}: iterates over a set, whose order is not the same everywhere")
    return found


def _forbidden_calls(node: ast.Call) -> list[str]:
    if isinstance(node.func, ast.Name):
        name = node.func.id
        return [name] if name in FORBIDDEN_CALLS or name == "Random" else []
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        pair = (node.func.value.id, node.func.attr)
        if pair[0] == "random":
            return [".".join(pair)]
        return [".".join(pair)] if pair in FORBIDDEN_METHODS else []
    return []


def _is_bare_set(node: ast.expr) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("set", "frozenset")


@pytest.mark.parametrize("module", deciding_modules(), ids=lambda module: module.place)
def test_deciding_files_do_not_act(module: Module) -> None:
    assert complaints(module) == [], module.place


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from trio import sleep",
        "import os.path",
        "async def f() -> None: ...",
        "open('x')",
        "datetime.now()",
        "for x in {1, 2}: pass",
        "[x for x in set(y)]",
        "hash('x')",
        "from random import Random\nRandom(3)",
        "import random\nrandom.random()",
        "import random\nrandom.Random(3)",
        "from random import choice",
    ],
)
def test_the_check_finds_what_it_looks_for(source: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("purity") / "sample.py"
    path.write_text(source, encoding="utf-8")
    assert complaints(Module(path, "fsm.commands.sample"))
