"""/v1/operator/autopilot. Source: HTTP API, section 11; modern deltas, section 11."""

from tests.fakes.cluster_calls import SERVER_ID
from tests.spec.exchange import Exchange, Step


def _config(**fields: str) -> str:
    parts = {
        "CleanupDeadServers": "true",
        "LastContactThreshold": '"200ms"',
        "MaxTrailingLogs": "250",
        "ServerStabilizationTime": '"10s"',
        "RedundancyZoneTag": '""',
        "DisableUpgradeMigration": "false",
        "UpgradeVersionTag": '""',
        "CreateIndex": "4",
        "ModifyIndex": "4",
        **fields,
    }
    return "{" + ",".join(f'"{name}":{value}' for name, value in parts.items()) + "}"


_BAD = "Error parsing autopilot config: "

EXCHANGES = [
    Exchange(
        "the configuration is read, replaced as a whole, and replaced on a condition",
        steps=(
            Step("GET /v1/operator/autopilot/configuration?stale", text=_config(), lacks=("X-Consul-Index",)),
            Step(
                "PUT /v1/operator/autopilot/configuration",
                b'{"CleanupDeadServers":true,"lastcontactthreshold":500000000,"MinQuorum":3,"MaxTrailingLogs":7}',
                text="true",
            ),
            Step(
                "GET /v1/operator/autopilot/configuration",
                text=_config(
                    LastContactThreshold='"500ms"',
                    MaxTrailingLogs="7",
                    ServerStabilizationTime='"0s"',
                    ModifyIndex="5",
                ),
            ),
            Step("PUT /v1/operator/autopilot/configuration?cas=4", _config().encode(), text="false"),
            Step("PUT /v1/operator/autopilot/configuration?cas=5", _config().encode(), text="true"),
            Step("GET /v1/operator/autopilot/configuration", text=_config(ModifyIndex="6")),
            Step("POST /v1/operator/autopilot/configuration", status=405, has={"Allow": "OPTIONS,GET,PUT"}),
        ),
    ),
    Exchange(
        "a configuration that is none is refused",
        steps=(
            Step("PUT /v1/operator/autopilot/configuration", b"", status=400, has={"X-Mesh-Outcome": "refused"}),
            Step("PUT /v1/operator/autopilot/configuration", b"[1]", status=400),
            Step(
                "PUT /v1/operator/autopilot/configuration",
                b'{"LastContactThreshold":"fast"}',
                status=400,
                text=_BAD + 'configuration.LastContactThreshold: time: invalid duration "fast"',
            ),
            Step("PUT /v1/operator/autopilot/configuration", b'{"LastContactThreshold":"-1s"}', status=400),
            Step("PUT /v1/operator/autopilot/configuration", b'{"LastContactThreshold":1.5}', status=400),
            Step("PUT /v1/operator/autopilot/configuration", b'{"MaxTrailingLogs":-1}', status=400),
            Step(
                "PUT /v1/operator/autopilot/configuration",
                b'{"CleanupDeadServers":"true"}',
                status=400,
                text=_BAD + "configuration.CleanupDeadServers: expected type 'bool', got string",
            ),
            Step(
                "PUT /v1/operator/autopilot/configuration?cas=x",
                b"{}",
                status=400,
                text='Error parsing cas value: strconv.ParseUint: parsing "x": invalid syntax',
            ),
            Step("PUT /v1/operator/autopilot/configuration?cas", b"{}", status=400),
            Step(
                "PUT /v1/operator/autopilot/configuration?dc=nowhere", b"{}", status=500, text="No path to datacenter"
            ),
        ),
    ),
    Exchange(
        "health and state say how the servers do",
        steps=(
            Step(
                "GET /v1/operator/autopilot/health?stale",
                text=f'{{"Healthy":true,"FailureTolerance":0,"Servers":[{{"ID":"{SERVER_ID}","Name":"n1",'
                '"Address":"10.0.0.1:8300","SerfStatus":"alive","Version":"1.21.0","Leader":true,"LastContact":"0s",'
                '"LastTerm":2,"LastIndex":46,"Healthy":true,"Voter":true,"StableSince":"2018-06-01T10:00:00Z"}]}',
            ),
            Step(
                "GET /v1/operator/autopilot/state",
                text='{"Healthy":true,"FailureTolerance":0,"OptimisticFailureTolerance":0,"Servers":'
                f'{{"{SERVER_ID}":{{"ID":"{SERVER_ID}","Name":"n1","Address":"10.0.0.1:8300","NodeStatus":"alive",'
                '"Version":"1.21.0","LastContact":"0s","LastTerm":2,"LastIndex":46,"Healthy":true,'
                '"StableSince":"2018-06-01T10:00:00Z","ReadReplica":false,"Status":"leader","Meta":{},'
                f'"NodeType":"voter"}}}},"Leader":"{SERVER_ID}","Voters":["{SERVER_ID}"]}}',
            ),
            Step("PUT /v1/operator/autopilot/health", status=405, has={"Allow": "OPTIONS,GET"}),
        ),
    ),
]
