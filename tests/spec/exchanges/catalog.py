"""/v1/catalog and /v1/health, as far as they list nodes and checks. Source: HTTP API, sections 2 and 3."""

from tests.fakes.cluster_calls import SERVER_ID
from tests.spec.exchange import Exchange, Step

META = {
    "X-Consul-KnownLeader": "true",
    "X-Consul-LastContact": "0",
    "X-Consul-Effective-Consistency": "leader",
}
STALE = {**META, "X-Consul-Effective-Consistency": "stale"}
BAD = "Failed to create boolean expression evaluator: "
N1 = (
    f'{{"ID":"{SERVER_ID}","Node":"n1","Address":"10.0.0.1","Datacenter":"dc1",'
    '"TaggedAddresses":{"lan":"10.0.0.1","wan":"198.51.100.1"},"Meta":{"rack":"a"},"CreateIndex":5,"ModifyIndex":6}'
)
N2 = (
    '{"ID":"","Node":"n2","Address":"10.0.0.2","Datacenter":"dc1","TaggedAddresses":null,"Meta":null,'
    '"CreateIndex":7,"ModifyIndex":7}'
)
CONNECT = (
    '"ProxyDestination":"","Proxy":{"Mode":"","MeshGateway":{},"Expose":{}},"Connect":{"Native":false,"Proxy":null}'
)
WEIGHTS = '"Weights":{"Passing":1,"Warning":1}'
CONSUL = (
    f'{{"ID":"consul","Service":"consul","Tags":[],"Address":"","Meta":null,"Port":8300,{WEIGHTS},"EnableTagOverride":false,'
    f'{CONNECT},"CreateIndex":6,"ModifyIndex":6}}'
)
WEB = (
    f'{{"ID":"web","Service":"web","Tags":["v1"],"Address":"","Meta":null,"Port":80,{WEIGHTS},"EnableTagOverride":false,'
    f'{CONNECT},"CreateIndex":8,"ModifyIndex":8}}'
)
SERF = (
    '{"Node":"n1","CheckID":"serfHealth","Name":"Serf Health Status","Status":"passing","Notes":"",'
    '"Output":"Agent alive and reachable","ServiceID":"","ServiceName":"","ServiceTags":[],"Type":"","Definition":{},'
    '"CreateIndex":5,"ModifyIndex":5}'
)
C1 = (
    '{"Node":"n1","CheckID":"c1","Name":"web \\u003ccheck\\u003e","Status":"critical","Notes":"","Output":"",'
    '"ServiceID":"web","ServiceName":"web","ServiceTags":["v1"],"Type":"",'
    '"Definition":{"HTTP":"http://x/h","Interval":"10s","Timeout":"1.5s"},"CreateIndex":9,"ModifyIndex":9}'
)

EXCHANGES = [
    Exchange(
        "datacenters are a list of names",
        steps=(
            Step("GET /v1/catalog/datacenters", text='["dc1","dc2"]', lacks=("X-Consul-Index",)),
            Step("PUT /v1/catalog/datacenters", status=405, has={"Allow": "OPTIONS,GET"}),
        ),
    ),
    Exchange(
        "nodes have all their fields, null where nothing was ever set",
        steps=(
            Step("GET /v1/catalog/nodes", text=f"[{N1},{N2}]", has={**META, "X-Consul-Index": "12"}),
            Step("GET /v1/catalog/nodes?stale&dc=DC1", text=f"[{N1},{N2}]", has=STALE),
            Step("GET /v1/catalog/nodes?index=3&wait=1s", text=f"[{N1},{N2}]", has={"X-Consul-Index": "12"}),
            Step("GET /v1/catalog/nodes?index=12&wait=1ms", text=f"[{N1},{N2}]", has={"X-Consul-Index": "12"}),
            Step("GET /v1/catalog/nodes?near=n2", text=f"[{N2},{N1}]"),
            Step("GET /v1/catalog/nodes?near=_agent", text=f"[{N1},{N2}]"),
            Step("GET /v1/catalog/nodes?node-meta=rack:a", text=f"[{N1}]"),
            Step("GET /v1/catalog/nodes?node-meta=rack:a&node-meta=size", text="[]", has={"X-Consul-Index": "12"}),
            Step("GET /v1/catalog/nodes?filter=Node==n1", text=f"[{N1}]", has={"X-Consul-Index": "12"}),
            Step("GET /v1/catalog/nodes?filter=Meta.rack+is+empty", text=f"[{N2}]"),
            Step("GET /v1/catalog/nodes?filter=Nodes==n1", status=400, text=BAD + 'Selector "Nodes" is not valid'),
            Step("GET /v1/catalog/nodes?filter=Node==", status=400, text=BAD + "the expression ends too early"),
            Step("GET /v1/catalog/nodes?dc=nowhere", status=500, text="No path to datacenter"),
            Step("GET /v1/catalog/nodes?datacenter=" + "x" * 200, status=500, text="No path to datacenter"),
            Step("GET /v1/catalog/nodes?stale&consistent", status=400),
            Step("GET /v1/catalog/nodes?index=x", status=400, text="Invalid index"),
            Step(
                f"GET /v1/catalog/nodes?near={'n' * 1025}", status=400, text="node name in near exceeds 1024 byte limit"
            ),
        ),
    ),
    Exchange(
        "a node has its services by id, and an unknown one is null",
        steps=(
            Step(
                "GET /v1/catalog/node/n1",
                text=f'{{"Node":{N1},"Services":{{"consul":{CONSUL},"web":{WEB}}}}}',
                has={**META, "X-Consul-Index": "8"},
            ),
            Step("GET /v1/catalog/node/n2", text=f'{{"Node":{N2},"Services":{{}}}}'),
            Step("GET /v1/catalog/node/none", text="null", has={**META, "X-Consul-Index": "1"}),
            Step("GET /v1/catalog/node/", status=400, text="Missing node name"),
            Step("GET /v1/catalog/node/" + "n" * 1025, status=400, text="node name exceeds 1024 byte limit"),
            Step("GET /v1/catalog/node/n1?filter=Port==80", text=f'{{"Node":{N1},"Services":{{"web":{WEB}}}}}'),
            Step("GET /v1/catalog/node/none?filter=x", status=400, text=BAD + "the expression ends too early"),
            Step("GET /v1/catalog/node", status=301),
            Step("POST /v1/catalog/node/n1", status=405, has={"Allow": "OPTIONS,GET"}),
        ),
    ),
    Exchange(
        "checks are listed by node and by state",
        steps=(
            Step("GET /v1/health/node/n1", text=f"[{SERF},{C1}]", has={**META, "X-Consul-Index": "9"}),
            Step("GET /v1/health/node/none?stale", text="[]", has=STALE),
            Step("GET /v1/health/node/", status=400, text="Missing node name"),
            Step("GET /v1/health/state/any", text=f"[{SERF},{C1}]", has={**META, "X-Consul-Index": "9"}),
            Step("GET /v1/health/state/critical?near=_agent&node-meta=a:b", text=f"[{C1}]"),
            Step("GET /v1/health/state/unheard-of", text="[]"),
            Step("GET /v1/health/state/", status=400, text="Missing check state"),
            Step("GET /v1/health/state/" + "s" * 1025, status=400, text="check state exceeds 1024 byte limit"),
            Step("GET /v1/health/state/any?filter=Status+!=+passing", text=f"[{C1}]"),
            Step("GET /v1/health/state/none?filter=Port==1", status=400, text=BAD + 'Selector "Port" is not valid'),
            Step("DELETE /v1/health/state/any", status=405, has={"Allow": "OPTIONS,GET"}),
        ),
    ),
]
