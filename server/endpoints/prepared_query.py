"""PreparedQuery.*: stored look-ups of healthy instances.

Source: state store specification, sections 3 and 12; HTTP API, section 8.
"""

from msgspec.structs import replace

from acl.access import query_read, query_write, service_read
from base.chance import uuid_from_system
from base.errors import NoLeader, Refused
from fsm.commands.registry import PREPARED_QUERY, Refusal, encode_command
from fsm.store import indexes, nodes, prepared_query
from fsm.store.names import key
from fsm.store.store import ReadView
from fsm.store.tables import PREPARED_QUERIES
from server.endpoints.registry import Call, Kind, Query, method
from server.instances import instances_of, with_checks
from server.near import sorted_near
from server.prepared_queries import steps
from server.prepared_queries.failing_over import REMOTE_METHOD, fail_over
from server.prepared_queries.resolving import resolve
from server.services import Services
from structs.catalog import QuerySource, ServiceInstance, ServiceRequest
from structs.prepared_query import (
    ExecuteRemoteRequest,
    ExecuteReply,
    ExecuteRequest,
    ExplainReply,
    ListPreparedQueriesRequest,
    PreparedQueriesReply,
    PreparedQuery,
    PreparedQueryApplyReply,
    PreparedQueryApplyRequest,
    PreparedQueryCommand,
    PreparedQueryOp,
    PreparedQueryRequest,
    check_query,
)
from structs.query import Consistency, QueryMeta, QueryOptions
from structs.registration import check_name


@method(
    "PreparedQuery.Apply",
    request=PreparedQueryApplyRequest,
    reply=PreparedQueryApplyReply,
    access=query_write("query.name"),
    kind=Kind.WRITE,
)
async def apply(call: Call, request: PreparedQueryApplyRequest) -> PreparedQueryApplyReply:
    """Create, replace or delete a query; the id of a new one is chosen here."""
    query = request.query
    if request.op is PreparedQueryOp.CREATE:
        if query.query_id:
            raise Refused("ID must be empty when creating a new prepared query")
        query = replace(query, query_id=uuid_from_system())
    check_name("Query ID", query.query_id)
    query = replace(query, query_id=query.query_id.lower(), create_index=0, modify_index=0)
    if request.op is PreparedQueryOp.DELETE:
        query = PreparedQuery(query_id=query.query_id)
    else:
        check_query(query)
    services = call.services
    command = encode_command(PREPARED_QUERY, PreparedQueryCommand(op=request.op, query=query))
    result = await services.raft.propose(command, timeout_s=services.config.write_timeout_s)
    if type(result) is Refusal:
        raise Refused(result.text)
    assert isinstance(result, PreparedQueryApplyReply)
    return result


@method(
    "PreparedQuery.Get",
    request=PreparedQueryRequest,
    reply=PreparedQueriesReply,
    access=query_read(),
    kind=Kind.READ,
)
def get(query: Query, request: PreparedQueryRequest) -> PreparedQueriesReply:
    """One query by its id, or none."""
    if query.watch_set is not None:
        query.watch_set.key(PREPARED_QUERIES.name, key(request.query_id))
    found = prepared_query.get(query.view, request.query_id)
    meta = query.meta(indexes.of_tables(query.view, PREPARED_QUERIES.name))
    return PreparedQueriesReply(queries=[] if found is None else [found], meta=meta)


@method(
    "PreparedQuery.List",
    request=ListPreparedQueriesRequest,
    reply=PreparedQueriesReply,
    access=query_read(),
    kind=Kind.READ,
)
def list_queries(query: Query, request: ListPreparedQueriesRequest) -> PreparedQueriesReply:
    """All queries, by id."""
    if query.watch_set is not None:
        query.watch_set.table(PREPARED_QUERIES.name)
    meta = query.meta(indexes.of_tables(query.view, PREPARED_QUERIES.name))
    return PreparedQueriesReply(queries=prepared_query.every(query.view), meta=meta)


@method(
    "PreparedQuery.Explain", request=ExecuteRequest, reply=ExplainReply, access=query_read("name"), kind=Kind.LEADER
)
async def explain(call: Call, request: ExecuteRequest) -> ExplainReply:
    """The query that would be executed, rendered."""
    meta = await _proven(call.services, request.options)
    with call.services.machine.read() as view:
        return ExplainReply(query=resolve(view, request.name, request.agent), meta=meta)


@method("PreparedQuery.Execute", request=ExecuteRequest, reply=ExecuteReply, access=service_read(), kind=Kind.LEADER)
async def execute(call: Call, request: ExecuteRequest) -> ExecuteReply:
    """The healthy instances that a query is about, here or in the first other datacenter that has some."""
    services = call.services
    meta = await _proven(services, request.options)
    own = services.config.datacenter
    with services.machine.read() as view:
        query = resolve(view, request.name, request.agent)
        source = steps.origin(query.service, request)
        found = _instances(services, view, query, connect=request.connect)
        if found and source.datacenter in ("", own):
            near = _near(view, source)
            found = sorted_near(view, replace(source, node=near), QueryOptions(), found, _node_of)
            found = steps.own_first(found, near)
    reply = _reply(services, query, steps.limited(found, request.limit), meta)
    return reply if found else await fail_over(services, query, request, reply)


@method(REMOTE_METHOD, request=ExecuteRemoteRequest, reply=ExecuteReply, access=service_read(), kind=Kind.LEADER)
async def execute_remote(call: Call, request: ExecuteRemoteRequest) -> ExecuteReply:
    """The same for a query of another datacenter, rendered there: nothing is near, and nobody else is asked."""
    services = call.services
    check_name("Service name", request.query.service.service)
    meta = await _proven(services, request.options)
    with services.machine.read() as view:
        found = _instances(services, view, request.query, connect=request.connect)
    return _reply(services, request.query, steps.limited(found, request.limit), meta)


def _instances(services: Services, view: ReadView, query: PreparedQuery, *, connect: bool) -> list[ServiceInstance]:
    wanted = query.service
    request = ServiceRequest(service=wanted.service, connect=wanted.connect or connect)
    instances = with_checks(view, instances_of(view, request))
    return steps.shuffled(steps.wanted(instances, wanted), services.query_rng)


def _reply(services: Services, query: PreparedQuery, found: list[ServiceInstance], meta: QueryMeta) -> ExecuteReply:
    return ExecuteReply(
        service=query.service.service,
        instances=found,
        dns_ttl=query.dns_ttl,
        datacenter=services.config.datacenter,
        meta=meta,
    )


def _near(view: ReadView, source: QuerySource) -> str:
    """Return the node to measure from, "" for none: that which has the caller's address, if that is wanted."""
    if source.node != steps.NEAR_ADDRESS:
        return source.node
    if not source.address:
        return ""
    return next((node.node for node in nodes.every(view, {}) if node.address == source.address), "")


def _node_of(instance: ServiceInstance) -> str:
    return instance.node.node


async def _proven(services: Services, options: QueryOptions) -> QueryMeta:
    """Return how fresh an answer from this server's state is, once it is as fresh as was asked for.

    Raises NoLeader where this server does not lead (any more) and must.
    """
    raft, consistency = services.raft, options.consistency
    if consistency is Consistency.STALE and not raft.is_leader():
        contact_ms = max(0, int(raft.last_contact_s() * 1000.0))
        known = raft.leader() is not None
        return QueryMeta(known_leader=known, last_contact_ms=contact_ms, consistency=consistency)
    if consistency is Consistency.CONSISTENT or (consistency is Consistency.DEFAULT and not raft.lease_valid()):
        if not raft.is_leader():
            raise NoLeader
        await raft.confirm_leadership(timeout_s=services.config.rpc_hold_timeout_s)
    return QueryMeta(consistency=consistency)
