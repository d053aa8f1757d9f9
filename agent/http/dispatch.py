"""One request -> its answer, in the order in which requests are judged (HTTP conventions, section 1)."""

import re
from collections import deque
from collections.abc import Awaitable
from urllib.parse import unquote_to_bytes

from agent.http.errors import defect_response, error_response, refused
from agent.http.origin import FOREIGN_TEXT, is_foreign, origin_allowed
from agent.http.parameters import EMPTY, QueryMalformed, parse_query
from agent.http.reader import BodyRule, Request
from agent.http.registry import ROUTES, Endpoint, RequestContext, Route, Services
from agent.http.response import Response, text_response
from agent.http.ui import Page, load_page
from base.errors import InvariantBroken, MeshError
from base.log import get_logger, trace_of

BLOCKED_TEXT = "Endpoint is blocked by agent configuration"
NOT_AN_ENDPOINT_TEXT = "Invalid URL path: not a recognized HTTP API endpoint\n"
NOT_THE_API_TEXT = "Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n"
ROOT_TEXT = "Consul Agent"
_log = get_logger("http")
PREFIX_DEPTH_MAX = 7
"""Slashes in the deepest prefix route, and one to spare."""
_bad_escape = re.compile(rb"%(?![0-9A-Fa-f]{2})").search


class PathMalformed(Exception):
    """The path cannot be decoded, or has characters that nobody can print."""


def split_target(target: bytes) -> tuple[str, str]:
    """Return the decoded path and the raw query of a request target; raises PathMalformed."""
    if not target.startswith(b"/"):
        scheme, separator, rest = target.partition(b"://")
        if not separator or scheme.lower() not in (b"http", b"https"):
            raise PathMalformed
        _, slash, rest = rest.partition(b"/")
        target = slash + rest or b"/"
    path, _, query = target.partition(b"?")
    if b"%" in path:
        if _bad_escape(path) is not None:
            raise PathMalformed
        path = unquote_to_bytes(path)
    try:
        text = path.decode()
    except UnicodeDecodeError as error:
        raise PathMalformed from error
    if not text.isprintable():
        raise PathMalformed
    return text, query.decode("latin-1")


def _moved(location: str) -> Response:
    return Response(301, headers=f"Location: {location}\r\n".encode())


def _page_answer(page: Page, method: str, path: str) -> Response:
    """The page has no parameters and no writes of its own: everything else goes through the API."""
    if method != "GET":
        response = refused(405, f"method {method} not allowed", is_write=True)
        response.headers += b"Allow: OPTIONS,GET\r\n"
        return response if method != "OPTIONS" else Response(200, headers=b"Allow: OPTIONS,GET\r\n")
    if not path.startswith(page.content_path):
        return _moved(page.content_path)
    return page.answer(path[len(page.content_path) :])


class Dispatcher:
    """Finds and runs handlers. One a listener; needs all `agent.http.<noun>` modules to be imported."""

    def __init__(self, services: Services) -> None:
        self._services = services
        settings = services.settings
        self._page: Page | None = None
        if settings.ui_content_path:
            self._page = load_page(settings.ui_content_path, settings.ui_folder)
        self._blocked = settings.block_endpoints
        self._origin_allowed = origin_allowed(settings.response_headers)
        self._exact = {path: row for path, row in ROUTES.items() if not path.endswith("/")}
        self._prefixes = {path: row for path, row in ROUTES.items() if path.endswith("/")}
        self._rules = {path: row.rule_of(settings) for path, row in ROUTES.items()}
        self._rule_default = Route("").rule_of(settings)
        self._has_deeper = {
            path: any(other != path and other.startswith(path) for other in self._prefixes) for path in self._prefixes
        }
        assert all(path.count("/") < PREFIX_DEPTH_MAX for path in self._prefixes)
        self.defects_count = 0
        """Requests that met an exception nobody expected."""

    def rule_of(self, method: bytes, target: bytes) -> BodyRule:
        """Return what may follow this head as a body."""
        try:
            path, _ = split_target(target)
        except PathMalformed:
            return self._rule_default
        row, _ = self._find(path)
        if row is None or method.decode() not in row.endpoints:
            return self._rule_default
        return self._rules[row.path]

    def _find(self, path: str) -> tuple[Route | None, str]:
        """Return the route of a path and what follows its prefix."""
        row = self._exact.get(path)
        if row is not None:
            return row, ""
        found: Route | None = None
        end = path.find("/", 1)
        for _ in range(PREFIX_DEPTH_MAX):
            if end < 0:
                break
            prefix = path[: end + 1]
            row = self._prefixes.get(prefix)
            if row is not None:
                found = row
                if not self._has_deeper[prefix]:
                    break
            end = path.find("/", end + 1)
        return (found, path[len(found.path) :]) if found is not None else (None, "")

    def prepare(self, request: Request) -> tuple[RequestContext, Endpoint] | Response:
        """Return what the request is about, or the answer where no handler is asked."""
        method = request.method.decode("ascii")
        is_write = method != "GET"
        try:
            path, query_text = split_target(request.target)
        except PathMalformed:
            return refused(400, "400 Bad Request: invalid path", is_write=is_write)
        row, remainder = self._find(path)
        if row is None:
            return self._no_route(method, path, query_text)
        query = EMPTY
        if query_text:
            try:
                query = parse_query(query_text)
            except QueryMalformed:
                return refused(500, "", is_write=is_write)
            request.pretty = query.has("pretty")
        if self._blocked and path.startswith(self._blocked):
            return refused(403, BLOCKED_TEXT, is_write=is_write)
        endpoint = row.endpoints.get(method)
        if endpoint is None:
            allow = f"Allow: {row.allow}\r\n".encode()
            if method == "OPTIONS":
                return Response(200, headers=allow)
            response = refused(405, f"method {method} not allowed", is_write=is_write)
            response.headers += allow
            return response
        if is_write and is_foreign(request.head.headers, self._origin_allowed):
            return refused(403, FOREIGN_TEXT, is_write=True)
        if row.streams and request.pieces is None:
            request.pieces = deque()  # the reader looks for no rule where the head is known and no body follows
        return RequestContext(self._services, request, method, path, remainder, query), endpoint

    def _no_route(self, method: str, path: str, query: str) -> Response:
        page = self._page
        if path == "/":
            return text_response(200, ROOT_TEXT) if page is None else _moved(page.content_path)
        if self._blocked and path.startswith(self._blocked):
            return text_response(403, BLOCKED_TEXT)
        if page is not None and (path + "/").startswith(page.content_path):
            return _page_answer(page, method, path)
        if path + "/" in self._prefixes:
            return _moved(f"{path}/?{query}" if query else f"{path}/")
        return text_response(404, NOT_AN_ENDPOINT_TEXT if "/v1/" in path else NOT_THE_API_TEXT)

    def run(self, context: RequestContext, endpoint: Endpoint) -> Response | Awaitable[Response]:
        """Return the handler's answer, or what has to be awaited for it; errors are answers already."""
        try:
            result = endpoint.handler(context)
        except MeshError as error:
            return error_response(error, is_write=endpoint.is_write)
        except InvariantBroken:
            raise
        except Exception as error:  # the border: one request's defect must not end the others' connections
            return self._defect(context, endpoint, error)
        if isinstance(result, Response):
            return result
        return self._settle(result, context, endpoint)

    async def _settle(self, result: Awaitable[Response], context: RequestContext, endpoint: Endpoint) -> Response:
        try:
            return await result
        except MeshError as error:
            return error_response(error, is_write=endpoint.is_write)
        except InvariantBroken:
            raise
        except Exception as error:  # the border, as in `run`
            return self._defect(context, endpoint, error)

    def _defect(self, context: RequestContext, endpoint: Endpoint, error: Exception) -> Response:
        self.defects_count += 1
        _log.error(
            "a handler failed",
            method=context.method,
            path=context.path,
            error=repr(error),
            trace=trace_of(error),
        )
        return defect_response(is_write=endpoint.is_write)
