"""What a watch definition means, and when its handler is run."""

import json
from typing import Any

import pytest

from agent.watch_plan import HTTPHandler, WatchDefinition, WatchProgress, parse_watch
from base.errors import InvalidRequest


def parsed(**raw: Any) -> WatchDefinition:
    return parse_watch({"args": ["/bin/true"], **raw})


@pytest.mark.parametrize(
    ("raw", "target"),
    [
        ({"type": "key", "key": "a/b c"}, "/v1/kv/a%2Fb%20c?"),
        ({"type": "keyprefix", "prefix": "a/", "stale": True}, "/v1/kv/a%2F?recurse&stale"),
        ({"type": "services", "datacenter": "dc2"}, "/v1/catalog/services?dc=dc2"),
        ({"type": "nodes"}, "/v1/catalog/nodes?"),
        ({"type": "service", "service": "web"}, "/v1/health/service/web?"),
        (
            {"type": "service", "service": "web", "tag": ["a", "b&c"], "passingonly": True, "datacenter": "d"},
            "/v1/health/service/web?tag=a&tag=b%26c&passing&dc=d",
        ),
        ({"type": "service", "service": "web", "tag": "v1", "passingonly": False}, "/v1/health/service/web?tag=v1"),
        ({"type": "checks"}, "/v1/health/state/any?"),
        ({"type": "checks", "state": "critical", "stale": "true"}, "/v1/health/state/critical?stale"),
        ({"type": "checks", "service": "web"}, "/v1/health/checks/web?"),
        ({"type": "event"}, "/v1/event/list?"),
        ({"type": "event", "name": "de ploy"}, "/v1/event/list?name=de%20ploy"),
    ],
)
def test_views(raw: dict[str, Any], target: str) -> None:
    assert parsed(**raw) == WatchDefinition(kind=raw["type"], target=target, args=("/bin/true",))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({}, "Watch type must be defined"),
        ({"type": "odd", "args": ["x"]}, "Unsupported watch type: odd"),
        ({"type": "connect_leaf", "args": ["x"]}, "Watch type connect_leaf is not allowed in agent config"),
        ({"type": "key", "args": ["x"]}, "Must specify a single key to watch"),
        ({"type": "keyprefix", "args": ["x"]}, "Must specify a single prefix to watch"),
        ({"type": "service", "args": ["x"]}, "Must specify a single service to watch"),
        ({"type": "checks", "service": "a", "state": "any", "args": ["x"]}, "Cannot specify service and state"),
        ({"type": "key", "key": "a"}, "Must define a watch handler"),
        ({"type": "key", "key": "a", "args": ["x"], "handler": "x"}, "Only one watch handler allowed"),
        ({"type": "key", "key": "a", "args": ["x"], "zz": 1, "b": 2}, "Invalid parameters: [b zz]"),
        ({"type": "event", "args": ["x"], "stale": True}, "Invalid parameters: [stale]"),
        ({"type": "nodes", "args": ["x"], "stale": 1}, "Expecting stale to be a boolean"),
        ({"type": "nodes", "args": ["x"], "token": 1}, "Expecting token to be a string"),
        ({"type": "nodes", "handler": ["x"]}, "Expecting handler to be a string"),
        ({"type": "nodes", "args": [1]}, "Watch args must be a list of strings"),
        ({"type": "nodes", "args": ["a\0"]}, "Watch handlers must not contain null bytes"),
        ({"type": "nodes", "handler_type": "smoke"}, "Handler type 'smoke' not recognized"),
        ({"type": "nodes", "handler_type": "http"}, "Handler type 'http' requires 'http_handler_config' to be set"),
        (
            {"type": "nodes", "handler_type": "http", "http_handler_config": {}},
            "Failed to parse 'http_handler_config': Requires 'path' to be set",
        ),
        (
            {"type": "nodes", "handler_type": "http", "http_handler_config": {"path": "ftp://x"}},
            "Failed to parse 'http_handler_config': 'ftp://x' is not an http:// or https:// URL",
        ),
        (
            {"type": "nodes", "handler_type": "http", "http_handler_config": {"path": "http://x", "timeout": "soon"}},
            "Failed to parse 'http_handler_config': time: invalid duration \"soon\"",
        ),
        (
            {"type": "nodes", "handler_type": "http", "http_handler_config": {"path": "http://x", "odd": 1}},
            "Invalid parameters: [odd]",
        ),
        (
            {"type": "nodes", "handler_type": "http", "http_handler_config": 7},
            "Expecting http_handler_config to be a map",
        ),
    ],
)
def test_refusals(raw: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_watch(raw)
    assert str(caught.value) == text


def test_handlers() -> None:
    assert parse_watch({"type": "nodes", "handler": "cat | wc", "token": "t"}) == WatchDefinition(
        kind="nodes", target="/v1/catalog/nodes?", token="t", shell="cat | wc"
    )
    config = {"path": "https://x/y", "method": "PUT", "header": {"A": ["1"], "B": "2"}, "tls_skip_verify": True}
    watch = parse_watch({"type": "nodes", "handler_type": "http", "http_handler_config": [config]})
    assert watch.http == HTTPHandler(
        path="https://x/y", method="PUT", header={"A": ["1"], "B": ["2"]}, timeout_s=10.0, tls_skip_verify=True
    )


# Progress


def progress(**raw: Any) -> WatchProgress:
    return WatchProgress(parsed(**(raw or {"type": "nodes"})))


def test_the_first_result_and_then_only_what_differs() -> None:
    subject = progress()
    assert subject.target() == "/v1/catalog/nodes?"
    assert subject.answered(200, 5, b"[1]") == b"[1]\n"
    assert subject.target() == "/v1/catalog/nodes?index=5"
    assert subject.answered(200, 5, b"[1]") is None
    assert subject.answered(200, 6, b"[1]") is None
    assert subject.answered(200, 7, b"[2]") == b"[2]\n"


def test_an_index_that_goes_back_begins_anew() -> None:
    subject = progress()
    subject.answered(200, 50, b"[1]")
    assert subject.answered(200, 3, b"[2]") == b"[2]\n"
    assert subject.index == 0
    assert subject.answered(200, 3, b"[2]") is None
    assert subject.index == 3


def test_a_view_without_an_index_is_compared_by_itself() -> None:
    subject = progress()
    assert subject.answered(200, 0, b"[1]") == b"[1]\n"
    assert subject.answered(200, 0, b"[1]") is None
    assert subject.answered(200, 0, b"[2]") == b"[2]\n"


def test_pauses_grow_with_the_square_and_start_again_after_success() -> None:
    subject = progress()
    assert [subject.failed() for _ in range(8)] == [5, 20, 45, 80, 125, 180, 180, 180]
    subject.answered(200, 1, b"[]")
    assert subject.failed() == 5


def test_errors_are_no_results() -> None:
    subject = progress()
    with pytest.raises(InvalidRequest, match="500 No cluster leader"):
        subject.answered(500, 0, b"No cluster leader")
    with pytest.raises(InvalidRequest, match="404"):
        subject.answered(404, 0, b"Invalid URL path: not a recognized HTTP API endpoint")


def test_a_key_is_shown_alone_and_null_while_it_is_missing() -> None:
    subject = progress(type="key", key="a")
    assert subject.answered(404, 3, b"") == b"null\n"
    assert subject.answered(200, 4, b'[{"Key":"a","Value":"eA=="}]') == b'{"Key":"a","Value":"eA=="}\n'
    assert subject.answered(404, 5, b"") == b"null\n"
    assert progress(type="keyprefix", prefix="a").answered(404, 3, b"") == b"null\n"


def events(*names: str) -> bytes:
    return json.dumps([{"ID": name, "Payload": None} for name in names]).encode()


def test_of_events_only_new_ones_are_handed_out_whatever_their_index() -> None:
    subject = progress(type="event")
    assert subject.answered(200, 1, b"[]") == b"[]\n"
    assert subject.answered(200, 900, events("a")) is not None
    assert subject.index == 900
    shown = subject.answered(200, 17, events("a", "b", "c"))
    assert subject.index == 17
    assert [event["ID"] for event in json.loads(shown or b"")] == ["b", "c"]
    assert subject.answered(200, 17, events("a", "b", "c")) is None
    shown = subject.answered(200, 18, events("x", "y"))  # the last one seen has left the ring
    assert [event["ID"] for event in json.loads(shown or b"")] == ["x", "y"]
