"""Terms: one leader each, and nothing goes back."""

from typing import Any

import pytest

from jepsen.checkers.terms import check
from jepsen.history import End
from tests.unit.jepsen.checkers.histories import SECOND, fault, history, kinds, seen


def end(**indexes: int) -> End:
    return End(
        at_ns=9 * SECOND, facts={"digests": {node.replace("_", "-"): [index, "x"] for node, index in indexes.items()}}
    )


def campaign(rises: int, *, began_s: float = 10.0) -> list[Any]:
    """One server raises its term once a second."""
    return [seen(0, "leader", 1, node="server-2"), seen(9, "leader", 1, node="server-2")] + [
        seen(began_s + number, "candidate", 1 + number) for number in range(1, rises + 1)
    ]


GOOD: dict[str, list[Any]] = {
    "an election": [
        seen(0, "leader", 1),
        seen(0, "follower", 1, node="server-2"),
        seen(1, "leader", 2, node="server-2"),
        seen(1, "follower", 2),
    ],
    "the same leader again": [seen(0, "leader", 1), seen(5, "leader", 1)],
    "a restart begins at an older index": [
        seen(0, "follower", 1, commit=90, applied=90),
        seen(1, "down"),
        seen(2, "follower", 1, commit=50, applied=50),
        seen(3, "follower", 1, commit=95, applied=95),
        end(server_1=95),
    ],
    "a restart that nobody saw": [
        seen(0, "follower", 1, commit=90),
        fault(0.1, 0.4),
        seen(0.5, "follower", 1, commit=50),
    ],
    "an empty disk": [
        seen(0, "follower", 7),
        fault(0.5, 3, name="membership-replace"),
        seen(4, "follower", 0),
        seen(5, "follower", 7),
    ],
    "an empty disk in the place of a damaged one": [
        seen(0, "leader", 7),
        fault(0.5, 3, name="disk-bit-flip"),
        seen(4, "follower", 0),
        seen(5, "follower", 7),
    ],
    "a wiped server is behind while another one is": [
        seen(0, "leader", 7, node="server-2"),
        seen(3, "follower", 6, node="server-3"),
        fault(4, 6, name="disk-bit-flip"),
        seen(6, "follower", 0),
    ],
    "a restart that nobody saw, by a fault that failed half way": [
        seen(0, "follower", 1, commit=90),
        fault(0.1, 0.4, name="restart-rolling", nodes=[]),
        seen(0.5, "follower", 1, commit=50),
    ],
    "a term that was not stored yet when all lost power": [
        seen(0, "follower", 6),
        seen(0.5, "candidate", 7),
        seen(1, "candidate", 7),
        seen(1.5, "down"),
        fault(1.5, 3, name="disk-lossy-kill-all"),
        seen(4, "follower", 6),
    ],
    "a term that a slow disk had not stored for long": [
        *(seen(at, "candidate", 7) for at in range(10)),
        fault(0, 12, name="disk-lossy-kill-election"),
        seen(10, "down"),
        seen(12, "follower", 6),
    ],
    "a minority is behind": [
        seen(0, "leader", 7),
        seen(9, "follower", 6, node="server-2"),
        seen(12, "follower", 7, node="server-2"),
    ],
    "what is said after the digests": [seen(8.5, "leader", 1, applied=90), end(server_1=80)],
    "agents tell no term": [seen(0, "client", node="agent-1"), seen(0, "leader", 1)],
    "one election in a partition": [*campaign(2), fault(10, 20, name="partition-leader")],
    "several elections when all were killed": [*campaign(5), fault(10, 20, name="kill-all")],
    "what is elected after the next fault began": [
        *campaign(9),
        fault(10, 12, recovery_s=8, name="partition-leader"),
        fault(12.5, 20, name="kill-all"),
    ],
    "elections left over from a fault right before a partition": [
        *campaign(4),
        fault(2, 8, recovery_s=8, name="kill-all"),
        fault(10.5, 20, name="partition-one"),
    ],
    "elections left over from a partition right before another": [
        *campaign(4),
        fault(5, 9.5, recovery_s=8, name="partition-leader"),
        fault(11.5, 20, name="partition-one"),
    ],
    "elections left over from what went before two partitions": [
        *campaign(4),
        fault(2, 6, recovery_s=8, name="kill-all"),
        fault(8, 9.5, recovery_s=8, name="partition-leader"),
        fault(11.5, 20, name="partition-one"),
    ],
    "elections of a fault that overlaps": [
        *campaign(4),
        fault(9.5, 20, name="kill-all"),
        fault(10, 20, name="partition-one"),
    ],
}
BAD: dict[str, list[Any]] = {
    "two leaders": [seen(0, "leader", 3), seen(5, "leader", 3, node="server-2")],
    "term back": [seen(0, "follower", 3), seen(1, "follower", 2)],
    "term back across a restart of who led": [
        seen(0, "leader", 3),
        seen(1, "down"),
        fault(0.5, 2, name="disk-lossy-kill-all"),
        seen(3, "follower", 0),
    ],
    "term back across a restart of who had long been in it": [
        *(seen(at, "follower", 3) for at in range(4)),
        seen(5, "down"),
        fault(4.5, 6),
        seen(7, "follower", 2),
    ],
    "votes forgotten": [
        seen(0, "leader", 3),
        *(seen(9, "follower", 2, node=f"server-{number}") for number in (2, 3)),
    ],
    "index back": [seen(0, "follower", 1, commit=90), seen(1, "follower", 1, commit=89)],
    "index back of what was applied": [seen(0, "follower", 1, applied=90), seen(1, "follower", 1, applied=89)],
    "index back in a pause, which ends no process": [
        seen(0, "follower", 1, commit=90),
        fault(0.1, 0.9, name="pause-one"),
        seen(1, "follower", 1, commit=89),
    ],
    "applied went away": [seen(0, "leader", 1, applied=90), end(server_1=90, server_2=80)],
    "too many elections": campaign(9),
    "too many elections in a partition": [*campaign(4), fault(10, 20, name="partition-one")],
    "too many elections in a partition after the recovery of another fault": [
        *campaign(4),
        fault(2, 5, recovery_s=4, name="kill-all"),
        fault(10, 20, name="partition-one"),
    ],
    "too many elections in two partitions": [
        *campaign(6),
        fault(9.5, 11, recovery_s=8, name="partition-one"),
        fault(14.5, 20, name="partition-one"),
    ],
    "too many elections in the first of two partitions": [
        *campaign(4),
        fault(9.5, 14, recovery_s=8, name="partition-one"),
        fault(16.5, 20, name="partition-one"),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories_pass(name: str) -> None:
    verdict = check(history(*GOOD[name]))
    assert verdict.passed, verdict.anomalies


def test_how_many_servers_others_have_is_not_known() -> None:
    assert not check(history(*BAD["votes forgotten"])).valid
    assert check(history(*BAD["votes forgotten"], at=["127.0.0.1:8500"])).passed


@pytest.mark.parametrize("name", BAD)
def test_bad_histories_are_convicted_of_the_right_thing(name: str) -> None:
    verdict = check(history(*BAD[name]))
    assert not verdict.valid
    [kind] = kinds(verdict)
    assert name.startswith(kind)


def test_two_leaders_of_one_term_are_reported_once_a_pair() -> None:
    lines = [seen(at, "leader", 3, node=f"server-{at % 2}") for at in range(10)]
    assert check(history(*lines)).anomalies_count == 1


def test_without_any_term_nothing_is_decided() -> None:
    assert not check(history(seen(0, "down"))).decided
