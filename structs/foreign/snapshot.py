"""The snapshot exchange: a request and a response on a connection of its own. Source: RPC wire format, section 7."""

from typing import Any

from base.codec import Record
from structs.foreign.fields import FLAG, TEXT, Field, Flat, Table, integer
from structs.foreign.options import QUERY_META
from structs.query import QueryMeta

OPERATION_SAVE = 0
OPERATION_RESTORE = 1


class SnapshotExchange(Record, frozen=True, kw_only=True):
    """What a foreign member asks for; `operation` is one of the two above."""

    datacenter: str
    token: str = ""
    stale: bool = False
    operation: int = OPERATION_SAVE


class SnapshotAnswer(Record, frozen=True, kw_only=True):
    """What comes back: an error, or for a save the archive behind it."""

    error: str = ""
    meta: QueryMeta = QueryMeta(known_leader=False)


EXCHANGE = Table(
    SnapshotExchange,
    Field("Datacenter", "datacenter", TEXT),
    Field("Token", "token", TEXT),
    Field("AllowStale", "stale", FLAG),
    Field("Op", "operation", integer(OPERATION_SAVE, OPERATION_RESTORE)),
)
ANSWER = Table(SnapshotAnswer, Field("Error", "error", TEXT), Flat("meta", QUERY_META))


def answer_map(*, error: str = "", meta: QueryMeta | None = None) -> dict[str, Any]:
    """Return the response as a plain map; without `meta` all of it is zero."""
    return ANSWER.encode(SnapshotAnswer(error=error) if meta is None else SnapshotAnswer(error=error, meta=meta))
