"""Members as gossip shows them, with the tags that real ones have."""

from structs.cluster import Member, MemberStatus

OUR_BUILD = "1.9.0:mesh-0.1.0"
FOREIGN_BUILD = "1.2.1:"


def client(name: str, **changes: str) -> Member:
    """A client agent; keyword arguments are tags, or `status`, `address`."""
    return _member(name, {"role": "node"}, changes)


def server(name: str, **changes: str) -> Member:
    """A server of ours."""
    return _member(name, {"role": "consul", "port": "8300", "raft_vsn": "3"}, changes)


def _member(name: str, tags: dict[str, str], changes: dict[str, str]) -> Member:
    number = "".join(character for character in name if character.isdigit()) or "0"
    status = MemberStatus[changes.pop("status", "ALIVE")]
    address = changes.pop("address", f"10.0.0.{number}")
    made = {"dc": "dc1", "id": f"id-{number}", "segment": "", "vsn": "2", "vsn_min": "2", "vsn_max": "3"}
    made |= {"build": OUR_BUILD} | tags | changes
    return Member(name=name, address=address, port=8301, tags=made, status=status)
