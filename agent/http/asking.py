"""Asking the delegate for a read or a write, now if the reply is known now, else later. No decisions of a noun."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from agent.cache.cache import Cached
from agent.cache.kinds import KINDS
from agent.http.parameters import ReadParameters, cache_control
from agent.http.registry import RequestContext
from agent.http.response import Response
from base.codec import Record
from structs.query import Consistency, QueryOptions

Reply = TypeVar("Reply", bound=Record)
_woken: tuple[Any, Any, Response] | None = None
"""The reply that woke somebody last, and the answer made of it. One at a time: large ones are not hoarded."""
Build = Callable[[QueryOptions], Record]
Finish = Callable[[Reply], Response | Awaitable[Response]]
"""What makes an answer of a reply, at once where that is quick."""


def ask(
    context: RequestContext,
    method: str,
    build: Build,
    reply: type[Reply],
    finish: Finish[Reply],
    *,
    is_discovery: bool = False,
) -> Response | Awaitable[Response]:
    """Return `finish(reply)` of a read. `reply` must have a `meta`; `?max_stale` is kept by asking once more.

    `is_discovery`: catalog and health, which the configuration may make stale unasked.
    """
    parameters = context.read_parameters(is_discovery=is_discovery)
    if method in KINDS and context.query.has("cached"):
        answered = _ask_cache(context, method, build(parameters.options), finish)
        if answered is not None:
            return answered
    answer = context.delegate.call(method, build(parameters.options), reply)
    if isinstance(answer, reply):
        if not parameters.stale_s_max or _is_fresh(answer, parameters):
            return finish(answer)
        answer = context.delegate.call(method, build(_as_default(parameters)), reply)
        if isinstance(answer, reply):
            return finish(answer)
        parameters = ReadParameters(parameters.options)
    return _ask_later(context, method, build, reply, finish, answer, parameters)


async def _ask_later(
    context: RequestContext,
    method: str,
    build: Build,
    reply: type[Reply],
    finish: Finish[Reply],
    answer: Any,
    parameters: ReadParameters,
) -> Response:
    result = await answer
    if parameters.stale_s_max and not _is_fresh(result, parameters):
        again: Any = context.delegate.call(method, build(_as_default(parameters)), reply)
        result = again if isinstance(again, reply) else await again
    made = _finish_woken(result, finish) if context.is_blocking else finish(result)
    return made if isinstance(made, Response) else await made


def _ask_cache(
    context: RequestContext, method: str, request: Record, finish: Finish[Any]
) -> Response | Awaitable[Response] | None:
    """Return the answer of the agent's cache, None where it is not to be used."""
    cache = context.services.cache
    if cache is None or not context.settings.use_cache:
        return None
    control = cache_control(context.request.head.headers.get(b"cache-control", b""))
    cached = cache.get(KINDS[method], request, control=control)
    return _finish_cached(cached, finish) if isinstance(cached, Cached) else _await_cache(cached, finish)


async def _await_cache(answer: Awaitable[Cached], finish: Finish[Any]) -> Response:
    made = _finish_cached(await answer, finish)
    return made if isinstance(made, Response) else await made


def _finish_cached(cached: Cached, finish: Finish[Any]) -> Response | Awaitable[Response]:
    """All who are given the same value share its encoding (answers.py); only headers tell how each came by it."""
    made = finish(cached.value)
    return _with_origin(made, cached) if isinstance(made, Response) else _with_origin_later(made, cached)


async def _with_origin_later(made: Awaitable[Response], cached: Cached) -> Response:
    return _with_origin(await made, cached)


def _with_origin(made: Response, cached: Cached) -> Response:
    where = b"X-Cache: HIT\r\nAge: %d\r\n" % cached.age_s if cached.is_hit else b"X-Cache: MISS\r\n"
    return Response(made.status, made.body, made.content_type, made.headers + where)


def _finish_woken(reply: Any, finish: Finish[Any]) -> Response | Awaitable[Response]:
    """All who waited for one change may be handed the same reply, one after the other: its answer is made once."""
    global _woken
    if _woken is not None and _woken[0] is reply and _woken[1] is finish:
        return _woken[2]
    made = finish(reply)
    if isinstance(made, Response):
        _woken = (reply, finish, made)
    return made


def _is_fresh(answer: Any, parameters: ReadParameters) -> bool:
    """Whether a stale answer is young enough (HTTP conventions, section 2, `max_stale`)."""
    return bool(answer.meta.last_contact_ms <= parameters.stale_s_max * 1000)


def _as_default(parameters: ReadParameters) -> QueryOptions:
    return msgspec.structs.replace(parameters.options, consistency=Consistency.DEFAULT)


def tell(
    context: RequestContext, method: str, request: Record, reply: type[Reply], finish: Callable[[Reply], Response]
) -> Response | Awaitable[Response]:
    """Return `finish(reply)` of a write or of a call without consistency modes."""
    answer = context.delegate.call(method, request, reply)
    if isinstance(answer, reply):
        return finish(answer)
    return _tell_later(answer, finish)


async def _tell_later(answer: Any, finish: Callable[[Reply], Response]) -> Response:
    return finish(await answer)
