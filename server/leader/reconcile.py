"""Sans-IO: what the catalog and the Raft configuration need, so that they agree with who is there.

Members are what gossip says, at one moment; nodes are what the catalog says. Nodes that only the catalog knows and that
have no `serfHealth` check were registered from outside: they are never touched.

Who says that it is a server counts as one here only once it has proved to be one (`proven`): then its node carries the
service `consul`. Servers are not added to the configuration here: `autopilot.py` lets them stand by first.

Source: servers specification, section 4.
"""

from collections.abc import Sequence
from typing import Protocol

from base.codec import Record
from server.members import concerns
from structs.catalog import (
    CONSUL_SERVICE,
    SERF_ALIVE_OUTPUT,
    SERF_CHECK_ID,
    SERF_CHECK_NAME,
    SERF_FAILED_OUTPUT,
    CheckStatus,
    DeregisterCommand,
    HealthCheck,
    NodeService,
    RegisterCommand,
)
from structs.cluster import Member, MemberStatus, Peer
from structs.members import ServerFacts, server_facts


class CatalogNode(Record, frozen=True, kw_only=True):
    """What is asked of one node of the catalog."""

    address: str
    serf_status: str
    """Status of its `serfHealth` check, "" without one."""
    consul_port: int | None
    """Port of its service `consul`, None without one."""


class CatalogView(Protocol):
    """The catalog at one moment."""

    def node(self, name: str) -> CatalogNode | None:
        """Return the node of that name."""
        ...

    def serf_nodes(self) -> list[str]:
        """Return the names of all nodes that have a `serfHealth` check."""
        ...


class Register(Record, frozen=True, kw_only=True):
    """Log it: the member is there, or not reachable."""

    command: RegisterCommand


class Deregister(Record, frozen=True, kw_only=True):
    """Log it: the member is gone for good."""

    command: DeregisterCommand


class Readdress(Record, frozen=True, kw_only=True):
    """A server of the configuration announces another address: give it that, if it proves to be there."""

    peer: Peer


class RemoveServer(Record, frozen=True, kw_only=True):
    """A server of the configuration has left: take it out."""

    peer: Peer


Action = Register | Deregister | Readdress | RemoveServer


class Situation(Record, frozen=True, kw_only=True):
    """What the leader knows besides members and nodes."""

    self_name: str
    datacenter: str
    configuration: list[Peer]
    proven: frozenset[str]
    """Ids of servers that proved to be servers; ours and those of the configuration among them."""
    alive: frozenset[Peer]
    """The servers that are there: one may have left under an old name and be back under a new one, and two may have
    one id, if a disk was copied."""


def plan_members(
    members: Sequence[Member], catalog: CatalogView, situation: Situation, *, reaped: bool = False
) -> list[Action]:
    """Return what is to be done about each of these, in their order."""
    return [action for member in members for action in plan_member(member, catalog, situation, reaped=reaped)]


def plan_unknown(members: Sequence[Member], catalog: CatalogView, situation: Situation) -> list[Action]:
    """Return what is to be done about every node that gossip once knew and knows no more."""
    known = {name.lower() for name in (situation.self_name, *(member.name for member in members))}
    return [
        Deregister(command=DeregisterCommand(node=name))
        for name in sorted(catalog.serf_nodes())
        if name.lower() not in known  # the catalog does not tell capitals from small letters
    ]


def plan_member(member: Member, catalog: CatalogView, situation: Situation, *, reaped: bool = False) -> list[Action]:
    """Return what is to be done about one member; `reaped`: gossip has forgotten it."""
    if not concerns(member, situation.datacenter):
        return []
    if reaped or member.status is MemberStatus.LEFT:
        return _gone(member, catalog, situation)
    if member.status is MemberStatus.ALIVE:
        return [*_moved(member, situation), *_alive(member, catalog, situation)]
    if member.status is MemberStatus.FAILED:
        return _failed(member, catalog, situation)
    return []


def _alive(member: Member, catalog: CatalogView, situation: Situation) -> list[Action]:
    facts = _proven_server(member, situation)
    port = _port(facts) if facts is not None else None
    node = catalog.node(member.name)
    if (
        node is not None
        and node.address == member.address
        and node.serf_status == CheckStatus.PASSING
        and (port is None or node.consul_port == port)
    ):
        return []
    service = None
    if port is not None:
        service = NodeService(service_id=CONSUL_SERVICE, service=CONSUL_SERVICE, port=port)
    return [_register(member, situation, CheckStatus.PASSING, SERF_ALIVE_OUTPUT, service)]


def _failed(member: Member, catalog: CatalogView, situation: Situation) -> list[Action]:
    node = catalog.node(member.name)
    if node is not None and node.address == member.address and node.serf_status == CheckStatus.CRITICAL:
        return []
    return [_register(member, situation, CheckStatus.CRITICAL, SERF_FAILED_OUTPUT, None)]


def _gone(member: Member, catalog: CatalogView, situation: Situation) -> list[Action]:
    if member.name == situation.self_name:
        return []  # who leads next does it
    actions: list[Action] = []
    facts = server_facts(member)
    if facts is not None and all(peer.server_id != facts.server_id for peer in situation.alive):
        actions += [RemoveServer(peer=peer) for peer in situation.configuration if peer.server_id == facts.server_id]
    if catalog.node(member.name) is not None:
        actions.append(Deregister(command=DeregisterCommand(node=member.name)))
    return actions


def _moved(member: Member, situation: Situation) -> list[Action]:
    facts = server_facts(member)
    if facts is None or not facts.is_ours:
        return []
    for peer in situation.configuration:
        if peer.server_id == facts.server_id and peer != facts.peer and peer not in situation.alive:
            return [Readdress(peer=facts.peer)]
    return []


def _proven_server(member: Member, situation: Situation) -> ServerFacts | None:
    facts = server_facts(member)
    return facts if facts is not None and facts.server_id in situation.proven else None


def _port(facts: ServerFacts) -> int:
    return int(facts.address.rpartition(":")[2])


def _register(
    member: Member, situation: Situation, status: CheckStatus, output: str, service: NodeService | None
) -> Register:
    check = HealthCheck(
        node=member.name, check_id=SERF_CHECK_ID, name=SERF_CHECK_NAME, status=status.value, output=output
    )
    command = RegisterCommand(
        node_id=member.tags.get("id", "").lower(),
        node=member.name,
        address=member.address,
        datacenter=situation.datacenter,
        service=service,
        checks=[check],
        skip_node_update=True,
    )
    return Register(command=command)
