"""Sans-IO. What an execution does with the instances of a service, step by step.

| step       | what                                                                                              |
| ---------- | ------------------------------------------------------------------------------------------------- |
| `wanted`   | healthy enough, on nodes with the metadata, with the tags and without the `!tags`                   |
| `shuffled` | so that callers spread where no distance is known, or several are equal                           |
| (sorted)   | by round trip from the node that is to be near, `server/near.py`                                  |
| `own_first`| that node itself comes first if it is among the first ten: a sort would have put it there          |
| `limited`  | no more than were asked for                                                                       |

Source: state store specification, section 12.
"""

import random

from msgspec.structs import replace

from structs.catalog import CheckStatus, QuerySource, ServiceInstance
from structs.prepared_query import ExecuteRequest, ServiceQuery

NEAR_AGENT = "_agent"
NEAR_ADDRESS = "_ip"
OWN_POSITION_MAX = 10
"""The node itself is never further behind where distances are known."""


def wanted(instances: list[ServiceInstance], query: ServiceQuery) -> list[ServiceInstance]:
    """Return the instances that a query is about."""
    ignored = frozenset(query.ignore_check_ids or ())
    meta = (query.node_meta or {}).items()
    tags = [tag.lower() for tag in query.tags or ()]
    needed = {tag for tag in tags if not tag.startswith("!")}
    refused = {tag[1:] for tag in tags if tag.startswith("!")}
    found = []
    for instance in instances:
        own_tags = {tag.lower() for tag in instance.service.tags or ()}
        if (
            _is_healthy(instance, ignored, only_passing=query.only_passing)
            and meta <= (instance.node.meta or {}).items()
            and needed <= own_tags
            and not refused & own_tags
        ):
            found.append(instance)
    return found


def _is_healthy(instance: ServiceInstance, ignored: frozenset[str], *, only_passing: bool) -> bool:
    for check in instance.checks:
        if check.check_id in ignored or check.status == CheckStatus.PASSING:
            continue
        if only_passing or check.status == CheckStatus.CRITICAL:
            return False
    return True


def shuffled(instances: list[ServiceInstance], rng: random.Random) -> list[ServiceInstance]:
    """Return the instances in an order that chance decides."""
    mixed = list(instances)
    rng.shuffle(mixed)
    return mixed


def origin(query: ServiceQuery, request: ExecuteRequest) -> QuerySource:
    """Return from where distances are wanted; its node may still be `_ip`.

    What the caller names counts, else what the query says. Without a datacenter it is that of the caller's agent.
    """
    source, agent = request.source, request.agent
    node = source.node or query.near
    if node == NEAR_AGENT:
        node = agent.node
    return replace(source, datacenter=source.datacenter or agent.datacenter, node=node)


def own_first(instances: list[ServiceInstance], node: str) -> list[ServiceInstance]:
    """Return the instances with one on `node` at the head, if it stands near it."""
    for position, instance in enumerate(instances[:OWN_POSITION_MAX]):
        if instance.node.node == node:
            swapped = list(instances)
            swapped[0], swapped[position] = swapped[position], swapped[0]
            return swapped
    return instances


def limited(instances: list[ServiceInstance], limit: int) -> list[ServiceInstance]:
    """Return at most `limit` instances; 0 or less: all."""
    return instances[:limit] if limit > 0 else instances
