"""Asking the delegate for a read or a write, now if the reply is known now, else later. No decisions of a noun."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from agent.http.parameters import ReadParameters
from agent.http.registry import RequestContext
from agent.http.response import Response
from base.codec import Record
from structs.query import Consistency, QueryOptions

Reply = TypeVar("Reply", bound=Record)
_woken: tuple[Any, Callable[[Any], Response], Response] | None = None
"""The reply that woke somebody last, and the answer made of it. One at a time: large ones are not hoarded."""
Build = Callable[[QueryOptions], Record]
Finish = Callable[[Reply], Response]


def ask(
    context: RequestContext,
    method: str,
    build: Build,
    reply: type[Reply],
    finish: Callable[[Reply], Response],
    *,
    is_discovery: bool = False,
) -> Response | Awaitable[Response]:
    """Return `finish(reply)` of a read. `reply` must have a `meta`; `?max_stale` is kept by asking once more.

    `is_discovery`: catalog and health, which the configuration may make stale unasked.
    """
    parameters = context.read_parameters(is_discovery=is_discovery)
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
    finish: Callable[[Reply], Response],
    answer: Any,
    parameters: ReadParameters,
) -> Response:
    result = await answer
    if parameters.stale_s_max and not _is_fresh(result, parameters):
        again: Any = context.delegate.call(method, build(_as_default(parameters)), reply)
        result = again if isinstance(again, reply) else await again
    return _finish_woken(result, finish) if context.is_blocking else finish(result)


def _finish_woken(reply: Any, finish: Callable[[Any], Response]) -> Response:
    """All who waited for one change may be handed the same reply, one after the other: its answer is made once."""
    global _woken
    if _woken is None or _woken[0] is not reply or _woken[1] is not finish:
        _woken = (reply, finish, finish(reply))
    return _woken[2]


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
