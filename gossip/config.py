"""Sans-IO: the numbers of one gossip pool. Source: gossip specification, section 1; wire format, section 6.4."""

import msgspec

SUSPICION_MAX_MULTIPLIER = 6
AWARENESS_MAX = 8
TAGS_BYTES_MAX = 512
PACKET_BYTES = 1400
USER_EVENT_BYTES_MAX = 512
QUERY_BYTES_MAX = 1024


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Pace of one pool; LAN by default."""

    probe_interval_s: float = 1.0
    probe_timeout_s: float = 0.5
    indirect_checks_count: int = 3
    suspicion_multiplier: int = 4
    retransmit_multiplier: int = 4
    gossip_interval_s: float = 0.2
    gossip_nodes_count: int = 3
    gossip_to_dead_s: float = 30.0
    dead_node_reclaim_s: float = 30.0
    """A dead member's name may be taken over from another address after this time; 0: never."""
    push_pull_interval_s: float = 30.0
    tcp_timeout_s: float = 10.0
    broadcast_timeout_s: float = 5.0
    """How long a leaver waits for each of its farewells to have been sent its full count."""
    leave_propagate_s: float = 3.0
    """How long a leaver goes on answering after its farewells."""
    reap_interval_s: float = 15.0
    reconnect_interval_s: float = 30.0
    reconnect_timeout_s: float = 72 * 3600.0
    """When a failed member is forgotten."""
    tombstone_timeout_s: float = 24 * 3600.0
    """When a member that left is forgotten."""
    queue_check_interval_s: float = 30.0


LAN = Timing()
WAN = Timing(
    probe_interval_s=5.0,
    probe_timeout_s=3.0,
    suspicion_multiplier=6,
    gossip_interval_s=0.5,
    gossip_nodes_count=4,
    gossip_to_dead_s=60.0,
    push_pull_interval_s=60.0,
    tcp_timeout_s=30.0,
)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What one member of one pool is told."""

    name: str
    host: str
    """The IP address that others are told."""
    port: int
    tags: dict[str, str]
    timing: Timing = LAN
    encrypted: bool = False
    """Leaves room for the seal in every packet."""
    rejoin_after_leave: bool = False
    lifeguard: bool = True
    """Off only to measure what it is good for: no awareness, no confirmations, no nacks, no word to a suspect
    with its ping, and no allowance for the times when this member itself stood still."""
    resolves_conflicts: bool = True
    """Clients ask the others whose name it is; servers only log."""
    coordinates: bool = True
    looks_first: bool = False
    """A join reads the other side's table before it shows its own: for a pool whose rule refuses members that would not
    refuse us, and who must not even hear of ours."""
