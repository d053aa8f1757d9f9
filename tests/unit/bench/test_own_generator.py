"""The bench's own generator: it counts whole answers only, and good ones only as good."""

import pytest

from bench.ledger import GOALS, Goal
from bench.loads.own import answered, requests_of


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Le", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntru", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue", True),
        (b"HTTP/1.1 200 OK\r\ncontent-length:4\r\nX: y\r\n\r\ntrue", True),
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno", False),
    ],
)
def test_an_answer_counts_when_it_is_whole(received: bytes, expected: bool | None) -> None:
    assert answered(bytearray(received)) is expected


def test_requests_walk_through_all_keys() -> None:
    requests = requests_of("PUT", "", 3, 5, "127.0.0.1:1")
    assert len(set(requests)) == 3
    assert all(request.endswith(b"\r\n\r\nvvvvv") for request in requests)
    assert requests_of("GET", "stale", 1, 5, "h:1")[0].startswith(b"GET /v1/kv/bench/0?stale HTTP/1.1\r\n")


def test_goals_hold_at_their_value_in_their_direction() -> None:
    assert Goal(5).holds(5)
    assert not Goal(5).holds(5.1)
    assert Goal(5, at_least=True).holds(5.1)
    assert not Goal(5, at_least=True).holds(4.9)
    assert GOALS["put leader c256 rate"].at_least
