"""What is registered: nodes with their services and checks, as one thing. Source: state store specification, section 2.

Everything that goes takes along what hangs on it: a service its checks; a node its services, checks, coordinates and
sessions; a check the sessions that name it.
What can be refused is found out before anything is written (`complaint`), so a registration happens as a whole or not.

**Renaming.** A node is known by its name, and by its id if it has one. An id that comes back under another name is
refused while the node that had it is alive, that is while its `serfHealth` is not critical: two hosts with one id (a
cloned disk) must not take the catalog from each other in turns. If it is dead, or nobody watches it, the registration
renames it: the old name goes with everything on it, and the new one has its CreateIndex.
"""

from fsm.store import checks, coordinate, nodes, services, session
from fsm.store.names import key, lower
from fsm.store.store import Batch, View
from fsm.store.tables import CHECKS, NODES, SERVICES
from structs.catalog import SERF_CHECK_ID, CheckStatus, DeregisterCommand, HealthCheck, Node, RegisterCommand

NO_NODE = "Must provide node"
NO_SERVICE = "Missing service registration"


def complaint(view: View, command: RegisterCommand) -> str:
    """Return why a registration is refused, or ""."""
    if not command.node:
        return NO_NODE
    old = nodes.get(view, command.node)
    if nodes.is_changed_by(old, command):
        renamed = _renamed(view, command)
        if renamed is not None and _is_alive(view, renamed):
            return (
                f'failed inserting node: node ID "{command.node_id}" for node "{command.node}" '
                f'aliases existing node "{renamed.node}"'
            )
    for check in command.checks:
        if lower(check.node) != lower(command.node):
            return f'check node "{check.node}" does not match node "{command.node}"'
        if check.service_id and not _has_service(view, command, check.service_id):
            return f"failed inserting check: {NO_SERVICE}"
    return ""


def _renamed(view: View, command: RegisterCommand) -> Node | None:
    """Return the node that has the id of this registration under another name, or None."""
    found = nodes.by_id(view, command.node_id) if command.node_id else None
    return found if found is not None and lower(found.node) != lower(command.node) else None


def _is_alive(view: View, node: Node) -> bool:
    check = checks.get(view, node.node, SERF_CHECK_ID)
    return check is not None and check.status != CheckStatus.CRITICAL


def _has_service(view: View, command: RegisterCommand, service_id: str) -> bool:
    registered = command.service
    if registered is not None and lower(registered.service_id) == lower(service_id):
        return True
    return view.get(SERVICES, key(command.node, service_id)) is not None


def changes_nothing(view: View, command: RegisterCommand) -> bool:
    """Return whether a registration is what is stored already, so that it need not be logged."""
    if nodes.is_changed_by(nodes.get(view, command.node), command):
        return False
    service = command.service
    if service is not None and services.is_changed_by(services.get(view, command.node, service.service_id), service):
        return False
    name = _spelling(view, command)
    return all(_is_stored(view, name, check) for check in command.checks)


def _spelling(view: View, command: RegisterCommand) -> str:
    """Return how the node of a registration is spelt once it is registered."""
    old = nodes.get(view, command.node) if command.skip_node_update else None
    return command.node if old is None else old.node


def _is_stored(view: View, node: str, check: HealthCheck) -> bool:
    service = services.get(view, node, check.service_id) if check.service_id else None
    if lower(check.node) != lower(node) or (check.service_id and service is None):
        return False
    return not checks.is_changed_by(checks.get(view, node, check.check_id), checks.completed(check, node, service))


def register(batch: Batch, command: RegisterCommand) -> None:
    """Store what a registration without a complaint names. What is the same already is left alone."""
    _ensure_node(batch, command)
    if command.service is not None:
        services.ensure(batch, command.node, command.service)
    name = _spelling(batch, command)
    for check in command.checks:
        checks.ensure(batch, name, check)


def _ensure_node(batch: Batch, command: RegisterCommand) -> None:
    old = nodes.get(batch, command.node)
    if not nodes.is_changed_by(old, command):
        return
    create_index = old.create_index if old is not None else 0
    renamed = _renamed(batch, command)
    if renamed is not None:
        create_index = create_index or renamed.create_index
        delete_node(batch, renamed.node)
    nodes.put(batch, nodes.wanted(command), create_index)
    if old is not None:
        services.bump_node(batch, key(command.node))
        checks.bump_names(batch, key(command.node))


def is_absent(view: View, command: DeregisterCommand) -> bool:
    """Return whether nothing is there that a deregistration could remove, so that it need not be logged."""
    if command.service_id:
        return view.get(SERVICES, key(command.node, command.service_id)) is None
    if command.check_id:
        return view.get(CHECKS, key(command.node, command.check_id)) is None
    return nodes.get(view, command.node) is None


def deregister(batch: Batch, command: DeregisterCommand) -> None:
    """Remove a service, else a check, else the node; what is not there is no error and moves no index."""
    if command.service_id:
        delete_service(batch, key(command.node, command.service_id))
    elif command.check_id:
        row_key = key(command.node, command.check_id)
        row = batch.get(CHECKS, row_key)
        if row is not None:
            checks.remove(batch, row_key, row)
    else:
        delete_node(batch, command.node)


def delete_service(batch: Batch, service_key: bytes) -> None:
    """Delete an instance, its checks first."""
    row = batch.get(SERVICES, service_key)
    if row is None:
        return
    for check_key in list(checks.keys_of_instance(batch, service_key)):
        check_row = batch.get(CHECKS, check_key)
        assert check_row is not None, "an entry without its row"
        checks.remove(batch, check_key, check_row)
    batch.bump(CHECKS.name)  # whether there were any or not: an index may be too high, never too low
    services.remove(batch, service_key, row)


def delete_node(batch: Batch, name: str) -> None:
    """Delete a node and everything on it."""
    node_key = key(name)
    row = batch.get(NODES, node_key) if node_key else None
    if row is None:
        return
    for service_key, _ in list(services.rows_of_node(batch, node_key)):
        delete_service(batch, service_key)
    for check_key, check_row in list(checks.rows_of_node(batch, node_key)):
        checks.remove(batch, check_key, check_row)
    coordinate.remove_node(batch, node_key)
    nodes.remove(batch, node_key, row)
    session.end_with_node(batch, node_key)
