"""Strict serializability: one order of all transactions of a group of keys, each whole, none before it began.

A transaction in mode stale that only reads must show the whole state of some moment before it ended.
"""

from jepsen.checkers.linear import check_keys
from jepsen.checkers.models import txn
from jepsen.checkers.verdict import Verdict
from jepsen.history import History


def check(history: History) -> Verdict:
    """Judge the workload `txn`."""
    return check_keys(history.of("txn"), txn, checker="serializable", workload="txn")
