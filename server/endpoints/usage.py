"""Operator.Usage: how much there is in the catalog. Source: modern deltas, section 11."""

from acl.access import OPERATOR_READ
from fsm.store import indexes, usage
from fsm.store.tables import NODES, SERVICES
from server.endpoints.registry import Kind, Query, method
from structs.usage import UsageReply, UsageRequest


@method("Operator.Usage", request=UsageRequest, reply=UsageReply, access=OPERATOR_READ, kind=Kind.READ)
def get(query: Query, request: UsageRequest) -> UsageReply:
    """Numbers of nodes, services and instances, and instances by kind."""
    if query.watch_set is not None:
        for table in (NODES, SERVICES):
            query.watch_set.table(table.name)
    found = usage.counts(query.view)
    return UsageReply(
        nodes_count=found["nodes"],
        services_count=found["services"],
        instances_count=found["service_instances"],
        keys_count=found["kv_entries"],
        kinds=dict(sorted(usage.kinds(query.view).items())),
        meta=query.meta(indexes.of_tables(query.view, NODES.name, SERVICES.name)),
    )
