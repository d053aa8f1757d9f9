"""Replicas hold the same at the same index."""

from typing import Any

import pytest

from jepsen.checkers.replicas import check
from jepsen.history import End
from tests.unit.jepsen.checkers.histories import history, kinds


def end(**digests: list[Any]) -> End:
    return End(at_ns=0, facts={"digests": digests})


def test_equal_digests_pass() -> None:
    assert check(history(end(a=[7, "x"], b=[7, "x"], c=[7, "x"]))).passed


def test_one_that_differs_is_named() -> None:
    verdict = check(history(end(a=[7, "x"], b=[7, "y"], c=[7, "x"])))
    assert kinds(verdict) == ["replicas differ"]
    assert "a, c (x) and b (y)" in verdict.anomalies[0].text


def test_they_may_differ_at_different_indexes_but_then_nothing_is_decided() -> None:
    verdict = check(history(end(a=[7, "x"], b=[8, "y"], c=[8, "y"])))
    assert verdict.valid
    assert not verdict.decided


def test_a_difference_is_found_beside_one_that_lags() -> None:
    assert not check(history(end(a=[7, "x"], b=[8, "y"], c=[8, "z"]))).valid


@pytest.mark.parametrize("lines", [[], [End(at_ns=0, facts={})], [end()]])
def test_without_digests_nothing_is_decided(lines: list[End]) -> None:
    assert not check(history(*lines)).decided
