"""Registrations as clients write them: any case, both forms of durations, aliases, null, and what is not right."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.http.catalog_body import parse_deregistration, parse_registration
from base.errors import InvalidRequest, Refused
from structs.catalog import (
    CONNECT_PROXY,
    CheckDefinition,
    ConnectProxy,
    DeregisterCommand,
    HealthCheck,
    NodeService,
    RegisterCommand,
    ServiceAddress,
    ServiceConnect,
    ServiceProxy,
    Upstream,
    Weights,
)
from structs.registration import completed


def parse(value: Any) -> RegisterCommand:
    return parse_registration(json.dumps(value).encode())[0]


def test_every_field_is_read_in_any_case() -> None:
    service = {
        "KIND": "connect-proxy", "id": "p1", "service": "p", "tags": ["a"], "address": "10.0.0.2", "meta": {"k": "v"},
        "port": 21000, "enabletagoverride": True, "proxydestination": "web",
        "TaggedAddresses": {"lan": {"address": "10.0.0.2", "Port": 1}}, "weights": {"passing": 10, "warning": 0},
        "connect": {"native": False, "proxy": {"command": ["x"], "execmode": "daemon", "config": {"A": 1}}},
        "proxy": {
            "destinationservicename": "web", "DestinationServiceID": "web1", "LocalServicePort": 80, "config": {"c": 1},
            "upstreams": [{"DestinationName": "db", "localbindport": 9191, "Config": {}}, None],
            "expose": {"Checks": True}, "meshgateway": {},
        },
    }  # fmt: skip
    check = {
        "node": "n", "checkid": "c", "name": "C", "status": "passing", "notes": "N", "output": "O", "serviceid": "p1",
        "type": "http", "definition": {"http": "http://x", "header": {"a": ["b"], "c": None}, "interval": "10s",
        "timeoutduration": 1500000000, "DeregisterCriticalServiceAfterDuration": "1m", "tlsskipverify": True},
    }  # fmt: skip
    body = {
        "datacenter": "dc2", "id": "u", "NODE": "n", "address": "10.0.0.1", "taggedaddresses": {"lan": "10.0.0.1"},
        "nodemeta": {"rack": "a"}, "service": service, "check": check, "checks": [{"name": "first"}], "unknown": [1],
        "skipnodeupdate": True, "WriteRequest": {"Token": "ignored"},
    }  # fmt: skip
    command, datacenter = parse_registration(json.dumps(body).encode())
    assert datacenter == "dc2"
    assert command == RegisterCommand(
        node_id="u",
        node="n",
        address="10.0.0.1",
        tagged_addresses={"lan": "10.0.0.1"},
        node_meta={"rack": "a"},
        service=NodeService(
            kind=CONNECT_PROXY,
            service_id="p1",
            service="p",
            tags=["a"],
            address="10.0.0.2",
            meta={"k": "v"},
            port=21000,
            enable_tag_override=True,
            proxy_destination="web",
            connect=ServiceConnect(proxy=ConnectProxy(command=["x"], exec_mode="daemon", config={"A": 1})),
            tagged_addresses={"lan": ServiceAddress(address="10.0.0.2", port=1)},
            weights=Weights(passing=10, warning=0),
            proxy=ServiceProxy(
                destination_service_name="web",
                destination_service_id="web1",
                local_service_port=80,
                config={"c": 1},
                upstreams=[Upstream(destination_name="db", local_bind_port=9191, config={})],
                expose={"Checks": True},
            ),
        ),
        checks=[
            HealthCheck(node="", check_id="", name="first"),
            HealthCheck(
                node="n",
                check_id="c",
                name="C",
                status="passing",
                notes="N",
                output="O",
                service_id="p1",
                kind="http",
                definition=CheckDefinition(
                    http="http://x",
                    tls_skip_verify=True,
                    header={"a": ["b"], "c": []},
                    interval_ns=10_000_000_000,
                    timeout_ns=1_500_000_000,
                    deregister_after_ns=60_000_000_000,
                ),
            ),
        ],
        skip_node_update=True,
    )


def test_null_is_absent_everywhere_and_a_service_without_weights_has_the_usual_ones() -> None:
    service = dict.fromkeys(("Tags", "Meta", "Port", "Connect", "Proxy", "Weights", "TaggedAddresses"))
    command = parse({"Node": "n", "Service": {"Service": "s", **service}, "Check": None, "Checks": None})
    assert command == RegisterCommand(node="n", service=NodeService(service_id="", service="s"))
    shown = {"Mode": "", "MeshGateway": {}, "Expose": {}}
    assert parse({"Node": "n", "Service": {"Service": "s", "Proxy": shown}}) == command, "as services are shown"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "Input data was truncated"),
        (b"[]", "RegisterRequest: expected a map, got list"),
        (b"null", "RegisterRequest: expected a map, got null"),
        (b'{"Node":1}', "RegisterRequest.Node: expected type 'string', got number"),
        (b'{"NodeMeta":{"a":1}}', "RegisterRequest.NodeMeta: expected type 'map of strings', got map"),
        (b'{"Service":[]}', "RegisterRequest.Service: expected a map, got list"),
        (b'{"Service":{"Tags":"a"}}', "RegisterRequest.Service.Tags: expected type 'list of strings', got string"),
        (b'{"Service":{"Port":1.5}}', "RegisterRequest.Service.Port: expected type 'int', got number"),
        (b'{"Service":{"Port":true}}', "RegisterRequest.Service.Port: expected type 'int', got bool"),
        (b'{"Service":{"TaggedAddresses":[]}}', "TaggedAddresses: expected a map, got list"),
        (b'{"Service":{"TaggedAddresses":{"lan":"x"}}}', "TaggedAddresses.lan: expected a map, got string"),
        (
            b'{"Service":{"Proxy":{"Config":1}}}',
            "RegisterRequest.Service.Proxy.Config: expected type 'map', got number",
        ),
        (b'{"Checks":{}}', "RegisterRequest.Checks: expected type 'list', got map"),
        (b'{"Checks":[1]}', "RegisterRequest.Checks[0]: expected a map, got number"),
        (b'{"Check":{"Definition":{"Interval":"x"}}}', 'Definition.Interval: time: invalid duration "x"'),
        (b'{"Check":{"Definition":{"Header":{"a":"b"}}}}', "Header: expected type 'map of lists of strings', got map"),
    ],
)
def test_what_is_not_right_is_named(body: bytes, why: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_registration(body)
    assert why in str(caught.value)


def test_deregistrations_name_a_service_a_check_or_a_node() -> None:
    body = b'{"node":"n","ServiceID":"s","checkid":"c","Datacenter":"dc2","Namespace":""}'
    assert parse_deregistration(body) == (DeregisterCommand(node="n", service_id="s", check_id="c"), "dc2")
    with pytest.raises(InvalidRequest):
        parse_deregistration(b"[]")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["Node", "Service", "Check", "Checks", "Proxy", "Tags", "Port"]), inner)
    ),
    max_leaves=6,
)


@given(json_values)
def test_any_body_is_a_registration_or_refused(value: Any) -> None:
    refusal: object = None
    try:
        command: object = parse(value)
    except InvalidRequest as error:
        command, refusal = None, error
    assert isinstance(command, RegisterCommand) or refusal is not None


@pytest.mark.parametrize(
    ("service", "text"),
    [
        ({"Weights": {"Passing": 0, "Warning": 1}}, "Passing must be greater than 0"),
        ({"Weights": {"Passing": 1, "Warning": -1}}, "Warning must be greater or equal than 0"),
        ({"Weights": {"Passing": 65536, "Warning": 1}}, "DNS Weight must be between 0 and 65535"),
    ],
)
def test_weights_that_dns_cannot_say_are_refused(service: dict[str, Any], text: str) -> None:
    command = parse({"Node": "n", "Address": "a", "Service": {"Service": "s", **service}})
    with pytest.raises(Refused) as caught:
        completed(command, datacenter="dc1")
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("proxy", "destination"),
    [
        ({"DestinationServiceName": "web"}, ""),
        ({"LocalServicePort": 80}, "web"),
        ({"DestinationServiceName": "web"}, "db"),
    ],
)
def test_both_names_of_what_a_proxy_stands_for_agree(proxy: dict[str, Any], destination: str) -> None:
    service = {"Service": "p", "Kind": "connect-proxy", "Port": 1, "Proxy": proxy, "ProxyDestination": destination}
    done = completed(parse({"Node": "n", "Address": "a", "Service": service}), datacenter="dc1").service
    assert done is not None
    assert done.proxy is not None
    assert (done.proxy_destination, done.proxy.destination_service_name) == ("web", "web")
