"""`?filter=`: rows of an answer by an expression over what clients see of them. Source: modern deltas, section 4.

The expressions are those of base/expression.py; their root is the JSON shape of one row. A filter doesn't move the
index of an answer, and what it leaves over keeps its order.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from agent.http.asking import Finish
from agent.http.parameters import datacenter_of
from agent.http.registry import RequestContext
from agent.http.response import Response
from base.expression import Predicate, compiled
from structs.afar import from_afar
from structs.json_codec import encode_json

T = TypeVar("T")
E = TypeVar("E", bound=msgspec.Struct)


def predicate_of(context: RequestContext, element: type[msgspec.Struct]) -> Predicate | None:
    """Return what the filter of a request says of a row of this shape, None where there is no filter.

    To be asked for before the rows are: a mistake is refused whatever there is. Raises InvalidRequest.
    """
    text = context.query.get("filter").strip()
    return compiled(text, element) if text else None


def filtered(context: RequestContext, rows: list[E], element: type[E]) -> list[E]:
    """Return the rows that the filter of a request leaves over; raises InvalidRequest."""
    keep = predicate_of(context, element)
    return rows if keep is None else [row for row in rows if keep(row)]


def filtered_map(context: RequestContext, rows: dict[str, E], element: type[E]) -> dict[str, E]:
    """Return the same for a map, whose values are the rows."""
    keep = predicate_of(context, element)
    return rows if keep is None else {name: row for name, row in rows.items() if keep(row)}


def _is_of_peer(item: object) -> bool:
    """There are no peers, so nothing is of the one that a request names."""
    return False


def list_answer(
    context: RequestContext,
    part: str,
    shape: Callable[[T], E],
    element: type[E],
    *,
    wanted: Callable[[T], bool] | None = None,
) -> Finish[Any]:
    """Return what makes a list of rows of the list `part` of a reply: of those items that are `wanted`.

    The filter of the request is looked at now; raises InvalidRequest.
    """
    keep = predicate_of(context, element)
    if context.query.get("peer"):
        wanted = _is_of_peer
    translates = context.translates(datacenter_of(context.query))
    way = (shape, wanted, context.query.get("filter"), translates)

    def make(items: list[T]) -> bytes:
        seen = (from_afar(item) for item in items) if translates else items
        rows = [shape(item) for item in seen if wanted is None or wanted(item)]
        return encode_json(rows if keep is None else [row for row in rows if keep(row)])

    def finish(reply: Any) -> Response | Awaitable[Response]:
        return context.services.answers.answer(getattr(reply, part), way, reply.meta, make)

    return finish
