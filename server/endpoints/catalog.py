"""Catalog.*: nodes, their services and checks.

Source: HTTP API, section 2; state store specification, sections 2 and 3.
"""

from acl.access import node_read, node_write, service_read
from base.errors import Refused
from base.expression import compiled
from fsm.commands.registry import DEREGISTER, REGISTER, Refusal, encode_command
from fsm.store import catalog, indexes, nodes, services
from fsm.store.names import key, under
from fsm.store.store import ReadView, View
from fsm.store.tables import NODES, SERVICES
from fsm.watch import WatchSet
from server.endpoints.registry import Call, Keeping, Kind, Query, all_rows, method
from server.instances import instances_of, rows_of_instances, watch_instances
from server.near import sorted_near
from structs.catalog import (
    DeregisterRequest,
    ListNodesReply,
    ListNodesRequest,
    ListServicesReply,
    ListServicesRequest,
    NodeRequest,
    NodeServicesReply,
    RegisterRequest,
    ServiceInstance,
    ServiceNodesReply,
    ServiceRequest,
)
from structs.catalog_json import ServiceNodeJSON, service_node_json
from structs.cluster import Empty
from structs.registration import check_deregistration, completed


@method("Catalog.Register", request=RegisterRequest, reply=Empty, access=node_write("command.node"), kind=Kind.WRITE)
async def register(call: Call, request: RegisterRequest) -> Empty:
    """A node, perhaps one service of it, and checks; what is registered already isn't logged again."""
    services_here = call.services
    command = completed(request.command, datacenter=services_here.config.datacenter)
    # The lease proves that nobody else leads: what this server has applied is the newest that anybody was told of.
    if services_here.raft.lease_valid():
        with services_here.machine.read() as view:
            if catalog.changes_nothing(view, command):
                return Empty()
    return await _proposed(call, encode_command(REGISTER, command))


@method(
    "Catalog.Deregister", request=DeregisterRequest, reply=Empty, access=node_write("command.node"), kind=Kind.WRITE
)
async def deregister(call: Call, request: DeregisterRequest) -> Empty:
    """A service, else a check, else a whole node; what is not there is no error."""
    services_here = call.services
    check_deregistration(request.command)
    if services_here.raft.lease_valid():
        with services_here.machine.read() as view:
            if catalog.is_absent(view, request.command):
                return Empty()
    return await _proposed(call, encode_command(DEREGISTER, request.command))


async def _proposed(call: Call, command: bytes) -> Empty:
    result = await call.services.raft.propose(command, timeout_s=call.services.config.write_timeout_s)
    if type(result) is Refusal:
        raise Refused(result.text)
    assert isinstance(result, Empty)
    return result


def _index_of_list(view: View, request: ListNodesRequest) -> int:
    return 0 if request.source.node else indexes.of_tables(view, NODES.name)


def _watch_nodes(watch_set: WatchSet, request: ListNodesRequest) -> None:
    watch_set.table(NODES.name)


@method(
    "Catalog.ListNodes",
    request=ListNodesRequest,
    reply=ListNodesReply,
    access=node_read(),
    kind=Kind.READ,
    keeping=Keeping("nodes", _index_of_list, _watch_nodes),
    rows_of=all_rows(NODES),
)
def list_nodes(query: Query, request: ListNodesRequest) -> ListNodesReply:
    """All nodes, or those with certain metadata, by name or nearest first."""
    if query.watch_set is not None:
        _watch_nodes(query.watch_set, request)
    view = query.view
    found = list(nodes.every(view, request.node_meta))
    found = sorted_near(view, request.source, request.options, found, lambda node: node.node)
    return ListNodesReply(nodes=found, meta=query.meta(indexes.of_tables(view, NODES.name)))


@method("Catalog.NodeServices", request=NodeRequest, reply=NodeServicesReply, access=node_read("node"), kind=Kind.READ)
def node_services(query: Query, request: NodeRequest) -> NodeServicesReply:
    """One node, by name or by the beginning of its id, and its services by id."""
    view, watch_set = query.view, query.watch_set
    node = nodes.get(view, request.node)
    if watch_set is not None:
        watch_set.key(NODES.name, key(request.node))
    if node is None:
        node = nodes.by_id_prefix(view, request.node)
        if watch_set is not None and nodes.may_be_id_prefix(request.node):
            watch_set.table(NODES.name)
    meta = query.meta(indexes.of_tables(view, NODES.name, SERVICES.name))
    if node is None:
        return NodeServicesReply(node=None, meta=meta)
    if watch_set is not None:
        watch_set.prefix(SERVICES.name, under(node.node))
    return NodeServicesReply(node=node, services=services.of_node(view, node.node), meta=meta)


def _tables_of_services(request: ListServicesRequest) -> tuple[str, ...]:
    """Return what decides which names are listed: nodes, too, where they must have something."""
    return (SERVICES.name, NODES.name) if request.node_meta or request.filter else (SERVICES.name,)


def _index_of_services(view: View, request: ListServicesRequest) -> int:
    return indexes.of_tables(view, *_tables_of_services(request))


def _watch_services(watch_set: WatchSet, request: ListServicesRequest) -> None:
    for table in _tables_of_services(request):
        watch_set.table(table)


def _rows_of_services(view: ReadView, request: ListServicesRequest) -> int:
    # Without either, only names that have changed are looked at.
    return view.rows_count(SERVICES) if request.filter or request.node_meta else 0


def _names_that_fit(view: View, request: ListServicesRequest) -> dict[str, list[str]]:
    keep = compiled(request.filter, ServiceNodeJSON)
    tags: dict[str, set[str]] = {}
    for node in nodes.every(view, request.node_meta):
        for service in services.of_node(view, node.node):
            if keep(service_node_json(ServiceInstance(node=node, service=service))):
                tags.setdefault(service.service, set()).update(service.tags or ())
    return {name: sorted(tags[name]) for name in sorted(tags)}


def _index_of_instances(view: View, request: ServiceRequest) -> int:
    return 0 if request.source.node else services.index_of_name(view, request.service, NODES.name, SERVICES.name)


@method(
    "Catalog.ListServices",
    request=ListServicesRequest,
    reply=ListServicesReply,
    access=service_read(),
    kind=Kind.READ,
    keeping=Keeping("services", _index_of_services, _watch_services),
    rows_of=_rows_of_services,
)
def list_services(query: Query, request: ListServicesRequest) -> ListServicesReply:
    """The names of all services, each with the tags of its instances; perhaps only those on certain nodes."""
    view = query.view
    if query.watch_set is not None:
        _watch_services(query.watch_set, request)
    if request.filter:
        found = _names_that_fit(view, request)
    elif request.node_meta:
        found = services.names_with_tags_on(view, request.node_meta)
    else:
        found = services.names_with_tags(view)
    return ListServicesReply(services=found, meta=query.meta(_index_of_services(view, request)))


@method(
    "Catalog.ServiceNodes",
    request=ServiceRequest,
    reply=ServiceNodesReply,
    access=service_read("service"),
    kind=Kind.READ,
    keeping=Keeping("instances", _index_of_instances, watch_instances),
    rows_of=rows_of_instances,
)
def service_nodes(query: Query, request: ServiceRequest) -> ServiceNodesReply:
    """The instances of a service with their nodes, by node and id or nearest first."""
    view = query.view
    if query.watch_set is not None:
        watch_instances(query.watch_set, request)
    index = services.index_of_name(view, request.service, NODES.name, SERVICES.name)
    return ServiceNodesReply(instances=instances_of(view, request), meta=query.meta(index))
