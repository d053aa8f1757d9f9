"""/v1/agent: members, join, leave, force-leave. Source: HTTP API, section 1; modern deltas, section 5."""

from tests.spec.exchange import Exchange, Step

_N1 = (
    '{"Name":"n1","Addr":"10.0.0.1","Port":8301,"Tags":{"dc":"dc1","role":"consul"},"Status":1,"ProtocolMin":1,'
    '"ProtocolMax":5,"ProtocolCur":2,"DelegateMin":2,"DelegateMax":5,"DelegateCur":4}'
)
_N2 = (
    '{"Name":"n2","Addr":"10.0.0.2","Port":8301,"Tags":{"role":"node"},"Status":4,"ProtocolMin":1,'
    '"ProtocolMax":4,"ProtocolCur":3,"DelegateMin":2,"DelegateMax":4,"DelegateCur":3}'
)

EXCHANGES = [
    Exchange(
        "members are listed with the versions that they speak",
        steps=(
            Step("GET /v1/agent/members", text=f"[{_N1},{_N2}]", has={"Content-Type": "application/json"}),
            Step("GET /v1/agent/members?segment=_all&dc=elsewhere", text=f"[{_N1},{_N2}]"),
            Step("GET /v1/agent/members?segment=alpha", text="[]"),
            Step(
                "GET /v1/agent/members?wan=1&segment=_all",
                text="[" + _N1.replace('"n1"', '"n1.dc1"').replace("8301", "8302") + "]",
            ),
            Step("GET /v1/agent/members?wan=1&segment=a", status=400, text="Cannot provide a segment with wan=true"),
            Step(
                "GET /v1/agent/members?filter=x",
                status=400,
                text="Failed to create boolean expression evaluator: the expression ends too early",
            ),
            Step("POST /v1/agent/members", status=405, has={"Allow": "OPTIONS,GET"}, text="method POST not allowed"),
        ),
    ),
    Exchange(
        "joining and leaving answer with an empty body",
        steps=(
            Step("PUT /v1/agent/join/10.0.0.9", text=""),
            Step("PUT /v1/agent/join/10.0.0.9:8301?wan=1", text=""),
            Step("PUT /v1/agent/join/", status=400, text="Missing address to join", has={"X-Mesh-Outcome": "refused"}),
            Step(
                "PUT /v1/agent/join/" + "a" * 1025,
                status=400,
                text="address to join exceeds 1024 byte limit",
                has={"X-Mesh-Outcome": "refused"},
            ),
            Step("GET /v1/agent/join/10.0.0.9", status=405, has={"Allow": "OPTIONS,PUT"}),
            Step("PUT /v1/agent/force-leave/n2", text=""),
            Step("PUT /v1/agent/force-leave/n2?prune", text=""),
            Step(
                "PUT /v1/agent/force-leave/n3",
                status=500,
                text="agent: No node found with name 'n3'",
                has={"X-Mesh-Outcome": "refused"},
            ),
            Step("PUT /v1/agent/force-leave/", status=400, text="Missing node name"),
            Step("DELETE /v1/agent/force-leave/n2", status=405, has={"Allow": "OPTIONS,PUT"}),
            Step("GET /v1/agent/leave", status=405, has={"Allow": "OPTIONS,PUT"}),
            Step("PUT /v1/agent/leave", text=""),
        ),
    ),
]
