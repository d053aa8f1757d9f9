"""Answers of discovery under any sequence of changes: what has changed has a higher index and wakes who waits for it.

For a list of queries, after every entry:

1. an index never falls;
2. an answer that differs from the last one has a higher index, and the watch of the last one fired;
3. an answer out of `Replies` is the one that is made anew;
4. the state keeps its invariants; in the end another server that applies the log in one batch, and one that is
   restored from an archive, have the same.
"""

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import server.endpoints.catalog
import server.endpoints.health
import server.endpoints.internal
import server.endpoints.session  # noqa: F401  # each registers its methods
from fsm import archive
from fsm.commands.refusal import Refusal
from fsm.watch import WatchSet
from server.endpoints.registry import METHODS, Method, Query
from server.replies import Replies, head_of, with_meta
from structs.archive import ArchiveMeta
from structs.catalog import (
    CONNECT_PROXY,
    ChecksInStateRequest,
    HealthCheck,
    ListNodesRequest,
    ListServicesRequest,
    NodeDumpRequest,
    NodeRequest,
    NodeService,
    ServiceConnect,
    ServiceRequest,
)
from structs.query import Consistency
from structs.session import ListSessionsRequest, SessionBehavior
from structs.txn import ServiceOnNode, TxnOp
from tests.fakes.replica import Replica

NODES = ("a", "B")
NAMES = ("web", "Db", "p")
IDS = ("1", "2")
META: tuple[dict[str, str] | None, ...] = (None, {"rack": "1"}, {"rack": "2"})
UUIDS = ("", "0" * 8 + "-0000-0000-0000-" + "0" * 12, "1" * 8 + "-0000-0000-0000-" + "0" * 12)
STATUSES = ("passing", "warning", "critical")


def queries() -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = [
        ("Catalog.ListNodes", ListNodesRequest()),
        ("Catalog.ListNodes", ListNodesRequest(node_meta={"rack": "1"})),
        ("Catalog.ListServices", ListServicesRequest()),
        ("Catalog.ListServices", ListServicesRequest(node_meta={"rack": "1"})),
        ("Catalog.ListServices", ListServicesRequest(filter='NodeMeta.rack == "1"')),
        ("Catalog.ServiceNodes", ServiceRequest(service="", address="10.0.0.2")),
        ("Internal.NodeDump", NodeDumpRequest()),
        ("Session.List", ListSessionsRequest()),
        ("Internal.SessionDump", ListSessionsRequest()),
    ]
    found += [("Health.ChecksInState", ChecksInStateRequest(state=state)) for state in ("any", "critical")]
    found.append(("Health.ChecksInState", ChecksInStateRequest(state="any", node_meta={"rack": "1"})))
    for node in NODES:
        for method in ("Catalog.NodeServices", "Health.NodeChecks", "Internal.NodeInfo", "Session.NodeSessions"):
            found.append((method, NodeRequest(node=node.upper())))
    found.append(("Catalog.NodeServices", NodeRequest(node=UUIDS[1][:8])))
    for name in NAMES:
        for method in ("Catalog.ServiceNodes", "Health.ServiceNodes", "Health.ServiceChecks"):
            found.append((method, ServiceRequest(service=name.upper())))
            found.append((method, ServiceRequest(service=name, node_meta={"rack": "1"})))
            if method != "Health.ServiceChecks":
                found.append((method, ServiceRequest(service=name, connect=True)))
                found.append((method, ServiceRequest(service=name, tags=["t"])))
    return found


nodes = st.sampled_from(NODES)
names = st.sampled_from(NAMES)
ids = st.sampled_from(IDS)


@st.composite
def services(draw: Any) -> NodeService:
    kind = draw(st.sampled_from(("", CONNECT_PROXY)))
    return NodeService(
        service_id=draw(ids),
        service=draw(names),
        tags=draw(st.sampled_from((None, ["t"]))),
        address=draw(st.sampled_from(("", "10.0.0.2"))),
        kind=kind,
        proxy_destination=draw(names) if kind else "",
        connect=ServiceConnect(native=not kind and draw(st.booleans())),
    )


@st.composite
def checks(draw: Any, node: str) -> HealthCheck:
    return HealthCheck(
        node=node,
        check_id=draw(st.sampled_from(("serfHealth", "c"))),
        status=draw(st.sampled_from(STATUSES)),
        service_id=draw(st.sampled_from(("", *IDS))),
        service_name=draw(st.sampled_from(("", *NAMES))),
    )


@st.composite
def steps(draw: Any) -> tuple[str, dict[str, Any]]:
    verb = draw(st.sampled_from(("register", "register", "register", "deregister", "session", "end", "txn", "locate")))
    node = draw(nodes)
    if verb == "register":
        return verb, {
            "node": node,
            "node_id": draw(st.sampled_from(UUIDS)),
            "node_meta": draw(st.sampled_from(META)),
            "address": draw(st.sampled_from(("10.0.0.1", "10.0.0.2"))),
            "service": draw(st.none() | services()),
            "checks": draw(st.lists(checks(node), max_size=2)),
            "skip_node_update": draw(st.booleans()),
        }
    if verb == "deregister":
        what = draw(st.sampled_from(({}, {"service_id": draw(ids)}, {"check_id": draw(st.sampled_from(("c", "d")))})))
        return verb, {"node": node, **what}
    if verb == "session":
        return verb, {"id": draw(ids), "node": node, "check": draw(st.booleans()), "deletes": draw(st.booleans())}
    if verb == "txn":
        operations = [
            draw(
                st.sampled_from(
                    (
                        TxnOp(verb="set", service=ServiceOnNode(node=node, service=draw(services()))),
                        TxnOp(verb="set", check=draw(checks(node))),
                        TxnOp(verb="delete", check=draw(checks(node))),
                        TxnOp(verb="lock", key="k", session=f"session-{draw(ids)}"),
                        TxnOp(verb="set", key="k", value=b"v"),
                        TxnOp(verb="get", key="missing"),
                    )
                )
            )
            for _ in range(draw(st.integers(1, 3)))
        ]
        return verb, {"operations": operations}
    return verb, {"id": draw(ids), "node": node}


class Mark:
    """A waiter that remembers whether it was fired."""

    def __init__(self) -> None:
        self.fired = False

    def fire(self) -> None:
        self.fired = True


class Seen:
    """What one query was answered last, and a registration of what it read."""

    def __init__(self, method: Method, request: Any) -> None:
        self.method = method
        self.request = request
        self.index = 0
        self.part: Any = None
        self.mark = Mark()


def answered(replica: Replica, replies: Replies, seen: Seen) -> None:
    method, request = seen.method, seen.request
    watch_set = WatchSet()
    with replica.machine.read() as view:
        query = Query(view, watch_set, True, 0, Consistency.DEFAULT)
        reply = method.handler(query, request)
        if method.keeping is not None:
            index = method.keeping.index_of(view, request)
            assert index == reply.meta.index
            key = replies.key_of(method, request)
            entry = replies.find(view, key, index)
            if entry is None:
                replies.keep(view, key, index, reply, method.keeping, watch_set, head_of(reply))
            else:
                assert with_meta(entry.reply, reply.meta) == reply, (method.name, request)
    index, part = reply.meta.index, {name: getattr(reply, name) for name in reply.__struct_fields__ if name != "meta"}
    what = (method.name, request, seen.index, index)
    assert index >= seen.index, what
    if seen.index and part != seen.part:
        assert index > seen.index, (*what, seen.part, part)
        assert seen.mark.fired, (*what, seen.part, part)
    seen.index, seen.part, seen.mark = index, part, Mark()
    replica.machine.watches.register(watch_set, seen.mark)


def done(replica: Replica, step: tuple[str, dict[str, Any]]) -> None:
    verb, fields = step
    if verb == "register":
        replica.register(**fields)
    elif verb == "deregister":
        replica.deregister(**fields)
    elif verb == "session":
        behavior = SessionBehavior.DELETE if fields["deletes"] else SessionBehavior.RELEASE
        named = ["c"] if fields["check"] else []
        replica.session(f"session-{fields['id']}", fields["node"], *named, behavior=behavior, lock_delay_ns=5)
    elif verb == "end":
        replica.end_sessions(f"session-{fields['id']}")
    elif verb == "txn":
        replica.txn(*fields["operations"])
    else:
        replica.locate()


def followed(folder: Path, script: list[tuple[str, dict[str, Any]]]) -> None:
    replica = Replica(folder)
    replica.machine.skip(1, 1)  # no command has index 1: the first entry is the leader's
    replica.machine.commit_batch()
    replies = Replies()
    asked = [Seen(METHODS[name], request) for name, request in queries()]
    for seen in asked:
        answered(replica, replies, seen)
    for step in script:
        done(replica, step)
        for seen in asked:
            answered(replica, replies, seen)
    replica.check()
    twins(folder, replica)
    replica.close()


def twins(folder: Path, replica: Replica) -> None:
    """The same log in one batch, and the archived state restored elsewhere, are the same state."""
    at_once = Replica(folder / "at_once")
    at_once.machine.skip(1, 1)
    for command in replica.log:
        at_once.run(command, commit=False)
    at_once.machine.commit_batch()
    assert at_once.machine.digest_now == replica.machine.digest_now
    assert at_once.dump() == replica.dump()
    file = io.BytesIO()
    with replica.machine.read() as view:
        archive.write_archive(view, file, ArchiveMeta(snapshot_id="x", index=view.index, term=view.term))
    restored = Replica(folder / "restored")
    for command in archive.read_archive(file).commands("restore"):
        assert not isinstance(restored.run(command), Refusal)
    assert restored.dump() == replica.dump()
    assert restored.machine.store.state.digests == replica.machine.store.state.digests
    restored.check()
    at_once.close()
    restored.close()


@settings(deadline=None, max_examples=60)
@given(st.lists(steps(), min_size=1, max_size=25))
def test_what_has_changed_has_a_higher_index_and_wakes(script: list[tuple[str, dict[str, Any]]]) -> None:
    with TemporaryDirectory() as folder:
        followed(Path(folder), script)


def registered(node: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    return "register", {"node": node, **fields}


def one_check(**fields: Any) -> list[HealthCheck]:
    return [HealthCheck(node="a", check_id="c", status="passing", **fields)]


WEB, DB = NodeService(service_id="1", service="web"), NodeService(service_id="1", service="Db")


@pytest.mark.parametrize(
    "script",
    [
        # A service got another name, its check still has the old one; then the node's metadata change.
        [
            registered("B", service=WEB),
            registered("a", service=WEB, checks=one_check(service_id="1")),
            registered("a", service=DB),
            registered("a", node_meta={"rack": "1"}),
            registered("a", node_meta={"rack": "2"}),
        ],
        # A check of a node that names a service.
        [registered("B", service=WEB), registered("a", checks=one_check(service_name="web"))]
        + [registered("a", node_meta={"rack": rack}) for rack in ("1", "2")],
        [
            registered("a", checks=one_check(service_name="web")),
            registered("a", node_meta={"rack": "1"}),
            ("deregister", {"node": "a"}),
        ],
        # A filter on names of services looks at nodes.
        [registered("a", service=WEB), registered("a", node_meta={"rack": "1"}), registered("a")],
    ],
)
def test_what_a_node_is_part_of_changes_with_it(tmp_path: Path, script: list[tuple[str, dict[str, Any]]]) -> None:
    followed(tmp_path, script)
