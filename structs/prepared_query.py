"""Prepared queries: look-ups of healthy instances that are stored under a name. Records, requests, the logged command.

Source: state store specification, section 12; HTTP API, section 8; RPC wire format, section 5.
"""

from enum import StrEnum

from msgspec.structs import replace

from base.codec import Record, encode
from base.durations import parse_duration_s
from base.errors import InvalidRequest, Refused, TooLarge
from structs.catalog import QuerySource, ServiceInstance
from structs.query import QueryMeta, QueryOptions, WriteOptions
from structs.query_template import Template
from structs.registration import check_name

NOT_FOUND_TEXT = "Query not found"
"""Clients match on it; some servers send it as an error without a kind."""
HIDDEN_TOKEN = "<hidden>"  # noqa: S105  # what is shown in place of a token
NAME_PREFIX_MATCH = "name_prefix_match"
"""The only type of templates: they answer for every name that begins with theirs."""
QUERY_BYTES_MAX = 64 * 1024
"""One query, encoded. It is one entry of the log and is read at every execution."""
NEAREST_MAX = 1_000
DATACENTERS_MAX = 64
"""Datacenters that one query may name: each of them may be asked while a client waits."""
LIST_ITEMS_MAX = 256
"""Tags, ids of checks, pairs of metadata: each is compared with every instance."""
LIMIT_MAX = (1 << 31) - 1


class QueryTemplate(Record, frozen=True, kw_only=True):
    """What makes a query a template, for names that begin with its own; `kind` "" is no template."""

    kind: str = ""
    regexp: str = ""
    """Matched against the whole name; its groups can be put into the strings of the service part."""
    remove_empty_tags: bool = False


class QueryFailover(Record, frozen=True, kw_only=True):
    """Where to look when no instance is healthy here: the nearest datacenters, then certain ones."""

    nearest_n: int = 0
    datacenters: list[str] | None = None


class ServiceQuery(Record, frozen=True, kw_only=True):
    """Which instances are wanted. nil and empty lists and maps are kept apart."""

    service: str = ""
    failover: QueryFailover = QueryFailover()
    only_passing: bool = False
    """Warning is not good enough."""
    ignore_check_ids: list[str] | None = None
    near: str = ""
    """Node to measure distances from, unless the caller names one; `_agent`, `_ip` are those of the caller."""
    tags: list[str] | None = None
    """All of them, in any case; `!tag` must not be there."""
    node_meta: dict[str, str] | None = None
    connect: bool = False


class PreparedQuery(Record, frozen=True, kw_only=True):
    """One query. `query_id` is a UUID in lower case; `dns_ttl` a Go duration or ""."""

    query_id: str = ""
    name: str = ""
    session: str = ""
    """The query goes with this session."""
    token: str = ""
    template: QueryTemplate = QueryTemplate()
    service: ServiceQuery = ServiceQuery()
    dns_ttl: str = ""
    create_index: int = 0
    modify_index: int = 0

    @property
    def is_template(self) -> bool:
        """Whether it answers for names that begin with its own."""
        return bool(self.template.kind)


class PreparedQueryOp(StrEnum):
    """What is to be done with a query."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class PreparedQueryCommand(Record, frozen=True, kw_only=True):
    """Logged. The id is always there: who proposes it chose the one of a new query. A deletion needs nothing else."""

    op: PreparedQueryOp
    query: PreparedQuery


class PreparedQueryApplyRequest(Record, frozen=True, kw_only=True):
    """RPC PreparedQuery.Apply."""

    op: PreparedQueryOp
    query: PreparedQuery
    options: WriteOptions = WriteOptions()


class PreparedQueryApplyReply(Record, frozen=True, kw_only=True):
    """The id of the query that was written."""

    query_id: str


class PreparedQueryRequest(Record, frozen=True, kw_only=True):
    """RPC PreparedQuery.Get."""

    query_id: str
    options: QueryOptions = QueryOptions()


class ListPreparedQueriesRequest(Record, frozen=True, kw_only=True):
    """RPC PreparedQuery.List."""

    options: QueryOptions = QueryOptions()


class PreparedQueriesReply(Record, frozen=True, kw_only=True):
    """By id; of PreparedQuery.Get one or none."""

    queries: list[PreparedQuery]
    meta: QueryMeta = QueryMeta()


class ExecuteRequest(Record, frozen=True, kw_only=True):
    """RPC PreparedQuery.Execute and PreparedQuery.Explain.

    `source` is the node that the caller named to measure from, and the caller's address; `agent` the agent's node.
    """

    name: str
    """Id or name."""
    limit: int = 0
    connect: bool = False
    """Instances that take mesh connections, whatever the query says."""
    source: QuerySource = QuerySource()
    agent: QuerySource = QuerySource()
    options: QueryOptions = QueryOptions()


class ExecuteRemoteRequest(Record, frozen=True, kw_only=True):
    """RPC PreparedQuery.ExecuteRemote, between servers: a query of another datacenter, rendered already."""

    query: PreparedQuery
    limit: int = 0
    connect: bool = False
    options: QueryOptions = QueryOptions()


class ExecuteReply(Record, frozen=True, kw_only=True):
    """Instances, the best first, and the datacenter in which they are; `failovers`: others that were asked."""

    service: str
    instances: list[ServiceInstance]
    dns_ttl: str = ""
    datacenter: str = ""
    failovers: int = 0
    meta: QueryMeta = QueryMeta()


class ExplainReply(Record, frozen=True, kw_only=True):
    """The query that a name leads to, rendered for it."""

    query: PreparedQuery
    meta: QueryMeta = QueryMeta()


def check_query(query: PreparedQuery) -> None:
    """Raise Refused, InvalidRequest or TooLarge if this can be nobody's query.

    Asked at the border, never in a replay.
    """
    check_name("Query name", query.name)
    check_name("Session ID", query.session)
    check_name("Service name", query.service.service)
    complaint = _complaint(query)
    if complaint:
        raise Refused(f"Invalid prepared query: {complaint}")
    _check_counts(query.service)
    try:
        size = len(encode(query))
    except InvalidRequest as error:
        raise InvalidRequest(f"the query holds what is {error}") from error
    if size > QUERY_BYTES_MAX:
        raise TooLarge(f"the query is too large ({size} > {QUERY_BYTES_MAX} bytes)")
    if query.is_template:
        _check_template(query)


def _complaint(query: PreparedQuery) -> str:
    if not query.name and not query.is_template and not query.session:
        return "Must be bound to a session"
    if query.token == HIDDEN_TOKEN:
        return f"Bad Token '{HIDDEN_TOKEN}', it looks like a query definition with a redacted token was submitted"
    service = query.service
    if not service.service:
        return "Must provide a Service name to query"
    nearest = service.failover.nearest_n
    if nearest < 0:
        return f"Bad NearestN '{nearest}', must be >= 0"
    if nearest > NEAREST_MAX:
        return f"Bad NearestN '{nearest}', must be <= {NEAREST_MAX}"
    if query.dns_ttl:
        try:
            if parse_duration_s(query.dns_ttl) < 0:
                return f"Bad DNS TTL '{query.dns_ttl}', must be >=0"
        except ValueError as error:
            return f"Bad DNS TTL '{query.dns_ttl}': {error}"
    return ""


def _check_counts(service: ServiceQuery) -> None:
    for what, items, count_max in (
        ("Failover.Datacenters", service.failover.datacenters, DATACENTERS_MAX),
        ("IgnoreCheckIDs", service.ignore_check_ids, LIST_ITEMS_MAX),
        ("Tags", service.tags, LIST_ITEMS_MAX),
        ("NodeMeta", service.node_meta, LIST_ITEMS_MAX),
    ):
        if items is not None and len(items) > count_max:
            raise TooLarge(f"the query has too many {what} ({len(items)} > {count_max})")


def _check_template(query: PreparedQuery) -> None:
    if query.template.kind != NAME_PREFIX_MATCH:
        raise Refused(f"Bad Template.Type '{query.template.kind}'")
    try:
        rendered(query, query.name, QuerySource())
    except InvalidRequest as error:
        raise Refused(str(error)) from error


def rendered(query: PreparedQuery, name: str, source: QuerySource) -> PreparedQuery:
    """Return a template as it reads for `name`, asked by an agent at `source`; raises InvalidRequest."""
    template = Template(query.name, query.template.regexp, name, segment=source.segment)
    service = template.rendered(query.service, "Service")
    if query.template.remove_empty_tags and service.tags is not None:
        service = replace(service, tags=[tag for tag in service.tags if tag])
    return replace(query, service=service)
