"""The calls about prepared queries, answered out of a dict. Ids count up; every instance of `web` is healthy."""

from typing import Any

from msgspec.structs import replace

from base.errors import NotFound, Refused
from structs.catalog import HealthCheck, Node, NodeService, ServiceInstance
from structs.prepared_query import (
    NOT_FOUND_TEXT,
    ExecuteReply,
    ExecuteRequest,
    ExplainReply,
    ListPreparedQueriesRequest,
    PreparedQueriesReply,
    PreparedQuery,
    PreparedQueryApplyReply,
    PreparedQueryApplyRequest,
    PreparedQueryOp,
    PreparedQueryRequest,
    check_query,
)
from structs.query import QueryMeta


class QueryCalls:
    """`queries` by id."""

    nodes: list[Node]
    services: dict[str, list[NodeService]]
    checks: list[HealthCheck]

    def __init__(self) -> None:
        super().__init__()
        self.queries: dict[str, PreparedQuery] = {}
        self._created_count = 0

    def _meta(self, index: int, request: Any) -> QueryMeta:
        raise NotImplementedError

    def _preparedquery_apply(self, request: PreparedQueryApplyRequest) -> PreparedQueryApplyReply:
        query = request.query
        if request.op is PreparedQueryOp.CREATE:
            if query.query_id:
                raise Refused("ID must be empty when creating a new prepared query")
            self._created_count += 1
            query = replace(query, query_id=f"query-{self._created_count}", create_index=20)
        elif query.query_id not in self.queries:
            raise Refused(f"Cannot modify non-existent prepared query: '{query.query_id}'")
        if request.op is PreparedQueryOp.DELETE:
            del self.queries[query.query_id]
        else:
            check_query(query)
            self.queries[query.query_id] = replace(query, create_index=20, modify_index=21)
        return PreparedQueryApplyReply(query_id=query.query_id)

    def _preparedquery_get(self, request: PreparedQueryRequest) -> PreparedQueriesReply:
        found = self.queries.get(request.query_id)
        return PreparedQueriesReply(queries=[] if found is None else [found], meta=self._meta(21, request))

    def _preparedquery_list(self, request: ListPreparedQueriesRequest) -> PreparedQueriesReply:
        return PreparedQueriesReply(queries=list(self.queries.values()), meta=self._meta(21, request))

    def _resolved(self, name: str) -> PreparedQuery:
        for query in self.queries.values():
            if name in (query.query_id, query.name):
                return query
        raise NotFound(NOT_FOUND_TEXT)

    def _preparedquery_explain(self, request: ExecuteRequest) -> ExplainReply:
        return ExplainReply(query=self._resolved(request.name), meta=self._meta(0, request))

    def _preparedquery_execute(self, request: ExecuteRequest) -> ExecuteReply:
        query = self._resolved(request.name)
        instances = [
            ServiceInstance(
                node=node, service=service, checks=[check for check in self.checks if check.node == node.node][:1]
            )
            for node in self.nodes
            for service in self.services.get(node.node, [])
            if service.service == query.service.service
        ]
        return ExecuteReply(
            service=query.service.service,
            instances=instances,
            dns_ttl=query.dns_ttl,
            datacenter="dc1",
            meta=self._meta(0, request),
        )
