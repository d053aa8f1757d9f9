"""Operator.*: the Raft configuration and changes to it. Source: HTTP API, section 11; raft and servers, section 5."""

from acl.access import OPERATOR_READ, OPERATOR_WRITE
from base.errors import InvalidRequest, NoLeader, OutcomeUnknown, Refused
from server.endpoints.registry import Call, Kind, method
from server.members import name_of
from structs.cluster import (
    AddPeerRequest,
    Empty,
    Peer,
    RaftConfigurationReply,
    RaftConfigurationRequest,
    RaftServer,
    RemovePeerRequest,
    TransferLeaderReply,
    TransferLeaderRequest,
)

NAME_UNKNOWN = "(unknown)"


@method(
    "Operator.RaftGetConfiguration",
    request=RaftConfigurationRequest,
    reply=RaftConfigurationReply,
    access=OPERATOR_READ,
    kind=Kind.LEADER,
)
def raft_get_configuration(call: Call, request: RaftConfigurationRequest) -> RaftConfigurationReply:
    """The configuration in force, as this server has it; at the leader also who stands by to become a voter."""
    services = call.services
    raft = services.raft
    leader = raft.leader()
    last = raft.match_indexes()
    members = services.gossip.members()
    voters = raft.configuration()
    waiting = services.autopilot.standing_by() if raft.is_leader() else []
    rows = [(peer, True) for peer in voters]
    rows += [(peer, False) for peer in waiting if all(peer.server_id != voter.server_id for voter in voters)]
    return RaftConfigurationReply(
        servers=[
            RaftServer(
                peer=Peer(
                    server_id=peer.server_id,
                    name=name_of(members, peer.server_id) or peer.name or NAME_UNKNOWN,
                    address=peer.address,
                ),
                leader=leader is not None and leader.server_id == peer.server_id,
                voter=voter,
                last_index=last.get(peer.server_id, 0),
            )
            for peer, voter in rows
        ],
        index=raft.configuration_index,
    )


@method("Operator.RaftRemovePeer", request=RemovePeerRequest, reply=Empty, access=OPERATOR_WRITE, kind=Kind.WRITE)
async def raft_remove_peer(call: Call, request: RemovePeerRequest) -> Empty:
    """Take one server out of the configuration; a leader that is asked to remove itself hands over first."""
    if bool(request.server_id) == bool(request.address):
        raise InvalidRequest("exactly one of server id and address names the peer to remove")
    raft = call.services.raft
    await raft.confirm_leadership(timeout_s=call.services.config.rpc_hold_timeout_s)
    leader = raft.leader()
    if leader is None:
        raise NoLeader
    for peer in raft.configuration():
        if peer.server_id == request.server_id or (request.address and peer.address == request.address):
            if peer.server_id == leader.server_id:
                try:
                    await raft.transfer_leadership(None)
                except OutcomeUnknown as error:
                    raise Refused(f"nobody was removed: {error}") from error
                raise NoLeader  # nothing was changed yet: the call is sent on to the new leader
            await raft.remove_peer(peer.server_id)
            return Empty()
    if request.server_id:
        raise Refused(f'id "{request.server_id}" was not found in the Raft configuration')
    raise Refused(f'address "{request.address}" was not found in the Raft configuration')


@method("Operator.RaftAddPeer", request=AddPeerRequest, reply=Empty, access=OPERATOR_WRITE, kind=Kind.WRITE)
async def raft_add_peer(call: Call, request: AddPeerRequest) -> Empty:
    """Add one server to the configuration, or give a known one its new address."""
    await call.services.raft.confirm_leadership(timeout_s=call.services.config.rpc_hold_timeout_s)
    await call.services.raft.add_peer(request.peer)
    return Empty()


@method(
    "Operator.RaftTransferLeader",
    request=TransferLeaderRequest,
    reply=TransferLeaderReply,
    access=OPERATOR_WRITE,
    kind=Kind.WRITE,
)
async def raft_transfer_leader(call: Call, request: TransferLeaderRequest) -> TransferLeaderReply:
    """Hand the leadership over; the answer comes once the other server has taken it."""
    raft = call.services.raft
    if request.server_id and all(peer.server_id != request.server_id for peer in raft.configuration()):
        raise Refused(f'id "{request.server_id}" was not found in the Raft configuration')
    return TransferLeaderReply(server_id=await raft.transfer_leadership(request.server_id or None))
