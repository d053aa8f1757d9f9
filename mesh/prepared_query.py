"""Prepared queries: lookups that are stored with the servers, with failover to other datacenters."""

from collections.abc import Sequence
from typing import Any

import msgspec

from mesh.call import Call, Noun, World, method, nothing, plain_call, read_call, write_call
from mesh.query import DEFAULT_READ, Answer, Read
from mesh.rows import Inside, ListOf, Shape, text_map
from mesh.shapes import INSTANCE
from structs.catalog import ServiceInstance
from structs.prepared_query import PreparedQuery, QueryFailover, QueryTemplate, ServiceQuery


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """What a query found: instances, in which datacenter, and how many others had none."""

    service: str
    instances: list[ServiceInstance] = []
    datacenter: str = ""
    failovers_count: int = 0
    dns_ttl: str = ""
    """Go duration text; "" is the agent's."""


class _Explanation(msgspec.Struct, frozen=True, kw_only=True):
    query: PreparedQuery


TEMPLATE = Shape(QueryTemplate, Type="kind", Regexp="regexp", RemoveEmptyTags="remove_empty_tags")
SERVICE_QUERY = Shape(
    ServiceQuery,
    Service="service",
    Failover=("failover", Shape(QueryFailover, NearestN="nearest_n", Datacenters="datacenters")),
    OnlyPassing="only_passing",
    IgnoreCheckIDs="ignore_check_ids",
    Near="near",
    Tags="tags",
    NodeMeta="node_meta",
    Connect="connect",
)
QUERY = Shape(
    PreparedQuery,
    ID="query_id",
    Name="name",
    Session="session",
    Token="token",  # noqa: S106  # a name, no secret
    Template=("template", TEMPLATE),
    Service=("service", SERVICE_QUERY),
    DNS=("dns_ttl", Inside("TTL")),
    CreateIndex="create_index",
    ModifyIndex="modify_index",
)
EXECUTION = Shape(
    Execution,
    Service="service",
    Nodes=("instances", ListOf(INSTANCE)),
    Datacenter="datacenter",
    Failovers="failovers_count",
    DNS=("dns_ttl", Inside("TTL")),
)
EXPLANATION = Shape(_Explanation, Query=("query", QUERY))
_WRITTEN = ("CreateIndex", "ModifyIndex", "ID")
"""What is no part of a query that is written."""


class PreparedQueries(Noun[World]):
    """`client.query`."""

    @method
    def create(self, query: PreparedQuery) -> Call[str]:
        """Store a query and return its id."""
        return write_call(
            "/v1/query", lambda reply: str(text_map(reply.json()).get("ID", "")), method="POST", value=_row(query)
        )

    @method
    def update(self, query: PreparedQuery) -> Call[None]:
        """Replace the query with the id of this one."""
        return write_call(f"/v1/query/{query.query_id}", nothing, value=_row(query))

    @method
    def delete(self, query_id: str) -> Call[None]:
        """Remove a query."""
        return write_call(f"/v1/query/{query_id}", nothing, method="DELETE")

    @method
    def get(self, query_id: str, read: Read = DEFAULT_READ) -> Call[Answer[PreparedQuery | None]]:
        """Return one query, None where there is none."""
        return read_call(f"/v1/query/{query_id}", QUERY.first, read, missing=True)

    @method
    def list(self, read: Read = DEFAULT_READ) -> Call[Answer[Sequence[PreparedQuery]]]:
        """Return all queries that may be seen."""
        return read_call("/v1/query", QUERY.rows, read)

    @method
    def execute(
        self, name: str, *, near: str = "", limit: int = 0, connect: bool = False, read: Read = DEFAULT_READ
    ) -> Call[Execution]:
        """Carry out a query, by id, name, or a name that a template takes; raises NotFound."""
        parameters = {
            **read.parameters(),
            "near": near,
            "limit": str(limit or ""),
            "connect": "true" if connect else "",
        }
        given = {key: text for key, text in parameters.items() if text or key in read.parameters()}
        return plain_call(f"/v1/query/{name}/execute", EXECUTION.read, given)

    @method
    def explain(self, name: str) -> Call[PreparedQuery]:
        """Return the query that a name leads to, with its template filled in; raises NotFound."""
        return plain_call(f"/v1/query/{name}/explain", lambda value: EXPLANATION.read(value).query)


def _row(query: PreparedQuery) -> dict[str, Any]:
    return {name: value for name, value in QUERY.write(query).items() if name not in _WRITTEN}
