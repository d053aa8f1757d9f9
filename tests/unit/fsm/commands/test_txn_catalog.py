"""Transactions over nodes, services and checks: every verb, every failure text, all or nothing.

Source: modern deltas, section 7.
"""

from typing import Any

import pytest

from fsm.commands import txn
from structs.catalog import SERF_CHECK_ID, HealthCheck, Node, NodeService
from structs.txn import CATALOG_VERBS, ServiceOnNode, TxnError, TxnOp, TxnOutcome
from tests.fakes.replica import Replica

ID, OTHER_ID = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"


def node(verb: str, name: str = "n1", index: int = 0, **fields: Any) -> TxnOp:
    return TxnOp(verb=verb, node=Node(node=name, modify_index=index, **{"address": "10.0.0.1", **fields}))


def service(verb: str, service_id: str = "web1", index: int = 0, on: str = "n1", **fields: Any) -> TxnOp:
    found = NodeService(service_id=service_id, modify_index=index, **{"service": "web", **fields})
    return TxnOp(verb=verb, service=ServiceOnNode(node=on, service=found))


def check(verb: str, check_id: str = "c1", index: int = 0, on: str = "n1", **fields: Any) -> TxnOp:
    found = HealthCheck(node=on, check_id=check_id, modify_index=index, **{"status": "passing", **fields})
    return TxnOp(verb=verb, check=found)


def kv(verb: str, key: str) -> TxnOp:
    return TxnOp(verb=verb, key=key)


@pytest.fixture
def filled(replica: Replica) -> Replica:
    """`n1` (index 1) with web1 (2) and its check c1 (3)."""
    for op in (node("set"), service("set"), check("set", service_id="web1")):
        assert replica.txn(op).errors == []
    return replica


def test_results_come_in_order_and_deletions_have_none(replica: Replica) -> None:
    outcome = replica.txn(
        node("set", "N1", node_id=ID, meta={"k": "v"}),
        node("get", "n1"),
        node("get", "", node_id=ID),
        service("set", tags=["a"]),
        service("cas", "web2", 0),
        kv("set", "k"),
        check("set", service_id="web1"),
        check("get"),
        check("delete"),
        service("delete", "web2"),
        service("get"),
    )
    assert outcome.errors == []
    shown = [
        (result.node and result.node.node, result.service and result.service.service_id, result.check
         and result.check.check_id, result.entry.key)
        for result in outcome.results
    ]  # fmt: skip
    n, w1, w2, c, k = (
        ("N1", None, None, ""), (None, "web1", None, ""), (None, "web2", None, ""), (None, None, "c1", ""),
        (None, None, None, "k"),
    )  # fmt: skip
    assert shown == [n, n, n, w1, w2, k, c, c, w1]
    found = outcome.results[7].check
    assert found is not None
    assert (found.node, found.service_name, found.service_tags, found.create_index) == ("N1", "web", ["a"], 1)


def test_what_is_the_same_is_not_written(filled: Replica) -> None:
    before = filled.dump()
    outcome = filled.txn(node("set"), service("set"), check("set", service_id="web1"), node("delete", "unknown"),
                         service("delete", "unknown"), check("delete", "unknown"))  # fmt: skip
    assert outcome.errors == []
    assert filled.dump() == before


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        (node("get", "n2"), 'node "n2" doesn\'t exist'),
        (node("get", "", node_id=ID), f'node "{ID}" doesn\'t exist'),
        (node("cas", "n1", 0), 'failed to set node "n1", index is stale'),
        (node("cas", "n1", 2), 'failed to set node "n1", index is stale'),
        (node("cas", "n2", 1), 'failed to set node "n2", index is stale'),
        (node("delete-cas", "n1", 2), 'failed to delete node "n1", index is stale'),
        (node("delete-cas", "n2", 0), 'failed to delete node "n2", index is stale'),
        (node("get-or-empty"), 'unknown Node verb "get-or-empty"'),
        (node("set", ""), "Must provide node"),
        (service("get", "web2"), 'service "web2" on node "n1" doesn\'t exist'),
        (service("set", on="n2"), "Missing node registration"),
        (service("cas", "web1", 0), 'failed to set service "web1" on node "n1", index is stale'),
        (service("cas", "web2", 9), 'failed to set service "web2" on node "n1", index is stale'),
        (service("delete-cas", "web1", 9), 'failed to delete service "web1" on node "n1", index is stale'),
        (service("lock"), 'unknown Service verb "lock"'),
        (check("get", "c2"), 'check "c2" on node "n1" doesn\'t exist'),
        (check("set", on="n2"), "Missing node registration"),
        (check("set", service_id="web2"), "failed inserting check: Missing service registration"),
        (check("cas", "c1", 9), 'failed to set check "c1" on node "n1", index is stale'),
        (check("delete-cas", "c2", 9), 'failed to delete check "c2" on node "n1", index is stale'),
        (check("delete-tree"), 'unknown Check verb "delete-tree"'),
    ],
)
def test_each_failure_has_its_text_and_takes_everything_back(filled: Replica, operation: TxnOp, what: str) -> None:
    before = filled.dump(), filled.machine.digest_now
    outcome = filled.txn(
        kv("set", "k"),
        service("set", "web1", service="renamed", port=9),
        check("set", SERF_CHECK_ID, status="critical"),
        node("set", "n3"),
        service("set", "s3", on="n3"),
        service("delete", "s3", on="n3"),
        TxnOp(verb="cas", node=Node(node="n4", address="a")),
        service("set", "web1"),
        operation,
    )
    assert outcome == TxnOutcome(errors=[TxnError(position=8, what=what)])
    assert (filled.dump(), filled.machine.digest_now) == before


def test_an_index_that_fits_lets_a_write_and_a_deletion_pass(filled: Replica) -> None:
    outcome = filled.txn(
        node("cas", "n1", 1, address="10.0.0.2"), service("cas", "web1", 2, port=81),
        check("cas", "c1", 3, service_id="web1", status="warning"),
    )  # fmt: skip
    assert outcome.errors == []
    assert filled.txn(check("delete-cas", "c1", 4), service("delete-cas", "web1", 4), node("delete-cas", "n1", 4)) == (
        TxnOutcome()
    )
    assert [name for name, rows in filled.dump().items() if rows] == ["indexes"]


def test_an_id_in_use_is_refused_as_a_registration_is(filled: Replica) -> None:
    filled.txn(node("set", "a", node_id=ID), check("set", SERF_CHECK_ID, on="a"))
    outcome = filled.txn(node("set", "b", node_id=ID))
    assert [error.what for error in outcome.errors] == [
        f'failed inserting node: node ID "{ID}" for node "b" aliases existing node "a"'
    ]


def test_a_view_answers_what_reads_and_does_not_know_the_rest(filled: Replica) -> None:
    with filled.machine.read() as view:
        outcome = txn.read_only_outcome(view, [node("get"), service("get"), check("get"), kv("get-or-empty", "k")])
        assert len(outcome.results) == 4
        failed = txn.read_only_outcome(view, [node("set"), service("delete")])
    assert [error.what for error in failed.errors] == ['unknown Node verb "set"', 'unknown Service verb "delete"']
    assert txn.is_read_only([node("get"), check("get")])
    for verb in CATALOG_VERBS - {"get"}:
        assert not txn.is_read_only([service(verb)])
