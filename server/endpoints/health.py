"""Health.*: checks, and instances with theirs. Source: HTTP API, section 3; state store specification, section 3."""

from acl.access import node_read, service_read
from fsm.store import checks, indexes, nodes, services
from fsm.store.names import under
from fsm.store.store import View
from fsm.store.tables import CHECKS, NODES, SERVICES
from fsm.watch import WatchSet
from server.endpoints.registry import Keeping, Kind, Query, all_rows, method
from server.instances import instances_of, rows_of_instances, watch_instances, with_checks
from server.near import sorted_near
from structs.catalog import (
    ChecksInStateRequest,
    ChecksReply,
    HealthCheck,
    NodeRequest,
    ServiceNodesReply,
    ServiceRequest,
)


@method("Health.NodeChecks", request=NodeRequest, reply=ChecksReply, access=node_read("node"), kind=Kind.READ)
def node_checks(query: Query, request: NodeRequest) -> ChecksReply:
    """All checks on one node, by id; none where the node is unknown."""
    if query.watch_set is not None:
        query.watch_set.prefix(CHECKS.name, under(request.node))
    found = checks.of_node(query.view, request.node)
    return ChecksReply(checks=found, meta=query.meta(indexes.of_tables(query.view, CHECKS.name)))


def _tables_of_state(request: ChecksInStateRequest) -> tuple[str, ...]:
    return (CHECKS.name, NODES.name) if request.node_meta else (CHECKS.name,)


def _index_of_state(view: View, request: ChecksInStateRequest) -> int:
    return 0 if request.source.node else indexes.of_tables(view, *_tables_of_state(request))


def _watch_state(watch_set: WatchSet, request: ChecksInStateRequest) -> None:
    for table in _tables_of_state(request):
        watch_set.table(table)


@method(
    "Health.ChecksInState",
    request=ChecksInStateRequest,
    reply=ChecksReply,
    access=node_read(),
    kind=Kind.READ,
    keeping=Keeping("checks", _index_of_state, _watch_state),
    rows_of=all_rows(CHECKS),
)
def checks_in_state(query: Query, request: ChecksInStateRequest) -> ChecksReply:
    """All checks in one state ("any": all), by node and id or nearest first; perhaps only of certain nodes."""
    view = query.view
    if query.watch_set is not None:
        _watch_state(query.watch_set, request)
    found = list(checks.in_state(view, request.state))
    if request.node_meta:
        found = _on_nodes_with(view, request.node_meta, found)
    found = sorted_near(view, request.source, request.options, found, lambda check: check.node)
    return ChecksReply(checks=found, meta=query.meta(indexes.of_tables(view, *_tables_of_state(request))))


def _index_of_checks(view: View, request: ServiceRequest) -> int:
    if request.source.node:
        return 0
    if request.node_meta:
        return services.index_of_name(view, request.service, NODES.name, SERVICES.name, CHECKS.name)
    return indexes.of_tables(view, CHECKS.name)


def _index_of_nodes(view: View, request: ServiceRequest) -> int:
    if request.source.node:
        return 0
    return services.index_of_name(view, request.service, NODES.name, SERVICES.name, CHECKS.name)


@method(
    "Health.ServiceChecks",
    request=ServiceRequest,
    reply=ChecksReply,
    access=service_read("service"),
    kind=Kind.READ,
    keeping=Keeping("checks", _index_of_checks, watch_instances),
    rows_of=rows_of_instances,
)
def service_checks(query: Query, request: ServiceRequest) -> ChecksReply:
    """The checks of all instances of a service, by node and id or nearest first; perhaps only of certain nodes."""
    view = query.view
    if query.watch_set is not None:
        watch_instances(query.watch_set, request)
    found = checks.of_service(view, request.service)
    index = indexes.of_tables(view, CHECKS.name)
    if request.node_meta:
        found = _on_nodes_with(view, request.node_meta, found)
        index = services.index_of_name(view, request.service, NODES.name, SERVICES.name, CHECKS.name)
    found = sorted_near(view, request.source, request.options, found, lambda check: check.node)
    return ChecksReply(checks=found, meta=query.meta(index))


@method(
    "Health.ServiceNodes",
    request=ServiceRequest,
    reply=ServiceNodesReply,
    access=service_read("service"),
    kind=Kind.READ,
    keeping=Keeping("instances", _index_of_nodes, watch_instances),
    rows_of=rows_of_instances,
)
def service_nodes(query: Query, request: ServiceRequest) -> ServiceNodesReply:
    """The instances of a service with their nodes, the checks of these and their own."""
    view = query.view
    if query.watch_set is not None:
        watch_instances(query.watch_set, request)
    found = with_checks(view, instances_of(view, request))
    index = services.index_of_name(view, request.service, NODES.name, SERVICES.name, CHECKS.name)
    return ServiceNodesReply(instances=found, meta=query.meta(index))


def _on_nodes_with(view: View, meta: dict[str, str], found: list[HealthCheck]) -> list[HealthCheck]:
    known: dict[str, bool] = {}
    for check in found:
        if check.node not in known:
            node = nodes.get(view, check.node)
            known[check.node] = node is not None and nodes.has_meta(node, meta)
    return [check for check in found if known[check.node]]
