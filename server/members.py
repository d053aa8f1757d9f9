"""Sans-IO: which of the members concern a server of one datacenter."""

from collections.abc import Iterable

from structs.cluster import Member, MemberStatus, Peer
from structs.members import ROLE_CLIENT, ServerFacts, node_id, server_facts


def servers_of(members: Iterable[Member], datacenter: str, *, alive_only: bool = False) -> list[ServerFacts]:
    """Return our servers of this datacenter that say who they are, by id; foreign ones are no servers here."""
    found: dict[str, ServerFacts] = {}
    for member in members:
        facts = server_facts(member)
        if facts is None or not facts.is_ours or not facts.server_id or facts.datacenter != datacenter:
            continue
        if alive_only and facts.status is not MemberStatus.ALIVE:
            continue
        before = found.get(facts.server_id)
        if before is None or before.status is not MemberStatus.ALIVE:  # of two with one id, the one that is there
            found[facts.server_id] = facts
    return [found[server_id] for server_id in sorted(found)]


def peers_alive(members: Iterable[Member], datacenter: str) -> frozenset[Peer]:
    """Return our servers of this datacenter that are there, each as it announces itself."""
    found = (server_facts(member) for member in members if member.status is MemberStatus.ALIVE)
    return frozenset(
        facts.peer for facts in found if facts is not None and facts.is_ours and facts.datacenter == datacenter
    )


def concerns(member: Member, datacenter: str) -> bool:
    """Whether the leader of this datacenter keeps the member in the catalog."""
    if member.tags.get("dc") != datacenter:
        return False
    return member.tags.get("role") == ROLE_CLIENT or server_facts(member) is not None


def name_of(members: Iterable[Member], server_id: str) -> str | None:
    """Return the name of the member with this node id."""
    return next((member.name for member in members if node_id(member) == server_id), None)
