"""Catalog, health, agent, sessions, queries and transactions: what is asked, and what golden answers become.

Each exchange is tried with the client for threads and with the one for trio: they are written once.
"""

import json
from functools import partial
from typing import Any

import pytest
import trio

from base.errors import Internal, NotFound
from mesh.client import Client
from mesh.query import Read
from mesh.trio_client import TrioClient
from mesh.txn import Operation
from structs.catalog import (
    CheckDefinition,
    DeregisterCommand,
    HealthCheck,
    Node,
    NodeService,
    RegisterCommand,
    ServiceAddress,
    ServiceConnect,
    ServiceInstance,
    ServiceProxy,
    Upstream,
    Weights,
)
from structs.check_spec import CheckSpec
from structs.kv import KVEntry
from structs.prepared_query import PreparedQuery, ServiceQuery
from structs.session import ServiceCheck, Session, SessionBehavior
from tests.fakes.http_agent import Asked, Told, fake_agent, script_of

NODE_ROW = {
    "ID": "40e4a748-2192-161a-0510-9bf59fe950b5", "Node": "n1", "Address": "10.1.10.12", "Datacenter": "dc1",
    "TaggedAddresses": {"lan": "10.1.10.12"}, "Meta": {"k": "v"}, "CreateIndex": 5, "ModifyIndex": 6,
}  # fmt: skip
NODE = Node(
    node_id="40e4a748-2192-161a-0510-9bf59fe950b5", node="n1", address="10.1.10.12", datacenter="dc1",
    tagged_addresses={"lan": "10.1.10.12"}, meta={"k": "v"}, create_index=5, modify_index=6,
)  # fmt: skip
SERVICE_ROW = {
    "Kind": "connect-proxy", "ID": "web1", "Service": "web", "Tags": ["v1"], "Address": "", "Meta": {}, "Port": 8080,
    "EnableTagOverride": False, "ProxyDestination": "db", "Connect": {"Native": False, "Proxy": None},
    "TaggedAddresses": {"lan": {"Address": "10.0.0.5", "Port": 8080}}, "Weights": {"Passing": 10, "Warning": 1},
    "Proxy": {"DestinationServiceName": "db", "Upstreams": [{"DestinationName": "x", "LocalBindPort": 9191}]},
    "CreateIndex": 21, "ModifyIndex": 22, "Unknown": [1],
}  # fmt: skip
SERVICE = NodeService(
    kind="connect-proxy", service_id="web1", service="web", tags=["v1"], meta={}, port=8080, proxy_destination="db",
    connect=ServiceConnect(), tagged_addresses={"lan": ServiceAddress(address="10.0.0.5", port=8080)},
    weights=Weights(passing=10),
    proxy=ServiceProxy(
        destination_service_name="db", upstreams=[Upstream(destination_name="x", local_bind_port=9191)]
    ),
    create_index=21, modify_index=22,
)  # fmt: skip
CHECK_ROW = {
    "Node": "n1", "CheckID": "service:web1", "Name": "Service 'web' check", "Status": "passing", "Notes": "",
    "Output": "ok", "ServiceID": "web1", "ServiceName": "web", "ServiceTags": ["v1"], "Type": "http",
    "Definition": {"HTTP": "http://x", "Interval": "10s", "Timeout": 1000000000}, "CreateIndex": 7, "ModifyIndex": 8,
}  # fmt: skip
CHECK = HealthCheck(
    node="n1", check_id="service:web1", name="Service 'web' check", status="passing", output="ok", service_id="web1",
    service_name="web", service_tags=["v1"], kind="http",
    definition=CheckDefinition(http="http://x", interval_ns=10_000_000_000, timeout_ns=1_000_000_000),
    create_index=7, modify_index=8,
)  # fmt: skip
FLAT_ROW = {
    "ID": NODE_ROW["ID"], "Node": "n1", "Address": "10.1.10.12", "Datacenter": "dc1",
    "TaggedAddresses": {"lan": "10.1.10.12"}, "NodeMeta": {"k": "v"}, "ServiceKind": "", "ServiceID": "web1",
    "ServiceName": "web", "ServiceTags": ["v1"], "ServiceAddress": "", "ServiceMeta": {}, "ServicePort": 8080,
    "ServiceEnableTagOverride": False, "ServiceProxyDestination": "", "ServiceWeights": {"Passing": 1, "Warning": 1},
    "ServiceConnect": {"Native": False, "Proxy": None}, "CreateIndex": 21, "ModifyIndex": 21,
}  # fmt: skip
SESSION_ROW = {
    "ID": "adf4238a-882b-9ddc-4a9d-5b6758e4159e", "Name": "s", "Node": "n1", "Checks": ["serfHealth"],
    "NodeChecks": ["serfHealth"], "ServiceChecks": [{"ID": "c1", "Namespace": ""}], "LockDelay": 15000000000,
    "Behavior": "delete", "TTL": "15s", "CreateIndex": 9, "ModifyIndex": 9,
}  # fmt: skip
SESSION_ID = "adf4238a-882b-9ddc-4a9d-5b6758e4159e"


def exchanged(value: Any, call: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> tuple[Any, Asked]:
    """Return what a call finds where every answer is `value`, in both worlds the same, and what was asked."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    told = Told(status=status, body=body, headers={"X-Consul-Index": "12", **(headers or {})})
    with fake_agent(script_of(told)) as agent:
        with Client(agent.address, environment={}, attempts_max=1) as client:
            found = call(client)

        async def in_trio() -> Any:
            async with TrioClient(agent.address, environment={}, attempts_max=1) as client:
                return await call(client)

        assert trio.run(in_trio) == found
        first, second = agent.asked
        assert (first.method, first.path, first.body) == (second.method, second.path, second.body)
        return found, first


def test_services_and_their_instances_are_read() -> None:
    answer, asked = exchanged(
        {"consul": [], "web": ["v1"]}, lambda client: client.catalog.services(node_meta={"a": "b"})
    )
    assert (answer.value, answer.index) == ({"consul": [], "web": ["v1"]}, 12)
    assert asked.path == "/v1/catalog/services?node-meta=a%3Ab"
    answer, asked = exchanged(
        [FLAT_ROW],
        lambda client: client.catalog.service("web", tags=["v1", "x"], near="_agent", where='ServiceID == "web1"'),
    )
    (instance,) = answer.value
    assert instance.node == Node(
        node_id=NODE.node_id, node="n1", address="10.1.10.12", datacenter="dc1", tagged_addresses=NODE.tagged_addresses,
        meta={"k": "v"},
    )  # fmt: skip
    assert instance.service == NodeService(
        service_id="web1", service="web", tags=["v1"], meta={}, port=8080, create_index=21, modify_index=21
    )
    assert asked.path == ("/v1/catalog/service/web?near=_agent&tag=v1&tag=x&filter=ServiceID+%3D%3D+%22web1%22")
    assert exchanged([], lambda client: client.catalog.connect("web"))[1].path == "/v1/catalog/connect/web"


def test_a_node_comes_with_its_services_or_is_unknown() -> None:
    row = {"Node": NODE_ROW, "Services": {"web1": SERVICE_ROW}}
    answer, asked = exchanged(row, lambda client: client.catalog.node("n1"))
    assert (answer.value.node, answer.value.services, asked.path) == (NODE, [SERVICE], "/v1/catalog/node/n1")
    assert exchanged(None, lambda client: client.catalog.node("x"))[0].value.node is None
    answer, asked = exchanged(
        {"Node": NODE_ROW, "Services": [SERVICE_ROW]}, lambda client: client.catalog.node_services("n1")
    )
    assert (answer.value.services, asked.path) == ([SERVICE], "/v1/catalog/node-services/n1")


def test_nodes_are_registered_and_taken_out() -> None:
    command = RegisterCommand(
        node="n1", address="a", node_meta={"k": "v"}, service=NodeService(service_id="web1", service="web", port=80),
        checks=[HealthCheck(node="n1", check_id="c", status="passing", definition=CheckDefinition(interval_ns=10**9))],
    )  # fmt: skip
    _, asked = exchanged(True, lambda client: client.catalog.register(command))
    assert (asked.method, asked.path) == ("PUT", "/v1/catalog/register")
    assert json.loads(asked.body) == {
        "Node": "n1", "Address": "a", "NodeMeta": {"k": "v"}, "Service": {"ID": "web1", "Service": "web", "Port": 80},
        "Checks": [{"Node": "n1", "CheckID": "c", "Status": "passing", "Definition": {"Interval": "1s"}}],
    }  # fmt: skip
    _, asked = exchanged(
        True, lambda client: client.catalog.deregister(DeregisterCommand(node="n1", service_id="web1"))
    )
    assert json.loads(asked.body) == {"Node": "n1", "ServiceID": "web1"}


def test_health_joins_instances_with_their_checks() -> None:
    row = {"Node": NODE_ROW, "Service": SERVICE_ROW, "Checks": [CHECK_ROW]}
    answer, asked = exchanged(
        [row], lambda client: client.health.service("web", passing=True, tags=["v1"], read=Read(index=3, wait_s=2))
    )
    assert answer.value == [ServiceInstance(node=NODE, service=SERVICE, checks=[CHECK])]
    assert asked.path == "/v1/health/service/web?index=3&wait=2000ms&tag=v1&passing=1"
    for call, path in (
        (lambda client: client.health.node("n1"), "/v1/health/node/n1"),
        (lambda client: client.health.checks("web", near="n1"), "/v1/health/checks/web?near=n1"),
        (lambda client: client.health.state("any"), "/v1/health/state/any"),
    ):
        answer, asked = exchanged([CHECK_ROW], call)
        assert (answer.value, asked.path) == ([CHECK], path)
    path = exchanged([], lambda client: client.health.connect("web", passing=True))[1].path
    assert path == "/v1/health/connect/web?passing=1"


def test_an_agent_shows_and_takes_services_and_checks() -> None:
    assert exchanged({"web1": SERVICE_ROW}, lambda client: client.agent.services())[0] == {"web1": SERVICE}
    assert exchanged({"service:web1": CHECK_ROW}, lambda client: client.agent.checks())[0] == {"service:web1": CHECK}
    content, asked = exchanged(
        {**SERVICE_ROW, "ContentHash": "abc"}, lambda client: client.agent.service("web1", content_hash="old", wait_s=1)
    )
    assert (content.service, content.content_hash) == (SERVICE, "abc")
    assert asked.path == "/v1/agent/service/web1?hash=old&wait=1000ms"
    with pytest.raises(NotFound):
        exchanged(b"unknown service ID: x", lambda client: client.agent.service("x"), status=404)
    service = NodeService(service_id="web1", service="web", port=80, tags=["v1"])
    check = CheckSpec(check_id="", name="", http="http://x", interval_s=10, timeout_s=0.5)
    _, asked = exchanged(b"", lambda client: client.agent.register(service, [check], replace_existing_checks=True))
    assert asked.path == "/v1/agent/service/register?replace-existing-checks=true"
    assert json.loads(asked.body) == {
        "ID": "web1", "Name": "web", "Port": 80, "Tags": ["v1"],
        "Checks": [{"HTTP": "http://x", "Interval": "10s", "Timeout": "500ms"}],
    }  # fmt: skip
    spec = CheckSpec(check_id="c", name="n", ttl_s=15, service_id="web1")
    _, asked = exchanged(b"", lambda client: client.agent.register_check(spec))
    assert json.loads(asked.body) == {"ID": "c", "Name": "n", "TTL": "15s", "ServiceID": "web1"}


def test_what_is_told_to_an_agent() -> None:
    for call, expected, body in (
        (lambda client: client.agent.deregister("a/b"), "/v1/agent/service/deregister/a/b", b""),
        (lambda client: client.agent.deregister_check("c"), "/v1/agent/check/deregister/c", b""),
        (
            lambda client: client.agent.update_ttl("c", "warning", "slow"),
            "/v1/agent/check/update/c",
            b'{"Status": "warning", "Output": "slow"}',
        ),
        (
            lambda client: client.agent.maintenance(enable=True, reason="why not"),
            "/v1/agent/maintenance?enable=true&reason=why+not",
            b"",
        ),
        (
            lambda client: client.agent.service_maintenance("web1", enable=False),
            "/v1/agent/service/maintenance/web1?enable=false",
            b"",
        ),
        (lambda client: client.agent.reload(), "/v1/agent/reload", b""),
    ):
        _, asked = exchanged(b"", call)
        assert (asked.method, asked.path, asked.body) == ("PUT", expected, body)


@pytest.mark.parametrize("status", [200, 404, 429, 503])
def test_a_service_that_is_not_well_is_an_answer_and_no_error(status: int) -> None:
    row = {"AggregatedStatus": "critical", "Service": None, "Checks": None}
    found, asked = exchanged(row, lambda client: client.agent.health_by_id("web1"), status=status)
    assert (found.status, found.service, found.checks) == ("critical", None, [])
    assert asked.path == "/v1/agent/health/service/id/web1"
    found, _ = exchanged(
        [{"AggregatedStatus": "warning", "Service": SERVICE_ROW, "Checks": [CHECK_ROW]}],
        lambda client: client.agent.health_by_name("web"),
        status=status,
    )
    assert [(each.status, each.service, each.checks) for each in found] == [("warning", SERVICE, [CHECK])]


def test_metrics_and_the_host_are_read_as_they_are() -> None:
    assert exchanged({"Gauges": []}, lambda client: client.agent.metrics())[0] == {"Gauges": []}
    text, asked = exchanged(b"a 1\n", lambda client: client.agent.metrics_prometheus())
    assert (text, asked.path) == ("a 1\n", "/v1/agent/metrics?format=prometheus")
    assert exchanged({"CPU": []}, lambda client: client.agent.host())[1].path == "/v1/agent/host"


def test_sessions_are_made_renewed_and_ended() -> None:
    found, asked = exchanged(
        {"ID": SESSION_ID}, lambda client: client.session.create(name="s", ttl_s=15, lock_delay_s=0.001)
    )
    assert found == SESSION_ID
    assert json.loads(asked.body) == {
        "Name": "s", "LockDelay": "1ms", "Behavior": "release", "NodeChecks": ["serfHealth"], "Checks": ["serfHealth"],
        "TTL": "15s",
    }  # fmt: skip
    session = Session(
        session_id=SESSION_ID, name="s", node="n1", node_checks=["serfHealth"], ttl="15s",
        service_checks=[ServiceCheck(check_id="c1")], lock_delay_ns=15_000_000_000, behavior=SessionBehavior.DELETE,
        create_index=9, modify_index=9,
    )  # fmt: skip
    assert exchanged([SESSION_ROW], lambda client: client.session.renew(SESSION_ID))[0] == session
    assert exchanged(b"Session id 'x' not found", lambda client: client.session.renew("x"), status=404)[0] is None
    assert exchanged([SESSION_ROW], lambda client: client.session.info(SESSION_ID))[0].value == session
    assert exchanged([], lambda client: client.session.info("x"))[0].value is None
    for call, path in (
        (lambda client: client.session.node("n1"), "/v1/session/node/n1"),
        (lambda client: client.session.list(), "/v1/session/list"),
    ):
        answer, asked = exchanged([SESSION_ROW], call)
        assert (answer.value, asked.path) == ([session], path)
    _, asked = exchanged(True, lambda client: client.session.destroy(SESSION_ID))
    assert (asked.method, asked.path) == ("PUT", f"/v1/session/destroy/{SESSION_ID}")


def test_prepared_queries_are_stored_and_carried_out() -> None:
    query = PreparedQuery(name="q", service=ServiceQuery(service="web", only_passing=True, tags=["v1"]))
    found, asked = exchanged({"ID": "i"}, lambda client: client.query.create(query))
    assert (found, asked.method, asked.path) == ("i", "POST", "/v1/query")
    assert json.loads(asked.body) == {
        "Name": "q",
        "Service": {"Service": "web", "OnlyPassing": True, "Tags": ["v1"]},
    }
    row = {
        "ID": "i", "Name": "q", "Session": "", "Token": "", "Template": {"Type": ""}, "DNS": {"TTL": "5s"},
        "Service": {"Service": "web", "Failover": {"NearestN": 2, "Datacenters": None}, "Tags": None},
    }  # fmt: skip
    stored = exchanged([row], lambda client: client.query.get("i"))[0].value
    assert (stored.service.failover.nearest_n, stored.service.tags) == (2, None)
    assert exchanged(b"Query not found", lambda client: client.query.get("i"), status=404)[0].value is None
    assert exchanged([row], lambda client: client.query.list())[0].value == [stored]
    assert exchanged({"Query": row}, lambda client: client.query.explain("q"))[0] == stored
    assert exchanged(b"", lambda client: client.query.update(stored))[1].path == "/v1/query/i"
    assert exchanged(b"", lambda client: client.query.delete("i"))[1].method == "DELETE"
    answer = {
        "Service": "web", "Nodes": [{"Node": NODE_ROW, "Service": SERVICE_ROW, "Checks": None}], "DNS": {"TTL": ""},
        "Datacenter": "dc2", "Failovers": 1,
    }  # fmt: skip
    execution, asked = exchanged(answer, lambda client: client.query.execute("q", near="_agent", limit=3, connect=True))
    assert (execution.instances[0].service, execution.datacenter, execution.failovers_count) == (SERVICE, "dc2", 1)
    assert asked.path == "/v1/query/q/execute?near=_agent&limit=3&connect=true"


def test_a_transaction_takes_operations_of_all_kinds() -> None:
    operations = [
        Operation.set("a", b"1", flags=7),
        Operation.cas("a", b"2", 5),
        Operation.check_session("lock", "s"),
        Operation.node("set", NODE),
        Operation.service("cas", "n1", NodeService(service_id="web1", service="web", modify_index=17)),
        Operation.check("delete-cas", HealthCheck(node="n1", check_id="c1", modify_index=31)),
        Operation.delete_session("s"),
    ]
    results = [
        {"KV": {"Key": "a", "Value": "MQ=="}},
        {"Node": NODE_ROW},
        {"Service": SERVICE_ROW},
        {"Check": CHECK_ROW},
    ]
    outcome, asked = exchanged({"Results": results, "Errors": None}, lambda client: client.txn.apply(operations))
    assert list(outcome.results) == [KVEntry(key="a", value=b"1"), NODE, SERVICE, CHECK]
    rows = json.loads(asked.body)
    assert rows[:3] == [
        {"KV": {"Verb": "set", "Key": "a", "Value": "MQ==", "Flags": 7}},
        {"KV": {"Verb": "cas", "Key": "a", "Value": "Mg==", "Index": 5}},
        {"KV": {"Verb": "check-session", "Key": "lock", "Session": "s"}},
    ]
    assert rows[3]["Node"]["Node"]["ID"] == NODE.node_id
    assert rows[4:] == [
        {"Service": {"Verb": "cas", "Node": "n1", "Service": {"ID": "web1", "Service": "web", "ModifyIndex": 17}}},
        {"Check": {"Verb": "delete-cas", "Check": {"Node": "n1", "CheckID": "c1", "ModifyIndex": 31}}},
        {"Session": {"Verb": "delete", "Session": {"ID": "s"}}},
    ]
    refused = {"Results": None, "Errors": [{"OpIndex": 1, "What": "index is stale"}]}
    outcome, _ = exchanged(refused, lambda client: client.txn.apply(operations), status=409)
    assert [(error.position, error.what) for error in outcome.errors] == [(1, "index is stale")]
    assert [each.is_read for each in (Operation.get("a"), Operation.get_tree("a"), Operation.lock("a", b"", "s"))] == [
        True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "answer", [[1], [{"Node": 5}], {"Node": "n1"}, [{"Address": "no name"}], [{"Node": "n1", "Meta": {"a": 1}}]]
)
def test_answers_that_make_no_sense_are_errors_of_the_agent(answer: Any) -> None:
    body = json.dumps(answer).encode()
    with (
        fake_agent(script_of(Told(body=body))) as agent,
        Client(agent.address, environment={}, attempts_max=1) as client,
        pytest.raises(Internal),
    ):
        client.catalog.nodes()


def test_a_class_builds_what_an_instance_carries_out() -> None:
    from mesh.kv import KV

    call = KV.cas("a", b"1", 7)
    assert (call.method, call.path, call.parameters, call.body, call.is_read) == (
        "PUT", "/v1/kv/a", {"cas": "7"}, b"1", False,
    )  # fmt: skip
    assert partial(KV.get, "a")().is_read
