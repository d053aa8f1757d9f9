"""Sans-IO: what a watch watches, and when its handler is run.

A definition becomes a path of the HTTP API and a handler; `WatchProgress` takes the answers of a blocking loop on that
path and says what the handler is to get. Source: agent specification, section 10.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from base.durations import parse_duration_s
from base.errors import InvalidRequest

WATCHES_MAX = 256
HTTP_METHOD = "POST"
HTTP_TIMEOUT_S = 10.0
RETRY_S = 5.0
RETRY_S_MAX = 180.0
_MESH_PREFIX = "connect_"
_OK, _NOT_FOUND = 200, 404


class HTTPHandler(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is made with the result as its body."""

    path: str
    method: str = HTTP_METHOD
    header: dict[str, list[str]] = {}
    timeout_s: float = HTTP_TIMEOUT_S
    tls_skip_verify: bool = False


class WatchDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """One watch. Exactly one of `args`, `shell` (a line for the shell) and `http` is set."""

    kind: str
    target: str
    """Path and query of the view, without index and wait."""
    token: str = ""
    args: tuple[str, ...] = ()
    shell: str = ""
    http: HTTPHandler | None = None


class _Parameters:
    """The parameters of one definition; what is taken is known, what is left over at the end is not."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._left = dict(raw)

    def has(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str, kind: type, what: str) -> Any:
        """Return the value and forget it, the type's empty value where absent."""
        value = self._left.pop(name, None)
        if value is None:
            return kind()
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise InvalidRequest(f"Expecting {name} to be {what}")
        return value

    def text(self, name: str) -> str:
        value: str = self.take(name, str, "a string")
        return value

    def boolean(self, name: str) -> bool:
        value = self._left.get(name)
        if isinstance(value, str) and value.lower() in ("true", "false"):
            self._left[name] = value.lower() == "true"
        result: bool = self.take(name, bool, "a boolean")
        return result

    def texts(self, name: str, complaint: str) -> list[str]:
        """Return a list of texts; one text alone counts as one."""
        value = self._left.pop(name, None) or []
        value = [value] if isinstance(value, str) else value
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise InvalidRequest(complaint)
        return value

    def table(self, name: str) -> Mapping[str, Any]:
        """Return a map; HCL gives a block as a list of one."""
        value = self._left.pop(name, None)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, dict):
            raise InvalidRequest(f"Expecting {name} to be a map")
        return value

    def finish(self) -> None:
        """Refuse what nobody took."""
        if self._left:
            raise InvalidRequest(f"Invalid parameters: [{' '.join(sorted(self._left))}]")


def _query(parameters: _Parameters, **more: list[str]) -> str:
    """Return the query of a view, with the parameters that all views have."""
    pairs = [(name, value) for name, values in more.items() for value in values]
    datacenter = parameters.text("datacenter")
    if datacenter:
        pairs.append(("dc", datacenter))
    if parameters.boolean("stale"):
        pairs.append(("stale", ""))
    return "?" + "&".join(f"{name}={quote(value, safe='')}" if value else name for name, value in pairs)


def _one(parameters: _Parameters, name: str, complaint: str) -> str:
    text = parameters.text(name)
    if not text:
        raise InvalidRequest(complaint)
    return quote(text, safe="")


def _key(parameters: _Parameters) -> str:
    return f"/v1/kv/{_one(parameters, 'key', 'Must specify a single key to watch')}{_query(parameters)}"


def _key_prefix(parameters: _Parameters) -> str:
    prefix = _one(parameters, "prefix", "Must specify a single prefix to watch")
    return f"/v1/kv/{prefix}{_query(parameters, recurse=[''])}"


def _services(parameters: _Parameters) -> str:
    return f"/v1/catalog/services{_query(parameters)}"


def _nodes(parameters: _Parameters) -> str:
    return f"/v1/catalog/nodes{_query(parameters)}"


def _service(parameters: _Parameters) -> str:
    service = _one(parameters, "service", "Must specify a single service to watch")
    tags = parameters.texts("tag", "Expecting tag to be a string or a list of strings")
    passing = [""] if parameters.boolean("passingonly") else []
    return f"/v1/health/service/{service}{_query(parameters, tag=tags, passing=passing)}"


def _checks(parameters: _Parameters) -> str:
    if parameters.has("service") and parameters.has("state"):
        raise InvalidRequest("Cannot specify service and state")
    if parameters.has("service"):
        service = _one(parameters, "service", "Must specify a single service to watch")
        return f"/v1/health/checks/{service}{_query(parameters)}"
    state = quote(parameters.text("state") or "any", safe="")
    return f"/v1/health/state/{state}{_query(parameters)}"


def _event(parameters: _Parameters) -> str:
    name = parameters.text("name")
    return f"/v1/event/list?name={quote(name, safe='')}" if name else "/v1/event/list?"


KINDS: dict[str, Callable[[_Parameters], str]] = {
    "key": _key,
    "keyprefix": _key_prefix,
    "services": _services,
    "nodes": _nodes,
    "service": _service,
    "checks": _checks,
    "event": _event,
}
"""Watch type -> its view."""


def parse_watch(raw: Mapping[str, Any]) -> WatchDefinition:
    """Return the watch that a definition asks for; raises InvalidRequest, with the texts operators know."""
    parameters = _Parameters(raw)
    handler_type = parameters.text("handler_type") or "script"
    if handler_type not in ("http", "script"):
        raise InvalidRequest(f"Handler type '{handler_type}' not recognized")
    kind = parameters.text("type")
    if not kind:
        raise InvalidRequest("Watch type must be defined")
    if kind.startswith(_MESH_PREFIX):
        raise InvalidRequest(f"Watch type {kind} is not allowed in agent config")
    http = None
    if handler_type == "http":
        if not parameters.has("http_handler_config"):
            raise InvalidRequest("Handler type 'http' requires 'http_handler_config' to be set")
        http = _http_handler(_Parameters(parameters.table("http_handler_config")))
    shell = parameters.take("handler", str, "a string") if parameters.has("handler") else ""
    args = parameters.texts("args", "Watch args must be a list of strings")
    if (bool(shell), bool(args), http is not None).count(True) > 1:
        raise InvalidRequest("Only one watch handler allowed")
    if not (shell or args or http):
        raise InvalidRequest("Must define a watch handler")
    if any("\0" in text for text in (shell, *args)):
        raise InvalidRequest("Watch handlers must not contain null bytes")
    view = KINDS.get(kind)
    if view is None:
        raise InvalidRequest(f"Unsupported watch type: {kind}")
    token = parameters.text("token")
    target = view(parameters)
    parameters.finish()
    return WatchDefinition(kind=kind, target=target, token=token, args=tuple(args), shell=shell, http=http)


def _http_handler(parameters: _Parameters) -> HTTPHandler:
    path = parameters.text("path")
    if not path:
        raise InvalidRequest("Failed to parse 'http_handler_config': Requires 'path' to be set")
    try:
        scheme, host = urlsplit(path).scheme, urlsplit(path).hostname
    except ValueError as error:
        raise InvalidRequest(f"Failed to parse 'http_handler_config': {error}") from error
    if scheme not in ("http", "https") or not host:
        raise InvalidRequest(f"Failed to parse 'http_handler_config': '{path}' is not an http:// or https:// URL")
    timeout_text = parameters.text("timeout")
    try:
        timeout_s = parse_duration_s(timeout_text) if timeout_text else 0.0
    except ValueError as error:
        raise InvalidRequest(f"Failed to parse 'http_handler_config': {error}") from error
    header: dict[str, list[str]] = {}
    given = parameters.table("header") if parameters.has("header") else {}
    for name, values in given.items():
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise InvalidRequest("Failed to parse 'http_handler_config': header values must be lists of strings")
        header[name] = values
    handler = HTTPHandler(
        path=path,
        method=parameters.text("method") or HTTP_METHOD,
        header=header,
        timeout_s=timeout_s if timeout_s > 0 else HTTP_TIMEOUT_S,
        tls_skip_verify=parameters.boolean("tls_skip_verify"),
    )
    parameters.finish()
    return handler


class WatchProgress:
    """Where one watch stands."""

    def __init__(self, definition: WatchDefinition) -> None:
        self._definition = definition
        self.index = 0
        """To block on; 0: answer at once."""
        self._seen: bytes | None = None
        self._event_id = ""
        self._failures_count = 0

    def target(self) -> str:
        """Return path and query of the next read."""
        separator = "" if self._definition.target.endswith("?") else "&"
        return f"{self._definition.target}{separator}index={self.index}" if self.index else self._definition.target

    def failed(self) -> float:
        """The last read failed; returns how long to wait before the next one."""
        self._failures_count += 1
        return min(RETRY_S * self._failures_count**2, RETRY_S_MAX)

    def answered(self, status: int, index: int, body: bytes) -> bytes | None:
        """Take an answer; returns what the handler gets, None where nothing has changed.

        Raises: InvalidRequest, with the reason, where it is no answer but an error; `failed` is to be asked then.
        """
        kind = self._definition.kind
        if status != _OK and not (status == _NOT_FOUND and kind in ("key", "keyprefix") and index):
            raise InvalidRequest(f"{status} {body[:512].decode('utf-8', 'replace')}")
        self._failures_count = 0
        is_first, before = self._seen is None, self.index
        # An index that goes back belongs to another history (a restore, say). Those of events have no order.
        self.index = index if kind == "event" or index >= before else 0
        if not is_first and index == before and index:
            return None
        result = _result(kind, status, body)
        if kind == "event":
            result = self._newer_events(result)
            if not is_first and result == b"[]":
                return None
        digest = sha256(result).digest()
        if digest == self._seen:
            return None
        self._seen = digest
        return result + b"\n"

    def _newer_events(self, body: bytes) -> bytes:
        """Return the events after the last one that was handed out."""
        events = msgspec.json.decode(body, type=list[msgspec.Raw])
        ids = [msgspec.json.decode(event, type=_EventID).ID for event in events]
        if self._event_id in ids:
            del events[: ids.index(self._event_id) + 1]
        if ids:
            self._event_id = ids[-1]
        return msgspec.json.encode(events)


class _EventID(msgspec.Struct):
    ID: str


def _result(kind: str, status: int, body: bytes) -> bytes:
    """Return what the handler is shown: the API's JSON; of a single key its entry alone, null where there is none."""
    if status == _NOT_FOUND:
        return b"null"
    return bytes(msgspec.json.decode(body, type=list[msgspec.Raw])[0]) if kind == "key" else body
