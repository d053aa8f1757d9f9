"""Services, their instances and their health; registrations over HTTP. Source: HTTP API, sections 2, 3 and 15."""

from tests.spec.exchange import Exchange, Step
from tests.spec.exchanges.catalog import BAD, C1, CONNECT, CONSUL, META, N1, N2, SERF, STALE, WEB, WEIGHTS

_FLAT = (
    N1.partition(',"Meta"')[0] + ',"NodeMeta":{"rack":"a"},"ServiceKind":"","ServiceID":"web","ServiceName":"web",'
    '"ServiceTags":["v1"],"ServiceAddress":"","ServiceWeights":{"Passing":1,"Warning":1},"ServiceMeta":{},'
    '"ServicePort":80,"ServiceEnableTagOverride":false,"ServiceProxyDestination":"",'
    '"ServiceProxy":{"Mode":"","MeshGateway":{},"Expose":{}},"ServiceConnect":{"Native":false,"Proxy":null},'
    '"CreateIndex":8,"ModifyIndex":8}'
)
_INSTANCE = f'{{"Node":{N1},"Service":{WEB},"Checks":[{SERF},{C1}]}}'
_INFO_1 = N1.replace(',"Datacenter":"dc1"', "").partition(',"CreateIndex"')[0]
_INFO_1 += f',"Services":[{WEB},{CONSUL}],"Checks":[{SERF},{C1}]}}'
_INFO_2 = N2.replace(',"Datacenter":"dc1"', "").partition(',"CreateIndex"')[0] + ',"Services":[],"Checks":[]}'
_PASSING = "Invalid value for ?passing"
assert WEIGHTS in WEB
assert CONNECT in WEB

EXCHANGES = [
    Exchange(
        "services are names with the tags of their instances",
        steps=(
            Step("GET /v1/catalog/services", text='{"consul":[],"web":["v1"]}', has={**META, "X-Consul-Index": "8"}),
            Step("GET /v1/catalog/services?node-meta=rack:b&stale", text="{}", has=STALE),
            Step("GET /v1/catalog/services?filter=ServiceNme==web", status=400),
            Step("GET /v1/catalog/services?peer=other", text="{}", has=META),
            Step("PUT /v1/catalog/services", status=405, has={"Allow": "OPTIONS,GET"}),
        ),
    ),
    Exchange(
        "instances of a service are flat rows with their nodes",
        steps=(
            Step("GET /v1/catalog/service/web", text=f"[{_FLAT}]", has={**META, "X-Consul-Index": "9"}),
            Step("GET /v1/catalog/service/web?tag=V1&tag=v1&near=_agent&node-meta=rack:a", text=f"[{_FLAT}]"),
            Step("GET /v1/catalog/service/web?tag=v1&tag=v2", text="[]"),
            Step("GET /v1/catalog/service/web?filter=ServicePort==80", text=f"[{_FLAT}]"),
            Step("GET /v1/catalog/service/web?filter=v1+not+in+ServiceTags", text="[]", has={"X-Consul-Index": "9"}),
            Step("GET /v1/catalog/service/none?stale", text="[]", has=STALE),
            Step("GET /v1/catalog/service/", status=400, text="Missing service name"),
            Step("GET /v1/catalog/service/" + "s" * 1025, status=400, text="service name exceeds 1024 byte limit"),
            Step("GET /v1/catalog/connect/web", text="[]", has=META),
            Step("GET /v1/catalog/connect/", status=400, text="Missing service name"),
        ),
    ),
    Exchange(
        "services of a node are a list, too, and an unknown node has none",
        steps=(
            Step("GET /v1/catalog/node-services/n1", text=f'{{"Node":{N1},"Services":[{WEB},{CONSUL}]}}', has=META),
            Step(
                "GET /v1/catalog/node-services/n1?filter=Service==consul",
                text=f'{{"Node":{N1},"Services":[{CONSUL}]}}',
            ),
            Step("GET /v1/catalog/node-services/none", text='{"Node":null,"Services":[]}', has=META),
            Step("GET /v1/catalog/node-services/", status=400, text="Missing node name"),
        ),
    ),
    Exchange(
        "instances come with the checks of their nodes and their own",
        steps=(
            Step("GET /v1/health/service/web", text=f"[{_INSTANCE}]", has={**META, "X-Consul-Index": "9"}),
            Step("GET /v1/health/service/web?passing=0&merge-central-config&peer=", text=f"[{_INSTANCE}]"),
            Step("GET /v1/health/service/web?peer=other", text="[]", has={"X-Consul-Index": "9"}),
            Step("GET /v1/health/service/web?passing", text="[]", has={"X-Consul-Index": "9"}),
            Step("GET /v1/health/service/web?passing=true", text="[]"),
            Step("GET /v1/health/service/web?passing=yes", status=400, text=_PASSING),
            Step("GET /v1/health/service/web?tag=v2", text="[]"),
            Step("GET /v1/health/service/web?filter=Checks.Status==critical", text=f"[{_INSTANCE}]"),
            Step("GET /v1/health/service/web?filter=not+Checks.Status==critical", text="[]"),
            Step("GET /v1/health/service/web?filter=Port==80", status=400, text=BAD + 'Selector "Port" is not valid'),
            Step("GET /v1/health/service/web?index=3&wait=1s", text=f"[{_INSTANCE}]"),
            Step("GET /v1/health/service/web?index=9&wait=1ms", text=f"[{_INSTANCE}]", has={"X-Consul-Index": "9"}),
            Step("GET /v1/health/service/", status=400, text="Missing service name"),
            Step("GET /v1/health/connect/web?passing", text="[]", has=META),
            Step("GET /v1/health/checks/web", text=f"[{C1}]", has={**META, "X-Consul-Index": "9"}),
            Step("GET /v1/health/checks/web?filter=Status==passing", text="[]"),
            Step("GET /v1/health/checks/", status=400, text="Missing service name"),
        ),
    ),
    Exchange(
        "the page's views join nodes, services and checks",
        steps=(
            Step("GET /v1/internal/ui/nodes", text=f"[{_INFO_1},{_INFO_2}]", has={"X-Consul-Index": "12"}),
            Step("GET /v1/internal/ui/nodes?filter=Node==n2", text=f"[{_INFO_2}]"),
            Step("GET /v1/internal/ui/node/n1", text=_INFO_1, has={"X-Consul-Index": "12"}),
            Step("GET /v1/internal/ui/node/none", status=404, text="", has={"X-Consul-Index": "12"}),
            Step("GET /v1/internal/ui/node/", status=400, text="Missing node name"),
            Step(
                "GET /v1/internal/ui/services",
                text='[{"Name":"consul","Tags":[],"Nodes":["n1"],"ChecksPassing":1,"ChecksWarning":0,"ChecksCritical":0},'
                '{"Name":"web","Tags":["v1"],"Nodes":["n1"],"ChecksPassing":1,"ChecksWarning":0,"ChecksCritical":1}]',
                has={"X-Consul-Index": "12"},
            ),
            Step("GET /v1/internal/ui/services?filter=ChecksCritical==2", text="[]"),
        ),
    ),
    Exchange(
        "registrations answer true, and say what is wrong with a body",
        steps=(
            Step("PUT /v1/catalog/register", body=b'{"node":"n3","Address":"10.0.0.3"}', text="true"),
            Step("PUT /v1/catalog/deregister", body=b'{"Node":"n3"}', text="true"),
            Step(
                "PUT /v1/catalog/register",
                body=b"[]",
                status=400,
                text="Request decode failed: RegisterRequest: expected a map, got list",
                has={"X-Mesh-Outcome": "refused"},
            ),
            Step(
                "PUT /v1/catalog/register",
                body=b'{"Node":"a","Service":{"Port":"80"}}',
                status=400,
                text="Request decode failed: RegisterRequest.Service.Port: expected type 'int', got string",
            ),
            Step("PUT /v1/catalog/deregister", body=b"{", status=400),
            Step("GET /v1/catalog/register", status=405, has={"Allow": "OPTIONS,PUT"}),
        ),
    ),
]
