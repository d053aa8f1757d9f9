"""py-consul, unchanged, against an agent and against a server: sessions, events, prepared queries, transactions."""

import base64
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import consul
import pytest
from consul.callback import CB

Until = Callable[[Callable[[], Any]], Any]
SCOPE = "app/service/batman"


@pytest.fixture
def session_id(client: Any) -> Iterator[str]:
    """A session as Patroni makes its own, word by word."""
    wanted = {"name": "batman-pg1", "checks": [], "lockdelay": "0.001s", "behavior": "delete", "ttl": "15.0s"}
    found = client.http.put(CB.json(is_id=True), "/v1/session/create", data=json.dumps(wanted))
    yield str(found)
    client.session.destroy(found)


def test_a_session_in_the_words_of_patroni_is_what_it_asked_for(client: Any, session_id: str) -> None:
    found = client.session.info(session_id)[1]
    assert (found["Name"], found["LockDelay"], found["Behavior"]) == ("batman-pg1", 1_000_000, "delete")
    assert found["TTL"] in ("15.0s", "15s")
    assert client.session.renew(session_id)["ID"] == session_id


def test_a_leader_key_is_watched_by_its_own_index(client: Any, session_id: str) -> None:
    assert client.kv.put(f"{SCOPE}/leader", "pg1", acquire=session_id) is True
    client.kv.put(f"{SCOPE}/members/pg2", "running")
    index, leader = client.kv.get(f"{SCOPE}/leader")
    assert int(index) == leader["ModifyIndex"]
    again, same = client.kv.get(f"{SCOPE}/leader", index=leader["ModifyIndex"], wait="0.10364s")
    assert (again, same) == (index, leader)


def test_a_wait_of_many_digits_ends_as_soon_as_the_leader_changes(client: Any, session_id: str) -> None:
    assert client.kv.put(f"{SCOPE}/leader", "pg1", acquire=session_id) is True
    index = client.kv.get(f"{SCOPE}/leader")[1]["ModifyIndex"]
    ending = threading.Timer(0.2, client.session.destroy, args=(session_id,))
    ending.start()
    try:
        later, leader = client.kv.get(f"{SCOPE}/leader", index=index, wait="9.87364s")
    finally:
        ending.join()
    assert leader is None
    assert int(later) > index


def test_a_member_writes_its_key_again_and_again_under_one_session(client: Any, session_id: str) -> None:
    for state in ("starting", "running", "running", "stopping"):
        assert client.kv.put(f"{SCOPE}/members/pg1", state, acquire=session_id) is True
    entry = client.kv.get(f"{SCOPE}/members/pg1")[1]
    assert (entry["Value"], entry["Session"], entry["LockIndex"]) == (b"stopping", session_id, 1)


def test_a_cluster_is_initialized_by_one_and_its_history_written_by_comparing(client: Any) -> None:
    assert client.kv.put(f"{SCOPE}/initialize", "", cas=0) is True
    assert client.kv.put(f"{SCOPE}/initialize", "7", cas=0) is False
    entry = client.kv.get(f"{SCOPE}/initialize", consistency="consistent")[1]
    assert client.kv.put(f"{SCOPE}/initialize", "7", cas=entry["ModifyIndex"]) is True
    assert client.kv.delete(f"{SCOPE}/initialize", cas=entry["ModifyIndex"]) is False
    keys = [row["Key"] for row in client.kv.get(f"{SCOPE}/", recurse=True)[1]]
    assert keys == [f"{SCOPE}/initialize"]
    assert client.kv.delete(SCOPE, recurse=True) is True


@pytest.mark.parametrize("ttl", ["1.0s", "86401s"])
def test_a_ttl_out_of_bounds_is_told_in_the_words_patroni_knows(client: Any, ttl: str) -> None:
    wanted = json.dumps({"checks": [], "ttl": ttl})
    with pytest.raises(consul.ConsulException, match=r"^500 Invalid Session TTL"):
        client.http.put(CB.json(is_id=True), "/v1/session/create", data=wanted)


def test_a_lost_session_is_told_in_the_words_patroni_knows(client: Any) -> None:
    with pytest.raises(consul.ConsulException, match=r"^500 invalid session"):
        client.kv.put(f"{SCOPE}/leader", "pg1", acquire=str(uuid.uuid4()))
    with pytest.raises(consul.NotFound):
        client.session.renew(str(uuid.uuid4()))
    assert client.session.info(str(uuid.uuid4()))[1] is None
    assert client.session.destroy(str(uuid.uuid4())) is True


def test_sessions_of_unknown_nodes_and_checks_are_refused(client: Any) -> None:
    with pytest.raises(consul.ConsulException, match="Missing node registration"):
        client.session.create(node="nobody")
    with pytest.raises(consul.ConsulException, match="Missing check 'nothing' registration"):
        client.session.create(checks=["nothing"])


def test_a_session_ends_with_the_check_it_hangs_on(client: Any, until: Until) -> None:
    agent = client.agent
    agent.check.register("held", check=consul.Check.ttl("1h"), check_id="held")
    agent.check.ttl_pass("held")
    node = agent.self()["Config"]["NodeName"]
    wanted = f'CheckID == "held" and Node == "{node}"'
    assert until(lambda: client.health.state("passing", filter_expr=wanted)[1])
    session = client.session.create(checks=["serfHealth", "held"], lock_delay=0, behavior="delete")
    assert client.kv.put("app/held", "mine", acquire=session) is True
    assert session in [row["ID"] for row in client.session.node(node)[1]]
    index = client.session.list()[0]
    agent.check.ttl_fail("held")
    assert until(lambda: client.session.info(session)[1] is None)
    assert int(client.session.list()[0]) > int(index)
    assert client.kv.get("app/held")[1] is None
    agent.check.deregister("held")


def test_an_event_reaches_every_agent(client: Any, until: Until) -> None:
    name = f"deploy-{uuid.uuid4()}"
    fired = client.event.fire(name, "1609030")
    assert (fired["Name"], fired["Version"]) == (name, 1)
    (found,) = until(lambda: client.event.list(name=name)[1])
    assert (found["ID"], found["Payload"]) == (fired["ID"], b"1609030")
    index = client.event.list(name=name)[0]
    again = threading.Timer(0.2, client.event.fire, args=(name, "2"))
    again.start()
    later, events = client.event.list(name=name, index=index, wait="60s")
    again.join()
    assert later != index
    assert [event["Payload"] for event in events] == [b"1609030", b"2"]


def test_an_event_for_others_is_not_heard(client: Any, until: Until) -> None:
    name = f"aside-{uuid.uuid4()}"
    client.event.fire(name, "no", node="^nobody$")
    client.event.fire(name, "yes", node="agent|server")
    assert [event["Payload"] for event in until(lambda: client.event.list(name=name)[1])] == [b"yes"]
    with pytest.raises(consul.ConsulException):
        client.event.fire(name, "x" * 1000)


def test_a_prepared_query_lives_and_is_executed(client: Any) -> None:
    name = f"near-{uuid.uuid4()}"
    service = {"service": "inn", "id": "inn-1", "tags": ["eu"], "port": 99}
    client.catalog.register("inn-1", "10.3.0.1", service=service)
    made = client.query.create("inn", name=name, tags=["eu"], ttl="10s", nearestn=3)
    found = client.query.execute(name)
    assert (found["Service"], found["Datacenter"], found["Failovers"]) == ("inn", "dc1", 0)
    assert [row["Node"]["Node"] for row in found["Nodes"]] == ["inn-1"]
    assert found["DNS"]["TTL"] == "10s"
    assert [row["ID"] for row in client.query.list() if row["Name"] == name] == [made["ID"]]
    assert client.query.update(made["ID"], service="inn", name=name, tags=["us"]) is True
    assert client.query.execute(name)["Nodes"] == []
    with pytest.raises(consul.ConsulException, match="templates can only be"):
        client.query.execute(made["ID"])
    assert client.query.get(made["ID"])[0]["Service"]["Tags"] == ["us"]
    assert client.query.delete(made["ID"]) is True
    assert client.query.execute(name) is None
    client.catalog.deregister("inn-1")


def test_a_prepared_query_may_be_a_template(client: Any) -> None:
    name = f"t{uuid.uuid4().hex}-"
    made = client.query.create("${match(1)}", name=name, regexp=f"^{name}(.*)$")
    assert client.query.explain(f"{name}shop")["Query"]["Service"]["Service"] == "shop"
    assert client.query.delete(made["ID"]) is True
    with pytest.raises(consul.ConsulException, match="Bad Regexp"):
        client.query.create("x", name=name, regexp="(")


def test_a_transaction_writes_keys_nodes_services_and_checks_at_once(client: Any) -> None:
    value = base64.b64encode(b"in one").decode()
    node = {"Node": "txn-1", "Address": "10.4.0.1"}
    service = {"Node": "txn-1", "Service": {"ID": "t", "Service": "txn", "Port": 1}}
    check = {"Node": "txn-1", "CheckID": "c", "Name": "c", "Status": "passing", "ServiceID": "t"}
    done = client.txn.put(
        [
            {"Node": {"Verb": "set", "Node": node}},
            {"Service": {"Verb": "set", **service}},
            {"Check": {"Verb": "set", "Check": check}},
            {"KV": {"Verb": "set", "Key": "app/txn", "Value": value}},
            {"Service": {"Verb": "get", **service}},
        ]
    )
    assert done["Errors"] is None
    assert [next(iter(result)) for result in done["Results"]] == ["Node", "Service", "Check", "KV", "Service"]
    assert [row["Node"]["Node"] for row in client.health.service("txn", passing=True)[1]] == ["txn-1"]
    old = done["Results"][2]["Check"]["ModifyIndex"]
    refused = [
        {"KV": {"Verb": "delete", "Key": "app/txn"}},
        {"Check": {"Verb": "cas", "Check": {**check, "Status": "critical", "ModifyIndex": old - 1}}},
    ]
    with pytest.raises(consul.ConsulException, match=re.compile("409.*OpIndex.*1", re.DOTALL)):
        client.txn.put(refused)
    assert client.kv.get("app/txn")[1]["Value"] == b"in one"
    assert client.txn.put([{"Node": {"Verb": "delete", "Node": node}}])["Errors"] is None
    assert client.catalog.node("txn-1")[1] is None


def test_the_keyring_of_a_cluster_in_the_clear_is_an_error(client: Any) -> None:
    with pytest.raises(consul.ConsulException, match=r"[Kk]eyring"):
        client.operator.keyring_list()


def test_autopilot_and_usage_answer(client: Any) -> None:
    assert client.operator.autopilot_configuration()["CleanupDeadServers"] is True
    assert client.operator.autopilot_health()["Healthy"] in (True, False)
    assert client.operator.usage()["Usage"]["dc1"]["Nodes"] >= 4
