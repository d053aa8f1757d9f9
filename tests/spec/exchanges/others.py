"""/v1/status, /v1/agent, /v1/operator/raft. Source: HTTP API, sections 1, 11 and 13; modern deltas, section 11."""

from tests.spec.exchange import Exchange, Step

EXCHANGES = [
    Exchange(
        "status is answered by anybody",
        steps=(
            Step("GET /v1/status/leader", has={"Content-Type": "application/json"}, lacks=("X-Consul-Index",)),
            Step("GET /v1/status/peers"),
            Step("PUT /v1/status/peers", status=405, has={"Allow": "OPTIONS,GET"}),
        ),
    ),
    Exchange(
        "the agent tells of itself",
        steps=(
            Step("GET /v1/agent/self", has={"Content-Type": "application/json"}),
            Step("GET /v1/agent/members?segment=_all"),
            Step("GET /v1/agent/members?wan=1", has={"Content-Type": "application/json"}),
            Step("GET /v1/agent/members?wan=1&segment=x", status=400, text="Cannot provide a segment with wan=true"),
            Step("GET /v1/agent/version"),
        ),
    ),
    Exchange(
        "removing a peer names exactly one",
        steps=(
            Step(
                "DELETE /v1/operator/raft/peer",
                status=400,
                text="Must specify either ?id with the server's ID or ?address with IP:port of peer to remove",
            ),
            Step(
                "DELETE /v1/operator/raft/peer?id=a&address=b:1",
                status=400,
                text="Must specify only one of ?id or ?address",
            ),
            Step(
                "DELETE /v1/operator/raft/peer?id=nobody",
                status=500,
                text='id "nobody" was not found in the Raft configuration',
                has={"X-Mesh-Outcome": "refused"},
            ),
            Step(
                "DELETE /v1/operator/raft/peer?address=10.9.9.9:1",
                status=500,
                text='address "10.9.9.9:1" was not found in the Raft configuration',
            ),
            Step("GET /v1/operator/raft/configuration?stale", has={"Content-Type": "application/json"}),
        ),
    ),
]
