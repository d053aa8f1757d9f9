"""py-consul, unchanged, against an agent and against a follower: the KV store, transactions, status, members."""

import base64
import threading
from typing import Any

import consul
import pytest

from jepsen.cluster import Cluster

KEYS = ["app/a", "app/b/1", "app/b/2", "app/c"]


def test_a_value_is_read_back_with_flags_and_indexes(client: Any) -> None:
    assert client.kv.put("app/a", b"\x00\xffvalue", flags=2**64 - 1) is True
    index, entry = client.kv.get("app/a")
    assert entry["Value"] == b"\x00\xffvalue"
    assert entry["Flags"] == 2**64 - 1
    assert entry["Key"] == "app/a"
    assert entry["LockIndex"] == 0
    assert entry["CreateIndex"] == entry["ModifyIndex"] == int(index)


def test_a_missing_key_is_none_with_an_index_to_wait_on(client: Any) -> None:
    index, entry = client.kv.get("app/nothing")
    assert entry is None
    assert int(index) >= 1


def test_an_empty_value_is_none(client: Any) -> None:
    assert client.kv.put("app/a", "") is True
    assert client.kv.get("app/a")[1]["Value"] is None


@pytest.mark.parametrize("key", ["app/a b", "app/ä/λ", "app/%2F", "app/a?b", "app/a+b", "app/a#b"])
def test_keys_with_odd_characters_come_back_as_they_were(client: Any, key: str) -> None:
    assert client.kv.put(key, "x") is True
    assert client.kv.get(key)[1]["Key"] == key
    assert client.kv.get("app/", recurse=True)[1][0]["Key"] == key


def test_cas_zero_creates_once_and_an_old_index_refuses(client: Any) -> None:
    assert client.kv.put("app/a", "1", cas=0) is True
    assert client.kv.put("app/a", "2", cas=0) is False
    modify_index = client.kv.get("app/a")[1]["ModifyIndex"]
    assert client.kv.put("app/a", "3", cas=modify_index) is True
    assert client.kv.put("app/a", "4", cas=modify_index) is False
    assert client.kv.get("app/a")[1]["Value"] == b"3"


def test_delete_cas_deletes_only_the_version_it_saw(client: Any) -> None:
    client.kv.put("app/a", "1")
    modify_index = client.kv.get("app/a")[1]["ModifyIndex"]
    assert client.kv.delete("app/a", cas=modify_index - 1) is False
    assert client.kv.delete("app/a", cas=modify_index) is True
    assert client.kv.get("app/a")[1] is None


def test_recurse_keys_and_separator_list_in_order(client: Any) -> None:
    for key in reversed(KEYS):
        client.kv.put(key, key)
    entries = client.kv.get("app/", recurse=True)[1]
    assert [(entry["Key"], entry["Value"]) for entry in entries] == [(key, key.encode()) for key in KEYS]
    assert client.kv.get("app/", keys=True)[1] == KEYS
    assert client.kv.get("app/", keys=True, separator="/")[1] == ["app/a", "app/b/", "app/c"]


def test_recursive_delete_takes_the_prefix_and_nothing_else(client: Any) -> None:
    for key in KEYS:
        client.kv.put(key, "x")
    assert client.kv.delete("app/b", recurse=True) is True
    assert client.kv.get("app/", keys=True)[1] == ["app/a", "app/c"]
    assert client.kv.get("app/b", recurse=True)[1] is None


@pytest.mark.parametrize("mode", ["default", "consistent", "stale"])
def test_every_consistency_mode_answers(client: Any, mode: str) -> None:
    client.kv.put("app/a", mode)
    entry = client.kv.get("app/a", consistency=mode)[1]
    if mode == "stale":
        assert entry is None or entry["Key"] == "app/a"
    else:
        assert entry["Value"] == mode.encode()


@pytest.mark.parametrize(("watched", "recurse"), [("app/a", False), ("app/", True)])
def test_a_blocking_read_returns_when_the_key_is_written(client: Any, watched: str, recurse: bool) -> None:
    client.kv.put("app/a", "before")
    index = client.kv.get(watched, recurse=recurse)[0]
    writer = threading.Timer(0.3, client.kv.put, args=("app/a", "after"))
    writer.start()
    try:
        later, found = client.kv.get(watched, recurse=recurse, index=index, wait="30s")
    finally:
        writer.join()
    entry = found[0] if recurse else found
    assert entry["Value"] == b"after"
    assert int(later) > int(index)


def test_a_blocking_read_without_a_change_returns_what_it_had(client: Any) -> None:
    client.kv.put("app/a", "same")
    index = client.kv.get("app/a")[0]
    later, entry = client.kv.get("app/a", index=index, wait="200ms")
    assert later == index
    assert entry["Value"] == b"same"


def test_a_transaction_happens_whole_or_not_at_all(client: Any) -> None:
    def operation(verb: str, key: str, **fields: object) -> dict[str, object]:
        return {"KV": {"Verb": verb, "Key": key, **fields}}

    value = base64.b64encode(b"in one").decode()
    done = client.txn.put([operation("set", "app/a", Value=value), operation("get", "app/a")])
    assert done["Errors"] is None
    assert base64.b64decode(done["Results"][1]["KV"]["Value"]) == b"in one"
    with pytest.raises(consul.ConsulException, match="409"):
        client.txn.put([operation("set", "app/new", Value=value), operation("cas", "app/a", Value=value, Index=1)])
    assert client.kv.get("app/new")[1] is None


def test_status_names_the_leader_among_its_peers(client: Any, cluster: Cluster) -> None:
    peers = client.status.peers()
    assert sorted(peers) == sorted(server.rpc_address for server in cluster.servers)
    assert client.status.leader() in peers


def test_the_agent_tells_its_name_and_everybody_else(client: Any, cluster: Cluster) -> None:
    names = {node.name for node in cluster.nodes}
    assert client.agent.self()["Config"]["NodeName"] in names
    members = client.agent.members()
    assert {member["Name"] for member in members} == names
    assert {member["Tags"]["role"] for member in members} == {"consul", "node"}
    assert all(member["Status"] == 1 for member in members)


def test_the_operator_sees_three_voters_and_one_leader(client: Any, cluster: Cluster) -> None:
    rows = client.operator.raft_config()["Servers"]
    assert {row["Address"] for row in rows} == {server.rpc_address for server in cluster.servers}
    assert all(row["Voter"] for row in rows)
    assert sum(row["Leader"] for row in rows) == 1


def test_a_snapshot_is_saved_and_restored(client: Any) -> None:
    client.kv.put("app/a", "kept")
    archive = client.snapshot.save()
    client.kv.put("app/a", "changed")
    client.kv.put("app/b", "new")
    assert client.snapshot.restore(archive) is True
    assert client.kv.get("app/a")[1]["Value"] == b"kept"
    assert client.kv.get("app/b")[1] is None


def test_a_bad_request_is_told_from_a_failure(client: Any) -> None:
    with pytest.raises(consul.exceptions.BadRequest):
        client.kv.get("app/a", index=1, wait="nonsense")
    with pytest.raises(consul.exceptions.ClientError, match="413"):
        client.kv.put("app/a", b"x" * (512 * 1024 + 1))


def test_sessions_are_made_renewed_listed_and_destroyed(client: Any) -> None:
    session_id = client.session.create("leader", checks=[], behavior="delete", ttl=20, lock_delay=0)
    (found,) = [each for each in client.session.list()[1] if each["ID"] == session_id]
    assert (found["Name"], found["Behavior"], found["TTL"], found["LockDelay"]) == ("leader", "delete", "20s", 0)
    assert client.session.info(session_id)[1]["ID"] == session_id
    assert session_id in [each["ID"] for each in client.session.node(found["Node"])[1]]
    assert client.session.renew(session_id)["ID"] == session_id
    assert client.session.destroy(session_id) is True
    assert client.session.info(session_id)[1] is None
    with pytest.raises(consul.NotFound):
        client.session.renew(session_id)


def test_a_key_is_locked_by_one_session_at_a_time(client: Any) -> None:
    holder, other = (client.session.create(checks=[], lock_delay=0, behavior="delete") for _ in range(2))
    assert client.kv.put("app/leader", "one", acquire=holder) is True
    assert client.kv.put("app/leader", "two", acquire=other) is False
    assert client.kv.put("app/leader", "one again", acquire=holder) is True
    index, entry = client.kv.get("app/leader")
    assert (entry["Session"], entry["LockIndex"], int(index)) == (holder, 1, entry["ModifyIndex"])
    assert client.kv.put("app/leader", "", release=other) is False
    assert client.session.destroy(holder) is True
    assert client.kv.get("app/leader")[1] is None
    assert client.kv.put("app/leader", "two", acquire=other) is True
    assert client.kv.put("app/leader", "", release=other) is True
    assert client.session.destroy(other) is True
    with pytest.raises(consul.ConsulException, match='invalid session "'):
        client.kv.put("app/leader", "", acquire=holder)


def test_a_service_is_registered_spoken_for_found_and_deregistered(client: Any) -> None:
    agent, check_id = client.agent, "service:app/web-1"
    check = consul.Check.ttl("1h")
    assert agent.service.register("web", service_id="app/web-1", port=8080, tags=["v1"], meta={"a": "b"}, check=check)
    assert agent.services()["app/web-1"]["Port"] == 8080
    assert client.health.service("web", passing=True)[1] == []
    assert agent.check.ttl_pass(check_id, "fine")
    assert agent.checks()[check_id]["Output"] == "fine"

    index, found = None, []
    for _ in range(10):  # the status is on its way to the catalog
        index, found = client.health.service("web", passing=True, index=index, wait="2s")
        if found:
            break
    assert [(row["Service"]["ID"], row["Service"]["Tags"]) for row in found] == [("app/web-1", ["v1"])]

    assert agent.service.maintenance("app/web-1", True, "upgrade")
    assert client.health.service("web", passing=True)[1] == []
    assert agent.service.maintenance("app/web-1", False)
    assert agent.check.register("memory", check=consul.Check.ttl("1h"), check_id="mem")
    assert agent.check.deregister("mem")
    assert agent.maintenance(True, "why")
    assert agent.maintenance(False)
    assert agent.service.deregister("app/web-1")
    assert client.catalog.service("web")[1] == []
