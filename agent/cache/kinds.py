"""KINDS: what may be cached, how it refreshes, and what of it is empty. Sans-IO.

Another kind is another row. What is not here is never cached.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from agent.cache.entry import Policy
from base.codec import Record
from structs.catalog import ListNodesReply, ListServicesReply, NodeServicesReply, ServiceNodesReply
from structs.prepared_query import ExecuteReply

REFRESHING = Policy(refreshes=True)
ON_DEMAND = Policy(refreshes=False)
WHOLE_TABLE = Policy(refreshes=True, idle_s=300.0)
"""For lists that can be large and are seldom asked for: each change sends all of it again."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One RPC method whose replies are kept. Its request has `options`, its reply has a `meta`."""

    method: str
    reply: type[Record]
    policy: Policy
    is_empty: Callable[[Any], bool]
    """Whether a reply is about nothing: such entries are soon forgotten."""


def _no_instances(reply: ServiceNodesReply | ExecuteReply) -> bool:
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
NODES = Kind(method="Catalog.ListNodes", reply=ListNodesReply, policy=WHOLE_TABLE, is_empty=_never)
PREPARED_QUERY = Kind(method="PreparedQuery.Execute", reply=ExecuteReply, policy=ON_DEMAND, is_empty=_no_instances)

KINDS: dict[str, Kind] = {
    kind.method: kind for kind in (HEALTH_SERVICE_NODES, SERVICE_NODES, SERVICES, NODE_SERVICES, NODES, PREPARED_QUERY)
}
"""By method."""
