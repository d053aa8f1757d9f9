"""/v1/operator/keyring. Source: HTTP API, section 11; modern deltas, section 11."""

from tests.fakes.cluster_calls import KEY
from tests.spec.exchange import Exchange, Step

_BODY = f'{{"Key":"{KEY}"}}'.encode()
_SIZE = "Bad request: key size must be 16, 24 or 32 bytes"

EXCHANGES = [
    Exchange(
        "keys are listed by pool, and changed",
        steps=(
            Step(
                "GET /v1/operator/keyring?relay-factor=5",
                text=f'[{{"WAN":true,"Datacenter":"dc1","Segment":"","Keys":{{"{KEY}":1}},"PrimaryKeys":{{"{KEY}":1}},'
                f'"NumNodes":1}},{{"WAN":false,"Datacenter":"dc1","Segment":"","Keys":{{"{KEY}":2}},'
                f'"PrimaryKeys":{{"{KEY}":2}},"NumNodes":2}}]',
                lacks=("X-Consul-Index",),
            ),
            Step("POST /v1/operator/keyring", _BODY, text=""),
            Step("PUT /v1/operator/keyring?relay-factor=0", _BODY, text=""),
            Step("DELETE /v1/operator/keyring", _BODY, text=""),
            Step("PATCH /v1/operator/keyring", status=405, has={"Allow": "OPTIONS,GET,PUT,POST,DELETE"}),
        ),
    ),
    Exchange(
        "what is no key is refused, and never repeated",
        steps=(
            Step("POST /v1/operator/keyring", b"{", status=400, has={"X-Mesh-Outcome": "refused"}),
            Step("POST /v1/operator/keyring", b"", status=400),
            Step("POST /v1/operator/keyring", b"{}", status=400, text=_SIZE),
            Step("POST /v1/operator/keyring", b'{"Key":"AAAA"}', status=400, text=_SIZE),
            Step("PUT /v1/operator/keyring", b'{"Key":"%%%%"}', status=400, text="Bad request: the key is not base64"),
            Step("PUT /v1/operator/keyring", '{"Key":"é"}'.encode(), status=400),
            Step("PUT /v1/operator/keyring", b'{"Key":"' + b"A" * 5000 + b'"}', status=400, text=_SIZE),
            Step("DELETE /v1/operator/keyring", b'{"Key":7}', status=400),
            Step("POST /v1/operator/keyring", b"x" * 70_000, status=413),
        ),
    ),
    Exchange(
        "the relay factor has its bounds",
        steps=(
            Step(
                "GET /v1/operator/keyring?relay-factor=6",
                status=400,
                text="Invalid relay factor: Relay factor must be in range: [0, 5]",
            ),
            Step("GET /v1/operator/keyring?relay-factor=-1", status=400),
            Step(
                "GET /v1/operator/keyring?relay-factor=x",
                status=400,
                text='Error parsing relay factor: strconv.Atoi: parsing "x": invalid syntax',
            ),
            Step("GET /v1/operator/keyring?relay-factor=" + "9" * 5000, status=400),
        ),
    ),
]
