"""Sans-IO: what a member's tags say: whether it is a server, and whether it may share a pool with us.

Source: gossip wire format, sections 9.1, 9.2 and 9.4.
"""

import re
from collections.abc import Iterable, Sequence

from base.codec import Record
from structs.cluster import Member, MemberStatus, Peer

ROLE_SERVER = "consul"
ROLE_CLIENT = "node"
OUR_BUILD_MARK = "mesh-"
"""In the `build` tag of every member of ours, behind the version of the API that it speaks."""
PROTOCOL_DIALLED_MIN = 2
"""Servers that speak an older one cannot be called."""

_IDS_TRUSTED_FROM = (0, 8, 5)
"""Older members may have derived their ids from their host, so two of them on one host share one without any harm."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_BUILD = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_HOST_AND_PORT = re.compile(r"(?:\[[^\]]*\]|[^:\[\]]*):[0-9]{1,5}")
_INTEGERS_OPTIONAL = ("expect", "wan_join_port", "raft_vsn")
_PORT_MAX = 65535


class ServerFacts(Record, frozen=True, kw_only=True):
    """A member that is a server, with its tags read."""

    name: str
    server_id: str
    """Its node id, in lower case; "" if it says none."""
    datacenter: str
    address: str
    """host:port of its RPC port: the gossip address with the port it announces."""
    build: str
    """digits.digits.digits"""
    protocol: int
    raft_protocol: int
    """0: not said."""
    expect: int
    """Servers with which it would begin a new cluster; 0: it does not wait for others."""
    bootstrap: bool
    """It was told to form a cluster by itself."""
    wan_join_port: int
    """0: it is not part of the WAN pool."""
    uses_tls: bool
    is_ours: bool
    """It runs this program, and not the system that we are compatible with."""
    status: MemberStatus

    @property
    def peer(self) -> Peer:
        """How it stands in a Raft configuration."""
        return Peer(server_id=self.server_id, name=self.name, address=self.address)


def server_facts(member: Member) -> ServerFacts | None:
    """Return what a member says of itself as a server; None, without a word, if anything about it is not right."""
    tags = member.tags
    build = _BUILD.search(tags.get("build", ""))
    port = _integer(tags.get("port", ""))
    protocol = _integer(tags.get("vsn", ""))
    if tags.get("role") != ROLE_SERVER or build is None or port is None or protocol is None:
        return None
    numbers = {key: _integer(tags.get(key, "0")) for key in _INTEGERS_OPTIONAL}
    if not 0 < port <= _PORT_MAX or None in numbers.values():
        return None
    if any(key.startswith("sl_") and not _HOST_AND_PORT.fullmatch(value) for key, value in tags.items()):
        return None
    return ServerFacts(
        name=member.name,
        server_id=node_id(member),
        datacenter=tags.get("dc", ""),
        address=member.rpc_address,
        build=build.group(),
        protocol=protocol,
        raft_protocol=numbers["raft_vsn"] or 0,
        expect=numbers["expect"] or 0,
        bootstrap="bootstrap" in tags,
        wan_join_port=numbers["wan_join_port"] or 0,
        uses_tls="use_tls" in tags,
        is_ours=is_ours(member),
        status=member.status,
    )


def callable_server(member: Member) -> ServerFacts | None:
    """Return what a member says of itself if it is a server that is there and can be called, else None."""
    facts = server_facts(member) if member.status is MemberStatus.ALIVE else None
    return facts if facts is not None and facts.protocol >= PROTOCOL_DIALLED_MIN else None


def node_id(member: Member) -> str:
    """Return the UUID of the member's data directory, in lower case; "" if it says none."""
    return member.tags.get("id", "").lower()


def is_ours(member: Member) -> bool:
    """Whether the member runs this program."""
    return OUR_BUILD_MARK in member.tags.get("build", "")


def lan_merge_refused(members: Sequence[Member], *, mine: Member, known: Iterable[Member] = ()) -> str | None:
    """Return why we may not share a LAN pool with these members, None if we may.

    Asked with all members that a join brings, and with each single one that is announced as alive. `known` are the
    members of our own pool: a client agent needs them to notice that it is about to tie two systems' servers together.
    """
    names: dict[str, str] = {}
    for member in members:
        text = _id_conflict(member, mine, names) or _stranger(member, mine)
        if text is not None:
            return text
    return _two_systems(members, mine, known)


def wan_merge_refused(members: Iterable[Member]) -> str | None:
    """Return why we may not share the WAN pool with these members, None if we may."""
    return next((f"Member '{member.name}' is not a server" for member in members if server_facts(member) is None), None)


def _id_conflict(member: Member, mine: Member, names: dict[str, str]) -> str | None:
    said = member.tags.get("id", "")
    if not said:
        return None
    if said == mine.tags.get("id", "") and member.name != mine.name:
        return f"Member '{member.name}' has conflicting node ID '{said}' with this agent's ID"
    if said in names:
        return f"Member '{member.name}' has conflicting node ID '{said}' with member '{names[said]}'"
    build = _BUILD.search(member.tags.get("build", ""))
    if build is not None and tuple(map(int, build.group().split("."))) >= _IDS_TRUSTED_FROM:
        names[said] = member.name
    return None


def _stranger(member: Member, mine: Member) -> str | None:
    tags = member.tags
    counts = tags.get("role") == ROLE_CLIENT or server_facts(member) is not None
    if counts and tags.get("dc", "") != mine.tags.get("dc", ""):
        return f"Member '{member.name}' part of wrong datacenter '{tags.get('dc', '')}'"
    segment, expected = tags.get("segment", ""), mine.tags.get("segment", "")
    if segment != expected:
        return f"Member '{member.name}' part of wrong segment '{segment}' (expected '{expected}')"
    return None


def _two_systems(members: Sequence[Member], mine: Member, known: Iterable[Member]) -> str | None:
    """A foreign leader would take our servers for peers of its own and send them a protocol they do not speak."""
    foreign = next((member for member in members if member.is_server and not is_ours(member)), None)
    if mine.is_server:
        if foreign is None or not is_ours(mine):
            return None
        return (
            f"Member '{foreign.name}' is a server of another system (build '{foreign.tags.get('build', '')}'): servers "
            "of mesh never share a LAN pool with it; give them a datacenter of their own and join the two over WAN"
        )
    ours = next((member for member in members if member.is_server and is_ours(member)), None)
    for member in known:
        if member.is_server and member.status in (MemberStatus.ALIVE, MemberStatus.LEAVING):
            if is_ours(member):
                ours = ours or member
            else:
                foreign = foreign or member
    if foreign is None or ours is None:
        return None
    return (
        f"Members '{ours.name}' and '{foreign.name}' are servers of two systems, which never share a LAN pool: this "
        "agent would tie them together"
    )


def _integer(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text) else None
