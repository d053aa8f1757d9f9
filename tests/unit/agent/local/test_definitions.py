"""Definitions of services and checks: what they mean in each spelling, and what is refused with which words."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.local.definitions import (
    _CHECK_NAMES,
    _SERVICE_NAMES,
    SIDECAR_TEXT,
    check_from_api,
    check_from_file,
    service_from_api,
    service_from_disk,
    service_from_file,
    spec_from_disk,
)
from agent.local.persist import service_tree, spec_tree
from base.errors import InvalidRequest, MeshError, TooLarge
from structs.catalog import NodeService, ServiceAddress, ServiceProxy, Upstream, Weights
from structs.check_spec import CheckSpec
from structs.json_codec import decode_json, encode_json

FULL = {
    "ID": "web-1",
    "Name": "web",
    "Tags": ["v1"],
    "Port": 8080,
    "Address": "10.0.0.5",
    "TaggedAddresses": {"wan": {"Address": "198.51.100.5", "Port": 80}},
    "Meta": {"version": "4"},
    "EnableTagOverride": True,
    "Weights": {"Passing": 10, "Warning": 1},
    "Check": None,
    "Checks": [{"CheckID": "c1", "HTTP": "http://10.0.0.5/h", "Interval": "10s", "Timeout": 1_000_000_000}],
    "Connect": {"Native": True, "SidecarService": None},
    "Namespace": "",
    "Partition": "",
    "Locality": {"Region": "r1", "Zone": "z1"},
}


def test_a_whole_registration_is_understood() -> None:
    definition = service_from_api(FULL)
    assert definition.service == NodeService(
        service_id="web-1",
        service="web",
        tags=["v1"],
        port=8080,
        address="10.0.0.5",
        tagged_addresses={"wan": ServiceAddress(address="198.51.100.5", port=80)},
        meta={"version": "4"},
        enable_tag_override=True,
        weights=Weights(passing=10, warning=1),
        connect=definition.service.connect,
    )
    assert definition.service.connect.native
    assert definition.checks == [
        CheckSpec(
            check_id="c1",
            name="Service 'web' check",
            service_id="web-1",
            http="http://10.0.0.5/h",
            interval_s=10.0,
            timeout_s=1.0,
        )
    ]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "web", "port": 80, "enabletagoverride": True, "check": {"ttl": "10s"}},
        {"NAME": "web", "Port": 80.0, "enable_tag_override": True, "Check": {}, "Checks": [{"TTL": "10s"}]},
        {"Name": "web", "Port": 80, "EnableTagOverride": True, "checks": [{"Ttl": 10_000_000_000}], "Unknown": [1]},
        {"id": "web", "Name": "web", "Port": 80, "EnableTagOverride": True, "Checks": [{}, {"TTL": "10s"}, {}]},
    ],
)
def test_names_match_in_any_case_and_empty_checks_are_none(body: dict[str, Any]) -> None:
    definition = service_from_api(body)
    assert definition.service == NodeService(service_id="web", service="web", port=80, enable_tag_override=True)
    assert [(spec.check_id, spec.ttl_s) for spec in definition.checks] == [("service:web", 10.0)]


def test_checks_are_numbered_by_their_place_unless_they_have_an_id() -> None:
    definition = service_from_api(
        {"Name": "web", "ID": "w", "Check": {"TTL": "1s"}, "Checks": [{"TTL": "2s", "CheckID": "own"}, {"TTL": "3s"}]}
    )
    assert [spec.check_id for spec in definition.checks] == ["service:w:1", "own", "service:w:3"]
    assert {spec.name for spec in definition.checks} == {"Service 'web' check"}
    assert {spec.service_id for spec in definition.checks} == {"w"}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"Name": ""}, "Missing service name"),
        ({"Address": "0.0.0.0"}, "Invalid service address"),
        ({"Address": "::"}, "Invalid service address"),
        ({"Address": "[::]"}, "Invalid service address"),
        (
            {"Meta": {"consul-x": "1"}},
            "Invalid Service Meta: Couldn't load metadata pair ('consul-x', '1'): "
            "Key prefix 'consul-' is reserved for internal use",
        ),
        ({"Weights": {"Passing": 0}}, "Invalid Weights: Passing must be greater than 0"),
        ({"Weights": {"Passing": 1, "Warning": -1}}, "Invalid Weights: Warning must be greater or equal than 0"),
        ({"Weights": {"Passing": 65536}}, "Invalid Weights: DNS Weight must be between 0 and 65535"),
        ({"Kind": "sidecar"}, 'Kind "sidecar" is unknown'),
        ({"Port": 70000}, "Invalid service port: 70000 is not from 0 to 65535"),
        (
            {"Kind": "connect-proxy", "Port": 0},
            "2 errors occurred:\n\n* ProxyDestination must be non-empty for Connect proxy services\n"
            "* Port must be set for a Connect proxy",
        ),
        ({"Connect": {"Proxy": {}}}, "Bad request: Managed proxy registration via the API is disallowed."),
        ({"Connect": {"SidecarService": {}}}, SIDECAR_TEXT),
        ({"Check": {"TTL": "1s", "Status": "fine"}}, "Status for checks must 'passing', 'warning', 'critical'"),
        ({"Check": {"Interval": "1s"}}, "Invalid check: TTL must be > 0 for TTL checks"),
        ({"Tags": "v1"}, "Request decode failed: Service.tags: expected type 'list of strings', got string"),
        ({"Port": "80"}, "Request decode failed: Service.port: expected type 'int', got string"),
        ({"Check": {"TTL": "10"}}, 'Request decode failed: Service.check[0].ttl: time: invalid duration "10"'),
        (
            {"Checks": [{"CheckID": "a", "TTL": "1s"}, {"CheckID": "a", "TTL": "1s"}]},
            'Invalid check: CheckID "a" is used twice',
        ),
    ],
)
def test_what_cannot_be_a_service_is_refused_in_known_words(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        service_from_api({"Name": "web", "Port": 80, **fields})
    assert str(raised.value) == text


@pytest.mark.parametrize("body", [None, [], [1, 2], "x", 5])
def test_a_body_that_is_no_map_has_no_name(body: object) -> None:
    with pytest.raises(InvalidRequest, match=r"Missing service name|Request decode failed"):
        service_from_api(body)


def test_a_name_that_can_be_nobodys_is_too_large() -> None:
    with pytest.raises(TooLarge):
        service_from_api({"Name": "x" * 2000})


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"TTL": "10s"}, {"ttl_s": 10.0}),
        ({"ttl": "1m", "Status": "passing"}, {"ttl_s": 60.0, "status": "passing"}),
        (
            {"args": ["/bin/true"], "interval": "1s", "deregistercriticalserviceafter": "90m"},
            {"args": ["/bin/true"], "interval_s": 1.0, "deregister_after_s": 5400.0},
        ),
        ({"ScriptArgs": ["a"], "Interval": 1e9}, {"args": ["a"], "interval_s": 1.0}),
        (
            {"docker_container_id": "c", "script_args": ["a"], "shell": "/bin/sh", "Interval": "1s"},
            {"docker_container_id": "c", "args": ["a"], "shell": "/bin/sh", "interval_s": 1.0},
        ),
        (
            {"HTTP": "http://x", "Header": {"a": ["b"]}, "tls_skip_verify": True, "IntervalDuration": "2s"},
            {"http": "http://x", "header": {"a": ["b"]}, "tls_skip_verify": True, "interval_s": 2.0},
        ),
        ({"TCP": "x:1", "TCPUseTLS": True, "Interval": "1s"}, {"tcp": "x:1", "tcp_use_tls": True, "interval_s": 1.0}),
        ({"UDP": "x:1", "Interval": "1s"}, {"udp": "x:1", "interval_s": 1.0}),
        (
            {"GRPC": "x:1/y", "grpc_use_tls": True, "Interval": "1s"},
            {"grpc": "x:1/y", "grpc_use_tls": True, "interval_s": 1.0},
        ),
        (
            {"H2PING": "x:1", "H2PingUseTLS": False, "Interval": "1s"},
            {"h2ping": "x:1", "h2ping_use_tls": False, "interval_s": 1.0},
        ),
        ({"AliasService": "web"}, {"alias_service": "web"}),
        ({"TTL": "1s", "DeregisterCriticalServiceAfter": "5s"}, {"ttl_s": 1.0, "deregister_after_s": 60.0}),
        (
            {"TTL": "1s", "SuccessBeforePassing": 2, "FailuresBeforeWarning": 1, "FailuresBeforeCritical": 3},
            {"ttl_s": 1.0, "success_before_passing": 2, "failures_before_warning": 1, "failures_before_critical": 3},
        ),
    ],
)
def test_checks_are_understood_in_all_spellings(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    spec = check_from_api({"Name": "c", **fields}).spec
    assert spec == CheckSpec(check_id="c", name="c", **expected)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"Name": ""}, "Missing check name"),
        ({"TTL": "1s", "Status": "bad"}, "Bad check status"),
        ({"TTL": "1s", "Interval": "1s"}, "Invalid check: Interval and TTL cannot both be specified"),
        ({"HTTP": "x"}, "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks"),
        ({"Args": ["x"], "Interval": "-1s"}, "Invalid check: Interval must be > 0 for Script, HTTP, or TCP checks"),
        ({}, "Invalid check: TTL must be > 0 for TTL checks"),
        ({"TTL": "-1s"}, "Invalid check: TTL must be > 0 for TTL checks"),
        ({"AliasService": "x", "Interval": "1s"}, "Invalid check: Interval cannot be set for Alias checks"),
        ({"AliasService": "x", "TTL": "1s"}, "Invalid check: TTL must be not be set for Alias checks"),
        (
            {"HTTP": "x", "TCP": "y:1", "Interval": "1s"},
            "Invalid check: only one of HTTP, TCP, UDP, GRPC, H2PING, Args, Alias and TTL can be specified",
        ),
        ({"DockerContainerID": "c", "Interval": "1s"}, "Invalid check: Args must be specified for Docker checks"),
        (
            {"TTL": "1s", "FailuresBeforeWarning": 3, "FailuresBeforeCritical": 2},
            "Invalid check: FailuresBeforeWarning can't be higher than FailuresBeforeCritical",
        ),
        ({"TTL": True}, "Request decode failed: Check.ttl: expected type 'duration', got bool"),
        ({"TTL": 10**30}, "Request decode failed: Check.ttl: the duration is too long"),
        (
            {"HTTP": "x", "Interval": "1s", "Header": {"a": "b"}},
            "Request decode failed: Check.header: expected type 'map of lists of strings', got string",
        ),
        (
            {"Args": ["x", 1], "Interval": "1s"},
            "Request decode failed: Check.args: expected type 'list of strings', got list",
        ),
    ],
)
def test_what_cannot_be_a_check_is_refused_in_known_words(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_from_api({"Name": "c", **fields})
    assert str(raised.value) == text


def test_files_may_hold_no_name_that_nobody_knows() -> None:
    with pytest.raises(InvalidRequest, match="service: invalid config key prot"):
        service_from_file({"name": "web", "prot": 80})
    with pytest.raises(InvalidRequest, match=r"service.check\[0\]: invalid config key intervall"):
        service_from_file({"name": "web", "check": [{"http": "x", "intervall": "1s"}]})
    with pytest.raises(InvalidRequest, match="check: invalid config key scrip"):
        check_from_file({"name": "c", "scrip": "x"})


def test_files_write_blocks_in_lists_and_tokens_count() -> None:
    definition = service_from_file(
        {
            "name": "web",
            "token": "secret",
            "check": [
                {"http": "x", "interval": "1s", "header": [{"a": ["1"]}, {"b": ["2"]}]},
                {"id": "t", "ttl": "1s"},
            ],
            "connect": [{"native": True}],
        }
    )
    assert definition.token == "secret"
    assert definition.service.connect.native
    assert [spec.check_id for spec in definition.checks] == ["service:web:1", "t"]
    assert definition.checks[0].header == {"a": ["1"], "b": ["2"]}
    alone = check_from_file({"id": "mem", "name": "memory", "args": ["/m"], "interval": "10s", "service_id": "web"})
    assert (alone.spec.check_id, alone.spec.service_id) == ("mem", "web")


def test_a_proxy_says_what_it_stands_for() -> None:
    service = service_from_api(
        {
            "Name": "web-proxy",
            "Kind": "connect-proxy",
            "Port": 9999,
            "Proxy": {
                "DestinationServiceName": "web",
                "Config": {"a_b": 1},
                "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9191}],
                "Mode": "direct",
            },
        }
    ).service
    assert service.proxy_destination == "web"
    assert service.proxy == ServiceProxy(
        destination_service_name="web",
        config={"a_b": 1},
        upstreams=[Upstream(destination_name="db", local_bind_port=9191)],
        mode="direct",
    )


@pytest.mark.parametrize("body", [FULL, {"Name": "w", "Kind": "connect-proxy", "Port": 1, "ProxyDestination": "x"}])
def test_what_is_written_to_disk_is_read_as_the_same(body: dict[str, Any]) -> None:
    definition = service_from_api(body)
    assert service_from_disk(service_tree(definition.service)) == definition.service
    for spec in definition.checks:
        row = {"CheckID": spec.check_id, "Name": spec.name, "Notes": spec.notes, "ServiceID": spec.service_id}
        assert spec_from_disk(spec_tree(spec), row) == spec


NAMES = st.sampled_from([*_SERVICE_NAMES, *_CHECK_NAMES, "native", "sidecar_service", "passing", "upstreams", "x"])
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.sampled_from(["1s", "passing", "::"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=8,
)
BODIES = st.dictionaries(NAMES, VALUES, max_size=6).map(lambda body: {"name": "n", "ttl": "1s", **body})


@given(BODIES)
def test_whatever_comes_is_understood_or_refused_and_never_a_defect(body: dict[str, Any]) -> None:
    for read in (service_from_api, check_from_api, service_from_file, check_from_file):
        try:
            read(body)
        except MeshError:
            continue


@given(BODIES)
def test_whatever_is_understood_survives_the_disk(body: dict[str, Any]) -> None:
    try:
        definition = service_from_api(body)
    except MeshError:
        return
    assert service_from_disk(decode_json(encode_json(service_tree(definition.service)))) == definition.service
    for spec in definition.checks:
        row = {"CheckID": spec.check_id, "Name": spec.name, "Notes": spec.notes, "ServiceID": spec.service_id}
        assert spec_from_disk(decode_json(encode_json(spec_tree(spec))), row) == spec
