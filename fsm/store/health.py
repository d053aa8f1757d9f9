"""Instances with their nodes and checks, as health asks for them. Source: HTTP API, section 3."""

from fsm.store import checks, nodes, secondary, services
from fsm.store.names import JOINT_BYTES, key
from fsm.store.store import View
from fsm.store.tables import CHECKS, NODES, SERVICES
from structs.catalog import HealthCheck, Node, ServiceInstance


def instances(view: View, name: str, *, connect: bool) -> list[ServiceInstance]:
    """Return the instances of a service by node and id, each with the checks of its node and then its own.

    `connect`: those that take mesh connections for that name instead, proxies and native ones.
    """
    mark = secondary.SERVICES_BY_DESTINATION if connect else secondary.SERVICES_BY_NAME
    hosts: dict[bytes, tuple[Node, list[HealthCheck]]] = {}
    found = []
    for service_key in view.found(mark, key(name)):
        row = view.get(SERVICES, service_key)
        assert row is not None, "an entry without its row"
        node_key = service_key[: service_key.index(JOINT_BYTES)]
        host = hosts.get(node_key)
        if host is None:
            node_row = view.get(NODES, node_key)
            assert node_row is not None, "a service without its node"
            host = hosts[node_key] = (nodes.of_row(node_row), _checks(view, node_key + JOINT_BYTES))
        node, node_checks = host
        found.append(
            ServiceInstance(node=node, service=services.of_row(row), checks=node_checks + _checks(view, service_key))
        )
    return found


def _checks(view: View, owner_key: bytes) -> list[HealthCheck]:
    """Return the checks of an instance by the key of its row; a node's own belong to the service "" on it."""
    found = []
    for check_key in checks.keys_of_instance(view, owner_key):
        row = view.get(CHECKS, check_key)
        assert row is not None, "an entry without its row"
        found.append(checks.of_row(row))
    return found
