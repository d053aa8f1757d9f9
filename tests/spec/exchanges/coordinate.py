"""/v1/coordinate. Source: HTTP API, section 9."""

from tests.spec.exchange import Exchange, Step

_ORIGIN = '{"Vec":[0,0,0,0,0,0,0,0],"Error":1.5,"Adjustment":0,"Height":0.00001}'
_FIRST = f'{{"Node":"n1","Segment":"","Coord":{_ORIGIN}}}'
_SECOND = (
    '{"Node":"n1","Segment":"alpha","Coord":{"Vec":[0.5,0,0,0,0,0,0,0],"Error":0.25,"Adjustment":0,"Height":0.00001}}'
)
_META = {"X-Consul-Index": "3", "X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0"}
_BAD = "Request decode failed: "

EXCHANGES = [
    Exchange(
        "positions are listed by datacenter, by node, and of one node",
        steps=(
            Step(
                "GET /v1/coordinate/datacenters",
                text=f'[{{"Datacenter":"dc1","AreaID":"wan","Coordinates":[{_FIRST}]}},'
                '{"Datacenter":"dc2","AreaID":"wan","Coordinates":[]}]',
                lacks=("X-Consul-Index",),
            ),
            Step("GET /v1/coordinate/nodes", text=f"[{_FIRST},{_SECOND}]", has=_META),
            Step("GET /v1/coordinate/nodes?segment=", text=f"[{_FIRST}]"),
            Step("GET /v1/coordinate/nodes?segment=none", text="[]", has=_META),
            Step("GET /v1/coordinate/nodes?dc=nowhere", status=500, text="No path to datacenter"),
            Step("GET /v1/coordinate/node/n1?stale", text=f"[{_FIRST},{_SECOND}]", has=_META),
            Step("GET /v1/coordinate/node/n1?segment=alpha", text=f"[{_SECOND}]"),
            Step("GET /v1/coordinate/node/n9", status=404, text="", has=_META),
            Step("GET /v1/coordinate/node/", status=400, text="Missing node name"),
            Step("PUT /v1/coordinate/nodes", status=405, has={"Allow": "OPTIONS,GET"}),
        ),
    ),
    Exchange(
        "a position is taken, or refused where it is none",
        steps=(
            Step("PUT /v1/coordinate/update", b'{"Node":"n1","Coord":' + _ORIGIN.encode() + b"}", text=""),
            Step(
                "PUT /v1/coordinate/update",
                b'{"node":"n1","coord":{"vec":[0,0,0,0,0,0,0,1],"unheard":1,"height":null}}',
                text="",
            ),
            Step("PUT /v1/coordinate/update", b'{"Node":"n1"}', status=500, text="invalid coordinate"),
            Step("PUT /v1/coordinate/update", b'{"Node":"n1","Coord":{}}', status=500, text="incompatible coordinate"),
            Step(
                "PUT /v1/coordinate/update",
                b'{"Node":"n1","Coord":{"Vec":["a"]}}',
                status=400,
                text=_BAD + "Coord.Vec: expected type 'number', got string",
                has={"X-Mesh-Outcome": "refused"},
            ),
            Step(
                "PUT /v1/coordinate/update",
                b'{"Node":"n1","Coord":{"Error":true}}',
                status=400,
                text=_BAD + "Coord.Error: expected type 'number', got bool",
            ),
            Step("PUT /v1/coordinate/update", b'{"Coord":{"Height":1e999}}', status=400),
            Step("PUT /v1/coordinate/update", b'{"Coord":{"Height":1' + b"0" * 400 + b"}}", status=400),
            Step("PUT /v1/coordinate/update", b"[]", status=400, text=_BAD + "update: expected a map, got list"),
            Step("PUT /v1/coordinate/update", b"", status=400),
            Step("PUT /v1/coordinate/update", b'{"Node":', status=400),
            Step("GET /v1/coordinate/update", status=405, has={"Allow": "OPTIONS,PUT"}),
        ),
    ),
]
