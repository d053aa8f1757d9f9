"""The client library over real sockets: what it sends, how it reads answers, and what it tries again."""

import json
import socket
import threading
from pathlib import Path

import pytest

from base.errors import (
    Internal,
    InvalidRequest,
    MeshError,
    NoLeader,
    NotFound,
    OutcomeUnknown,
    PermissionDenied,
    Refused,
    TooLarge,
    Unreachable,
)
from mesh import client as client_module
from mesh.client import Client
from mesh.query import Read
from structs.kv import KVEntry, KVVerb
from structs.query import Consistency
from structs.txn import TxnError, TxnOp
from tests.fakes.http_agent import Asked, Told, fake_agent, script_of

ROW = {"LockIndex": 1, "Key": "a b", "Flags": 2**64 - 1, "Value": "aGk=", "CreateIndex": 3, "ModifyIndex": 4}
TRUE = Told(body=b"true")
NO_LEADER = Told(status=500, body=b"No cluster leader")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAUSE_S", 0.001)


def ask(address: str, **options: object) -> Client:
    return Client(address, environment={}, **options)  # type: ignore[arg-type]


def test_a_key_is_read_with_its_meta_data() -> None:
    headers = {"X-Consul-Index": "17", "X-Consul-KnownLeader": "false", "X-Consul-LastContact": "1500"}
    with fake_agent(script_of(Told(body=json.dumps([ROW]).encode(), headers=headers))) as agent:
        client = ask(agent.address, token="t0ken", datacenter="dc9")
        answer = client.kv.read("a b/ü?", Read(consistency=Consistency.STALE, index=5, wait_s=1.5))
        client.close()
    assert answer.value == KVEntry(
        key="a b", value=b"hi", flags=2**64 - 1, lock_index=1, create_index=3, modify_index=4
    )
    assert (answer.index, answer.known_leader, answer.last_contact_s) == (17, False, 1.5)
    assert agent.asked[0].path == "/v1/kv/a%20b/%C3%BC%3F?dc=dc9&stale=&index=5&wait=1500ms"
    assert agent.asked[0].headers["x-consul-token"] == "t0ken"


def test_a_key_that_is_not_text_is_refused_before_anything_is_sent() -> None:
    client = ask("127.0.0.1:1")
    with pytest.raises(InvalidRequest, match="is not UTF-8"):
        client.kv.put(b"k\xff".decode("utf-8", "surrogateescape"), b"v")
    client.close()


def test_a_missing_key_is_none_and_its_index_is_kept() -> None:
    with (
        fake_agent(script_of(Told(status=404, headers={"X-Consul-Index": "9"}))) as agent,
        ask(agent.address) as client,
    ):
        assert client.kv.get("x") is None
        assert client.kv.read("x").index == 9
        assert client.kv.list("x") == []
        assert client.kv.keys("x") == []


def test_writes_say_what_they_mean() -> None:
    with fake_agent(script_of(TRUE)) as agent, ask(agent.address) as client:
        client.kv.put("k", b"v", flags=7)
        assert client.kv.cas("k", b"v", 0)
        assert client.kv.acquire("k", b"", "s1")
        assert client.kv.release("k", b"", "s1")
        client.kv.delete("k")
        assert client.kv.delete_cas("k", 3)
        client.kv.delete_tree("p/")
    assert [(asked.method, asked.path) for asked in agent.asked] == [
        ("PUT", "/v1/kv/k?flags=7"),
        ("PUT", "/v1/kv/k?cas=0"),
        ("PUT", "/v1/kv/k?acquire=s1"),
        ("PUT", "/v1/kv/k?release=s1"),
        ("DELETE", "/v1/kv/k"),
        ("DELETE", "/v1/kv/k?cas=3"),
        ("DELETE", "/v1/kv/p/?recurse="),
    ]
    assert agent.asked[0].body == b"v"


def test_a_lost_compare_and_set_is_false_not_an_error() -> None:
    with fake_agent(script_of(Told(body=b"false"))) as agent, ask(agent.address) as client:
        assert client.kv.cas("k", b"v", 1) is False


def test_connections_are_kept() -> None:
    ports: set[str] = set()
    with fake_agent(script_of(TRUE)) as agent, ask(agent.address) as client:
        for _ in range(3):
            client.kv.put("k", b"v")
            with client._transport._lock:
                ports |= {str(connection.sock.getsockname()) for connection in client._transport._idle}
    assert len(ports) == 1


def test_a_connection_that_the_agent_closed_meanwhile_is_not_used_again() -> None:
    answers = [Told(body=b"true", headers={"Connection": "close"}), TRUE]
    with fake_agent(script_of(*answers)) as agent, ask(agent.address, attempts_max=1) as client:
        client.kv.put("k", b"1")
        client.kv.put("k", b"2")
    assert len(agent.asked) == 2


def test_transactions_have_results_or_errors() -> None:
    body = {"Results": [{"KV": ROW}], "Errors": None}
    with fake_agent(script_of(Told(body=json.dumps(body).encode()))) as agent, ask(agent.address) as client:
        operation = TxnOp(verb=KVVerb.CAS, key="a", value=b"x", flags=1, index=2, session="s")
        outcome = client.kv.transaction([operation])
    assert json.loads(agent.asked[0].body) == [
        {"KV": {"Verb": "cas", "Key": "a", "Value": "eA==", "Flags": 1, "Index": 2, "Session": "s"}}
    ]
    assert outcome.results[0].entry.value == b"hi"
    refused = {"Results": None, "Errors": [{"OpIndex": 0, "What": "no"}]}
    told = Told(status=409, body=json.dumps(refused).encode())
    with fake_agent(script_of(told)) as agent, ask(agent.address) as client:
        assert client.kv.transaction([operation]).errors == [TxnError(position=0, what="no")]


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        (Told(status=400, body=b"Missing key name"), InvalidRequest),
        (Told(status=403, body=b"Permission denied"), PermissionDenied),
        (Told(status=413, body=b"Value exceeds 524288 byte limit"), TooLarge),
        (Told(status=404), NotFound),
        (Told(status=500, body=b"odd", headers={"X-Mesh-Outcome": "refused"}), Refused),
        (Told(status=500, body=b"odd", headers={"X-Mesh-Outcome": "unknown"}), OutcomeUnknown),
        (Told(status=500, body=b"No cluster leader", headers={"X-Mesh-Outcome": "unknown"}), OutcomeUnknown),
        (Told(status=500, body=b"odd"), OutcomeUnknown),
        (Told(hang_up=True), OutcomeUnknown),
    ],
)
def test_a_failed_write_says_whether_it_happened_and_is_not_repeated(told: Told, kind: type[MeshError]) -> None:
    with fake_agent(script_of(told)) as agent, ask(agent.address) as client, pytest.raises(kind):
        client.kv.put("k", b"v")
    assert len(agent.asked) == 1


def test_a_write_is_repeated_only_where_it_certainly_did_not_happen() -> None:
    with fake_agent(script_of(NO_LEADER, NO_LEADER, TRUE)) as agent, ask(agent.address) as client:
        client.kv.put("k", b"v")
    assert len(agent.asked) == 3
    with fake_agent(script_of(NO_LEADER)) as agent, ask(agent.address) as client, pytest.raises(NoLeader) as caught:
        client.kv.put("k", b"v")
    assert len(agent.asked) == 3
    assert str(caught.value) == "Unexpected response code: 500 (No cluster leader)"


@pytest.mark.parametrize("first", [Told(hang_up=True), Told(status=500, body=b"odd"), Told(body=b"[", cut=True)])
def test_a_read_is_repeated_whatever_happened(first: Told) -> None:
    with fake_agent(script_of(first, Told(body=json.dumps([ROW]).encode()))) as agent, ask(agent.address) as client:
        assert client.kv.get("a b") is not None
    assert len(agent.asked) == 2


def test_nobody_listening_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with ask(address) as client, pytest.raises(Unreachable, match="refused"):
            client.kv.put("k", b"v")


def test_an_answer_that_is_no_json_is_an_error_of_the_agent() -> None:
    told = Told(body=b"<html>")
    with fake_agent(script_of(told)) as agent, ask(agent.address) as client, pytest.raises(Internal, match="not JSON"):
        client.kv.get("k")


def test_an_early_refusal_of_a_large_body_is_heard() -> None:
    """The agent answers and closes before it has read everything."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1 << 16):
                    continue

        thread = threading.Thread(target=refuse)
        thread.start()
        with ask(f"127.0.0.1:{listener.getsockname()[1]}") as client, pytest.raises(TooLarge):
            client.kv.put("k", b"x" * 10_000_000)
        thread.join()


def test_a_unix_socket_carries_requests(tmp_path: Path) -> None:
    path = tmp_path / "mesh.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n"127.0.0.1:8300"')

        thread = threading.Thread(target=answer)
        thread.start()
        with ask(f"unix://{path}") as client:
            assert client.status.leader() == "127.0.0.1:8300"
        thread.join()


def test_a_silent_agent_is_given_up() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with ask(address, timeout_s=0.05) as client, pytest.raises(OutcomeUnknown, match="no answer in time"):
            client.kv.put("k", b"v")


def test_the_operator_sees_the_configuration() -> None:
    server = {"ID": "u", "Node": "n", "Address": "a:1", "Leader": True, "Voter": True, "ProtocolVersion": "3"}

    def script(asked: Asked) -> Told:
        return Told(body=json.dumps({"Servers": [server], "Index": 5, "Success": True}).encode())

    with fake_agent(script) as agent, ask(agent.address) as client:
        configuration = client.operator.raft_configuration()
        assert client.operator.raft_transfer_leader("u")
        client.operator.raft_remove_peer(server_id="u")
    assert configuration.index == 5
    assert configuration.servers[0].peer.address == "a:1"
    assert [(asked.method, asked.path) for asked in agent.asked[1:]] == [
        ("POST", "/v1/operator/raft/transfer-leader?id=u"),
        ("DELETE", "/v1/operator/raft/peer?id=u"),
    ]
