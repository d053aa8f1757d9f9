"""Sans-IO: bytes of one connection -> requests, or the one refusal that ends it.

llhttp (through httptools) parses strictly: a bare LF, obsolete folding, NUL, two lengths, a length beside a transfer
coding, and bad chunk sizes are refused there. What it leaves open is refused here: transfer codings other than chunked,
a missing or repeated Host, versions other than 1.0 and 1.1, and everything over a limit.

Clients that keep a connection send the same headers again and again. Once llhttp has accepted a head, a later one of
the same connection whose bytes after the request line are identical is not parsed again: the outcome would be the same.
"""

import re
from collections import deque
from collections.abc import Callable
from typing import Any

import httptools

from agent.http.settings import HTTPLimits

_REQUEST_LINE = re.compile(rb"(GET|PUT|DELETE|POST) (/[!-~]*) HTTP/1\.1").fullmatch
"""Request lines that are taken without llhttp: what it would accept, too, and nothing else."""
HEAD_TOO_LARGE_TEXT = "Request Header Fields Too Large"
_HEAD_FIXED_BYTES = 16
"""Counted for the request line's fixed parts."""
_HEADER_FIXED_BYTES = 4
"""Colon, space, CR, LF."""


class Refusal:
    """Why a connection is answered and closed."""

    __slots__ = ("status", "text")

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text


class BodyRule:
    """What a route accepts as a body. `bytes_max` None: any size, handed over in pieces while it arrives."""

    __slots__ = ("bytes_max", "refusal_text")

    def __init__(self, bytes_max: int | None, refusal_text: str) -> None:
        self.bytes_max = bytes_max
        self.refusal_text = refusal_text
        """May hold `{bytes}` for the announced (or so far received) size and `{max}` for the limit."""


class Head:
    """What the headers of a request say. Shared by requests with identical headers; never changed."""

    __slots__ = ("accepts_gzip", "content_length", "expects_continue", "headers", "token")

    def __init__(self, headers: dict[bytes, bytes]) -> None:
        self.headers = headers
        """Lower-case names; values of repeated names are joined by ", "."""
        self.content_length = int(headers.get(b"content-length", b"0"))
        self.expects_continue = headers.get(b"expect", b"").lower() == b"100-continue"
        self.accepts_gzip = _accepts_gzip(headers.get(b"accept-encoding", b""))
        self.token = _token(headers)

    def text(self, name: bytes) -> str:
        """Return a header's value as text, "" where absent."""
        return self.headers.get(name, b"").decode("latin-1")


class Request:
    """One request. `pieces` is set for bodies that stream: what has arrived and was not taken yet."""

    __slots__ = ("begun_s", "body", "complete", "head", "keep_alive", "method", "minor", "pieces", "pretty", "target")

    def __init__(self, method: bytes, target: bytes, head: Head, minor: int) -> None:
        self.method = method
        self.target = target
        self.head = head
        self.minor = minor
        self.begun_s = 0.0
        """When its handling began; only known while requests are logged."""
        self.keep_alive = False
        self.complete = False
        self.pretty = False
        """Set by whoever reads the query: the answer is to be indented."""
        self.body = b""
        self.pieces: deque[bytes] | None = None


def _accepts_gzip(value: bytes) -> bool:
    value = value.lower()
    if b"gzip" not in value:
        return False
    for item in value.split(b","):
        name, _, parameters = item.partition(b";")
        if name.strip() == b"gzip":
            quality = parameters.replace(b" ", b"")
            return not re.fullmatch(rb"q=0(\.0*)?", quality)
    return False


def _token(headers: dict[bytes, bytes]) -> str:
    """Return the token that headers carry; `X-Consul-Token` wins over `Authorization: Bearer`."""
    token = headers.get(b"x-consul-token")
    if token:
        return token.decode("latin-1")
    kind, _, value = headers.get(b"authorization", b"").partition(b" ")
    return value.strip().decode("latin-1") if kind.lower() == b"bearer" else ""


class RequestReader:
    """Collects requests of one connection in `requests`; `refusal` is set when no more will follow."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_fed_bytes",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_limits",
        "_open",
        "_parser",
        "_rule",
        "_rule_of",
        "_tail",
        "_tail_head",
        "_target",
        "_told_to_continue",
        "refusal",
        "requests",
    )

    def __init__(self, limits: HTTPLimits, rule_of: Callable[[bytes, bytes], BodyRule]) -> None:
        self.requests: deque[Request] = deque()
        self.refusal: Refusal | None = None
        self._limits = limits
        self._rule_of = rule_of
        self._parser: Any = None
        self._tail = b""
        """From the CR that ends the request line up to the blank line, as last accepted; b"" if it can't be reused."""
        self._tail_head: Head | None = None
        self._in_head = False
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_bytes = 0
        self._fed_bytes = 0
        """Bytes of the head in receives after the one in which it began."""
        self._open: Request | None = None
        self._rule: BodyRule | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._told_to_continue = False

    @property
    def in_head(self) -> bool:
        """Whether a part of a head has arrived, and not its end."""
        return self._in_head

    @property
    def in_body(self) -> bool:
        """Whether the end of a body is missing."""
        return self._open is not None

    def must_continue(self) -> bool:
        """Whether `100 Continue` is due now. True once a request, and only if its body has not begun to arrive."""
        request = self._open
        if request is None or self._told_to_continue or not request.head.expects_continue or self._body_bytes:
            return False
        self._told_to_continue = True
        return request.minor >= 1

    def feed(self, data: bytes) -> None:
        """Take received bytes."""
        if self.refusal is not None:
            return
        if self._open is None and not self._in_head and self._tail and self._feed_known(data):
            return
        if self._parser is None:
            self._parser = httptools.HttpRequestParser(self)
        was_in_head = self._in_head
        began_here = not was_in_head and self._open is None
        requests_count = len(self.requests)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nobody upgrades here. The request itself is answered; what follows it is not HTTP/1.1 any more.
            if self.requests:
                self.requests[-1].keep_alive = False
            self._refuse(400, "upgrade is not supported")
        except httptools.HttpParserError as error:
            self._refuse(400, f"malformed request: {error}")
        if self._in_head and was_in_head:
            # A name or value that has not ended yet is not counted by on_header.
            self._fed_bytes += len(data)
            if self._fed_bytes > self._limits.head_bytes_max:
                self._refuse(431, HEAD_TOO_LARGE_TEXT)
        alone = len(self.requests) == requests_count + 1 and not self._in_head and self._open is None
        if began_here and alone and self.refusal is None:
            self._remember(data)

    def _feed_known(self, data: bytes) -> bool:
        """Take `data` if it is exactly one request with the headers that were accepted before."""
        tail = self._tail
        start = data.find(b"\r\n")
        end = start + len(tail)
        if data[start:end] != tail or data[end : end + 4] != b"\r\n\r\n":
            return False
        line = _REQUEST_LINE(data, 0, start)
        head = self._tail_head
        if line is None or head is None or len(data) - end - 4 != head.content_length:
            return False
        method, target = line.groups()
        if len(target) > self._limits.url_bytes_max or len(target) + len(tail) > self._limits.head_bytes_max:
            return False
        request = Request(method, target, head, 1)
        if head.content_length:
            bytes_max = self._rule_of(method, target).bytes_max
            if bytes_max is None or head.content_length > bytes_max:
                return False
            request.body = data[end + 4 :]
        request.complete = True
        request.keep_alive = True
        self.requests.append(request)
        return True

    def _remember(self, data: bytes) -> None:
        """Note the head of the request that was just accepted out of `data`, which held nothing else."""
        request = self.requests[-1]
        start = data.find(b"\r\n")
        end = data.find(b"\r\n\r\n")
        head = request.head
        body_bytes = len(data) - end - 4
        if (
            _REQUEST_LINE(data, 0, start) is None
            or body_bytes != head.content_length
            or head.expects_continue
            or not request.keep_alive
            or request.pieces is not None
            or b"transfer-encoding" in head.headers
            or b"upgrade" in head.headers
        ):
            return
        self._tail = data[start:end]
        self._tail_head = head

    def _refuse(self, status: int, text: str) -> None:
        if self.refusal is None:
            self.refusal = Refusal(status, text)
        self._in_head = False
        self._parser = None

    # What llhttp calls.

    def on_message_begin(self) -> None:
        """A request's first byte has arrived."""
        self._in_head = True
        self._target = b""
        self._headers = {}
        self._head_bytes = _HEAD_FIXED_BYTES
        self._fed_bytes = 0

    def on_url(self, data: bytes) -> None:
        """Take a part of the target."""
        self._target += data
        self._head_bytes += len(data)
        if len(self._target) > self._limits.url_bytes_max:
            self._refuse(414, "URI Too Long")
            raise ValueError("target too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer, which is only counted."""
        self._head_bytes += len(name) + len(value) + _HEADER_FIXED_BYTES
        if self._head_bytes > self._limits.head_bytes_max:
            self._refuse(431, HEAD_TOO_LARGE_TEXT)
            raise ValueError("head too large")
        if not self._in_head:
            return
        name = name.lower()
        held = self._headers.get(name)
        if held is None:
            self._headers[name] = value
        elif name == b"host":
            self._refuse(400, "malformed request: more than one Host header")
            raise ValueError("two hosts")
        else:
            self._headers[name] = held + b", " + value

    def on_headers_complete(self) -> None:
        """Judge the head; whatever can be refused without the body is refused now."""
        self._in_head = False
        parser = self._parser
        version = parser.get_http_version()
        headers = self._headers
        if version not in ("1.1", "1.0"):
            self._refuse(505, f"unsupported HTTP version {version}")
        elif version == "1.1" and b"host" not in headers:
            self._refuse(400, "malformed request: missing Host header")
        elif headers.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            self._refuse(400, "malformed request: unsupported transfer encoding")
        elif b"expect" in headers and headers[b"expect"].lower() != b"100-continue":
            self._refuse(417, "unsupported expectation")
        elif len(headers.get(b"content-length", b"")) > len(str(1 << 63)):
            self._refuse(400, "malformed request: bad Content-Length")
        if self.refusal is not None:
            raise ValueError("refused head")
        head = Head(headers)
        request = Request(parser.get_method(), self._target, head, int(version[2]))
        rule = self._rule_of(request.method, request.target)
        if rule.bytes_max is not None and head.content_length > rule.bytes_max:
            self._refuse_body(rule, head.content_length)
        self._open = request
        self._rule = rule
        self._body = []
        self._body_bytes = 0
        self._told_to_continue = False
        if rule.bytes_max is None:
            request.pieces = deque()
            request.keep_alive = bool(parser.should_keep_alive())
            self.requests.append(request)

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        request, rule = self._open, self._rule
        assert request is not None  # llhttp reports bodies after heads
        assert rule is not None
        self._body_bytes += len(data)
        if rule.bytes_max is not None and self._body_bytes > rule.bytes_max:
            self._refuse_body(rule, self._body_bytes)
        if request.pieces is not None:
            request.pieces.append(data)
        else:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """Hand the request over."""
        request = self._open
        assert request is not None  # llhttp completes what it began
        self._open = None
        request.complete = True
        request.keep_alive = bool(self._parser.should_keep_alive())
        if request.pieces is None:
            body = self._body
            request.body = body[0] if len(body) == 1 else b"".join(body)
            self._body = []
            self.requests.append(request)

    def _refuse_body(self, rule: BodyRule, size_bytes: int) -> None:
        self._refuse(413, rule.refusal_text.format(bytes=size_bytes, max=rule.bytes_max))
        raise ValueError("body too large")
