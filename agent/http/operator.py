"""/v1/operator/raft: HTTP <-> Operator.* calls. Source: HTTP API, section 11; modern deltas, section 11."""

from collections.abc import Awaitable

import msgspec

from acl.access import OPERATOR_READ, OPERATOR_WRITE
from agent.http.asking import tell
from agent.http.registry import RequestContext, route
from agent.http.response import Response, json_response
from base.errors import InvalidRequest
from structs.cluster import (
    Empty,
    RaftConfigurationReply,
    RaftConfigurationRequest,
    RaftServer,
    RemovePeerRequest,
    TransferLeaderReply,
    TransferLeaderRequest,
)

PEER_MISSING_TEXT = "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove"
PEER_TWICE_TEXT = "Must specify only one of ?id or ?address"


class RaftServerJSON(msgspec.Struct, frozen=True, kw_only=True):
    """One server of the configuration as clients see it."""

    server_id: str = msgspec.field(name="ID")
    node: str = msgspec.field(name="Node")
    address: str = msgspec.field(name="Address")
    leader: bool = msgspec.field(name="Leader")
    protocol: str = msgspec.field(name="ProtocolVersion")
    voter: bool = msgspec.field(name="Voter")
    last_index: int = msgspec.field(name="LastIndex")


class RaftConfigurationJSON(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of /v1/operator/raft/configuration."""

    servers: list[RaftServerJSON] = msgspec.field(name="Servers")
    index: int = msgspec.field(name="Index")


def _server_json(server: RaftServer) -> RaftServerJSON:
    return RaftServerJSON(
        server_id=server.peer.server_id,
        node=server.peer.name or "(unknown)",
        address=server.peer.address,
        leader=server.leader,
        protocol=server.protocol,
        voter=server.voter,
        last_index=server.last_index,
    )


@route("/v1/operator/raft/configuration", "GET", access=OPERATOR_READ, is_write=False)
def configuration(context: RequestContext) -> Response | Awaitable[Response]:
    """Return who votes, who leads and how far each has come. `stale` answers without a leader."""
    request = RaftConfigurationRequest(options=context.read_parameters().options)

    def finish(reply: RaftConfigurationReply) -> Response:
        rows = [_server_json(server) for server in reply.servers]
        return json_response(RaftConfigurationJSON(servers=rows, index=reply.index))

    return tell(context, "Operator.RaftGetConfiguration", request, RaftConfigurationReply, finish)


@route("/v1/operator/raft/peer", "DELETE", access=OPERATOR_WRITE, is_write=True)
def peer(context: RequestContext) -> Response | Awaitable[Response]:
    """Take a server out of the configuration: exactly one of `id` and `address`."""
    server_id, address = context.query.get("id"), context.query.get("address")
    if not server_id and not address:
        raise InvalidRequest(PEER_MISSING_TEXT)
    if server_id and address:
        raise InvalidRequest(PEER_TWICE_TEXT)
    request = RemovePeerRequest(server_id=server_id, address=address, options=context.write_options())
    return tell(context, "Operator.RaftRemovePeer", request, Empty, lambda _: Response(200))


@route("/v1/operator/raft/transfer-leader", "POST", "PUT", access=OPERATOR_WRITE, is_write=True)
def transfer_leader(context: RequestContext) -> Response | Awaitable[Response]:
    """Hand the leadership to the server `id`, or to the one that has come farthest."""
    request = TransferLeaderRequest(server_id=context.query.get("id"), options=context.write_options())

    def finish(_: TransferLeaderReply) -> Response:
        return json_response({"Success": True})

    return tell(context, "Operator.RaftTransferLeader", request, TransferLeaderReply, finish)
