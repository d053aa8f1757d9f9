"""/v1/kv. Source: HTTP API, section 4; HTTP conventions, sections 1, 3, 4; state store, sections 3 and 4."""

from tests.spec.exchange import Exchange, Step

META = {"X-Consul-KnownLeader": "true", "X-Consul-LastContact": "<*>"}
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

EXCHANGES = [
    Exchange(
        "a key that is written can be read",
        clean="spec/a",
        steps=(
            Step("PUT /v1/kv/spec/a", b"hi", text="true", has={"Content-Type": JSON}),
            Step(
                "GET /v1/kv/spec/a",
                text='[{"LockIndex":0,"Key":"spec/a","Flags":0,"Value":"aGk=","CreateIndex":<c>,"ModifyIndex":<c>}]',
                has={**META, "X-Consul-Index": "<c>", "Content-Type": JSON, "X-Consul-Default-ACL-Policy": "allow"},
            ),
            Step("PUT /v1/kv/spec/a?flags=18446744073709551615", b"ho", text="true"),
            Step(
                "GET /v1/kv/spec/a",
                text='[{"LockIndex":0,"Key":"spec/a","Flags":18446744073709551615,"Value":"aG8=",'
                '"CreateIndex":<c>,"ModifyIndex":<m>}]',
                has={"X-Consul-Index": "<m>"},
            ),
        ),
    ),
    Exchange(
        "the raw value is bytes that no browser may execute",
        clean="spec/raw",
        steps=(
            Step("PUT /v1/kv/spec/raw", b"<b>\x00\xff"),
            Step(
                "GET /v1/kv/spec/raw?raw",
                raw=b"<b>\x00\xff",
                has={
                    **META,
                    "Content-Type": TEXT,
                    "X-Content-Type-Options": "nosniff",
                    "Content-Security-Policy": "sandbox",
                },
            ),
            Step("GET /v1/kv/spec/raw-none?raw", status=404, text="", has=META),
        ),
    ),
    Exchange(
        "an empty value is null",
        clean="spec/empty",
        steps=(
            Step("PUT /v1/kv/spec/empty", text="true"),
            Step(
                "GET /v1/kv/spec/empty",
                text='[{"LockIndex":0,"Key":"spec/empty","Flags":0,"Value":null,"CreateIndex":<c>,"ModifyIndex":<c>}]',
            ),
        ),
    ),
    Exchange(
        "a missing key is 404 with an empty body and the index to block on",
        clean="spec/none",
        steps=(
            Step("GET /v1/kv/spec/none", status=404, text="", has={**META, "X-Consul-Index": "<i>"}),
            Step("GET /v1/kv/spec/none?recurse", status=404, text="", has={**META, "X-Consul-Index": "<j>"}),
            Step("GET /v1/kv/spec/none?keys", status=404, text="", has={**META, "X-Consul-Index": "<k>"}),
        ),
    ),
    Exchange(
        "recurse lists entries in byte order of keys",
        clean="spec/r/",
        steps=(
            Step("PUT /v1/kv/spec/r/b", b"2"),
            Step("PUT /v1/kv/spec/r/a/x", b"1"),
            Step("PUT /v1/kv/spec/r/Z", b"0"),
            Step(
                "GET /v1/kv/spec/r/?recurse",
                text='[{"LockIndex":0,"Key":"spec/r/Z","Flags":0,"Value":"MA==","CreateIndex":<z>,"ModifyIndex":<z>},'
                '{"LockIndex":0,"Key":"spec/r/a/x","Flags":0,"Value":"MQ==","CreateIndex":<x>,"ModifyIndex":<x>},'
                '{"LockIndex":0,"Key":"spec/r/b","Flags":0,"Value":"Mg==","CreateIndex":<b>,"ModifyIndex":<b>}]',
                has={**META, "X-Consul-Index": "<z>"},
            ),
            Step("GET /v1/kv/spec/r/?keys", text='["spec/r/Z","spec/r/a/x","spec/r/b"]', has=META),
            Step("GET /v1/kv/spec/r/?keys&separator=/", text='["spec/r/Z","spec/r/a/","spec/r/b"]'),
            Step("GET /v1/kv/spec/r/?keys&seperator=/", text='["spec/r/Z","spec/r/a/","spec/r/b"]'),
            Step("DELETE /v1/kv/spec/r/b", text="true"),
            Step("GET /v1/kv/spec/r/?keys", text='["spec/r/Z","spec/r/a/x"]', has={"X-Consul-Index": "<after>"}),
            Step("DELETE /v1/kv/spec/r/?recurse", text="true"),
            Step("GET /v1/kv/spec/r/?recurse", status=404, text=""),
        ),
    ),
    Exchange(
        "compare-and-set answers true or false",
        clean="spec/cas",
        steps=(
            Step("PUT /v1/kv/spec/cas?cas=0", b"1", text="true"),
            Step("PUT /v1/kv/spec/cas?cas=0", b"2", text="false"),
            Step("GET /v1/kv/spec/cas", has={"X-Consul-Index": "<m>"}),
            Step("PUT /v1/kv/spec/cas?cas=<m>", b"3", text="true"),
            Step("PUT /v1/kv/spec/cas?cas=<m>", b"4", text="false"),
            Step("GET /v1/kv/spec/cas?raw", raw=b"3", has={"X-Consul-Index": "<n>"}),
            Step("DELETE /v1/kv/spec/cas?cas=<m>", text="false"),
            Step("DELETE /v1/kv/spec/cas?cas=<n>", text="true"),
            Step("DELETE /v1/kv/spec/cas?cas=<n>", text="true"),
            Step("DELETE /v1/kv/spec/cas", text="true"),
        ),
    ),
    Exchange(
        "keys are decoded once and escaped as Go does",
        clean="spec/",
        steps=(
            Step("PUT /v1/kv/spec/%3Cq%3E%20%26%22%5C%2520", b"1", text="true"),
            Step("GET /v1/kv/spec/?keys", text='["spec/\\u003cq\\u003e \\u0026\\"\\\\%20"]'),
            Step("DELETE /v1/kv/spec/?recurse"),
            Step("PUT /v1/kv/spec/%C3%A4%E2%82%AC", b"1", text="true"),
            Step("GET /v1/kv/spec/?keys", text='["spec/ä€"]'),
            Step("DELETE /v1/kv/spec/?recurse"),
            Step("PUT /v1/kv/spec//a/../b/./c+d", b"1", text="true"),
            Step("GET /v1/kv/spec/?keys", text='["spec//a/../b/./c+d"]'),
        ),
    ),
    Exchange(
        "missing names and conflicting flags are refused",
        steps=(
            Step("GET /v1/kv/", status=400, text="Missing key name", has={"Content-Type": TEXT}),
            Step("PUT /v1/kv/", b"x", status=400, text="Missing key name", has={"X-Mesh-Outcome": "refused"}),
            Step("DELETE /v1/kv/", status=400, text="Missing key name"),
            Step("PUT /v1/kv/a?release=y&cas=1", b"x", status=400, text="Conflicting flags: cas=1&release=y"),
            Step("DELETE /v1/kv/a?recurse&cas=1", status=400, text="Conflicting flags: cas=1&recurse="),
            Step("PUT /v1/kv/a?flags=-1", b"x", status=500, has={"X-Mesh-Outcome": "refused"}),
            Step("PUT /v1/kv/a?cas=x", b"x", status=500, has={"X-Mesh-Outcome": "refused"}),
            Step("PUT /v1/kv/a?cas=", b"x", status=500, has={"X-Mesh-Outcome": "refused"}),
            Step("PUT /v1/kv/a?flags=", b"x", status=500, has={"X-Mesh-Outcome": "refused"}),
            Step("DELETE /v1/kv/a?cas", status=500, has={"X-Mesh-Outcome": "refused"}),
            Step("PUT /v1/kv/a?acquire=", b"x", status=500, text="missing session"),
        ),
    ),
    Exchange(
        "parameters of reads are checked",
        steps=(
            Step(
                "GET /v1/kv/a?stale&consistent",
                status=400,
                text="Cannot specify ?stale with ?consistent, conflicting semantics.",
            ),
            Step("GET /v1/kv/a?index=x", status=400, text="Invalid index"),
            Step("GET /v1/kv/a?index=-1", status=400, text="Invalid index"),
            Step("GET /v1/kv/a?index=1&wait=10", status=400, text="Invalid wait time"),
            Step("GET /v1/kv/a?max_stale=x", status=400, text='Invalid max_stale value "x"'),
            Step("GET /v1/kv/a?dc=nowhere", status=500, text="No path to datacenter"),
            Step("GET /v1/kv/a?ns=default&partition=default&unknown=1", status=404),
            Step("GET /v1/kv/a?ns=other", status=400),
            Step("GET /v1/kv/a?a=%zz", status=500, text=""),
        ),
        clean="a",
    ),
    Exchange(
        "each consistency mode answers",
        clean="spec/mode",
        steps=(
            Step("PUT /v1/kv/spec/mode", b"1"),
            Step("GET /v1/kv/spec/mode?consistent&raw", raw=b"1", has=META),
            Step("GET /v1/kv/spec/mode?stale=false&raw", has=META),
            Step("GET /v1/kv/spec/mode?max_stale=1m&raw", has=META),
            Step("GET /v1/kv/spec/mode?leader&dc=dc1&raw", raw=b"1", has=META),
        ),
    ),
    Exchange(
        "a blocking query returns what it has when its time ends",
        clean="spec/block",
        steps=(
            Step("PUT /v1/kv/spec/block", b"1"),
            Step("GET /v1/kv/spec/block", has={"X-Consul-Index": "<m>"}),
            Step("GET /v1/kv/spec/block?index=<m>&wait=10ms&raw", raw=b"1", has={"X-Consul-Index": "<m>"}),
            Step("GET /v1/kv/spec/block?index=0&wait=10m&raw", raw=b"1", has={"X-Consul-Index": "<m>"}),
            Step("GET /v1/kv/spec/block?index=1&wait=0.25s&raw", raw=b"1", has={"X-Consul-Index": "<m>"}),
            Step("GET /v1/kv/spec/none?index=1&wait=1ms", status=404, has={"X-Consul-Index": "<other>"}),
        ),
    ),
    Exchange(
        "methods are checked",
        steps=(
            Step("OPTIONS /v1/kv/a", text="", has={"Allow": "OPTIONS,GET,PUT,DELETE"}),
            Step(
                "POST /v1/kv/a",
                status=405,
                text="method POST not allowed",
                has={"Allow": "OPTIONS,GET,PUT,DELETE", "Content-Type": TEXT},
            ),
            Step("OPTIONS /v1/txn", text="", has={"Allow": "OPTIONS,PUT"}),
            Step("GET /v1/txn", status=405, text="method GET not allowed", has={"Allow": "OPTIONS,PUT"}),
        ),
    ),
    Exchange(
        "pretty is four spaces and a newline",
        clean="spec/p",
        steps=(
            Step("PUT /v1/kv/spec/p", b"1"),
            Step("GET /v1/kv/spec/p?keys&pretty", text='[\n    "spec/p"\n]\n'),
        ),
    ),
    Exchange(
        "a value over the limit is refused",
        clean="spec/big",
        steps=(
            Step("PUT /v1/kv/spec/big", b"x" * 524288, text="true"),
            Step(
                "PUT /v1/kv/spec/big",
                b"x" * 524289,
                status=413,
                text="Value exceeds 524288 byte limit",
                has={"X-Mesh-Outcome": "refused", "Connection": "close"},
            ),
        ),
    ),
    Exchange(
        "unknown paths are told apart",
        steps=(
            Step("GET /v1/nothing", status=404, text="Invalid URL path: not a recognized HTTP API endpoint\n"),
            Step(
                "GET /nothing",
                status=404,
                text="Invalid URL path: if attempting to use the HTTP API, ensure the path starts with '/v1/'\n",
            ),
            Step("GET /", text="Consul Agent"),
            Step("GET /v1/kv?keys", status=301, has={"Location": "/v1/kv/?keys"}),
        ),
    ),
]
