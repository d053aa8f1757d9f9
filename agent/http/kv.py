"""/v1/kv/<key>: HTTP <-> KVS.* calls. Source: HTTP API, section 4; state store, section 4."""

from collections.abc import Awaitable

from acl.access import key_read, key_write
from agent.http.asking import ask, tell
from agent.http.parameters import EMPTY, Query, uint64_parameter
from agent.http.reader import BodyRule
from agent.http.registry import RequestContext, route
from agent.http.response import JSON_TYPE, TEXT_TYPE, Response, json_response, meta_headers
from agent.http.settings import HTTPSettings
from base.errors import InvalidRequest
from structs.json_codec import kv_entry_json
from structs.kv import (
    KEY_BYTES_MAX,
    KVApplyReply,
    KVApplyRequest,
    KVCommand,
    KVGetReply,
    KVGetRequest,
    KVKeysReply,
    KVKeysRequest,
    KVListReply,
    KVListRequest,
    KVVerb,
)
from structs.query import QueryOptions

PATH = "/v1/kv/"
KEY_MISSING_TEXT = "Missing key name"
RAW_HEADERS = b"X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox\r\n"
"""A stored value is anybody's: no browser may take it for a page of ours."""
_TRUE = Response(200, b"true", JSON_TYPE)
_FALSE = Response(200, b"false", JSON_TYPE)
_QUERY_FLAGS_EXCLUSIVE = {"PUT": ("cas", "acquire", "release"), "DELETE": ("recurse", "cas")}


def value_rule(settings: HTTPSettings) -> BodyRule:
    """A value's limit, with the text clients know."""
    return BodyRule(settings.limits.value_bytes_max, "Value exceeds {max} byte limit")


@route(PATH, "GET", access=key_read("key"), is_write=False, rule_of=value_rule)
def get(context: RequestContext) -> Response | Awaitable[Response]:
    """Read one key, or with `recurse` all entries under a prefix, or with `keys` their names.

    `raw`: the value itself. `separator` folds names. Blocking; consistency modes. 404 where nothing is found.
    """
    query = context.query
    key = context.remainder
    if len(key) > KEY_BYTES_MAX:
        raise InvalidRequest(_key_too_long())
    if query is not EMPTY:
        if query.has("keys"):
            return _keys(context, key)
        if query.has("recurse"):
            return _recurse(context, key)
    if not key:
        raise InvalidRequest(KEY_MISSING_TEXT)

    def build(options: QueryOptions) -> KVGetRequest:
        return KVGetRequest(key=key, options=options)

    return ask(context, "KVS.Get", build, KVGetReply, _raw_answer if query.has("raw") else _entry_answer)


def _entry_answer(reply: KVGetReply) -> Response:
    entry = reply.entry
    if entry is None:
        return Response(404, headers=meta_headers(reply.meta))
    return Response(200, b"[%b]" % kv_entry_json(entry), JSON_TYPE, meta_headers(reply.meta))


def _raw_answer(reply: KVGetReply) -> Response:
    headers = meta_headers(reply.meta)
    if reply.entry is None:
        return Response(404, headers=headers)
    return Response(200, reply.entry.value, TEXT_TYPE, headers + RAW_HEADERS)


def _recurse(context: RequestContext, prefix: str) -> Response | Awaitable[Response]:
    def build(options: QueryOptions) -> KVListRequest:
        return KVListRequest(prefix=prefix, options=options)

    return ask(context, "KVS.List", build, KVListReply, _list_answer)


def _list_answer(reply: KVListReply) -> Response:
    headers = meta_headers(reply.meta)
    if not reply.entries:
        return Response(404, headers=headers)
    return Response(200, b"[%b]" % b",".join(map(kv_entry_json, reply.entries)), JSON_TYPE, headers)


def _keys(context: RequestContext, prefix: str) -> Response | Awaitable[Response]:
    separator = context.query.get("separator") or context.query.get("seperator") or None

    def build(options: QueryOptions) -> KVKeysRequest:
        return KVKeysRequest(prefix=prefix, separator=separator, options=options)

    def finish(reply: KVKeysReply) -> Response:
        headers = meta_headers(reply.meta)
        if not reply.keys and prefix:
            return Response(404, headers=headers)
        return json_response(reply.keys, headers=headers)

    return ask(context, "KVS.ListKeys", build, KVKeysReply, finish)


@route(PATH, "PUT", access=key_write("command.key"), is_write=True)
def put(context: RequestContext) -> Response | Awaitable[Response]:
    """Write one key; the body is the value.

    `flags`: an unsigned 64-bit number. At most one of `cas` (index, 0: only if absent), `acquire` and `release`
    (session). Answers `true`, or `false` where a condition did not hold.
    """
    query = context.query
    key = _checked_key(context.remainder)
    if query is EMPTY:
        command = KVCommand(verb=KVVerb.SET, key=key, value=context.request.body)
    else:
        command = _put_command(query, key, context.request.body)
    request = KVApplyRequest(command=command, options=context.write_options())
    return tell(context, "KVS.Apply", request, KVApplyReply, _applied)


def _put_command(query: Query, key: str, value: bytes) -> KVCommand:
    _check_conflicts(query, "PUT")
    flags = uint64_parameter(query, "flags")
    if query.has("cas"):
        return KVCommand(verb=KVVerb.CAS, key=key, value=value, flags=flags, cas_index=uint64_parameter(query, "cas"))
    if query.has("acquire"):
        return KVCommand(verb=KVVerb.LOCK, key=key, value=value, flags=flags, session=query.get("acquire"))
    if query.has("release"):
        return KVCommand(verb=KVVerb.UNLOCK, key=key, value=value, flags=flags, session=query.get("release"))
    return KVCommand(verb=KVVerb.SET, key=key, value=value, flags=flags)


@route(PATH, "DELETE", access=key_write("command.key"), is_write=True)
def delete(context: RequestContext) -> Response | Awaitable[Response]:
    """Delete one key, or with `recurse` everything under a prefix.

    `cas`: only if the key's ModifyIndex is this. Answers `true`, also for an absent key; `false` only for `cas`.
    """
    query = context.query
    key = context.remainder
    _check_conflicts(query, "DELETE")
    if query.has("recurse"):
        if len(key.encode()) > KEY_BYTES_MAX:
            raise InvalidRequest(_key_too_long())
        command = KVCommand(verb=KVVerb.DELETE_TREE, key=key)
    elif query.has("cas"):
        command = KVCommand(verb=KVVerb.DELETE_CAS, key=_checked_key(key), cas_index=uint64_parameter(query, "cas"))
    else:
        command = KVCommand(verb=KVVerb.DELETE, key=_checked_key(key))
    request = KVApplyRequest(command=command, options=context.write_options())
    return tell(context, "KVS.Apply", request, KVApplyReply, _applied)


def _applied(reply: KVApplyReply) -> Response:
    return _TRUE if reply.ok else _FALSE


def _checked_key(key: str) -> str:
    if not key:
        raise InvalidRequest(KEY_MISSING_TEXT)
    if len(key) > KEY_BYTES_MAX or (not key.isascii() and len(key.encode()) > KEY_BYTES_MAX):
        raise InvalidRequest(_key_too_long())
    return key


def _key_too_long() -> str:
    return f"Key exceeds {KEY_BYTES_MAX} byte limit"


def _check_conflicts(query: Query, method: str) -> None:
    present = [name for name in _QUERY_FLAGS_EXCLUSIVE[method] if query.has(name)]
    if len(present) > 1:
        raise InvalidRequest(f"Conflicting flags: {query.encode()}")
