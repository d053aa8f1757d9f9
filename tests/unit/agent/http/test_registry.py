"""The table of routes, and the pages that are made from it."""

import runpy
from pathlib import Path

import pytest

from acl.access import NOBODY
from agent.http import endpoints
from agent.http.dispatch import Dispatcher
from agent.http.registry import ROUTES, Services, route
from agent.http.settings import HTTPSettings
from tests.fakes.agent_info import FakeAgentInfo
from tests.fakes.delegate import FakeDelegate

ROOT = Path(__file__).parents[4]


def test_every_page_of_the_api_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "api_docs.py"))
    for name, text in script["pages"]().items():
        assert (ROOT / "docs" / "api" / name).read_text(encoding="utf-8") == text, "run scripts/api_docs.py --write"


def test_every_handler_says_what_it_does() -> None:
    assert endpoints.__all__
    for row in ROUTES.values():
        for endpoint in row.endpoints.values():
            assert endpoint.handler.__doc__, row.path


def test_only_what_changes_nothing_is_a_read() -> None:
    writes = {(path, method) for path, row in ROUTES.items() for method, one in row.endpoints.items() if one.is_write}
    others = {(path, method) for path, row in ROUTES.items() for method in row.endpoints} - writes
    assert {method for _, method in others} == {"GET", "OPTIONS"}
    assert not {method for _, method in writes} & {"GET"}


def test_a_route_cannot_be_registered_twice() -> None:
    with pytest.raises(RuntimeError, match="GET /v1/status/leader is registered twice"):
        route("/v1/status/leader", "GET", access=NOBODY, is_write=False)(lambda context: None)  # type: ignore[arg-type, return-value]


def test_the_longest_prefix_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("/v1/x/", "/v1/x/y/z/", "/v1/x/y"):
        row = type(ROUTES["/v1/kv/"])(path)
        monkeypatch.setitem(ROUTES, path, row)
    dispatcher = Dispatcher(Services(HTTPSettings(), FakeDelegate(), FakeAgentInfo()))

    def found(path: str) -> tuple[str, str] | None:
        row, rest = dispatcher._find(path)
        return (row.path, rest) if row else None

    assert found("/v1/x/a/b") == ("/v1/x/", "a/b")
    assert found("/v1/x/y") == ("/v1/x/y", "")
    assert found("/v1/x/y/") == ("/v1/x/", "y/")
    assert found("/v1/x/y/z/q/w/e/r/t") == ("/v1/x/y/z/", "q/w/e/r/t")
    assert found("/v1/kv/" + "a/" * 100) == ("/v1/kv/", "a/" * 100)
    assert found("/v1/x") is None
    assert found("/") is None
