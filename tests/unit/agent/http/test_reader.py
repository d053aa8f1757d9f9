"""Bytes to requests: however they are cut, and what is refused."""

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.http.reader import BodyRule, RequestReader
from agent.http.settings import HTTPLimits

LIMITS = HTTPLimits(head_bytes_max=400, url_bytes_max=200)
RULE = BodyRule(100, "too large: {bytes} > {max}")
GET = b"GET /v1/kv/a?stale HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n"
PUT = b"PUT /v1/kv/b HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"PUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n"
)


def reader(limits: HTTPLimits = LIMITS, rule: BodyRule = RULE) -> RequestReader:
    return RequestReader(limits, lambda method, target: rule)


def read(*parts: bytes, limits: HTTPLimits = LIMITS) -> RequestReader:
    made = reader(limits)
    for part in parts:
        made.feed(part)
    return made


def seen(made: RequestReader) -> list[tuple[bytes, bytes, bytes, bool]]:
    return [(one.method, one.target, one.body, one.keep_alive) for one in made.requests]


def test_requests_come_out_as_they_were_sent() -> None:
    made = read(GET + PUT + CHUNKED)
    assert seen(made) == [
        (b"GET", b"/v1/kv/a?stale", b"", True),
        (b"PUT", b"/v1/kv/b", b"hello", True),
        (b"PUT", b"/c", b"abcde", True),
    ]
    assert made.requests[0].head.accepts_gzip
    assert made.refusal is None


@given(st.lists(st.sampled_from([GET, PUT, CHUNKED]), min_size=1, max_size=6), st.data())
def test_how_the_bytes_are_cut_changes_nothing(messages: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert seen(read(*parts)) == seen(read(*messages)) == seen(read(stream))


def test_a_head_that_was_accepted_before_is_not_parsed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    made = reader()
    made.feed(PUT)
    monkeypatch.setattr(made, "_parser", None)
    monkeypatch.setattr(httptools, "HttpRequestParser", None)
    made.feed(PUT.replace(b"/v1/kv/b", b"/v1/kv/other").replace(b"hello", b"WORLD"))
    assert seen(made)[1] == (b"PUT", b"/v1/kv/other", b"WORLD", True)
    assert made.requests[0].head is made.requests[1].head


@given(
    st.sampled_from([GET, PUT]),
    st.sampled_from([b"", b" ", b"\r", b"\n", b"\r\n", b"\0", b"x", b":", b"HTTP/1.0"]),
    st.integers(0, 70),
    st.integers(0, 3),
)
def test_the_short_cut_accepts_nothing_that_the_parser_refuses(
    message: bytes, inserted: bytes, position: int, removed: int
) -> None:
    mutated = message[:position] + inserted + message[position + removed :]
    warm = read(message)
    warm.requests.clear()
    warm.feed(mutated)
    cold = read(mutated)
    assert seen(warm) == seen(cold)
    assert (warm.refusal is None) == (cold.refusal is None)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"GET /a HTTP/1.1\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400),
        (b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc", 400),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nabc\r\n", 400),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 417),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /a HTTP/3.7\r\nHost: a\r\n\r\n", 400),
        (b"get /a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00", 400),
        (b"GET /" + b"a" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /a HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 400 + b"\r\n\r\n", 431),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", 413),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n70\r\n" + b"a" * 0x70, 413),
        (b"PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: " + b"v" * 400 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_malformed_or_too_large_is_refused(text: bytes, status: int) -> None:
    for parts in ([text], [text[position : position + 1] for position in range(len(text))]):
        made = read(*parts)
        assert made.refusal is not None
        assert made.refusal.status == status
        assert not made.requests


def test_a_head_that_never_ends_is_refused_while_it_arrives() -> None:
    made = read(b"GET /a HTTP/1.1\r\nHost: a\r\nX: ")
    fed = 0
    while made.refusal is None:
        made.feed(b"a" * 50)
        fed += 50
        assert fed <= LIMITS.head_bytes_max + 50
    assert made.refusal.status == 431


def test_requests_before_a_malformed_one_are_kept() -> None:
    made = read(GET + b"NONSENSE\r\n\r\n")
    assert len(made.requests) == 1
    assert made.refusal is not None


def test_an_upgrade_is_answered_as_a_plain_request_and_nothing_follows() -> None:
    made = read(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    assert [one.keep_alive for one in made.requests] == [False]


def test_old_versions_close_unless_they_ask_to_stay() -> None:
    made = read(b"GET /a HTTP/1.0\r\n\r\n")
    assert not made.requests[0].keep_alive
    made = read(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert made.requests[0].keep_alive
    made = read(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert not made.requests[0].keep_alive


def test_continue_is_due_once_and_only_before_the_body() -> None:
    made = read(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert made.must_continue()
    assert not made.must_continue()
    made.feed(b"ab")
    assert made.requests[0].body == b"ab"
    made = read(b"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\na")
    assert not made.must_continue()


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (b"gzip", True),
        (b"gzip, deflate, br", True),
        (b"deflate;q=0.5, GZIP;q=0.1", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"identity", False),
        (b"", False),
    ],
)
def test_gzip_is_used_only_for_those_who_take_it(value: bytes, accepted: bool) -> None:
    made = read(b"GET /a HTTP/1.1\r\nHost: a\r\nAccept-Encoding: " + value + b"\r\n\r\n")
    assert made.requests[0].head.accepts_gzip is accepted


def test_the_token_of_the_own_header_wins_over_a_bearer() -> None:
    made = read(b"GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer b\r\n\r\n")
    assert made.requests[0].head.token == "b"
    made = read(b"GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: bearer b\r\nX-Consul-Token: t\r\n\r\n")
    assert made.requests[0].head.token == "t"
    made = read(b"GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Basic b\r\n\r\n")
    assert made.requests[0].head.token == ""
