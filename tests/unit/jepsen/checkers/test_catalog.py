"""Services: nothing lost, nothing back, and in the end all show what each agent claims."""

from typing import Any

import pytest

from jepsen.checkers.catalog import check
from jepsen.history import Observation, Operation
from tests.unit.jepsen.checkers.histories import FAILED, UNKNOWN, history, kinds, op

AGENT, OWN = "server-1", "jepsen-node"
IDS = ((500, "a"), (700, "a"), (700, "b"))
"""When it was seen under which id."""


def at(function: str, began: int, ended: int, *given: Any, **more: Any) -> Operation:
    return op(function, began, ended, *given, workload="catalog", key="all", **more)


def register(version: int, began: int, *, node: str = OWN, **more: Any) -> Operation:
    function = "catalog_register" if node == OWN else "register"
    return at(function, began, began + 5, {"node": node, "id": "s", "version": version}, **more)


def deregister(began: int, *, node: str = OWN, **more: Any) -> Operation:
    function = "catalog_deregister" if node == OWN else "deregister"
    return at(function, began, began + 5, {"node": node, "id": "s"}, **more)


def agent(version: int | None, began: int, *, status: str = "critical", **more: Any) -> Operation:
    claims = {} if version is None else {"s": [version, status]}
    return at("agent", began, began + 5, {"node": AGENT}, claims, **more)


def services(version: int | None, began: int, *, node: str = OWN, **more: Any) -> Operation:
    return at("node_services", began, began + 5, {"node": node}, {} if version is None else {"s": version}, **more)


def health(
    version: int | None, index: int, began: int, *, node: str = OWN, status: str = "critical", **more: Any
) -> Operation:
    instances = {} if version is None else {f"{node}/s": [version, {"service:s": status}]}
    return at("health", began, began + 5, None, {"instances": instances, "index": index}, **more)


def final(
    own: int | None = None, claimed: int | None = None, *, listed: int | None = None, shown: int | None = None
) -> list[Operation]:
    """Final reads; `listed` and `shown` of the agent's node are as it claims unless given."""
    instances: dict[str, Any] = {} if own is None else {f"{OWN}/s": [own, {}]}
    healthy = claimed if shown is None else shown
    if healthy is not None:
        instances[f"{AGENT}/s"] = [healthy, {"service:s": "critical"}]
    return [
        agent(claimed, 900, phase="final"),
        services(own, 900, phase="final"),
        services(claimed if listed is None else listed, 900, node=AGENT, phase="final"),
        at("health", 900, 905, None, {"instances": instances, "index": 99}, phase="final"),
    ]


GOOD: dict[str, list[Operation]] = {
    "registered, changed, deregistered": [
        *[register(1, 10), services(1, 20), register(2, 30), services(2, 40), deregister(50), services(None, 60)],
        *final(),
    ],
    "while it changes both are right": [register(1, 10), register(2, 30), services(1, 33), *final(2)],
    "an unknown change": [
        *[register(1, 10), register(2, 30, outcome=UNKNOWN), services(1, 50), services(2, 60)],
        *final(2),
    ],
    "a change that failed": [register(1, 10), register(2, 30, outcome=FAILED), services(1, 50), *final(1)],
    "a stale answer": [register(1, 10), register(2, 30), services(1, 50, mode="stale"), *final(2)],
    "an agent's services come in their time": [
        *[register(1, 10, node=AGENT), services(None, 30, node=AGENT), health(None, 3, 30), agent(1, 30)],
        *final(None, 1),
    ],
    "health rises with its index": [register(1, 10), health(1, 5, 20), register(2, 30), health(2, 6, 40), *final(2)],
}
BAD: dict[str, list[Operation]] = {
    "lost": [register(1, 10), services(None, 50), *final(1)],
    "lost by the agent": [register(1, 10, node=AGENT), agent(None, 50), *final(None, 1)],
    "lost in the end": [register(1, 10), *final()],
    "lost in the health view": [register(1, 10), health(None, 6, 50), *final(1)],
    "came back": [register(1, 10), deregister(30), services(1, 50), *final()],
    "came back at the agent": [register(1, 10, node=AGENT), deregister(30, node=AGENT), *final(None, 1)],
    "stale": [register(1, 10), register(2, 30), services(1, 50), *final(2)],
    "stale in the health view": [register(1, 10), register(2, 30), health(1, 6, 50), *final(2)],
    "phantom": [register(1, 10), services(7, 50), *final(1)],
    "phantom of a change that failed": [register(1, 10), register(2, 30, outcome=FAILED), *final(2)],
    "did not converge": [register(1, 10, node=AGENT), register(2, 30, node=AGENT), *final(None, 2, listed=1)],
    "did not converge in the health view": [
        *[register(1, 10, node=AGENT), register(2, 30, node=AGENT)],
        *final(None, 2, shown=1),
    ],
    "changed under one index": [register(1, 10), health(1, 5, 20), register(2, 30), health(2, 5, 40), *final(2)],
    "index back": [register(1, 10), health(1, 9, 20), health(1, 7, 40), *final(1)],
    "index too low": [health(None, 0, 20), *final()],
}


@pytest.mark.parametrize("name", GOOD)
def test_good_histories_pass(name: str) -> None:
    verdict = check(history(*GOOD[name]))
    assert verdict.passed, verdict.anomalies


@pytest.mark.parametrize("name", BAD)
def test_bad_histories_are_convicted_of_the_right_thing(name: str) -> None:
    verdict = check(history(*BAD[name]))
    assert not verdict.valid
    found = kinds(verdict)
    assert any(name == kind or name.startswith(f"{kind} ") for kind in found), found


def test_nodes_that_differ_in_the_end_are_told() -> None:
    other = at("health", 910, 915, None, {"instances": {}, "index": 100}, phase="final", outcome=UNKNOWN)
    assert check(history(register(1, 10), *final(1), other)).passed
    other = at("health", 910, 915, None, {"instances": {}, "index": 100}, phase="final", mode="stale")
    assert "final reads differ" in kinds(check(history(register(1, 10), *final(1), other)))


def test_an_agent_may_forget_with_its_disk_and_not_otherwise() -> None:
    lines = [register(1, 10, node=AGENT), agent(None, 800), *final()]
    one, same, other = (Observation(node=AGENT, at_ns=at_ns, facts={"id": name}) for at_ns, name in IDS)
    assert check(history(*lines, one, other)).passed
    assert kinds(check(history(*lines, one, same))) == ["lost"]
    late = [register(1, 750, node=AGENT), agent(None, 800), *final()]
    assert kinds(check(history(*late, one, other))) == ["lost"], "it was registered after that"


def test_an_agent_that_declines_what_was_registered_there_has_lost_it() -> None:
    declined = deregister(50, node=AGENT, outcome=FAILED, error="")
    assert kinds(check(history(register(1, 10, node=AGENT), declined, *final(None, 1)))) == ["lost"]


def test_without_final_reads_nothing_is_decided() -> None:
    assert not check(history(register(1, 10), services(1, 20))).decided
