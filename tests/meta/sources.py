"""The project's own source as data, for the tests of this folder: files, syntax trees, imports."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("acl", "agent", "base", "connect", "fsm", "gossip", "jepsen", "mesh", "rpc", "server", "structs")
"""The product's top-level packages, present or still to come."""
AROUND = ("bench", "scripts", "tests")
"""Python that is no part of the product."""


@dataclass(frozen=True)
class Module:
    """One Python file. `name` is dotted, as an import would write it."""

    path: Path
    name: str

    @property
    def room(self) -> str:
        return self.name.partition(".")[0]

    @property
    def place(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=str(self.path))

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"


@cache
def modules_of(*rooms: str) -> tuple[Module, ...]:
    """All modules of these top-level folders, in the order of their paths."""
    return tuple(_module(path) for room in rooms for path in sorted((ROOT / room).rglob("*.py")) if path.is_file())


@cache
def _module(path: Path) -> Module:
    """One object a file, so that it is read and parsed once for all tests."""
    return Module(path, _dotted(path))


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(module: Module) -> Iterator[tuple[str, int]]:
    """Every module or member the file imports, anywhere in it, as (dotted name, line)."""
    package = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, node.module] if node.module else base)
            for alias in node.names:
                yield f"{prefix}.{alias.name}", node.lineno


def is_within(name: str, prefix: str) -> bool:
    """Whether the dotted `name` is `prefix` or lies inside it."""
    return name == prefix or name.startswith(prefix + ".")
