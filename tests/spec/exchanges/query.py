"""/v1/query. Source: HTTP API, section 8; HTTP conventions, sections 1 and 3."""

from tests.spec.exchange import Exchange, Step

_ROW = (
    '{{"ID":"query-{number}","Name":"web","Session":"","Token":"","Template":{{"Type":"","Regexp":"",'
    '"RemoveEmptyTags":false}},"Service":{{"Service":"web","Failover":{{"NearestN":0,"Datacenters":null}},'
    '"OnlyPassing":false,"IgnoreCheckIDs":null,"Near":"","Tags":null,"NodeMeta":null,"Connect":false}},'
    '"DNS":{{"TTL":"{ttl}"}},"CreateIndex":20,"ModifyIndex":21}}'
)
_FULL = (
    '{"ID":"query-1","Name":"geo-","Session":"","Token":"t","Template":{"Type":"name_prefix_match","Regexp":"^geo-(.*)$",'
    '"RemoveEmptyTags":true},"Service":{"Service":"${match(1)}","Failover":{"NearestN":3,"Datacenters":["dc2"]},'
    '"OnlyPassing":true,"IgnoreCheckIDs":["c"],"Near":"_agent","Tags":["a","!b"],"NodeMeta":{"Rack":"x"},'
    '"Connect":true},"DNS":{"TTL":"10s"},"CreateIndex":20,"ModifyIndex":21}'
)
_META = {"X-Consul-Index": "21", "X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0"}
_EMPTY_ANSWER = {"Content-Type": "text/plain; charset=utf-8"}
_BAD = "Request decode failed: query"

EXCHANGES = [
    Exchange(
        "a prepared query is created, read, replaced and deleted",
        steps=(
            Step("GET /v1/query", text="[]", has=_META),
            Step(
                "POST /v1/query",
                b'{"name":"web","SERVICE":{"service":"web","Tags":null,"Unheard":1},"dns":null}',
                text='{"ID":"query-1"}',
                has={"Content-Type": "application/json"},
            ),
            Step("GET /v1/query", text="[" + _ROW.format(number=1, ttl="") + "]", has=_META),
            Step("GET /v1/query/query-1?stale", text="[" + _ROW.format(number=1, ttl="") + "]", has=_META),
            Step(
                "PUT /v1/query/query-1",
                b'{"ID":"ignored","Name":"web","Service":{"Service":"web"},"DNS":{"TTL":"3s"}}',
                text="",
            ),
            Step("GET /v1/query/query-1", text="[" + _ROW.format(number=1, ttl="3s") + "]"),
            Step("DELETE /v1/query/query-1", text=""),
            Step("GET /v1/query/query-1", status=404, text="Query not found", has=_META | _EMPTY_ANSWER),
            Step(
                "DELETE /v1/query/query-1",
                status=500,
                text="Cannot modify non-existent prepared query: 'query-1'",
                has={"X-Mesh-Outcome": "refused"},
            ),
        ),
    ),
    Exchange(
        "every field of a prepared query is kept",
        steps=(
            Step(
                "POST /v1/query",
                b'{"Name":"geo-","Token":"t","Template":{"Type":"name_prefix_match","Regexp":"^geo-(.*)$",'
                b'"RemoveEmptyTags":true},"Service":{"Service":"${match(1)}","Failover":{"NearestN":3,"Datacenters":'
                b'["dc2"],"Targets":[]},"OnlyPassing":true,"IgnoreCheckIDs":["c"],"Near":"_agent","Tags":["a","!b"],'
                b'"NodeMeta":{"Rack":"x"},"Connect":true,"ServiceMeta":null,"Peer":""},"DNS":{"TTL":"10s"}}',
                text='{"ID":"query-1"}',
            ),
            Step("GET /v1/query/query-1", text=f"[{_FULL}]"),
            Step(
                "GET /v1/query/geo-/explain",
                text=f'{{"Query":{_FULL},"Index":0,"LastContact":0,"KnownLeader":true,"ConsistencyLevel":"leader"}}',
                has={"X-Consul-Effective-Consistency": "leader"},
            ),
        ),
    ),
    Exchange(
        "a prepared query is executed",
        steps=(
            Step("POST /v1/query", b'{"Name":"web","Service":{"Service":"web"},"DNS":{"TTL":"7s"}}'),
            Step("POST /v1/query", b'{"Name":"nobody","Service":{"Service":"nobody"}}'),
            Step(
                "GET /v1/query/web/execute?stale&limit=2&near=_agent", has={"X-Consul-Effective-Consistency": "stale"}
            ),
            Step(
                "GET /v1/query/query-2/execute",
                text='{"Service":"nobody","Nodes":[],"DNS":{"TTL":""},"Datacenter":"dc1","Failovers":0,"Index":0,'
                '"LastContact":0,"KnownLeader":true,"ConsistencyLevel":"leader"}',
                has={"X-Consul-Index": "1"},
            ),
            Step("GET /v1/query/none/execute", status=404, text="Query not found"),
            Step("GET /v1/query/none/explain", status=404, text="Query not found"),
            Step("GET /v1/query//execute", status=400, text="Missing query name"),
            Step(
                "GET /v1/query/web/execute?limit=many",
                status=500,
                text='Bad limit: strconv.Atoi: parsing "many": invalid syntax',
            ),
            Step("GET /v1/query/web/execute?connect=perhaps", status=500),
            Step("GET /v1/query/web/execute?stale&consistent", status=400),
        ),
    ),
    Exchange(
        "what a prepared query cannot be is refused",
        steps=(
            Step("POST /v1/query", b"", status=400),
            Step("POST /v1/query", b"[]", status=400, text=f"{_BAD}: expected a map, got list"),
            Step("POST /v1/query", b'{"Name":1}', status=400, text=f"{_BAD}.Name: expected type 'string', got number"),
            Step("POST /v1/query", b'{"Service":{"Tags":["a",1]}}', status=400),
            Step("POST /v1/query", b'{"Service":{"NodeMeta":{"a":1}}}', status=400),
            Step("POST /v1/query", b'{"Service":{"Failover":{"NearestN":1.5}}}', status=400),
            Step("POST /v1/query", b'{"Service":{"Failover":{"NearestN":1e300}}}', status=400),
            Step(
                "POST /v1/query",
                b'{"Service":{"Service":"s","Failover":{"Targets":[{"Peer":"p"}]}}}',
                status=400,
                text="Request decode failed: Failover.Targets of a prepared query is not supported",
            ),
            Step(
                "POST /v1/query",
                b'{"ID":"x","Name":"n","Service":{"Service":"s"}}',
                status=500,
                text="ID must be empty when creating a new prepared query",
                has={"X-Mesh-Outcome": "refused"},
            ),
            Step(
                "POST /v1/query",
                b'{"Service":{"Service":"s"}}',
                status=500,
                text="Invalid prepared query: Must be bound to a session",
            ),
            Step("PUT /v1/query/x", b"", status=500, text="Cannot modify non-existent prepared query: 'x'"),
            Step("GET /v1/query/", status=400, text="Missing query ID"),
            Step("POST /v1/query", b" " * 65537, status=413, has={"Connection": "close"}),
        ),
    ),
    Exchange(
        "each path says what can be done with it",
        steps=(
            Step("OPTIONS /v1/query", text="", has={"Allow": "OPTIONS,GET,POST"}),
            Step("OPTIONS /v1/query/x", text="", has={"Allow": "OPTIONS,GET,PUT,DELETE"}),
            Step("OPTIONS /v1/query/x/execute", text="", has={"Allow": "OPTIONS,GET"}),
            Step("OPTIONS /v1/query/x/explain", text="", has={"Allow": "OPTIONS,GET"}),
            Step("PUT /v1/query", status=405, has={"Allow": "OPTIONS,GET,POST"}),
            Step("POST /v1/query/x", status=405, has={"Allow": "OPTIONS,GET,PUT,DELETE"}),
            Step("PUT /v1/query/x/execute", status=405, text="method PUT not allowed", has={"Allow": "OPTIONS,GET"}),
            Step("DELETE /v1/query/x/explain", status=405, has={"Allow": "OPTIONS,GET"}),
        ),
    ),
]
