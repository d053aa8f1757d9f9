"""Transactions: every verb, every failure text, all or nothing. Source: state store specification, section 6."""

import pytest

from fsm.commands import txn
from structs.kv import KVVerb
from structs.txn import TxnError, TxnOp, TxnOutcome
from tests.fakes.replica import Replica


def op(verb: str, key: str = "k", value: bytes = b"", *, index: int = 0, session: str = "", flags: int = 0) -> TxnOp:
    return TxnOp(verb=verb, key=key, value=value, index=index, session=session, flags=flags)


def test_results_come_in_order_with_values_for_reads_only(replica: Replica) -> None:
    index = replica.set("old", b"o")
    outcome = replica.txn(
        op("set", "a", b"1"),
        op("cas", "b", b"2", index=0),
        op("get", "a"),
        op("get-or-empty", "absent"),
        op("check-index", "old", index=index),
        op("check-session", "old"),
        op("check-not-exists", "absent"),
        op("delete", "old"),
        op("delete-cas", "absent", index=5),
        op("delete-tree", "nothing/"),
    )
    assert outcome.errors == []
    shown = [(result.entry.key, result.with_value) for result in outcome.results]
    assert shown == [("a", False), ("b", False), ("a", True), ("absent", False), ("old", False), ("old", False)]
    assert outcome.results[2].entry.value == b"1"
    assert outcome.results[0].entry.modify_index == index + 1
    assert outcome.results[3].entry.modify_index == 0
    assert replica.get("old")[0] is None


def test_get_tree_gives_one_result_an_entry_and_may_be_empty(replica: Replica) -> None:
    outcome = replica.txn(op("set", "t/1"), op("set", "t/2"), op("get-tree", "t/"), op("get-tree", "u/"))
    assert [result.entry.key for result in outcome.results] == ["t/1", "t/2", "t/1", "t/2"]


def test_later_operations_see_earlier_ones_and_results_are_as_of_then(replica: Replica) -> None:
    outcome = replica.txn(op("set", "a", b"1"), op("get", "a"), op("set", "a", b"2"), op("delete", "a"))
    assert [result.entry.value for result in outcome.results] == [b"1", b"1", b"2"]
    assert replica.get("a")[0] is None


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        (op("cas", "have", index=99), 'failed to set key "have", index is stale'),
        (op("cas", "absent", index=99), 'failed to set key "absent", index is stale'),
        (op("cas", "have", index=0), 'failed to set key "have", index is stale'),
        (op("delete-cas", "have", index=99), 'failed to delete key "have", index is stale'),
        (op("lock", "have", session="s"), 'invalid session "s"'),
        (op("lock", "have"), "missing session"),
        (op("unlock", "have"), "missing session"),
        (
            op("unlock", "have", session="s"),
            'failed to unlock key "have", lock isn\'t held, or is held by another session',
        ),
        (op("get", "absent"), 'key "absent" doesn\'t exist'),
        (op("check-session", "absent"), 'failed to check session, key "absent" doesn\'t exist'),
        (op("check-session", "have", session="b"), 'failed session check for key "have", current session "" != "b"'),
        (op("check-index", "absent"), 'failed to check index, key "absent" doesn\'t exist'),
        (op("check-index", "have", index=6), 'failed index check for key "have", current modify index 1 != 6'),
        (op("check-not-exists", "have"), 'key "have" exists'),
        (op("frobnicate", "have"), 'unknown KV verb "frobnicate"'),
        (op("", "have"), 'unknown KV verb ""'),
        (op("set", ""), "Must provide key"),
        (op("set", "have", flags=-1), "flags -1 are not an unsigned 64-bit number"),
    ],
)
def test_each_failure_has_its_text(replica: Replica, operation: TxnOp, what: str) -> None:
    assert replica.set("have", b"value") == 1
    before = replica.dump(), replica.machine.digest_now
    outcome = replica.txn(op("set", "new"), operation)
    assert outcome == TxnOutcome(errors=[TxnError(position=1, what=what)])
    assert (replica.dump(), replica.machine.digest_now) == before


def test_every_failing_operation_is_reported(replica: Replica) -> None:
    outcome = replica.txn(op("get", "a"), op("set", "b"), op("get", "c"))
    assert [error.position for error in outcome.errors] == [0, 2]
    assert outcome.results == []


def test_a_failure_takes_everything_back_long_keys_trees_and_tombstones_included(replica: Replica) -> None:
    long = "l/" * 1_000
    for key in ("a", "t/1", "t/2", long, long + "x"):
        replica.set(key, b"before")
    replica.delete("t/2")
    replica.set("t/2", b"again")
    before = replica.dump(), replica.machine.digest_now, replica.entries("")
    outcome = replica.txn(
        op("set", "a", b"after"),
        op("delete-tree", "t/"),
        op("set", "t/1", b"new"),
        op("delete", "t/1"),
        op("set", long + "y"),
        op("delete-tree", long),
        op("delete-tree", ""),
        op("get", "absent"),
    )
    assert len(outcome.errors) == 1
    assert (replica.dump(), replica.machine.digest_now, replica.entries("")) == before
    replica.check()


def test_a_read_only_transaction_is_answered_from_a_view(replica: Replica) -> None:
    replica.set("a", b"1")
    operations = [op("get", "a"), op("get-tree", ""), op("check-not-exists", "b")]
    assert txn.is_read_only(operations)
    with replica.machine.read() as view:
        outcome = txn.read_only_outcome(view, operations)
        assert [result.entry.value for result in outcome.results] == [b"1", b"1"]
        failed = txn.read_only_outcome(view, [op("get", "b"), op("set", "a")])
    assert [error.what for error in failed.errors] == ['key "b" doesn\'t exist', 'unknown KV verb "set"']


def test_every_verb_either_reads_or_writes() -> None:
    assert set(txn.ALL_VERBS) == {str(verb) for verb in KVVerb}
    assert not set(txn.READ_VERBS) & set(txn.WRITE_VERBS)
    assert not txn.is_read_only([op("get"), op("unlock")])
