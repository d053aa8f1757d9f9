"""The instances of a service that a request asks for. Source: HTTP API, sections 2 and 3; state store, section 3."""

from collections.abc import Iterable
from itertools import islice
from typing import Final

from fsm.store import checks, nodes, services
from fsm.store.store import ReadView, View
from fsm.store.tables import NODES, SERVICES
from fsm.watch import WatchSet
from server.near import sorted_near
from structs.catalog import HealthCheck, Node, ServiceInstance, ServiceRequest


def instances_of(view: View, request: ServiceRequest) -> list[ServiceInstance]:
    """Return the instances with their nodes, by node and id or nearest first."""
    at_key: dict[bytes, Node] = {}
    found = []
    if request.service or not request.address:
        candidates = services.of_name(view, request.service, connect=request.connect)
    else:
        candidates = services.with_address(view, request.address)
    for node_key, service in candidates:
        if request.tags and not services.has_tags(service, request.tags):
            continue
        node = at_key.get(node_key)
        if node is None:
            node = at_key[node_key] = nodes.at(view, node_key)
        if not request.node_meta or nodes.has_meta(node, request.node_meta):
            found.append(ServiceInstance(node=node, service=service))
    return sorted_near(view, request.source, request.options, found, lambda instance: instance.node.node)


def with_checks(view: View, instances: Iterable[ServiceInstance]) -> list[ServiceInstance]:
    """Return the instances in the same order, each with the checks of its node and then its own."""
    of_nodes: dict[str, list[HealthCheck]] = {}
    found = []
    for instance in instances:
        name = instance.node.node
        if name not in of_nodes:
            of_nodes[name] = checks.of_instance(view, name, "")
        own = checks.of_instance(view, name, instance.service.service_id)
        found.append(ServiceInstance(node=instance.node, service=instance.service, checks=of_nodes[name] + own))
    return found


COUNTED_MAX: Final = 2_000
"""Instances that are counted before an answer is made of them."""
ROWS_AN_INSTANCE: Final = 4
"""An instance, its node, a check of each."""


def rows_of_instances(view: ReadView, request: ServiceRequest) -> int:
    """Return about how many rows `instances_of` and their checks are; past some thousands it does not matter."""
    every = view.rows_count(SERVICES)
    if every <= COUNTED_MAX // ROWS_AN_INSTANCE or (request.address and not request.service):
        return every
    found = services.rows_of_name(view, request.service, connect=request.connect)
    return ROWS_AN_INSTANCE * sum(1 for _ in islice(found, COUNTED_MAX))


def watch_instances(watch_set: WatchSet, request: ServiceRequest) -> None:
    """Watch everything that an answer about instances holds."""
    if request.address and not request.service:
        watch_set.table(NODES.name).table(SERVICES.name)
    else:
        services.watch_name(watch_set, request.service)
