"""What requests and replies of all nouns carry. Source: RPC wire format, sections 5 and 8."""

from typing import Any

from structs.cluster import Empty
from structs.foreign.fields import (
    FLAG,
    MILLISECONDS,
    SECONDS,
    TEXT,
    UNSIGNED,
    Constant,
    Entry,
    Field,
    Part,
    Table,
)
from structs.query import Consistency, QueryMeta, QueryOptions, WriteOptions


class ConsistencyFlags:
    """Two flags there, one word here. Who asks for both gets the stronger."""

    def read(self, value: dict[Any, Any], arguments: dict[str, Any]) -> None:
        """See Part."""
        stale = FLAG.decode(value.get("AllowStale"))
        consistent = FLAG.decode(value.get("RequireConsistent"))
        arguments["consistency"] = (
            Consistency.CONSISTENT if consistent else Consistency.STALE if stale else Consistency.DEFAULT
        )

    def entries(self, prefix: str) -> list[Entry]:
        """See Part."""
        path = f"{prefix}consistency"
        return [
            Entry("AllowStale", path, lambda consistency: consistency is Consistency.STALE),
            Entry("RequireConsistent", path, lambda consistency: consistency is Consistency.CONSISTENT),
        ]

    def names(self) -> list[str]:
        """See Part."""
        return ["AllowStale", "RequireConsistent"]


DATACENTER: Part = Field("Datacenter", "datacenter", TEXT)
QUERY_OPTIONS = Table(
    QueryOptions,
    DATACENTER,
    Field("Token", "token", TEXT),
    Field("MinQueryIndex", "index_min", UNSIGNED),
    Field("MaxQueryTime", "wait_s", SECONDS),
    ConsistencyFlags(),
    Constant("MaxStaleDuration", 0),
)
WRITE_OPTIONS = Table(WriteOptions, DATACENTER, Field("Token", "token", TEXT))
QUERY_META = Table(
    QueryMeta,
    Field("Index", "index", UNSIGNED),
    Field("LastContact", "last_contact_ms", MILLISECONDS),
    Field("KnownLeader", "known_leader", FLAG),
    Constant("ConsistencyLevel", ""),
)
NOTHING = Table(Empty)
