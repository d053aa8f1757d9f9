"""/v1/event. Source: HTTP API, section 7."""

from tests.spec.exchange import Exchange, Step

_TOO_LARGE = "user event exceeds limit of 512 bytes"

EXCHANGES = [
    Exchange(
        "nothing has happened yet, and there is an index to wait on",
        steps=(
            Step(
                "GET /v1/event/list",
                text="[]",
                has={"X-Consul-Index": "1", "X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0"},
            ),
            Step("GET /v1/event/list?name=deploy&index=1&wait=1ms", text="[]", has={"X-Consul-Index": "1"}),
            Step("GET /v1/event/list?index=-1", status=400, text="Invalid index"),
            Step("GET /v1/event/list?wait=soon", status=400, text="Invalid wait time"),
            Step("PUT /v1/event/list", status=405, has={"Allow": "OPTIONS,GET"}),
        ),
    ),
    Exchange(
        "what cannot be fired is refused before anybody is asked",
        steps=(
            Step("PUT /v1/event/fire/", status=400, text="Missing name", has={"X-Mesh-Outcome": "refused"}),
            Step("PUT /v1/event/fire/" + "n" * 1025, status=400, text="name exceeds 1024 byte limit"),
            Step("PUT /v1/event/fire/" + "n" * 480, status=500, text=_TOO_LARGE, has={"X-Mesh-Outcome": "refused"}),
            Step("PUT /v1/event/fire/deploy", b"x" * 500, status=500, text=_TOO_LARGE),
            Step(
                "PUT /v1/event/fire/deploy?tag=a",
                status=500,
                text="Cannot provide tag filter without service filter",
            ),
            Step(
                "PUT /v1/event/fire/deploy?node=(",
                status=500,
                text="Invalid node filter: error parsing regexp: missing closing ): `(`",
            ),
            Step("PUT /v1/event/fire/deploy?service=%5B", status=500),
            Step("PUT /v1/event/fire/deploy?service=a&tag=*", status=500),
            Step("PUT /v1/event/fire/deploy?dc=nowhere", status=500, text="No path to datacenter"),
            Step("PUT /v1/event/fire/deploy?ns=other", status=400),
            Step(
                "PUT /v1/event/fire/deploy",
                b"x" * 70_000,
                status=413,
                text="Request body(70000 bytes) too large, max size: 65536 bytes.",
            ),
        ),
    ),
]
