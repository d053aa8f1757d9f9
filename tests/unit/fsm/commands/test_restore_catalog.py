"""Rows of the catalog's tables come from outside like all others: what later reads rely on is checked."""

import math

import pytest

from base.codec import Record, encode
from fsm.commands.refusal import Refusal
from fsm.store import bulk, nodes
from fsm.store.kv_rows import encode_body
from fsm.store.names import key
from structs.archive import RestoreReply, RowChunk
from structs.autopilot import AutopilotConfig
from structs.catalog import HealthCheck, Node, NodeService
from structs.coordinate import Coordinate, NodeCoordinate
from structs.prepared_query import PreparedQuery, QueryTemplate
from structs.session import Session
from tests.fakes.replica import Replica
from tests.fakes.restores import begin, chunk, commit_of, kv_chunk

KVS, NODES, SERVICES, CHECKS, COORDINATES, AUTOPILOT, SESSIONS, QUERIES = 1, 4, 5, 6, 7, 8, 9, 10


def rows(table: int, *found: tuple[bytes, Record | bytes]) -> bytes:
    bodies = [body if isinstance(body, bytes) else encode(body) for _, body in found]
    return encode(RowChunk(table=table, keys=[name for name, _ in found], bodies=bodies))


def node(name: str, *, node_id: str = "", create: int = 1, modify: int = 1) -> Node:
    return Node(node=name, node_id=node_id, create_index=create, modify_index=modify)


def service(service_id: str, name: str = "web") -> NodeService:
    return NodeService(service_id=service_id, service=name, create_index=1, modify_index=7)


def check(owner: str, check_id: str, *, service_id: str = "", status: str = "passing") -> HealthCheck:
    return HealthCheck(
        node=owner, check_id=check_id, service_id=service_id, status=status, create_index=1, modify_index=9
    )


def session(session_id: str, *checks: str) -> Session:
    return Session(session_id=session_id, node="n", node_checks=list(checks), create_index=1, modify_index=2)


def query(query_id: str, name: str = "", *, session: str = "", kind: str = "") -> PreparedQuery:
    template = QueryTemplate(kind=kind)
    return PreparedQuery(
        query_id=query_id, name=name, session=session, template=template, create_index=1, modify_index=1
    )


N = rows(NODES, (key("n"), node("n", node_id="id")))
S = rows(SERVICES, (key("n", "s"), service("s")))


@pytest.mark.parametrize(
    ("before", "payload", "reason"),
    [
        ([], rows(NODES, (b"n", b"\x00")), "cannot be read"),
        ([], rows(NODES, (b"n", service("n"))), "cannot be read"),
        ([], rows(NODES, (b"n", node("n", create=0))), "created at 0"),
        ([], rows(NODES, (b"n", node("n", create=5, modify=4))), "created at 5"),
        ([], rows(NODES, (b"n", node("n", modify=bulk.INDEX_MAX + 1))), "out of range"),
        ([], rows(NODES, (b"m", node("n"))), "doesn't fit its key"),
        ([], rows(NODES, (b"N", node("N"))), "doesn't fit its key"),
        ([], rows(NODES, (b"m", node("m", node_id="ID")), (b"n", node("n", node_id="id"))), "doesn't fit its key"),
        ([], S, "names what is not there"),
        ([N], rows(SERVICES, (key("n", "t"), service("s"))), "doesn't fit its key"),
        ([N], rows(SERVICES, (b"n", service("n"))), "doesn't fit its key"),
        ([N], rows(SERVICES, (key("m", "s"), service("s"))), "names what is not there"),
        ([], rows(CHECKS, (key("n", "c"), check("n", "c"))), "names what is not there"),
        ([N], rows(CHECKS, (key("n", "c"), check("m", "c"))), "doesn't fit its key"),
        ([N], rows(CHECKS, (key("n", "c"), check("n", "c", status=""))), "doesn't fit its key"),
        ([N, S], rows(CHECKS, (key("n", "c"), check("n", "c", service_id="t"))), "names what is not there"),
        ([], rows(COORDINATES, (key("n", ""), NodeCoordinate(node="n", coordinate=Coordinate()))), "not there"),
        ([N], rows(COORDINATES, (key("n", "s"), NodeCoordinate(node="n", coordinate=Coordinate()))), "fit its key"),
        ([N], rows(COORDINATES, (key("n", ""), NodeCoordinate(node="n", coordinate=None))), "no node can be"),
        (
            [N],
            rows(COORDINATES, (key("n", ""), NodeCoordinate(node="n", coordinate=Coordinate(height=math.nan)))),
            "no node can be",
        ),
        ([N], rows(COORDINATES, (key("n", ""), b"")), "cannot be read"),
        ([], rows(AUTOPILOT, (b"other", AutopilotConfig(create_index=1, modify_index=1))), "doesn't fit its key"),
        ([], rows(AUTOPILOT, (b"config", AutopilotConfig())), "created at 0"),
        ([], rows(SESSIONS, (b"s", session("s"))), "names what is not there"),
        ([N], rows(SESSIONS, (b"t", session("s"))), "doesn't fit its key"),
        ([N], rows(SESSIONS, (b"s", session("S"))), "doesn't fit its key"),
        ([N], rows(SESSIONS, (b"s", session("s", "c"))), "names what is not there"),
        (
            [N, rows(CHECKS, (key("n", "c"), check("n", "c", status="critical")))],
            rows(SESSIONS, (b"s", session("s", "c"))),
            "doesn't fit",
        ),
        ([], rows(SESSIONS, (b"s", b"\x00")), "cannot be read"),
        ([], rows(QUERIES, (b"q", b"")), "cannot be read"),
        ([], rows(QUERIES, (b"q", query("other"))), "doesn't fit its key"),
        ([], rows(QUERIES, (b"Q", query("Q"))), "doesn't fit its key"),
        ([], rows(QUERIES, (b"p", query("p", "Web")), (b"q", query("q", "web"))), "doesn't fit its key"),
        ([], rows(QUERIES, (b"p", query("p", kind="t")), (b"q", query("q", kind="t"))), "doesn't fit its key"),
        ([], rows(QUERIES, (b"q", query("q", session="s"))), "names what is not there"),
        ([], rows(99, (b"a", b"")), "table number 99 is unknown"),
    ],
)
def test_rows_that_are_none_are_refused_and_so_is_their_commit(
    replica: Replica, before: list[bytes], payload: bytes, reason: str
) -> None:
    replica.register("mine", service=service("s"))
    expected = replica.dump()
    replica.run(begin())
    for position, good in enumerate(before):
        assert isinstance(replica.run(chunk(position, good)), RestoreReply)
    refusal = replica.run(chunk(len(before), payload))
    assert isinstance(refusal, Refusal)
    assert reason in refusal.text
    assert isinstance(replica.run(commit_of([*before, payload])), Refusal)
    assert replica.dump() == expected
    # What the refused chunks left behind is gone with the next restore.
    good = kv_chunk("a")
    for command in (begin("again"), chunk(0, good, "again"), commit_of([good], "again")):
        assert not isinstance(replica.run(command), Refusal)
    assert not any(replica.dump()[name] for name in ("nodes", "services", "checks", "coordinates"))


def test_counters_that_an_archive_lacks_are_raised_to_its_rows(replica: Replica) -> None:
    payloads = [N, S, rows(CHECKS, (key("n", "c"), check("n", "c", service_id="s")))]
    replica.run(begin())
    for position, payload in enumerate(payloads):
        replica.run(chunk(position, payload))
    replica.run(commit_of(payloads))
    counters = replica.counters()
    assert (counters["nodes"], counters["services"], counters["checks"]) == (1, 7, 9)
    with replica.machine.read() as view:
        assert nodes.by_id(view, "id") == node("n", node_id="id")
    assert replica.deregister("n") is not None
    replica.check()
    # The name had no counter in this archive; it gets one with the next change of it.
    replica.register("n", service=service("s"))
    assert replica.counters()["service.web"] == replica.machine.index_applied


def held(session_id: str, *, lock_index: int = 1) -> bytes:
    return rows(KVS, (b"k", encode_body(1, 1, 0, lock_index, session_id, b"v")))


def test_held_keys_come_back_with_their_sessions(replica: Replica) -> None:
    payloads = [held("s"), N, rows(SESSIONS, (b"s", session("s")))]
    replica.run(begin())
    for position, payload in enumerate(payloads):
        assert isinstance(replica.run(chunk(position, payload)), RestoreReply)
    assert isinstance(replica.run(commit_of(payloads)), RestoreReply)
    assert replica.entry("k").session == "s"
    replica.check()
    replica.end_sessions("s")
    assert (replica.entry("k").session, replica.entry("k").lock_index) == ("", 1)


def test_a_key_held_by_a_session_that_is_not_in_the_archive_is_refused(replica: Replica) -> None:
    expected = replica.dump()
    payloads = [held("s"), N, rows(SESSIONS, (b"r", session("r")), (b"t", session("t")))]
    replica.run(begin())
    for position, payload in enumerate(payloads):
        assert isinstance(replica.run(chunk(position, payload)), RestoreReply)
    refusal = replica.run(commit_of(payloads))
    assert isinstance(refusal, Refusal)
    assert "held by a session" in refusal.text
    assert replica.dump() == expected


@pytest.mark.parametrize("payload", [held("S"), held("s", lock_index=0)])
def test_a_key_that_cannot_be_held_so_is_refused(replica: Replica, payload: bytes) -> None:
    replica.run(begin())
    assert isinstance(replica.run(chunk(0, payload)), Refusal)
