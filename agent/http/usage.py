"""/v1/operator/usage: how much there is in the catalog. Source: modern deltas, section 11."""

from collections.abc import Awaitable

from acl.access import OPERATOR_READ
from agent.http.asking import ask
from agent.http.parameters import datacenter_of
from agent.http.registry import RequestContext, route
from agent.http.response import Response, json_response, meta_headers
from structs.query import QueryOptions
from structs.usage import UsageReply, UsageRequest

KINDS = (
    "connect-native", "connect-proxy", "api-gateway", "ingress-gateway", "mesh-gateway", "terminating-gateway",
)  # fmt: skip
NOT_BILLED = frozenset({"connect-proxy", "api-gateway", "ingress-gateway", "mesh-gateway", "terminating-gateway"})


@route("/v1/operator/usage", "GET", access=OPERATOR_READ, is_write=False)
def usage(context: RequestContext) -> Response | Awaitable[Response]:
    """Return the numbers of nodes, services and instances of the datacenter, instances of the mesh by kind."""
    datacenter = datacenter_of(context.query).lower() or context.agent.datacenter

    def build(options: QueryOptions) -> UsageRequest:
        return UsageRequest(options=options)

    def finish(reply: UsageReply) -> Response:
        meta = reply.meta
        rows = {
            "Nodes": reply.nodes_count,
            "Services": reply.services_count,
            "ServiceInstances": reply.instances_count,
            "ConnectServiceInstances": {kind: reply.kinds.get(kind, 0) for kind in KINDS},
            "BillableServiceInstances": sum(n for kind, n in reply.kinds.items() if kind not in NOT_BILLED),
        }
        return json_response(
            {
                "Usage": {datacenter: rows},
                "Index": meta.index,
                "LastContact": meta.last_contact_ms,
                "KnownLeader": meta.known_leader,
                "ConsistencyLevel": str(meta.consistency),
                "NotModified": False,
                "Backend": 0,
                "ResultsFilteredByACLs": False,
            },
            headers=meta_headers(meta),
        )

    return ask(context, "Operator.Usage", build, UsageReply, finish)
