"""Answers, and their bytes. Sans-IO.

What is the same for all answers of a second (status line, date, configured headers) is composed once a second.
"""

import re
import zlib
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus

from agent.http.settings import HTTPSettings
from structs.json_codec import encode_json, indent_json
from structs.query import QueryMeta

JSON_TYPE = b"Content-Type: application/json\r\n"
TEXT_TYPE = b"Content-Type: text/plain; charset=utf-8\r\n"
NO_TYPE = b""
GZIP_SMALL_BYTES = 512
"""Below it the compressor gets by with a window of 512 bytes, which costs a tenth to set up."""
GZIP_INLINE_BYTES_MAX = 128 * 1024
"""Above it compressing takes milliseconds, so a worker thread does it."""
_GZIP_LEVEL = 1
"""What an agent sends stays in a fast network: little CPU counts for more than the last tenth of size."""
_HEADER_FORBIDDEN = frozenset("\r\n\0")
_header_name = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII).fullmatch


class Response:
    """One answer. `headers` are complete header lines. Some are shared: never change one that you did not make."""

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        content_type: bytes = NO_TYPE,
        headers: bytes = b"",
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers


STREAMED = Response(200)
"""Returned by a handler that has sent its answer in pieces."""


def json_response(value: object, *, headers: bytes = b"", status: int = 200) -> Response:
    """Return `value` as JSON."""
    return Response(status, encode_json(value), JSON_TYPE, headers)


def text_response(status: int, text: str, *, headers: bytes = b"") -> Response:
    """Return plain text, without a newline of our own."""
    return Response(status, text.encode("utf-8", "replace"), TEXT_TYPE if text else NO_TYPE, headers)


def meta_headers(meta: QueryMeta) -> bytes:
    """Return the three headers that belong together (HTTP conventions, section 3); the index is never 0."""
    return b"X-Consul-Index: %d\r\nX-Consul-KnownLeader: %b\r\nX-Consul-LastContact: %d\r\n" % (
        meta.index or 1,
        b"true" if meta.known_leader else b"false",
        max(meta.last_contact_ms, 0),
    )


_DISCOVERY_LINES = b"X-Consul-Effective-Consistency: %b\r\nX-Consul-Query-Backend: blocking-query\r\n"


def discovery_headers(meta: QueryMeta) -> bytes:
    """Return the same for catalog and health, which also say which mode was really used, and how waiting works."""
    return meta_headers(meta) + _DISCOVERY_LINES % meta.consistency.encode()


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Return header lines, names canonical as Go writes them; raises ValueError for what would break the framing."""
    lines = []
    for name, value in headers.items():
        if not _header_name(name) or _HEADER_FORBIDDEN & set(value):
            raise ValueError(f"invalid response header {name!r}: {value!r}")
        canonical = "-".join(part.capitalize() for part in name.split("-"))
        lines.append(f"{canonical}: {value}\r\n".encode())
    return b"".join(lines)


_NOTHING_COMPOSED = (None, (False, False, False, 0), b"")


class Composer:
    """Turns answers into bytes. One a listener."""

    def __init__(self, settings: HTTPSettings) -> None:
        self._pretty_always = settings.pretty_always
        self._gzip_bytes_min = settings.limits.gzip_bytes_min
        self._fixed = b"Vary: Accept-Encoding\r\nX-Consul-Default-ACL-Policy: allow\r\n"
        if settings.translate_wan_addresses:
            self._fixed += b"X-Consul-Translate-Addresses: true\r\n"
        self._fixed += header_lines(settings.response_headers)
        self._starts: dict[int, bytes] = {}
        self._date = b""
        self._start_200 = b""
        self._last: tuple[Response | None, tuple[bool, bool, bool, int], bytes] = _NOTHING_COMPOSED
        """What was composed last, for which client. One tuple: a worker thread may compose, too."""

    def set_date(self, unix_s: float) -> None:
        """Use the wall time `unix_s` in answers from now on."""
        self._date = b"Date: %b\r\n" % formatdate(unix_s, usegmt=True).encode()
        self._starts.clear()
        self._last = _NOTHING_COMPOSED
        self._start_200 = self._start(200)

    def _start(self, status: int) -> bytes:
        start = self._starts.get(status)
        if start is None:
            try:
                phrase = HTTPStatus(status).phrase
            except ValueError:
                phrase = "Status"
            start = b"HTTP/1.1 %d %b\r\n%b%b" % (status, phrase.encode(), self._date, self._fixed)
            self._starts[status] = start
        return start

    def is_slow(self, response: Response, *, accepts_gzip: bool) -> bool:
        """Whether making the bytes would keep the event loop from others for long."""
        return accepts_gzip and len(response.body) > GZIP_INLINE_BYTES_MAX

    def compose(self, response: Response, *, accepts_gzip: bool, pretty: bool, keep_alive: bool, minor: int) -> bytes:
        """Return the bytes of an answer. Asked again for the same one (all who waited for one change), reuses them."""
        how = (accepts_gzip, pretty, keep_alive, minor)
        last = self._last
        if response is last[0] and how == last[1]:
            return last[2]
        made = self._compose(response, accepts_gzip=accepts_gzip, pretty=pretty, keep_alive=keep_alive, minor=minor)
        self._last = (response, how, made)
        return made

    def _compose(self, response: Response, *, accepts_gzip: bool, pretty: bool, keep_alive: bool, minor: int) -> bytes:
        body = response.body
        if (pretty or self._pretty_always) and body and response.content_type is JSON_TYPE:
            body = indent_json(body)
        encoding = b""
        if accepts_gzip and len(body) >= self._gzip_bytes_min:
            body = compress(body)
            encoding = b"Content-Encoding: gzip\r\n"
        return b"%b%b%b%b%bContent-Length: %d\r\n\r\n%b" % (
            self._start_200 if response.status == 200 else self._start(response.status),
            response.content_type,
            response.headers,
            encoding,
            _connection_line(keep_alive=keep_alive, minor=minor),
            len(body),
            body,
        )

    def compose_stream_head(self, response: Response, *, keep_alive: bool, minor: int) -> bytes:
        """Return the head of an answer of unknown size.

        An HTTP/1.0 client knows no chunks: for it the end of the connection is the end of the body.
        """
        return b"%b%b%b%b%b\r\n" % (
            self._start(response.status),
            response.content_type,
            response.headers,
            _connection_line(keep_alive=keep_alive, minor=minor),
            b"Transfer-Encoding: chunked\r\n" if minor else b"",
        )


def _connection_line(*, keep_alive: bool, minor: int) -> bytes:
    if keep_alive:
        return b"" if minor else b"Connection: keep-alive\r\n"
    return b"Connection: close\r\n"


def compress(body: bytes) -> bytes:
    """Return `body` in gzip form."""
    if len(body) <= GZIP_SMALL_BYTES:
        compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + 9, 1)
    else:
        compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 16 + 15, 8)
    return compressor.compress(body) + compressor.flush()
