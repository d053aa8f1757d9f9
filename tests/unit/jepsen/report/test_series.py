"""What is drawn, before it is drawn."""

from typing import Any

import pytest

from jepsen.history import FaultWindow, Observation, Operation, Outcome
from jepsen.report.series import (
    BUCKETS_MAX,
    Buckets,
    count_by,
    error_classes,
    latencies,
    leaders,
    natural,
    nice_step,
    quantile,
    stays,
)

NS = 1_000_000_000


def operation(ended_s: float, *, took_s: float = 0.01, **more: Any) -> Operation:
    more.setdefault("outcome", Outcome.OK)
    return Operation(
        workload="register",
        process=1,
        function="read",
        node=more.pop("node", "server-1"),
        began_ns=int((ended_s - took_s) * NS),
        ended_ns=int(ended_s * NS),
        **more,
    )


def observed(node: str, at_s: float, state: str, term: int = 0) -> Observation:
    return Observation(
        node=node, at_ns=int(at_s * NS), facts={"state": state, "term": term} if term else {"state": state}
    )


@pytest.mark.parametrize(
    ("rough", "step"), [(0.9, 1), (1.0, 1), (1.1, 2), (2.1, 5), (7, 10), (0.012, 0.02), (300, 500)]
)
def test_steps_are_round_and_not_smaller(rough: float, step: float) -> None:
    assert nice_step(rough) == pytest.approx(step)


@pytest.mark.parametrize("seconds", [0.001, 1, 59.9, 60, 1800, 40_000])
def test_buckets_are_few_and_hold_every_moment(seconds: float) -> None:
    buckets = Buckets(int(seconds * NS))
    assert 1 <= buckets.count <= BUCKETS_MAX + 1
    assert buckets.of(0) == 0
    assert buckets.of(int(seconds * NS)) == buckets.of(int(2 * seconds * NS)) == buckets.count - 1


def test_operations_are_counted_where_they_ended_and_a_declined_one_is_an_answer() -> None:
    buckets = Buckets(240 * NS)
    done = [
        operation(0.5),
        operation(1.5, outcome=Outcome.FAILED),
        operation(1.6, outcome=Outcome.FAILED, error="500"),
        operation(9.9, took_s=8.0, outcome=Outcome.UNKNOWN, error="no answer"),
    ]
    counts = count_by(((each.node, each) for each in done), buckets)["server-1"]
    assert [at for at, count in enumerate(counts.by[Outcome.OK]) for _ in range(count)] == [0, 1]
    assert [at for at, count in enumerate(counts.by[Outcome.FAILED]) for _ in range(count)] == [1]
    assert [at for at, count in enumerate(counts.by[Outcome.UNKNOWN]) for _ in range(count)] == [9]


def test_groups_come_in_natural_order() -> None:
    assert sorted(["server-10", "server-2", "agent-1", "5-x"], key=natural) == [
        "5-x",
        "agent-1",
        "server-2",
        "server-10",
    ]


def test_quantiles_are_those_of_the_nearest_rank() -> None:
    values = [float(each) for each in range(1, 101)]
    assert [quantile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert quantile([7.0], 0.5) == 7.0


def test_latencies_are_of_answers_only_and_absent_where_nothing_was_answered() -> None:
    buckets = Buckets(240 * NS)
    done = [operation(0.5, took_s=0.1), operation(0.6, took_s=0.3), operation(2.5, outcome=Outcome.UNKNOWN, error="x")]
    found = latencies(done, buckets)
    assert found[0] == pytest.approx([0.1, 0.3, 0.3, 0.3])
    assert found[1] is None
    assert found[2] is None


def test_roles_are_joined_to_spans_and_agents_are_left_out() -> None:
    lines = stays(
        [
            observed("server-1", 0, "leader", 1),
            observed("server-1", 0.5, "leader", 1),
            observed("server-1", 1, "down"),
            observed("agent-1", 0, "client"),
            observed("server-2", 0, "follower", 1),
        ]
    )
    assert list(lines) == ["server-1", "server-2"]
    assert [(stay.state, stay.began_ns / NS, stay.ended_ns / NS) for stay in lines["server-1"]] == [
        ("leader", 0, 1),
        ("down", 1, 1),
    ]


def test_two_leaders_in_one_term_are_called_what_they_are() -> None:
    found = leaders(
        stays(
            [
                observed("server-1", 0, "leader", 1),
                observed("server-2", 1, "leader", 2),
                observed("server-3", 2, "leader", 2),
            ]
        )
    )
    assert [(leader.term, leader.node, leader.shared) for leader in found] == [
        (1, "server-1", False),
        (2, "server-2", True),
        (2, "server-3", True),
    ]


def window(began_s: float, ended_s: float, recovery_s: float) -> FaultWindow:
    return FaultWindow(
        name="kill",
        package="kill",
        what="",
        nodes=[],
        evidence="gone",
        began_ns=int(began_s * NS),
        ended_ns=int(ended_s * NS),
        recovery_ns=int(recovery_s * NS),
    )


def test_errors_that_differ_in_numbers_are_one_class_and_those_outside_faults_are_counted() -> None:
    faults = [window(10, 15, 5), window(18, 19, 1)]
    moments = (5, 10.005, 12, 19.9, 20.005, 25)
    done = [
        operation(
            at_s,
            took_s=0.01,
            outcome=Outcome.FAILED,
            error=f"500 lost 12{at_s:.0f} at 0a1b2c3d4e",
            node=f"server-{n % 2}",
        )
        for n, at_s in enumerate(moments)
    ]
    done.append(operation(3, outcome=Outcome.FAILED))
    found = error_classes(done, faults)
    assert [(each.text, each.by_node, each.outside_count) for each in found] == [
        ("500 lost # at #", {"server-0": 3, "server-1": 3}, 2)
    ]
