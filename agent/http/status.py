"""/v1/status: who leads, and who votes. Source: HTTP API, section 13."""

from collections.abc import Awaitable

from acl.access import NOBODY
from agent.http.asking import tell
from agent.http.registry import RequestContext, route
from agent.http.response import Response, json_response
from structs.cluster import Empty, LeaderReply, PeersReply


@route("/v1/status/leader", "GET", access=NOBODY, is_write=False)
def leader(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the leader's RPC address as a JSON string, "" where none is known to the server that was asked."""
    context.read_parameters()
    context.refuse_other_datacenter()
    return tell(context, "Status.Leader", Empty(), LeaderReply, lambda reply: json_response(reply.address))


@route("/v1/status/peers", "GET", access=NOBODY, is_write=False)
def peers(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the RPC addresses of the Raft configuration."""
    context.read_parameters()
    context.refuse_other_datacenter()
    return tell(context, "Status.Peers", Empty(), PeersReply, lambda reply: json_response(reply.addresses))
