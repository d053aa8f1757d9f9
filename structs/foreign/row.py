"""One row of the table of foreign methods."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from structs.foreign.fields import Shape, Table


def _as_it_is(reply: Any, request: Any) -> Any:
    return reply


def _always(request: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignMethod:
    """One method that foreign members call, and ours that answers it; read in both directions."""

    name: str
    """As they call it."""
    method: str
    """As it is called here."""
    request: Table
    reply: Shape
    reply_record: type[Any]
    has_datacenter: bool = True
    """Whether the argument names a datacenter, without which it cannot be answered."""
    says: Callable[[Any, Any], Any] = _as_it_is
    """(our reply, request) -> the reply that foreign callers expect."""
    hears: Callable[[Any, Any], Any] = _as_it_is
    """(a foreign reply as read, request) -> the reply that our callers expect."""
    fits: Callable[[Any], bool] = _always
    """Whether our request can be asked by this row; the first of a method's rows that fits is used."""
