"""The tables are complete: what can be called has a test that names it, and a number is used once."""

import importlib
import pkgutil
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from tests.meta.sources import ROOT

API_PAGES = ROOT / "docs" / "api"


@cache
def texts_of_tests() -> str:
    """The text of all tests but those of this folder."""
    here = Path(__file__).parent
    paths = [path for path in sorted((ROOT / "tests").rglob("*.py")) if here not in path.parents]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def filled(module_name: str, attribute: str) -> object:
    """The registry of that name, after importing all modules of its package, whose imports fill it."""
    module = importlib.import_module(module_name)
    package = importlib.import_module(module_name.rpartition(".")[0])
    for found in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{found.name}")
    return getattr(module, attribute)


def test_every_rpc_method_has_a_test_that_names_it() -> None:
    methods = filled("server.endpoints.registry", "METHODS")
    assert isinstance(methods, dict)
    assert len(methods) > 10
    missing = [name for name in methods if name not in texts_of_tests()]
    assert missing == []


def test_every_rpc_method_states_its_access() -> None:
    methods = filled("server.endpoints.registry", "METHODS")
    assert isinstance(methods, dict)
    for name, method in methods.items():
        assert method.access is not None, name


def test_every_command_number_is_used_once_and_has_a_test() -> None:
    commands = filled("fsm.commands.registry", "COMMANDS")
    assert isinstance(commands, dict)
    assert all(0 <= number < 128 for number in commands)
    names = Counter(command.name for command in commands.values())
    assert [name for name, count in names.items() if count > 1] == []


def test_every_http_route_has_a_test_and_a_page() -> None:
    routes = filled("agent.http.registry", "ROUTES")
    paths = sorted({route.path for route in (routes.values() if isinstance(routes, dict) else routes)})  # type: ignore[attr-defined]
    assert "/v1/kv/" in paths
    pages = "\n".join(page.read_text(encoding="utf-8") for page in API_PAGES.glob("*.md"))
    for path in paths:
        assert path in texts_of_tests(), f"no test names {path}"
        assert path in pages, f"no page in docs/api names {path}"


def test_every_command_of_the_cli_has_a_test() -> None:
    commands = filled("mesh.cli.registry", "COMMANDS")
    assert isinstance(commands, dict)
    tests = texts_of_tests()
    for path in commands:
        words = path.split() if isinstance(path, str) else list(path)
        quoted = '", "'.join(words)
        assert " ".join(words) in tests or f'"{quoted}"' in tests, f"no test runs mesh {' '.join(words)}"


def test_every_http_route_is_described_for_programs() -> None:
    """Each needs its row in agent/http/described.py; `scripts/api_docs.py --write` then writes openapi.json."""
    routes = filled("agent.http.registry", "ROUTES")
    assert isinstance(routes, dict)
    describing = importlib.import_module("agent.http.describing")
    assert describing.undescribed() == []
    known = {f"{method} {path}" for path, route in routes.items() for method in route.endpoints}
    assert set(describing.ROWS) - known == set(), "a row describes a route that does not exist"


def test_every_metric_has_a_line_of_documentation() -> None:
    for program in ("server.main", "agent.main"):
        importlib.import_module(program)
    page = (ROOT / "docs" / "operating" / "telemetry.md").read_text(encoding="utf-8")
    methods = filled("server.endpoints.registry", "METHODS")
    assert isinstance(methods, dict)
    alike = {name.lower() for name in methods}  # one line is for all RPC methods
    names = importlib.import_module("base.telemetry").TELEMETRY.names() - alike
    assert len(names) > 40
    assert sorted(name for name in names if f"`{name}`" not in page and not name.startswith("test.")) == []


@pytest.mark.parametrize("room", ["fsm/commands", "server/endpoints", "agent/http"])
def test_registries_live_in_a_file_of_that_name(room: str) -> None:
    assert (ROOT / room / "registry.py").is_file()
