"""The nouns of the client library: what is asked of an agent, and what its answers become."""

import json
from typing import Any

import pytest

from base.errors import Internal, InvalidRequest, Refused
from mesh.client import Client
from mesh.query import Read
from structs.autopilot import AutopilotConfig
from structs.catalog import Node
from structs.cluster import MemberStatus
from structs.coordinate import Coordinate, DatacenterMap, NodeCoordinate
from structs.event import UserEvent
from structs.keyring import KeyringAnswer
from tests.fakes.http_agent import Told, fake_agent, script_of


def answering(value: Any, call: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> tuple[Any, str]:
    """Return what `call(client)` returns where every answer is `value`, and what was asked."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    told = Told(status=status, body=body, headers=headers or {})
    with fake_agent(script_of(told)) as agent, Client(agent.address, environment={}, attempts_max=1) as client:
        result = call(client)
        return result, f"{agent.asked[-1].method} {agent.asked[-1].path}"


def test_members_come_with_the_versions_that_they_speak() -> None:
    row = {
        "Name": "n1", "Addr": "10.0.0.1", "Port": 8301, "Tags": None, "Status": 9, "ProtocolMin": 1, "ProtocolMax": 5,
        "ProtocolCur": 2, "DelegateMin": 2, "DelegateMax": 5, "DelegateCur": 4,
    }  # fmt: skip
    (member,), asked = answering([row], lambda client: client.agent.members(wan=True))
    assert (member.versions, member.status, member.tags) == ((1, 5, 2, 2, 5, 4), MemberStatus.NONE, {})
    assert asked == "GET /v1/agent/members?wan=1"


def test_nodes_are_read_with_the_index_to_block_on() -> None:
    rows = [{"ID": "i", "Node": "n1", "Address": "a", "Datacenter": "dc1", "TaggedAddresses": None, "Meta": {"k": "v"}}]
    answer, asked = answering(
        rows,
        lambda client: client.catalog.nodes(near="n1", node_meta={"k": "v", "a": ""}, read=Read(index=4, wait_s=1)),
        headers={"X-Consul-Index": "12"},
    )
    assert answer.value == [Node(node_id="i", node="n1", address="a", datacenter="dc1", meta={"k": "v"})]
    assert answer.index == 12
    assert asked == "GET /v1/catalog/nodes?index=4&wait=1000ms&near=n1&node-meta=k%3Av&node-meta=a%3A"
    assert answering(["dc1"], lambda client: client.catalog.datacenters())[0] == ["dc1"]
    assert answering(None, lambda client: client.catalog.datacenters())[0] == []


def test_events_are_fired_and_listed() -> None:
    event_id, asked = answering({"ID": "x"}, lambda client: client.event.fire("a b", b"1", node="n"))
    assert (event_id, asked) == ("x", "PUT /v1/event/fire/a%20b?node=n")
    row = {"ID": "x", "Name": "a", "Payload": "AP8=", "NodeFilter": "n", "Version": 1, "LTime": (1 << 64) - 1}
    answer, asked = answering([row], lambda client: client.event.list("a"), headers={"X-Consul-Index": str(1 << 63)})
    assert answer.value == [
        UserEvent(event_id="x", name="a", payload=b"\x00\xff", node_filter="n", lamport_time=(1 << 64) - 1)
    ]
    assert (answer.index, asked) == (1 << 63, "GET /v1/event/list?name=a")


def test_positions_are_read_and_told() -> None:
    row = {"Node": "n1", "Segment": "", "Coord": {"Vec": [1, 0.5], "Error": 1, "Adjustment": 0, "Height": 0.1}}
    known = NodeCoordinate(node="n1", coordinate=Coordinate(vec=[1.0, 0.5], error=1, adjustment=0.0, height=0.1))
    assert answering([row], lambda client: client.coordinate.nodes())[0].value == [known]
    assert answering([row], lambda client: client.coordinate.node("n1"))[0].value == [known]
    assert answering(b"", lambda client: client.coordinate.node("n1"), status=404)[0].value == []
    maps, _ = answering(
        [{"Datacenter": "dc1", "AreaID": "wan", "Coordinates": [row]}, {"Datacenter": "dc2", "Coordinates": None}],
        lambda client: client.coordinate.datacenters(),
    )
    assert maps == [DatacenterMap(datacenter="dc1", coordinates=[known]), DatacenterMap(datacenter="dc2", area_id="")]
    assert answering(b"", lambda client: client.coordinate.update(known))[1] == "PUT /v1/coordinate/update"


def test_keys_are_listed_and_changed() -> None:
    row = {"WAN": True, "Datacenter": "dc1", "Keys": {"k": 1}, "PrimaryKeys": {"k": 1}, "NumNodes": 1, "Error": "e"}
    answers, asked = answering([row], lambda client: client.operator.keyring.list(relay_factor=1))
    assert answers == [
        KeyringAnswer(wan=True, datacenter="dc1", keys={"k": 1}, primary_keys={"k": 1}, nodes_count=1, error="e")
    ]
    assert asked == "GET /v1/operator/keyring?relay-factor=1"
    for name, method in (("install", "POST"), ("use", "PUT"), ("remove", "DELETE")):
        _, asked = answering(b"", lambda client, name=name: getattr(client.operator.keyring, name)("k"))
        assert asked == f"{method} /v1/operator/keyring"


def test_autopilot_is_read_and_set() -> None:
    row = {"CleanupDeadServers": True, "LastContactThreshold": "200ms", "ServerStabilizationTime": 10, "ModifyIndex": 3}
    config, _ = answering(row, lambda client: client.operator.autopilot.configuration())
    assert config == AutopilotConfig(max_trailing_logs=0, server_stabilization_time_ns=10, modify_index=3)
    done, asked = answering(False, lambda client: client.operator.autopilot.set_configuration(config, cas=True))
    assert (done, asked) == (False, "PUT /v1/operator/autopilot/configuration?cas=3")
    assert answering(True, lambda client: client.operator.autopilot.set_configuration(config))[0] is True


def test_an_ill_cluster_is_an_answer_and_no_error() -> None:
    server = {
        "ID": "s", "SerfStatus": "failed", "LastContact": "-1ns", "Healthy": False, "Voter": True, "Leader": False,
        "StableSince": "2018-06-01T10:00:00Z",
    }  # fmt: skip
    answer = {"Healthy": False, "FailureTolerance": 0, "Servers": [server]}
    health, _ = answering(answer, lambda client: client.operator.autopilot.health(), status=429)
    (found,) = health.servers
    assert (found.serf_status, found.last_contact_ns, found.voter) == (MemberStatus.FAILED, -1, True)
    assert found.stable_since_unix_s == 1_527_847_200.0
    assert answering({"Servers": None}, lambda client: client.operator.autopilot.health())[0].servers is None
    state, _ = answering({"Servers": {"s": server}, "Leader": "s"}, lambda client: client.operator.autopilot.state())
    assert (state.leader, state.voters, state.health.servers[0].leader) == ("s", [], True)


@pytest.mark.parametrize("row", [{"LastContactThreshold": "soon"}, {"ServerStabilizationTime": "x"}])
def test_an_answer_that_makes_no_sense_is_an_error_of_the_agent(row: dict[str, str]) -> None:
    with pytest.raises(Internal):
        answering(row, lambda client: client.operator.autopilot.configuration())


def test_what_an_agent_is_told_to_do() -> None:
    for call, expected in (
        (lambda client: client.agent.join("10.0.0.1:8301", wan=True), "PUT /v1/agent/join/10.0.0.1%3A8301?wan=1"),
        (lambda client: client.agent.leave(), "PUT /v1/agent/leave"),
        (lambda client: client.agent.force_leave("n 1", prune=True), "PUT /v1/agent/force-leave/n%201?prune=1"),
    ):
        assert answering(b"", call)[1] == expected
    with pytest.raises(Refused):
        answering(
            b"agent: No node found with name 'x'",
            lambda client: client.agent.force_leave("x"),
            status=500,
            headers={"X-Mesh-Outcome": "refused"},
        )
    with pytest.raises(InvalidRequest):
        answering(b"bad", lambda client: client.agent.join("x"), status=400)
