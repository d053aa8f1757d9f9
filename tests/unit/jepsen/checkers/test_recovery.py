"""A cluster that does not come back is convicted; a run that was interrupted, or without faults, is not acquitted."""

import msgspec

from jepsen.checkers.recovery import check_recovery
from jepsen.history import Begin, End, FaultWindow, History
from tests.unit.jepsen.checkers.histories import fault


def history(end: End | None, *faults: FaultWindow, asked: tuple[str, ...] = ()) -> History:
    begin = Begin(seed=1, command="", version="", started="", options={"faults": list(asked)}, machine={})
    return History(begin=begin, operations=[], faults=list(faults), observations=[], end=end)


def test_a_cluster_that_came_back_passes() -> None:
    assert check_recovery(history(End(at_ns=1, facts={"healed": True, "trouble": []}))).passed


def test_trouble_is_an_anomaly_each() -> None:
    verdict = check_recovery(history(End(at_ns=1, facts={"trouble": ["a could not be healed", "no leader\nlog"]})))
    assert not verdict.valid
    assert [anomaly.kind for anomaly in verdict.anomalies] == ["did not come back"] * 2
    assert verdict.summary == "a could not be healed"


def test_without_an_end_nothing_is_decided() -> None:
    verdict = check_recovery(history(None))
    assert verdict.valid
    assert not verdict.passed


def test_where_no_fault_took_effect_nothing_is_decided() -> None:
    seen = fault(1, 2)
    unseen = msgspec.structs.replace(seen, evidence="")
    end = End(at_ns=1, facts={"trouble": []})
    assert not check_recovery(history(end, unseen, asked=("kill-one",))).decided
    assert not check_recovery(history(end, asked=("kill-one",))).decided
    assert not check_recovery(history(end, unseen)).decided
    assert check_recovery(history(end, unseen, seen, asked=("kill-one",))).passed
    assert not check_recovery(history(End(at_ns=1, facts={"trouble": ["no leader"]}), unseen)).valid
