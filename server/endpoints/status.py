"""Status.*: answered by whoever is asked, without a token. Source: HTTP API, section 13; servers, section 5."""

from msgspec.structs import replace

from acl.access import NOBODY, SERVER
from server.consensus import Consensus
from server.endpoints.registry import Call, Kind, method
from structs.cluster import DigestReply, DigestRequest, Empty, LeaderReply, PeersReply, RaftStatsReply


@method("Status.Ping", request=Empty, reply=Empty, access=NOBODY, kind=Kind.LOCAL)
def ping(call: Call, request: Empty) -> Empty:
    """Whether this server is there at all."""
    return request


@method("Status.Leader", request=Empty, reply=LeaderReply, access=NOBODY, kind=Kind.LOCAL)
def leader(call: Call, request: Empty) -> LeaderReply:
    """Address of the leader as this server knows it, "" if it knows none."""
    known = call.services.raft.leader()
    return LeaderReply(address=known.address if known is not None else "")


@method("Status.Peers", request=Empty, reply=PeersReply, access=NOBODY, kind=Kind.LOCAL)
def peers(call: Call, request: Empty) -> PeersReply:
    """Addresses in the Raft configuration."""
    return PeersReply(addresses=[peer.address for peer in call.services.raft.configuration()])


@method("Status.RaftStats", request=Empty, reply=RaftStatsReply, access=NOBODY, kind=Kind.LOCAL)
def raft_stats(call: Call, request: Empty) -> RaftStatsReply:
    """Where this server's log stands."""
    services = call.services
    stats = raft_stats_of(
        services.raft, server_id=services.config.node_id, applied_index=services.machine.raft_index_visible
    )
    return replace(stats, leaving=services.is_leaving)


def raft_stats_of(raft: Consensus, *, server_id: str, applied_index: int) -> RaftStatsReply:
    """Return where the log of the server with this node stands."""
    core = raft.statistics().core
    leader = raft.leader()
    return RaftStatsReply(
        last_contact_s=raft.last_contact_s(),
        term=core.term,
        last_index=core.last_index,
        commit_index=core.commit_index,
        applied_index=applied_index,
        leader=raft.is_leader(),
        last_term=core.last_term,
        server_id=server_id,
        leader_id=leader.server_id if leader is not None else "",
    )


@method("Status.Digest", request=DigestRequest, reply=DigestReply, access=SERVER, kind=Kind.LOCAL)
def digest(call: Call, request: DigestRequest) -> DigestReply:
    """The digest of the state machine after one entry of the log, if it is still remembered."""
    machine = call.services.machine
    if request.index == 0:
        return DigestReply(index=machine.raft_index_visible, digest=machine.digest_now)
    known = machine.digest_at(request.index)
    return DigestReply(index=request.index, digest=known) if known is not None else DigestReply(index=0, digest="")
