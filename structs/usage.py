"""How much there is in a datacenter's catalog."""

from base.codec import Record
from structs.query import QueryMeta, QueryOptions


class UsageRequest(Record, frozen=True, kw_only=True):
    """Asks for the counts. Answered by server/endpoints/usage.py."""

    options: QueryOptions = QueryOptions()


class UsageReply(Record, frozen=True, kw_only=True):
    """`kinds`: instances by kind, "" for ordinary ones."""

    nodes_count: int
    services_count: int
    instances_count: int
    keys_count: int
    kinds: dict[str, int]
    meta: QueryMeta = QueryMeta()
