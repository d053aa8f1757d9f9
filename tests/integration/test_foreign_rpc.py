"""Foreign client agents at real servers: calls as they send them, answered as they expect."""

import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
import pytest

from jepsen.cluster import Cluster, Node
from tests.fakes.foreign_site import beside
from tests.fakes.foreign_wire import (
    ForeignSession,
    Line,
    dial,
    dial_plain,
    dial_raw,
    old,
    readable,
    request_bytes,
    secured,
)
from tests.integration.test_tls_cluster import tls_cluster

OPTIONS = {
    "Datacenter": "dc1", "Token": "", "MinQueryIndex": 0, "MaxQueryTime": 0, "AllowStale": False,
    "RequireConsistent": False, "MaxStaleDuration": 0,
}  # fmt: skip
SECOND = 1_000_000_000


def line_of(address: str, wire: str) -> Line:
    return dial_plain(address) if wire == "plain" else dial(address).open()


def asked(line: Line, method: str, **argument: Any) -> Any:
    """The body; fails if an error was answered."""
    error, body = line.call(method, {**OPTIONS, **argument})
    assert error == ""
    return body


def refused(line: Line, method: str, argument: Any) -> str:
    error, body = line.call(method, argument)
    assert body == {}
    return error


def apply(line: Line, operation: str, key: str, value: bytes | None = None, **fields: Any) -> Any:
    entry = {"LockIndex": 0, "Key": key, "Flags": 0, "Value": value, "Session": "", "CreateIndex": 0, "ModifyIndex": 0}
    argument = {"Datacenter": "dc1", "Op": operation, "DirEnt": {**entry, **fields}, "Token": ""}
    error, body = line.call("KVS.Apply", argument)
    assert error == ""
    return body


@asynccontextmanager
async def one_server(folder: Path) -> AsyncIterator[Node]:
    async with Cluster(folder, servers=1, agents=0) as cluster:
        yield await cluster.wait_ready()


def keys_are_written_read_listed_and_deleted(line: Line) -> None:
    assert apply(line, "set", "f/a", b"one\x00\xff", Flags=42) is False
    found = asked(line, "KVS.Get", Key="f/a")
    (entry,) = found["Entries"]
    assert (entry["Value"], entry["Flags"], entry["LockIndex"], entry["Session"]) == (b"one\x00\xff", 42, 0, "")
    assert found["Index"] == entry["ModifyIndex"] == entry["CreateIndex"] > 0
    assert (found["KnownLeader"], found["LastContact"], found["ConsistencyLevel"]) == (True, 0, "")
    assert apply(line, "cas", "f/a", b"two", ModifyIndex=1) is False
    assert apply(line, "cas", "f/a", b"two", ModifyIndex=entry["ModifyIndex"]) is True
    assert apply(line, "set", "f/b/c", None) is False
    listed = asked(line, "KVS.List", Key="f/", RequireConsistent=True)
    assert [(each["Key"], each["Value"]) for each in listed["Entries"]] == [("f/a", "two"), ("f/b/c", None)]
    assert asked(line, "KVS.ListKeys", Prefix="f/", Seperator="/")["Keys"] == ["f/a", "f/b/"]
    assert apply(line, "delete-cas", "f/a", ModifyIndex=1) is False
    assert apply(line, "delete-tree", "f/") is False
    missing = asked(line, "KVS.Get", Key="f/a", RequireConsistent=True)
    assert missing["Entries"] is None
    assert missing["Index"] >= 1


def large_values_come_back_whole(line: Line) -> None:
    values = [bytes([number]) * 400 * 1024 for number in range(128, 131)]
    for value in values:
        assert apply(line, "set", "large", value) is False
        assert asked(line, "KVS.Get", Key="large")["Entries"][0]["Value"] == value


def transactions_are_read_and_written(line: Line) -> None:
    def operation(verb: str, key: str, value: bytes | None = None) -> Any:
        return {"KV": {"Verb": verb, "DirEnt": {"Key": key, "Value": value}}}

    written = asked(line, "Txn.Apply", Ops=[operation("set", "t/a", b"1"), operation("get", "t/a")])
    assert [result["KV"]["Value"] for result in written["Results"]] == [None, "1"]
    assert written["Errors"] is None
    read = asked(line, "Txn.Read", Ops=[operation("get", "t/a")])
    assert (read["Results"][0]["KV"]["Value"], read["Index"]) == ("1", 0)
    failed = asked(line, "Txn.Apply", Ops=[operation("get", "t/nothing"), operation("delete", "t/a")])
    assert failed["Results"] is None
    assert failed["Errors"] == [{"OpIndex": 0, "What": 'key "t/nothing" doesn\'t exist'}]


def status_and_operator_answer_in_their_shapes(line: Line) -> None:
    assert line.call("Status.Ping", {}) == ("", {})
    assert line.call("Status.Ping", None) == ("", {})
    error, leader = line.call("Status.Leader", {})
    assert error == ""
    assert line.call("Status.Peers", {}) == ("", [leader])
    configuration = asked(line, "Operator.RaftGetConfiguration")
    (server,) = configuration["Servers"]
    assert set(server) == {"ID", "Node", "Address", "Leader", "ProtocolVersion", "Voter"}
    assert (server["Address"], server["Leader"], server["Voter"]) == (leader, True, True)
    for method in ("Operator.RaftRemovePeerByID", "Operator.RaftRemovePeerByAddress"):
        error = refused(line, method, {"Datacenter": "dc1", "ID": "nope", "Address": "nope"})
        assert error.endswith('"nope" was not found in the Raft configuration')


def errors_are_told_in_the_known_words(line: Line) -> None:
    assert refused(line, "KVS.Nothing", {}) == "rpc: can't find method KVS.Nothing"
    assert refused(line, "X.Y", {}) == "rpc: can't find service X.Y"
    assert refused(line, "X", {}) == "rpc: service/method request ill-formed: X"
    for datacenter in ("", "nowhere"):
        assert refused(line, "KVS.Get", {"Datacenter": datacenter, "Key": "a"}) == "No path to datacenter"
    assert refused(line, "KVS.Apply", {"Datacenter": "dc1", "Op": "dance"}) == 'unknown KV verb "dance"'
    assert "Must provide key" in refused(line, "KVS.Apply", {"Datacenter": "dc1", "Op": "set"})
    assert line.call("Status.Ping", {}) == ("", {}), "none of this has ended the stream"
    error = refused(line, "KVS.Get", {"Datacenter": "dc1", "Key": 5})
    assert error.startswith("codec.decoder: Key: ")


def a_read_that_waits_is_woken_or_timed_out(line: Line) -> None:
    apply(line, "set", "w", b"1")
    index = asked(line, "KVS.Get", Key="w")["Index"]
    stale = asked(line, "KVS.Get", Key="w", AllowStale=True)
    assert (stale["Index"], stale["LastContact"]) == (index, 0)
    still = asked(line, "KVS.Get", Key="w", MinQueryIndex=index, MaxQueryTime=SECOND // 10)
    assert (still["Index"], still["Entries"][0]["Value"]) == (index, "1")
    assert asked(line, "KVS.Get", Key="w", MinQueryIndex=index - 1)["Index"] == index


STORIES: list[Callable[[Line], None]] = [
    keys_are_written_read_listed_and_deleted,
    large_values_come_back_whole,
    transactions_are_read_and_written,
    status_and_operator_answer_in_their_shapes,
    a_read_that_waits_is_woken_or_timed_out,
    errors_are_told_in_the_known_words,
]


@pytest.mark.parametrize("wire", ["plain", "yamux"])
async def test_a_foreign_agent_finds_what_it_expects(tmp_path: Path, wire: str) -> None:
    async with one_server(tmp_path) as server:
        for story in STORIES:
            line = await beside(line_of, server.rpc_address, wire)
            await beside(story, line)
            if wire == "plain":
                line.close()
            else:
                line.session.close()


def woken_by_a_write(address: str, waiters_count: int) -> None:
    session = dial(address)
    writer = session.open()
    apply(writer, "set", "woken", b"before")
    index = asked(writer, "KVS.Get", Key="woken")["Index"]
    waiting = [session.open() for _ in range(waiters_count)]
    argument = {**OPTIONS, "Key": "woken", "MinQueryIndex": index, "MaxQueryTime": 60 * SECOND}
    for line in waiting:
        line.write(request_bytes(1, "KVS.Get", argument))
    assert asked(writer, "KVS.Get", Key="woken")["Index"] == index
    apply(writer, "set", "woken", b"after")
    for line in waiting:
        error, body = line.answer()
        assert (error, body["Entries"][0]["Value"]) == ("", "after")
        assert body["Index"] > index
    session.close()


async def test_many_streams_wait_for_one_write(tmp_path: Path) -> None:
    async with one_server(tmp_path) as server:
        await beside(woken_by_a_write, server.rpc_address, 200)


def many_at_once(address: str) -> None:
    """Several sessions with several streams each, all under way together."""
    failures: list[BaseException] = []

    def one(number: int) -> None:
        try:
            session = dial(address)
            lines = [session.open() for _ in range(10)]
            for turn in range(5):
                for position, line in enumerate(lines):
                    entry = {"Key": f"m/{number}/{position}", "Value": bytes([65 + turn]) * 20_000}
                    line.write(request_bytes(1, "KVS.Apply", {"Datacenter": "dc1", "Op": "set", "DirEnt": entry}))
                assert [line.answer() for line in lines] == [("", False)] * len(lines)
            got = asked(lines[0], "KVS.List", Key=f"m/{number}/")
            assert [each["Value"] for each in got["Entries"]] == ["E" * 20_000] * len(lines)
            session.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


async def test_a_follower_answers_through_its_leader(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=3, agents=0) as cluster:
        leader = await cluster.wait_ready()
        follower = next(server for server in cluster.servers if server is not leader)
        line = await beside(line_of, follower.rpc_address, "yamux")
        await beside(keys_are_written_read_listed_and_deleted, line)
        await beside(woken_by_a_write, follower.rpc_address, 5)
        await beside(many_at_once, follower.rpc_address)
        line.session.close()


async def test_a_call_whose_stream_is_closed_frees_its_query(tmp_path: Path) -> None:
    async with one_server(tmp_path) as server:

        def begin() -> ForeignSession:
            session = dial(server.rpc_address)
            for _ in range(20):
                argument = {**OPTIONS, "Key": "x", "MinQueryIndex": 1000, "MaxQueryTime": 600 * SECOND}
                session.open().write(request_bytes(1, "KVS.Get", argument))
            assert session.open().call("Status.Ping", {}) == ("", {})
            return session

        def end(session: ForeignSession) -> None:
            for line in list(session.lines.values()):
                line.close()
                while not line.ended:
                    session.pump()
            session.close()

        session = await beside(begin)
        await beside(end, session)
        assert (await server.request("GET", "/v1/status/leader")).status == 200


# Snapshots


def exchanged(connection: socket.socket, operation: int, archive: bytes = b"", **fields: Any) -> tuple[Any, bytes]:
    """One exchange: the response, and what came behind it."""
    request = {"Datacenter": "dc1", "Token": "", "AllowStale": False, "Op": operation, **fields}
    connection.sendall(old(request) + archive)
    with socket.socket(fileno=os.dup(connection.fileno())) as beneath:
        beneath.shutdown(socket.SHUT_WR)  # of the TCP connection, also where TLS is spoken on it
    data = b""
    while piece := connection.recv(1 << 20):
        data += piece
    connection.close()
    reader = msgpack.Unpacker(raw=True)
    reader.feed(data)
    response = readable(reader.unpack())
    return response, data[reader.tell() :]


def snapshots_are_saved_and_restored(connect: Callable[[], socket.socket], line: Line) -> None:
    apply(line, "set", "kept", b"1" * 100_000)
    response, archive = exchanged(connect(), 0)
    assert response["Error"] == ""
    assert response["KnownLeader"] is True
    assert response["Index"] > 0
    assert archive[:2] == b"\x1f\x8b"
    apply(line, "delete", "kept")
    response, rest = exchanged(connect(), 1, archive)
    assert (response["Error"], response["Index"], response["KnownLeader"], rest) == ("", 0, False, b"")
    assert len(asked(line, "KVS.Get", Key="kept")["Entries"][0]["Value"]) == 100_000
    response, rest = exchanged(connect(), 1, archive[:-100])
    assert response["Error"]
    assert rest == b""
    assert exchanged(connect(), 0, Datacenter="nowhere")[0]["Error"] == "No path to datacenter"
    assert exchanged(connect(), 7)[0]["Error"].startswith("codec.decoder: Op: ")
    assert len(asked(line, "KVS.Get", Key="kept")["Entries"]) == 1


async def test_snapshots_are_exchanged_on_a_connection_of_their_own(tmp_path: Path) -> None:
    async with Cluster(tmp_path, servers=3, agents=0) as cluster:
        leader = await cluster.wait_ready()
        for server in (leader, next(server for server in cluster.servers if server is not leader)):
            line = await beside(line_of, server.rpc_address, "yamux")
            await beside(snapshots_are_saved_and_restored, partial(dial_raw, server.rpc_address, b"\x05"), line)
            line.session.close()


# TLS


def context_of(folder: Path) -> ssl.SSLContext:
    """A client agent's: it shows its certificate and checks that it talks to a server."""
    context = ssl.create_default_context(cafile=str(folder / "consul-agent-ca.pem"))
    context.load_cert_chain(folder / "dc1-client-consul-0.pem", folder / "dc1-client-consul-0-key.pem")
    return context


def closed_without_a_word(address: str, first: bytes) -> bool:
    connection = dial_raw(address, first)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
    finally:
        connection.close()


async def test_tls_carries_the_same_and_without_it_nothing_is_answered(tmp_path: Path) -> None:
    async with tls_cluster(tmp_path) as cluster:
        leader = await cluster.wait_ready()
        for first in (b"\x00", b"\x04", b"\x05"):
            assert await beside(closed_without_a_word, leader.rpc_address, first + request_bytes(1, "Status.Ping", {}))
        context = context_of(tmp_path / "tls")
        for follower in cluster.servers[:2]:
            connection = await beside(secured, follower.rpc_address, context, b"\x04")
            session = ForeignSession(connection, dialler=True)
            await beside(keys_are_written_read_listed_and_deleted, session.open())
            await beside(large_values_come_back_whole, session.open())
            connect = partial(secured, follower.rpc_address, context, b"\x05")
            await beside(snapshots_are_saved_and_restored, connect, session.open())
            session.close()
