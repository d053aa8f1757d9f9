"""/v1/txn: what the server is asked about nodes, services and checks, and how their results look."""

import json
from typing import Any

from base.errors import Refused
from structs.catalog import (
    CheckDefinition,
    ConnectProxy,
    HealthCheck,
    Node,
    NodeService,
    ServiceAddress,
    ServiceConnect,
    ServiceProxy,
    Upstream,
    Weights,
)
from structs.txn import ServiceOnNode, TxnOp, TxnOutcome, TxnReply, TxnRequest, TxnResult
from tests.fakes.http_server import http_site

BODY = [
    {"Node": {"Verb": "set", "Node": {"ID": "i", "Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1",
     "TaggedAddresses": {"lan": "10.0.0.1"}, "Meta": {"K": "v"}, "ModifyIndex": 7}}},
    {"service": {"verb": "cas", "node": "n1", "service": {
        "Kind": "connect-proxy", "ID": "web1", "Service": "web", "Tags": ["v1"], "Address": "10.0.0.5", "Port": 80,
        "Meta": {"a": "b"}, "EnableTagOverride": True, "ModifyIndex": 17, "Weights": {"Passing": 10, "Warning": 2},
        "TaggedAddresses": {"wan": {"Address": "198.51.100.5", "Port": 443}},
        "Connect": {"Native": True, "Proxy": {"Command": ["run"], "ExecMode": "daemon", "Config": {"x": 1}}},
        "Proxy": {"DestinationServiceName": "db", "LocalServicePort": 5, "Mode": "direct",
                  "MeshGateway": {"Mode": "local"},
                  "Upstreams": [{"DestinationName": "cache", "LocalBindPort": 9, "Config": {"y": [1]}}]}}}},
    {"Service": {"Verb": "set", "Node": "n1", "Service": {"Service": "plain", "Connect": {}, "Proxy": {
        "Mode": "", "MeshGateway": {}, "Expose": {}}}}},
    {"Check": {"Verb": "delete-cas", "Check": {"Node": "n1", "CheckID": "c1", "Name": "C", "Status": "passing",
        "Notes": "n", "Output": "o", "ServiceID": "web1", "ServiceName": "web", "ServiceTags": ["v1"], "Type": "http",
        "ModifyIndex": 31, "Definition": {"HTTP": "http://x", "Header": {"A-b": ["c"]}, "Interval": "10s",
        "TimeoutDuration": 5, "DeregisterCriticalServiceAfter": "1m", "TLSSkipVerify": True}}}},
    {"Unknown": 1},
]  # fmt: skip
OPERATIONS = [
    TxnOp(verb="set", node=Node(node_id="i", node="n1", address="10.0.0.1", datacenter="dc1",
                                tagged_addresses={"lan": "10.0.0.1"}, meta={"K": "v"}, modify_index=7)),
    TxnOp(verb="cas", service=ServiceOnNode(node="n1", service=NodeService(
        kind="connect-proxy", service_id="web1", service="web", tags=["v1"], address="10.0.0.5", port=80,
        meta={"a": "b"}, enable_tag_override=True, modify_index=17, weights=Weights(passing=10, warning=2),
        tagged_addresses={"wan": ServiceAddress(address="198.51.100.5", port=443)},
        connect=ServiceConnect(native=True, proxy=ConnectProxy(command=["run"], exec_mode="daemon", config={"x": 1})),
        proxy=ServiceProxy(destination_service_name="db", local_service_port=5, mode="direct",
                           mesh_gateway={"Mode": "local"},
                           upstreams=[Upstream(destination_name="cache", local_bind_port=9, config={"y": [1]})])))),
    TxnOp(verb="set", service=ServiceOnNode(node="n1", service=NodeService(service_id="", service="plain"))),
    TxnOp(verb="delete-cas", check=HealthCheck(
        node="n1", check_id="c1", name="C", status="passing", notes="n", output="o", service_id="web1",
        service_name="web", service_tags=["v1"], kind="http", modify_index=31,
        definition=CheckDefinition(http="http://x", header={"A-b": ["c"]}, interval_ns=10_000_000_000, timeout_ns=5,
                                   deregister_after_ns=60_000_000_000, tls_skip_verify=True))),
]  # fmt: skip


async def test_operations_on_the_catalog_carry_every_field() -> None:
    async with http_site() as site:
        site.delegate.error = Refused("enough seen")
        await site.ask("PUT", "/v1/txn", json.dumps(BODY).encode())
        assert site.delegate.calls == [("Txn.Apply", TxnRequest(operations=OPERATIONS))]
        site.delegate.calls.clear()
        reads = [{"Node": {"Verb": "get", "Node": {"Node": "n1"}}}, {"Check": {"Verb": "get", "Check": {"Node": "n"}}}]
        await site.ask("PUT", "/v1/txn", json.dumps(reads).encode())
        assert [method for method, _ in site.delegate.calls] == ["Txn.Read"]


async def test_results_stand_under_their_kind(monkeypatch: Any) -> None:
    node = Node(node="n1", address="a", create_index=1, modify_index=2)
    check = HealthCheck(node="n1", check_id="c1")
    results = [
        TxnResult(node=node),
        TxnResult(service=NodeService(service_id="s", service="s")),
        TxnResult(check=check),
    ]
    async with http_site() as site:
        monkeypatch.setattr(
            site.delegate, "_txn_apply", lambda _: TxnReply(outcome=TxnOutcome(results=results)), raising=True
        )
        status, _, body = await site.ask("PUT", "/v1/txn", json.dumps(BODY).encode())
        assert status == 200
        answer = json.loads(body)
        assert [list(result) for result in answer["Results"]] == [["Node"], ["Service"], ["Check"]]
        assert (answer["Results"][0]["Node"]["Node"], answer["Results"][0]["Node"]["ModifyIndex"]) == ("n1", 2)
        assert answer["Results"][1]["Service"]["Tags"] == []
        assert answer["Results"][2]["Check"]["CheckID"] == "c1"
        assert answer["Errors"] is None
