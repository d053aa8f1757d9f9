"""KINDS: what may be cached, how it refreshes, and what of it is empty. Sans-IO.

Another kind is another row. What is not here is never cached.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from agent.cache.entry import Policy
from base.codec import Record
from structs.catalog import ListNodesReply, ListServicesReply, NodeServicesReply, ServiceNodesReply

REFRESHING = Policy(refreshes=True)
ON_DEMAND = Policy(refreshes=False)


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One RPC method whose replies are kept. Its request has `options`, its reply has a `meta`."""

    method: str
    reply: type[Record]
    policy: Policy
    is_empty: Callable[[Any], bool]
    """Whether a reply is about nothing: such entries are soon forgotten."""


def _no_instances(reply: ServiceNodesReply) -> bool:
    return not reply.instances


def _no_node(reply: NodeServicesReply) -> bool:
    return reply.node is None


def _never(reply: Record) -> bool:
    return False


HEALTH_SERVICE_NODES = Kind(
    method="Health.ServiceNodes", reply=ServiceNodesReply, policy=REFRESHING, is_empty=_no_instances
)
SERVICE_NODES = Kind(method="Catalog.ServiceNodes", reply=ServiceNodesReply, policy=REFRESHING, is_empty=_no_instances)
SERVICES = Kind(method="Catalog.ListServices", reply=ListServicesReply, policy=REFRESHING, is_empty=_never)
NODE_SERVICES = Kind(method="Catalog.NodeServices", reply=NodeServicesReply, policy=REFRESHING, is_empty=_no_node)
NODES = Kind(method="Catalog.ListNodes", reply=ListNodesReply, policy=REFRESHING, is_empty=_never)

KINDS: dict[str, Kind] = {
    kind.method: kind for kind in (HEALTH_SERVICE_NODES, SERVICE_NODES, SERVICES, NODE_SERVICES, NODES)
}
"""By method."""
