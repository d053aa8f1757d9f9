"""Sessions: what they need, what ends them, what becomes of their keys, and which counters move.

Source: state store specification, sections 2, 4 and 5.
"""

from __future__ import annotations

import pytest

from fsm.commands.refusal import Refusal
from fsm.store import session
from structs.catalog import HealthCheck, NodeService
from structs.kv import KVVerb
from structs.session import ServiceCheck, Session, SessionBehavior
from structs.txn import TxnOp
from tests.fakes.replica import Replica

SECOND_NS = 1_000_000_000
DELETE = SessionBehavior.DELETE


def check(check_id: str, status: str = "passing", *, service_id: str = "") -> HealthCheck:
    return HealthCheck(node="n", check_id=check_id, status=status, service_id=service_id)


def get(replica: Replica, session_id: str) -> Session | None:
    with replica.machine.read() as view:
        return session.get(view, session_id)


def ids_of_node(replica: Replica, node: str) -> list[str]:
    with replica.machine.read() as view:
        return [found.session_id for found in session.of_node(view, node)]


@pytest.fixture
def node(replica: Replica) -> Replica:
    """Node n with checks c (passing), w (warning) and bad (critical), and a service with a check."""
    replica.register(
        "n",
        service=NodeService(service_id="web", service="web"),
        checks=[check("c"), check("w", "warning"), check("bad", "critical"), check("s", service_id="web")],
    )
    return replica


def test_a_session_needs_its_node_and_its_checks(node: Replica) -> None:
    before = node.counters()
    assert node.session("1", "m") == Refusal(text="Missing node registration")
    assert node.session("1", "n", "c", "x") == Refusal(text="Missing check 'x' registration")
    assert node.session("1", "n", "bad") == Refusal(text="Check 'bad' is in critical state")
    assert node.session("1", "n", service_checks=[ServiceCheck(check_id="y")]) == Refusal(
        text="Missing check 'y' registration"
    )
    assert node.session("", "n") == Refusal(text="Missing Session ID")
    assert node.counters() == before
    assert node.session("1", "N", "C", "w", service_checks=[ServiceCheck(check_id="s")]) == "1"
    assert node.session("1", "n") == Refusal(text="session 1 exists already")
    found = get(node, "1")
    assert found is not None
    assert (found.create_index, found.modify_index) == (node.machine.index_applied - 1,) * 2
    assert ids_of_node(node, "n") == ["1"]
    assert node.counters()["sessions"] == found.create_index


def test_sessions_are_found_by_id_in_any_case(node: Replica) -> None:
    node.session("ab-1", "n")
    assert get(node, "AB-1") == get(node, "ab-1") is not None
    assert node.lock("k", "AB-1")
    assert node.entry("k").session == "ab-1"
    assert node.unlock("k", "aB-1")


def test_only_its_holder_gives_a_lock_back_and_the_lock_index_counts_its_owners(node: Replica) -> None:
    node.session("1", "n")
    node.session("2", "n")
    assert node.lock("k", "1", b"one")
    created = node.entry("k")
    assert (created.lock_index, created.session, created.value) == (1, "1", b"one")
    index = node.machine.index_applied
    assert not node.lock("k", "2", b"two")
    assert node.entry("k") == created
    assert node.lock("k", "1", b"more", flags=7)
    assert (node.entry("k").lock_index, node.entry("k").value, node.entry("k").flags) == (1, b"more", 7)
    assert node.entry("k").modify_index > index
    assert not node.unlock("k", "2")
    assert not node.unlock("absent", "1")
    assert node.unlock("k", "1", b"left")
    assert (node.entry("k").lock_index, node.entry("k").session, node.entry("k").value) == (1, "", b"left")
    assert not node.unlock("k", "1")
    assert node.lock("k", "2")
    assert node.entry("k").lock_index == 2


def test_a_lock_taken_again_by_its_holder_unchanged_moves_nothing(node: Replica) -> None:
    node.session("1", "n")
    node.lock("k", "1", b"v")
    before = node.dump()
    assert node.lock("k", "1", b"v")
    assert node.dump() == before


def test_a_plain_set_keeps_the_holder_and_the_lock_index(node: Replica) -> None:
    node.session("1", "n")
    node.lock("k", "1", b"v")
    node.set("k", b"other")
    assert (node.entry("k").session, node.entry("k").lock_index, node.entry("k").value) == ("1", 1, b"other")
    node.unlock("k", "1")
    node.set("k", b"free")
    assert node.lock("k", "1")
    assert node.entry("k").lock_index == 2


def test_a_held_key_that_is_deleted_is_free_and_counts_anew(node: Replica) -> None:
    node.session("1", "n")
    for prefix_deleted in (False, True):
        node.lock("t/k", "1")
        if prefix_deleted:
            node.delete_tree("t/")
        else:
            node.delete("t/k")
        node.check()
        assert node.lock("t/k", "1")
        assert node.entry("t/k").lock_index == 1
        node.delete("t/k")
    node.end_sessions("1")
    assert node.get("t/k")[0] is None


def test_the_end_of_a_session_releases_its_keys_and_keeps_what_is_in_them(node: Replica) -> None:
    node.session("1", "n")
    node.session("2", "n")
    for name in ("a", "b" * 600):
        node.lock(name, "1", b"v", flags=3)
    node.lock("c", "2")
    other = node.entry("c")
    index = node.end_sessions("1")
    for name in ("a", "b" * 600):
        entry = node.entry(name)
        assert (entry.session, entry.lock_index, entry.value, entry.flags) == ("", 1, b"v", 3)
        assert entry.modify_index == index
    assert node.entry("c") == other
    counters = node.counters()
    assert (counters["sessions"], counters["kvs"], counters.get("tombstones", 0)) == (index, index, 0)
    assert get(node, "1") is None
    assert ids_of_node(node, "n") == ["2"]


def test_a_session_that_deletes_leaves_tombstones(node: Replica) -> None:
    node.session("1", "n", behavior=DELETE)
    node.lock("a/1", "1")
    node.set("a/2")
    index = node.end_sessions("1")
    assert node.keys("a/") == (["a/2"], index)
    counters = node.counters()
    assert (counters["kvs"], counters["tombstones"]) == (index, index)


def test_the_end_of_nobody_moves_nothing(node: Replica) -> None:
    node.session("1", "n")
    before = node.dump()
    node.end_sessions("2", "")
    assert node.dump() == before


@pytest.mark.parametrize(
    "end",
    [
        lambda replica: replica.deregister("n"),
        lambda replica: replica.deregister("n", check_id="C"),
        lambda replica: replica.register("n", checks=[check("c", "critical")]),
        lambda replica: replica.register("n", checks=[check("c", "")]),
        lambda replica: replica.register("N", checks=[HealthCheck(node="N", check_id="C", status="critical")]),
    ],
)
def test_a_session_ends_with_its_node_and_with_each_of_its_checks(node: Replica, end: object) -> None:
    node.session("1", "n", "w", "c", behavior=DELETE)
    node.session("2", "n", "c", lock_delay_ns=SECOND_NS)
    node.lock("a", "1")
    node.lock("b", "2")
    end(node)  # type: ignore[operator]
    index = node.machine.index_applied
    assert get(node, "1") is None
    assert get(node, "2") is None
    assert node.get("a")[0] is None
    assert (node.entry("b").session, node.entry("b").modify_index) == ("", index)
    counters = node.counters()
    assert counters["sessions"] == counters["kvs"] == counters["tombstones"] == index


def test_a_session_ends_with_a_check_of_a_service_and_with_the_service(node: Replica) -> None:
    for end in ({"check_id": "s"}, {"service_id": "web"}):
        node.register("n", service=NodeService(service_id="web", service="web"), checks=[check("s", service_id="web")])
        node.session("1", "n", service_checks=[ServiceCheck(check_id="s")])
        node.deregister("n", **end)
        assert get(node, "1") is None


def test_a_session_outlives_checks_that_are_none_of_its_own_and_warnings(node: Replica) -> None:
    node.session("1", "n", "c")
    node.register("n", checks=[check("w", "critical"), check("c", "warning")])
    node.deregister("n", check_id="bad")
    node.register("m", checks=[HealthCheck(node="m", check_id="c", status="critical")])
    assert get(node, "1") is not None


def test_a_node_that_is_renamed_loses_its_sessions(replica: Replica) -> None:
    node_id = "11111111-1111-1111-1111-111111111111"
    replica.register("old", node_id=node_id)
    replica.session("1", "old")
    replica.register("new", node_id=node_id)
    assert get(replica, "1") is None


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[list[bytes], list[tuple[bytes, int]]]] = []
        self.replaced_count = 0

    def committed(self, sessions: object, locks_lost: object) -> None:
        self.heard.append((list(sessions), list(locks_lost)))  # type: ignore[call-overload]

    def replaced(self) -> None:
        self.replaced_count += 1


def test_whoever_keeps_time_hears_of_sessions_and_of_locks_lost_with_them(node: Replica) -> None:
    listener = node.machine.session_listener = Listener()
    node.session("1", "n", lock_delay_ns=5)
    node.session("2", "n", behavior=DELETE, lock_delay_ns=6)
    node.session("3", "n")
    for key, holder in (("a", "1"), ("b", "2"), ("c", "3"), ("d", "1")):
        node.lock(key, holder)
    node.unlock("d", "1")
    node.set("plain")
    node.end_sessions("1", "2", "3")
    assert listener.heard == [([b"1"], []), ([b"2"], []), ([b"3"], []), ([b"1", b"2", b"3"], [(b"a", 5), (b"b", 6)])]


def test_a_transaction_that_is_taken_back_leaves_no_lock(node: Replica) -> None:
    node.session("1", "n")
    before = node.dump()
    outcome = node.txn(
        TxnOp(verb="lock", key="a", session="1"),
        TxnOp(verb="unlock", key="a", session="1"),
        TxnOp(verb="lock", key="a", session="1"),
        TxnOp(verb="delete", key="a"),
        TxnOp(verb="lock", key="b", session="1"),
        TxnOp(verb="check-not-exists", key="b"),
    )
    assert [error.position for error in outcome.errors] == [5]
    assert node.dump() == before
    node.check()


def test_ten_thousand_keys_are_released_in_one_entry(node: Replica) -> None:
    node.session("1", "n", lock_delay_ns=1)
    for number in range(10_000):
        node.write(KVVerb.LOCK, f"lock/{number}", b"x" * 100, session="1", commit=False)
    node.machine.commit_batch()
    index = node.end_sessions("1")
    entries, found_index = node.entries("lock/")
    assert len(entries) == 10_000
    assert {(entry.session, entry.modify_index) for entry in entries} == {("", index)}
    assert found_index == index


def test_an_end_that_is_taken_back_lost_no_lock(node: Replica) -> None:
    listener = node.machine.session_listener = Listener()
    node.session("1", "n", behavior=DELETE, lock_delay_ns=5)
    node.session("2", "n", lock_delay_ns=5)
    node.lock("a", "1")
    node.lock("b", "2")
    before = node.dump()
    batch = node.machine.store.write()
    batch.locks_lost.append((b"earlier", 1))
    savepoint = batch.savepoint()
    session.end_with_node(batch, b"n")
    assert [key for key, _ in batch.locks_lost] == [b"earlier", b"a", b"b"]
    savepoint.roll_back()
    assert batch.locks_lost == [(b"earlier", 1)]
    batch.commit()
    assert node.dump() == before
    node.check()
    assert len(listener.heard) == 2
