"""Documentation that can be checked is checked: links, named tests, commands, and what it may not speak of."""

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.meta.sources import ROOT

LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6}\s+(.*)$", re.MULTILINE)
NAMED_TEST = re.compile(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`")
COMMAND = re.compile(r"(?<![\w/.-])(scripts/[\w.]+|(?:\.venv/bin/)(?:mesh[\w-]*))")
FORBIDDEN = tuple(
    first + second
    for first, second in [
        ("../sha", "red"),
        ("session li", "mit"),
        ("/work/", "main"),
        ("/tmp/pl", "an"),
        ("CONTR", "ACT.md"),
        ("sub-ag", "ent"),
    ]
)
"""Words about how the project came to be; they mean nothing to its readers. Split, so as not to find themselves."""


@cache
def tracked_files() -> list[Path]:
    """Files that git knows, or all text files where the checkout has no git."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listing.returncode == 0:
        return [ROOT / name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and ".venv" not in path.parts]


def pages() -> list[Path]:
    return [path for path in tracked_files() if path.suffix == ".md"]


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def anchors_of(path: Path) -> frozenset[str]:
    """The fragments a link may name: headings as code hosts turn them into ids."""
    titles = HEADING.findall(path.read_text(encoding="utf-8"))
    return frozenset(re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles)


@cache
def test_names_in(path: Path) -> frozenset[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):  # hypothesis: TestX = Machine.TestCase
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return frozenset(names)


test_names_in.__test__ = False  # type: ignore[attr-defined]  # its name begins like a test's


@pytest.mark.parametrize("page", pages(), ids=place)
def test_links_resolve(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), f"{place(page)} links to {target}"
        if fragment and linked.suffix == ".md":
            assert fragment in anchors_of(linked), f"{place(page)} links to {target}"


@pytest.mark.parametrize("page", pages(), ids=place)
def test_named_tests_exist(page: Path) -> None:
    for name, function in NAMED_TEST.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / name).is_file(), f"{place(page)} names {name}"
        if function:
            assert function in test_names_in(ROOT / name), f"{place(page)} names {name}::{function}"


def test_every_guarantee_names_a_test_that_watches_it() -> None:
    page = ROOT / "docs" / "guarantees.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if re.match(r"\| G\d+ ", line)]
    assert rows
    for row in rows:
        assert NAMED_TEST.search(row), f"no test is named for {row[:60]}"
    numbers = [row.split()[1] for row in rows]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("page", pages(), ids=place)
def test_commands_exist(page: Path) -> None:
    for command in COMMAND.findall(page.read_text(encoding="utf-8")):
        if command.startswith("scripts/"):
            assert (ROOT / command).is_file(), f"{place(page)} speaks of {command}"
        else:
            assert f'{Path(command).name} = "' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_ci_runs_what_the_readme_says() -> None:
    assert "scripts/test" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "exec scripts/test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", tracked_files(), ids=place)
def test_files_speak_only_of_the_project(path: Path) -> None:
    data = path.read_bytes().lower()  # bytes, since golden files are no text
    for word in FORBIDDEN:
        assert word.lower().encode() not in data, f"{place(path)} contains {word!r}"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_pin_everything_by_hash_and_name_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index-url" not in text
    assert "--find-links" not in text
    requirements = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(requirements) > 10
    for line in requirements:
        assert re.match(r"^[a-z0-9][a-z0-9_.-]*==\S+ \\$", line), line
    assert text.count("--hash=sha256:") >= len(requirements)
