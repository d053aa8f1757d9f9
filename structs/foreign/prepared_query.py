"""PreparedQuery.*: stored look-ups of healthy instances. Source: RPC wire format, sections 5, 8 and 9."""

from base.errors import NotFound
from structs.catalog import ServiceInstance
from structs.foreign.catalog import CHECKS, INDEXES, NODE, NODE_SERVICE, NODE_SOURCE_PARTS, SOURCE
from structs.foreign.fields import (
    FLAG,
    SIGNED,
    TEXT,
    TEXT_MAP,
    TEXTS,
    Field,
    Flat,
    Inside,
    Shape,
    Table,
    filled,
    list_of,
    word_of,
)
from structs.foreign.options import QUERY_META, QUERY_OPTIONS, WRITE_OPTIONS
from structs.foreign.row import ForeignMethod
from structs.prepared_query import (
    NOT_FOUND_TEXT,
    ExecuteRemoteRequest,
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
    QueryFailover,
    QueryTemplate,
    ServiceQuery,
)

TEMPLATE = Table(
    QueryTemplate,
    Field("Type", "kind", TEXT),
    Field("Regexp", "regexp", TEXT),
    Field("RemoveEmptyTags", "remove_empty_tags", FLAG),
)
FAILOVER = Table(QueryFailover, Field("NearestN", "nearest_n", SIGNED), Field("Datacenters", "datacenters", TEXTS))
SERVICE = Table(
    ServiceQuery,
    Field("Service", "service", TEXT),
    Field("Failover", "failover", FAILOVER.shape),
    Field("OnlyPassing", "only_passing", FLAG),
    Field("IgnoreCheckIDs", "ignore_check_ids", TEXTS),
    Field("Near", "near", TEXT),
    Field("Tags", "tags", TEXTS),
    Field("NodeMeta", "node_meta", TEXT_MAP),
    Field("Connect", "connect", FLAG),
)
DNS = Inside("DNS", Field("TTL", "dns_ttl", TEXT))
QUERY = Table(
    PreparedQuery,
    Field("ID", "query_id", TEXT),
    Field("Name", "name", TEXT),
    Field("Session", "session", TEXT),
    Field("Token", "token", TEXT),
    Field("Template", "template", TEMPLATE.shape),
    Field("Service", "service", SERVICE.shape),
    DNS,
    *INDEXES,
)
APPLY = Table(
    PreparedQueryApplyRequest,
    Field("Op", "op", word_of(PreparedQueryOp, "prepared query operation")),
    Field("Query", "query", QUERY.shape),
    Flat("options", WRITE_OPTIONS),
)
QUERY_ID = Shape(lambda value: PreparedQueryApplyReply(query_id=TEXT.decode(value)), lambda reply: reply.query_id)
GET = Table(PreparedQueryRequest, Field("QueryID", "query_id", TEXT), Flat("options", QUERY_OPTIONS))
LIST = Table(ListPreparedQueriesRequest, *NODE_SOURCE_PARTS, Flat("options", QUERY_OPTIONS))
QUERIES_REPLY = Table(
    PreparedQueriesReply, Field("Queries", "queries", filled(list_of(QUERY.shape), list)), Flat("meta", QUERY_META)
)
EXECUTE = Table(
    ExecuteRequest,
    Field("QueryIDOrName", "name", TEXT),
    Field("Limit", "limit", SIGNED),
    Field("Connect", "connect", FLAG),
    Field("Source", "source", SOURCE.shape),
    Field("Agent", "agent", SOURCE.shape),
    Flat("options", QUERY_OPTIONS),
)
EXECUTE_REMOTE = Table(
    ExecuteRemoteRequest,
    Field("Query", "query", QUERY.shape),
    Field("Limit", "limit", SIGNED),
    Field("Connect", "connect", FLAG),
    Flat("options", QUERY_OPTIONS),
)
INSTANCE = Table(
    ServiceInstance,
    Field("Node", "node", NODE.shape),
    Field("Service", "service", NODE_SERVICE.shape),
    Field("Checks", "checks", CHECKS),
)
EXECUTE_REPLY = Table(
    ExecuteReply,
    Field("Service", "service", TEXT),
    Field("Nodes", "instances", filled(list_of(INSTANCE.shape), list)),
    DNS,
    Field("Datacenter", "datacenter", TEXT),
    Field("Failovers", "failovers", SIGNED),
    Flat("meta", QUERY_META),
)
EXPLAIN_REPLY = Table(ExplainReply, Field("Query", "query", QUERY.shape), Flat("meta", QUERY_META))


def _found(reply: PreparedQueriesReply, request: PreparedQueryRequest) -> PreparedQueriesReply:
    """A query that is not there is an error there."""
    if not reply.queries:
        raise NotFound(NOT_FOUND_TEXT)
    return reply


ROWS = (
    ForeignMethod(name="PreparedQuery.Apply", method="PreparedQuery.Apply", request=APPLY, reply=QUERY_ID,
                  reply_record=PreparedQueryApplyReply),
    ForeignMethod(name="PreparedQuery.Get", method="PreparedQuery.Get", request=GET, reply=QUERIES_REPLY.shape,
                  reply_record=PreparedQueriesReply, says=_found),
    ForeignMethod(name="PreparedQuery.List", method="PreparedQuery.List", request=LIST, reply=QUERIES_REPLY.shape,
                  reply_record=PreparedQueriesReply),
    ForeignMethod(name="PreparedQuery.Execute", method="PreparedQuery.Execute", request=EXECUTE,
                  reply=EXECUTE_REPLY.shape, reply_record=ExecuteReply),
    ForeignMethod(name="PreparedQuery.Explain", method="PreparedQuery.Explain", request=EXECUTE,
                  reply=EXPLAIN_REPLY.shape, reply_record=ExplainReply),
    ForeignMethod(name="PreparedQuery.ExecuteRemote", method="PreparedQuery.ExecuteRemote", request=EXECUTE_REMOTE,
                  reply=EXECUTE_REPLY.shape, reply_record=ExecuteReply),
)  # fmt: skip
