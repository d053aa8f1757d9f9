"""Cluster.*: hellos between members, and who they know of. Gossip replaces both."""

from acl.access import AGENT_READ, NOBODY
from base.errors import PermissionDenied
from server.endpoints.registry import Call, Kind, method
from structs.cluster import Empty, HelloReply, HelloRequest, MembersReply


@method("Cluster.Hello", request=HelloRequest, reply=HelloReply, access=NOBODY, kind=Kind.LOCAL)
def hello(call: Call, request: HelloRequest) -> HelloReply:
    """Take in what another member says of itself, and say the same of us.

    Who says that it is a server is added to the group if it asks, so with TLS its certificate must be a server's.
    """
    caller = call.caller
    if request.is_server and caller is not None and not caller.may_act_as_server:
        raise PermissionDenied("Permission denied: the certificate is not a server's")
    return call.services.hello(request)


@method("Cluster.Members", request=Empty, reply=MembersReply, access=AGENT_READ, kind=Kind.LOCAL)
def members(call: Call, request: Empty) -> MembersReply:
    """Everybody this server knows of."""
    services = call.services
    return MembersReply(members=services.roster.members(services.monotonic_s()))
