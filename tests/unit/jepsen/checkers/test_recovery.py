"""A cluster that does not come back is convicted; a run that was interrupted is not acquitted."""

from jepsen.checkers.recovery import check_recovery
from jepsen.history import Begin, End, History


def history(end: End | None) -> History:
    begin = Begin(seed=1, command="", version="", started="", options={}, machine={})
    return History(begin=begin, operations=[], faults=[], observations=[], end=end)


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
