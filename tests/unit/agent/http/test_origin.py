"""Who may write from a browser: nobody's page but our own, and those that the operator lets in."""

import pytest

from agent.http.dispatch import Dispatcher
from agent.http.origin import FOREIGN_TEXT
from agent.http.reader import BodyRule, RequestReader
from agent.http.registry import ROUTES, Services
from agent.http.response import Response
from agent.http.settings import NO_HEADERS, HTTPLimits, HTTPSettings
from tests.fakes.agent_info import FakeAgentInfo
from tests.fakes.delegate import FakeDelegate

HOST = "127.0.0.1:8500"
OURS = [
    {},  # curl, every client library
    {"Sec-Fetch-Site": "none"},
    {"Origin": f"http://{HOST}"},
    {"Origin": f"HTTP://{HOST}"},
    {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "https://mesh.example.com", "Sec-Fetch-Site": "same-origin"},  # a proxy that writes its own Host
]
FOREIGN = [
    {"Origin": "null"},  # a sandboxed frame, a file
    {"Origin": ""},
    {"Origin": "http://evil.example"},
    {"Origin": "http://127.0.0.1:3000"},
    {"Origin": f"http://{HOST}.evil.example"},
    {"Origin": f"http://{HOST}, http://{HOST}"},
    {"Origin": "http://127.0.0.1:3000", "Sec-Fetch-Site": "same-site"},
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-origin, cross-site"},
    {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "cross-site"},
]


def is_let_in(
    method: str, target: str, headers: dict[str, str], response_headers: dict[str, str] | None = None
) -> bool:
    """Whether the dispatcher would run the handler."""
    settings = HTTPSettings(response_headers=response_headers or NO_HEADERS)
    dispatcher = Dispatcher(Services(settings, FakeDelegate(), FakeAgentInfo()))
    reader = RequestReader(HTTPLimits(), lambda method, target: BodyRule(0, ""))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    reader.feed(f"{method} {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n".encode())
    found = dispatcher.prepare(reader.requests.popleft())
    if not isinstance(found, Response):
        return True
    assert found.status == 403
    assert found.body.decode() == FOREIGN_TEXT
    assert b"X-Mesh-Outcome: refused\r\n" in found.headers
    return False


@pytest.mark.parametrize("headers", OURS)
def test_our_page_and_other_programs_write(headers: dict[str, str]) -> None:
    assert is_let_in("PUT", "/v1/kv/a", headers)
    assert is_let_in("POST", "/v1/query", headers)


@pytest.mark.parametrize("headers", FOREIGN)
def test_pages_of_other_sites_do_not(headers: dict[str, str]) -> None:
    assert not is_let_in("PUT", "/v1/kv/a", headers)
    assert not is_let_in("POST", "/v1/operator/raft/transfer-leader", headers)
    assert is_let_in("GET", "/v1/kv/a", headers)


def test_no_write_of_any_route_can_be_sent_by_another_site() -> None:
    foreign = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    for path, row in ROUTES.items():
        for method, endpoint in row.endpoints.items():
            if endpoint.is_write:
                assert not is_let_in(method, path, foreign), (method, path)


@pytest.mark.parametrize("name", ["Access-Control-Allow-Origin", "access-control-allow-origin"])
def test_the_operator_lets_origins_in(name: str) -> None:
    cross = {"Origin": "https://console.example", "Sec-Fetch-Site": "cross-site"}
    assert is_let_in("PUT", "/v1/kv/a", cross, {name: "*"})
    assert is_let_in("PUT", "/v1/kv/a", cross, {name: "https://Console.example"})
    assert not is_let_in("PUT", "/v1/kv/a", cross, {name: "https://console.example:444"})
    assert not is_let_in("PUT", "/v1/kv/a", cross, {name: ""})
    assert not is_let_in("PUT", "/v1/kv/a", {"Origin": ""}, {name: ""})
