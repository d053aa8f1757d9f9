"""Cluster.*: what servers tell one another until they are a cluster."""

from acl.access import SERVER
from server.endpoints.registry import Call, Kind, method
from structs.cluster import BootstrapHello


@method("Cluster.Hello", request=BootstrapHello, reply=BootstrapHello, access=SERVER, kind=Kind.LOCAL)
def hello(call: Call, request: BootstrapHello) -> BootstrapHello:
    """Take in what another server says of itself, and say the same of us."""
    return call.services.hello(request)
