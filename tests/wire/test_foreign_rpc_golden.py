"""Golden bytes of calls as real foreign members send and answer them. A change here is a change of the wire."""

import pytest

from base.codec import pack_old, unpack_old
from base.errors import Refused
from rpc.foreign_messages import encode_answer_head, encode_failure, encode_request, request_of, request_reader
from structs.catalog import (
    HealthCheck,
    ListServicesReply,
    Node,
    NodeDumpReply,
    NodeInfo,
    NodeService,
    NodeServicesReply,
    ServiceInstance,
    ServiceNodesReply,
    ServiceRequest,
)
from structs.cluster import LeaderReply
from structs.foreign import catalog, health, kv, options
from structs.foreign.fields import MOMENT, TIME_ZERO
from structs.foreign.methods import FOREIGN_METHODS, encode_reply, foreign_method_named
from structs.kv import KVApplyReply, KVApplyRequest, KVCommand, KVEntry, KVGetReply, KVVerb
from structs.query import QueryMeta, QueryOptions

LEADER_ANSWER = (
    "83a54572726f72a0" "a353657101" "ad536572766963654d6574686f64" "ad5374617475732e4c6561646572"
    "af3132372e302e302e35303a38333030"
)  # fmt: skip
"""As seen from a real server: header and body."""


def test_the_answer_of_a_real_server_is_ours() -> None:
    body = encode_reply(FOREIGN_METHODS["Status.Leader"], LeaderReply(address="127.0.0.50:8300"), None)
    assert (encode_answer_head(1, "Status.Leader") + body).hex() == LEADER_ANSWER
    assert len(bytes.fromhex(LEADER_ANSWER)) == 0x39


def test_the_request_of_a_real_agent_is_ours() -> None:
    data = encode_request(1, "Status.Leader", {})
    assert data.hex() == "82a353657101ad536572766963654d6574686f64ad5374617475732e4c656164657280"
    reader = request_reader()
    reader.feed(data)
    message = reader.next()
    assert message is not None
    request = request_of(*message)
    assert (request.seq, request.method, request.argument) == (1, "Status.Leader", {})


def test_an_error_has_an_empty_map_behind_it() -> None:
    data = encode_failure(7, "KVS.Nothing", "rpc: can't find method KVS.Nothing")
    assert data.endswith(b"\xabKVS.Nothing\x80")
    assert data.startswith(b"\x83\xa5Error\xda\x00\x22rpc: can't")


def test_text_and_bytes_are_raw_and_never_of_the_later_types() -> None:
    assert pack_old("x" * 31)[0] == 0xBF
    assert pack_old("x" * 32)[:3] == b"\xda\x00\x20"
    assert pack_old(bytes(65536))[:5] == b"\xdb\x00\x01\x00\x00"
    assert unpack_old(b"\xd9\x02hi") == unpack_old(b"\xc4\x02hi") == b"hi", "both are accepted"


def test_a_kv_request_has_every_field_sorted_by_name() -> None:
    request = KVApplyRequest(command=KVCommand(verb=KVVerb.CAS, key="a", value=b"v", flags=42, cas_index=9))
    encoded = kv.APPLY.encode(request)
    assert encoded == {
        "Datacenter": "",
        "DirEnt": {
            "CreateIndex": 0, "Flags": 42, "Key": "a", "LockIndex": 0, "ModifyIndex": 9, "Session": "", "Value": b"v",
        },
        "Op": "cas",
        "Token": "",
    }  # fmt: skip
    assert list(encoded) == sorted(encoded)


def test_query_options_are_flattened_and_durations_are_nanoseconds() -> None:
    encoded = options.QUERY_OPTIONS.encode(QueryOptions(index_min=7, wait_s=5.0, datacenter="dc1"))
    assert encoded == {
        "AllowStale": False, "Datacenter": "dc1", "MaxQueryTime": 5_000_000_000, "MaxStaleDuration": 0,
        "MinQueryIndex": 7, "RequireConsistent": False, "Token": "",
    }  # fmt: skip


def test_an_empty_value_and_a_missing_key_are_nil() -> None:
    found = kv.GET_REPLY.encode(KVGetReply(entry=KVEntry(key="a"), meta=QueryMeta(index=3, last_contact_ms=2)))
    assert found["Entries"][0]["Value"] is None
    assert found["LastContact"] == 2_000_000
    assert found["ConsistencyLevel"] == ""
    missing = kv.GET_REPLY.encode(KVGetReply(entry=None, meta=QueryMeta(index=3)))
    assert missing["Entries"] is None


@pytest.mark.parametrize("verb", list(KVVerb))
def test_only_conditional_writes_carry_a_verdict(verb: KVVerb) -> None:
    request = KVApplyRequest(command=KVCommand(verb=verb, key="a"))
    body = encode_reply(FOREIGN_METHODS["KVS.Apply"], KVApplyReply(ok=True), request)
    conditional = verb in (KVVerb.CAS, KVVerb.DELETE_CAS, KVVerb.LOCK, KVVerb.UNLOCK)
    assert body == (b"\xc3" if conditional else b"\xc2")


def test_times_are_fifteen_raw_bytes() -> None:
    assert TIME_ZERO.hex() == "01" + "00" * 12 + "ffff"
    assert MOMENT.encode is not None
    assert MOMENT.encode(0.0) == TIME_ZERO
    assert MOMENT.encode(1.5).hex() == "010000000e7791f7011dcd6500ffff"
    assert MOMENT.decode(bytes.fromhex("010000000e7791f7011dcd65000000")) == 1.5, "an offset changes nothing"
    assert MOMENT.decode(None) == 0.0


def test_nil_and_empty_survive_what_an_agent_compares() -> None:
    for tags, meta in ((None, None), ([], {}), (["a"], {"b": "c"})):
        service = NodeService(service_id="web", service="web", tags=tags, meta=meta)
        reply = NodeServicesReply(node=Node(node="n"), services=[service], meta=QueryMeta(index=5))
        sent = unpack_old(encode_reply(FOREIGN_METHODS["Catalog.NodeServices"], reply, None))
        heard = catalog.NODE_SERVICES_REPLY.decode(sent)
        assert heard.services == [service]
        assert heard.node == Node(node="n")


def test_an_unknown_node_has_neither_services_nor_an_index() -> None:
    reply = NodeServicesReply(node=None, meta=QueryMeta(index=17))
    sent = unpack_old(encode_reply(FOREIGN_METHODS["Catalog.NodeServices"], reply, None))
    assert (sent["NodeServices"], sent["Index"]) == (None, 0)


def test_a_registration_as_a_real_agent_sends_it() -> None:
    argument = {
        "Datacenter": b"dc1", "ID": b"4d0e55d3-0b3c-a4e5-85e7-0c9c7fd4a1f5", "Node": b"n1", "Address": b"127.0.0.1",
        "TaggedAddresses": {"lan": b"127.0.0.1", "wan": b"127.0.0.1"}, "NodeMeta": {"consul-network-segment": b""},
        "Service": {
            "ID": b"web1", "Service": b"web", "Tags": [b"a", b"b"], "Address": b"", "Meta": None, "Port": 80,
            "EnableTagOverride": False, "Kind": b"", "ProxyDestination": b"",
            "Connect": {"Native": False, "Proxy": None}, "CreateIndex": 0, "ModifyIndex": 0,
        },
        "Check": {
            "Node": b"n1", "CheckID": b"service:web1", "Name": b"Service 'web' check", "Status": b"critical",
            "Notes": b"", "Output": b"cut in the middle \xc3", "ServiceID": b"web1", "ServiceName": b"web",
            "ServiceTags": [b"a", b"b"], "Definition": {"Interval": 0},
        },
        "Checks": None, "SkipNodeUpdate": False, "Token": b"", "SomethingNew": 1,
    }  # fmt: skip
    request = catalog.REGISTER.decode(argument)
    command = request.command
    assert request.options.datacenter == "dc1"
    assert command.tagged_addresses == {"lan": "127.0.0.1", "wan": "127.0.0.1"}
    assert command.service == NodeService(service_id="web1", service="web", tags=["a", "b"], port=80)
    assert [check.check_id for check in command.checks] == ["service:web1"]
    assert command.checks[0] == HealthCheck(
        node="n1", check_id="service:web1", name="Service 'web' check", status="critical",
        output="cut in the middle \ufffd", service_id="web1", service_name="web", service_tags=["a", "b"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("KVS.Nothing", "rpc: can't find method KVS.Nothing"),
        ("X.Y", "rpc: can't find service X.Y"),
        ("X", "rpc: service/method request ill-formed: X"),
    ],
)
def test_unknown_methods_are_refused_in_the_known_words(name: str, text: str) -> None:
    with pytest.raises(Refused) as caught:
        foreign_method_named(name)
    assert str(caught.value) == text


META = {"Index": 9, "LastContact": 0, "KnownLeader": True, "ConsistencyLevel": ""}
INSTANCE = ServiceInstance(
    node=Node(node_id="u", node="n", address="10.0.0.1", datacenter="dc1", tagged_addresses={"lan": "10.0.0.1"}),
    service=NodeService(service_id="web1", service="web", tags=["v1"], port=80, create_index=3, modify_index=4),
    checks=[HealthCheck(node="n", check_id="c", status="passing")],
)


def unpacked(name: str, reply: object) -> dict[str, object]:
    """The answer as an agent reads it; text is raw."""
    value = unpack_old(encode_reply(FOREIGN_METHODS[name], reply, None))
    assert isinstance(value, dict)
    return value


def test_instances_are_flat_for_the_catalog_and_nested_for_health() -> None:
    reply = ServiceNodesReply(instances=[INSTANCE], meta=QueryMeta(index=9))
    flat = unpacked("Catalog.ServiceNodes", reply)
    assert {name: flat[name] for name in META} == {**META, "ConsistencyLevel": b""}
    rows = flat["ServiceNodes"]
    assert isinstance(rows, list)
    row = rows[0]
    assert {
        "ID": b"u", "Node": b"n", "Address": b"10.0.0.1", "Datacenter": b"dc1", "TaggedAddresses": {"lan": b"10.0.0.1"},
        "NodeMeta": None, "ServiceKind": b"", "ServiceID": b"web1", "ServiceName": b"web", "ServiceTags": [b"v1"],
        "ServiceAddress": b"", "ServiceMeta": None, "ServicePort": 80, "ServiceEnableTagOverride": False,
        "ServiceProxyDestination": b"", "ServiceConnect": {"Native": False, "Proxy": None}, "CreateIndex": 3,
        "ModifyIndex": 4,
    }.items() <= row.items()  # fmt: skip
    nested = unpacked("Health.ServiceNodes", reply)["Nodes"]
    assert isinstance(nested, list)
    assert set(nested[0]) == {"Node", "Service", "Checks"}
    assert nested[0]["Service"]["ID"] == b"web1"
    assert nested[0]["Checks"][0]["CheckID"] == b"c"
    assert unpacked("Health.ServiceNodes", ServiceNodesReply(instances=[]))["Nodes"] is None


def test_names_and_dumps_look_as_theirs() -> None:
    assert unpacked("Catalog.ListServices", ListServicesReply(services={"web": ["v1"], "db": []}))["Services"] == {
        "db": None, "web": [b"v1"],
    }  # fmt: skip
    info = NodeInfo(node=INSTANCE.node, services=[INSTANCE.service])
    dump = unpacked("Internal.NodeDump", NodeDumpReply(nodes=[info]))["Dump"]
    assert isinstance(dump, list)
    assert set(dump[0]) == {"ID", "Node", "Address", "TaggedAddresses", "Meta", "Services", "Checks"}
    assert unpacked("Internal.NodeInfo", NodeDumpReply(nodes=[]))["Dump"] is None


@pytest.mark.parametrize(
    ("sent", "tags"),
    [
        ({"ServiceTag": b"v1", "TagFilter": True}, ["v1"]),
        ({"ServiceTag": b"v1", "TagFilter": False}, []),
        ({"ServiceTag": b"", "TagFilter": True}, [""]),
        ({"ServiceTags": [b"a", b"b"], "TagFilter": True}, ["a", "b"]),
    ],
)
def test_one_tag_of_old_members_and_several_of_new_ones_are_wanted_tags(
    sent: dict[str, object], tags: list[str]
) -> None:
    request = health.SERVICE_REQUEST.decode({"ServiceName": b"web", **sent})
    assert (request.service, request.tags) == ("web", tags)


def test_tags_beyond_the_first_are_looked_at_here_since_old_members_have_not() -> None:
    row = FOREIGN_METHODS["Health.ServiceNodes"]
    other = ServiceInstance(node=INSTANCE.node, service=NodeService(service_id="o", service="web", tags=["V1", "b"]))
    heard = row.hears(ServiceNodesReply(instances=[INSTANCE, other]), ServiceRequest(service="web", tags=["v1", "B"]))
    assert [instance.service.service_id for instance in heard.instances] == ["o"]
    sent = health.SERVICE_REQUEST.encode(ServiceRequest(service="web", tags=["v1", "B"]))
    assert (sent["ServiceTag"], sent["ServiceTags"], sent["TagFilter"]) == ("v1", ["v1", "B"], True)
