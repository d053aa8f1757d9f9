"""Sans-IO. What this node claims against what the catalog has -> the fewest writes that make them equal.

A whole comparison (`compare`) finds what differs; a partial one is what `LocalState` remembers of its own changes.
Either way `writes` turns it into calls: a service goes with those of its checks that need the same token, and every
registration carries the node, so that the node alone is written only where nothing else is. What others put on
this node goes, but for the server's own service and the check of gossip. Source: agent specification, section 5.
"""

from collections.abc import Iterable

from agent.local.records import catalog_name, same_check, same_service
from agent.local.state import Gone, LocalState
from base.codec import Record
from structs.catalog import (
    CONSUL_SERVICE,
    SERF_CHECK_ID,
    DeregisterCommand,
    HealthCheck,
    Node,
    NodeService,
    RegisterCommand,
)

CHECKS_BYTES_MAX = 128 * 1024
CHECK_BYTES = 1024
"""Checks beyond this (characters of their outputs, and so many for each) don't go with their service but alone: a
registration is one entry of the log, and has a limit."""


class NodeInfo(Record, frozen=True, kw_only=True):
    """What the catalog shall know of this node, and the tokens that are used where nothing else is said."""

    node_id: str
    node: str
    address: str
    tagged_addresses: dict[str, str]
    meta: dict[str, str]
    token: str = ""
    """For services and checks that came without one."""
    node_token: str = ""


class CatalogView(Record, frozen=True, kw_only=True):
    """What the catalog has of this node; `node` None: nothing."""

    node: Node | None
    services: list[NodeService]
    checks: list[HealthCheck]


class Write(Record, frozen=True, kw_only=True):
    """One call: either of the commands. `services`, `checks`: id -> revision of what it is about."""

    command: RegisterCommand | DeregisterCommand
    token: str
    services: dict[str, int] = {}
    checks: dict[str, int] = {}
    node: bool = False
    """Whether the node is known afterwards."""


def compare(state: LocalState, info: NodeInfo, catalog: CatalogView) -> None:
    """Let `state` know what the catalog has to be told, all of it; takes the catalog's tags where they decide."""
    services: list[str] = []
    checks: list[str] = []
    theirs = {catalog_name(service.service_id): service for service in catalog.services}
    for service_id, entry in state.services.items():
        there = theirs.get(catalog_name(service_id))
        if there is not None and entry.service.enable_tag_override:
            state.take_tags(service_id, there.tags)
        if there is None or not same_service(entry.service, there):
            services.append(service_id)
    known = {catalog_name(check.check_id): check for check in catalog.checks}
    for check_id, check in state.checks.items():
        found = known.get(catalog_name(check_id))
        owner = state.services.get(check.check.service_id)
        if found is None or not same_check(
            check.check,
            found,
            ignore_output=check.held_back_until_s is not None,
            ignore_tags=owner is not None and owner.service.enable_tag_override,
        ):
            checks.append(check_id)
    gone_services = [
        service.service_id
        for name, service in theirs.items()
        if not state.claims_service(name) and name != CONSUL_SERVICE
    ]
    going = frozenset(map(catalog_name, gone_services))
    gone_checks = [
        found.check_id
        for name, found in known.items()
        if not state.claims_check(name)
        and found.check_id != SERF_CHECK_ID
        and found.service_id != CONSUL_SERVICE  # the leader registers it for servers
        and catalog_name(found.service_id) not in going
    ]
    state.assume(
        services=services,
        checks=checks,
        gone_services=gone_services,
        gone_checks=gone_checks,
        node=not _same_node(info, catalog.node),
    )


def _same_node(info: NodeInfo, node: Node | None) -> bool:
    return (
        node is not None
        and node.node_id == info.node_id
        and (node.tagged_addresses or {}) == info.tagged_addresses
        and (node.meta or {}) == info.meta
    )


def writes(state: LocalState, info: NodeInfo) -> list[list[Write]]:
    """Return what has to be sent, in stages: what is in one may go in any order, or at once.

    New things go before old ones are taken away, so that a service that changes its id is never missing.
    """
    services, taken = _services(state, info)
    checks = [
        _register(info, check_ids=[check_id], state=state, token=state.checks[check_id].token)
        for check_id in state.dirty_checks
        if check_id not in taken
    ]
    gone = [
        *(
            _deregister(info, gone, service_id=service_id)
            for service_id, gone in state.gone_services.items()
            if not state.claims_service(service_id)
        ),
        *(
            _deregister(info, gone, check_id=check_id)
            for check_id, gone in state.gone_checks.items()
            if not state.claims_check(check_id)
        ),
    ]
    stages = [services, checks, gone]
    if state.node_is_dirty and not services and not checks:
        stages.insert(0, [_register(info, state=state, token=info.node_token, check_ids=[])])
    return [stage for stage in stages if stage]


def _services(state: LocalState, info: NodeInfo) -> tuple[list[Write], set[str]]:
    """Return the registrations of services, and the checks that go with them."""
    found: list[Write] = []
    taken: set[str] = set()
    for service_id in state.dirty_services:
        entry = state.services[service_id]
        check_ids = []
        left_bytes = CHECKS_BYTES_MAX
        for check_id in entry.check_ids:
            check = state.checks[check_id]
            if check_id in state.dirty_checks and check.token == entry.token:
                left_bytes -= len(check.check.output) + CHECK_BYTES
                if left_bytes < 0:
                    break
                check_ids.append(check_id)
        taken.update(check_ids)
        found.append(_register(info, state=state, token=entry.token, service_id=service_id, check_ids=check_ids))
    return found, taken


def _register(
    info: NodeInfo, *, state: LocalState, token: str, check_ids: Iterable[str], service_id: str = ""
) -> Write:
    entry = state.services[service_id] if service_id else None
    checks = {check_id: state.checks[check_id] for check_id in check_ids}
    return Write(
        command=RegisterCommand(
            node_id=info.node_id,
            node=info.node,
            address=info.address,
            tagged_addresses=info.tagged_addresses,
            node_meta=info.meta,
            service=entry.service if entry is not None else None,
            checks=[check.check for check in checks.values()],
        ),
        token=token or info.token,
        services={service_id: entry.revision} if entry is not None else {},
        checks={check_id: check.revision for check_id, check in checks.items()},
        node=True,
    )


def _deregister(info: NodeInfo, gone: Gone, *, service_id: str = "", check_id: str = "") -> Write:
    return Write(
        command=DeregisterCommand(node=info.node, service_id=service_id, check_id=check_id),
        token=gone.token or info.token,
        services={service_id: gone.revision} if service_id else {},
        checks={check_id: gone.revision} if check_id else {},
    )


def carried_out(state: LocalState, write: Write) -> None:
    """Let `state` know that a write has been done."""
    rests(state, write)
    if write.node:
        state.node_is_dirty = False


def rests(state: LocalState, write: Write) -> None:
    """Let `state` know that nothing more is to be tried about a write until all is compared again."""
    if isinstance(write.command, RegisterCommand):
        for service_id, revision in write.services.items():
            state.service_is_known(service_id, revision)
        for check_id, revision in write.checks.items():
            state.check_is_known(check_id, revision)
        return
    for service_id, revision in write.services.items():
        state.service_is_gone(service_id, revision)
    for check_id, revision in write.checks.items():
        state.check_is_gone(check_id, revision)
