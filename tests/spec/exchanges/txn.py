"""/v1/txn. Source: HTTP API, section 5; state store, section 6; modern deltas, section 7."""

from tests.spec.exchange import Exchange, Step

EXCHANGES = [
    Exchange(
        "operations are done together",
        clean="spec/t",
        steps=(
            Step(
                "PUT /v1/txn",
                b'[{"KV":{"Verb":"set","Key":"spec/t1","Value":"aGk=","Flags":7}},'
                b'{"kv":{"verb":"get","KEY":"spec/t1","Unknown":[1],"Session":null}},'
                b'{"KV":{"Verb":"check-not-exists","Key":"spec/t2"}},{"KV":{"Verb":"delete","Key":"spec/t1"}}]',
                text='{"Results":[{"KV":{"LockIndex":0,"Key":"spec/t1","Flags":7,"Value":null,"CreateIndex":<i>,'
                '"ModifyIndex":<i>}},{"KV":{"LockIndex":0,"Key":"spec/t1","Flags":7,"Value":"aGk=","CreateIndex":<i>,'
                '"ModifyIndex":<i>}}],"Errors":null}',
                has={"Content-Type": "application/json"},
            ),
            Step("GET /v1/kv/spec/t1", status=404),
        ),
    ),
    Exchange(
        "one refusal undoes all, and each one is told",
        clean="spec/t",
        steps=(
            Step(
                "PUT /v1/txn",
                b'[{"KV":{"Verb":"set","Key":"spec/t1"}},{},{"KV":{"Verb":"get","Key":"spec/t<2>"}},'
                b'{"KV":{"Verb":"cas","Key":"spec/t3","Index":5}}]',
                status=409,
                text='{"Results":null,"Errors":[{"OpIndex":1,"What":"key \\"spec/t\\u003c2\\u003e\\" doesn\'t exist"},'
                '{"OpIndex":2,"What":"failed to set key \\"spec/t3\\", index is stale"}]}',
                has={"X-Mesh-Outcome": "refused"},
            ),
            Step("GET /v1/kv/spec/t1", status=404),
        ),
    ),
    Exchange(
        "what registers is judged as a registration is",
        clean="spec/t",
        steps=(
            Step(
                "PUT /v1/txn",
                b'[{"KV":{"Verb":"set","Key":"spec/t1"}},{"Node":{"Verb":"set"}},'
                b'{"Node":{"Verb":"set","Node":{"Node":"spec"}}},'
                b'{"Service":{"Verb":"set","Node":"spec","Service":{"ID":"s"}}},'
                b'{"Check":{"Verb":"cas","Check":{"Node":"spec"}}}]',
                status=409,
                text='{"Results":null,"Errors":[{"OpIndex":1,"What":"Must provide node"},'
                '{"OpIndex":2,"What":"Must provide address if SkipNodeUpdate is not set"},'
                '{"OpIndex":3,"What":"Must provide service name with ID"},'
                '{"OpIndex":4,"What":"Must provide a check ID or name"}]}',
                has={"X-Mesh-Outcome": "refused"},
            ),
            Step("GET /v1/kv/spec/t1", status=404),
        ),
    ),
    Exchange(
        "without writes it is a read",
        clean="spec/t",
        steps=(
            Step("PUT /v1/kv/spec/t1", b"x"),
            Step(
                "PUT /v1/txn?stale",
                b'[{"KV":{"Verb":"get-tree","Key":"spec/t"}},{"KV":{"Verb":"get-or-empty","Key":"spec/none"}}]',
                has={"X-Consul-KnownLeader": "true", "X-Consul-LastContact": "<*>"},
                lacks=("X-Consul-Index",),
            ),
            Step(
                "PUT /v1/txn",
                b'[{"KV":{"Verb":"get","Key":"spec/t1"}}]',
                text='{"Results":[{"KV":{"LockIndex":0,"Key":"spec/t1","Flags":0,"Value":"eA==","CreateIndex":<i>,'
                '"ModifyIndex":<i>}}],"Errors":null,"Index":0,"LastContact":<*>,"KnownLeader":true,'
                '"ConsistencyLevel":""}',
            ),
        ),
    ),
    Exchange(
        "bodies are checked",
        steps=(
            Step("PUT /v1/txn", b"{", status=400, has={"X-Mesh-Outcome": "refused"}),
            Step("PUT /v1/txn", b'{"KV":1}', status=400, text="Failed to parse body: expected a list, got map"),
            Step("PUT /v1/txn", b'[{"KV":{"Verb":"set","Key":5}}]', status=400),
            Step("PUT /v1/txn", b'[{"KV":{"Verb":"set","Key":"k","Value":"%"}}]', status=400),
            Step("PUT /v1/txn", b'[{"Session":{"Verb":"delete"}}]', status=400),
            Step(
                "PUT /v1/txn",
                b'[{"Node":1}]',
                status=400,
                text="Failed to parse body: Node: expected a map, got number",
            ),
            Step("PUT /v1/txn", b'[{"Service":{"Verb":"set","Service":{"Tags":"a"}}}]', status=400),
            Step("PUT /v1/txn", b'[{"Check":{"Check":{"Definition":{"Interval":"x"}}}}]', status=400),
            Step(
                "PUT /v1/txn",
                b"[" + b",".join([b'{"KV":{"Verb":"get","Key":"k"}}'] * 129) + b"]",
                status=413,
                text="Transaction contains too many operations (129 > 128)",
            ),
        ),
    ),
    Exchange(
        "a body over the limit is refused",
        steps=(Step("PUT /v1/txn", b" " * 524289, status=413, has={"Connection": "close"}),),
    ),
]
