"""Histories written by hand, and histories of a simulated register: times are whole numbers, written as they are."""

import random
from collections.abc import Sequence
from itertools import permutations
from typing import Any

from jepsen.checkers.models import Call, Model
from jepsen.checkers.verdict import Verdict
from jepsen.history import Begin, End, FaultWindow, History, Observation, Operation, Outcome, Stall

OK, FAILED, UNKNOWN = Outcome.OK, Outcome.FAILED, Outcome.UNKNOWN
MODAL = frozenset({"read", "wait", "txn", "list", "info", "health", "node_services"})
"""Functions of operations that have a mode."""


def history(
    *lines: Operation | FaultWindow | Observation | Stall | End, at: Sequence[str] = (), servers: int = 3
) -> History:
    """A history of these lines; `at`: addresses of a cluster that is not the harness's."""
    made = History(
        begin=Begin(
            seed=1, command="", version="", started="", options={"at": list(at), "servers": servers}, machine={}
        ),
        operations=[],
        faults=[],
        observations=[],
    )
    for line in lines:
        made.add(line)
    return made


def op(
    function: str,
    began: int,
    ended: int,
    given: Any = None,
    got: Any = None,
    *,
    outcome: Outcome = OK,
    key: str = "k",
    mode: str = "default",
    workload: str = "register",
    process: int = 1,
    node: str = "server-1",
    phase: str = "main",
    error: str | None = None,
) -> Operation:
    """One operation. An error is made up where none is given and the outcome asks for one."""
    if error is None:
        error = "" if outcome is OK else "500 No cluster leader"
    return Operation(
        workload=workload,
        process=process,
        function=function,
        key=key,
        input=given,
        output=got,
        outcome=outcome,
        error=error,
        mode=mode if function in MODAL else "",
        node=node,
        phase=phase,
        began_ns=began,
        ended_ns=ended,
    )


SECOND = 1_000_000_000


def with_final_reads(operations: Sequence[Operation]) -> list[Operation]:
    """And a final read of each key, by its workload's words, which says nothing that could be wrong."""
    kinds_of = {each.key: each.workload for each in operations}
    at = max((each.ended_ns for each in operations), default=0) + 1
    final = []
    for key, workload in kinds_of.items():
        words: tuple[Any, ...] = (
            ("txn", at, at, [["read", "x", None]], [["read", "x", None]]) if workload == "txn" else ("read", at, at)
        )
        final.append(op(*words, mode="stale", key=key, workload=workload, phase="final"))
    return [*operations, *final]


def fault(
    began_s: float,
    ended_s: float,
    *,
    recovery_s: float = 0.0,
    name: str = "kill-one",
    package: str = "",
    nodes: Sequence[str] = ("server-1",),
) -> FaultWindow:
    """One fault; its package is the first word of its name."""
    return FaultWindow(
        name=name,
        package=package or name.partition("-")[0],
        what="something was broken",
        nodes=list(nodes),
        evidence="it was seen",
        began_ns=int(began_s * SECOND),
        ended_ns=int(ended_s * SECOND),
        recovery_ns=int(recovery_s * SECOND),
    )


def seen(at_s: float, state: str, term: int | None = None, *, node: str = "server-1", **more: int) -> Observation:
    """What a node said of itself; without a term it is down, or no server."""
    facts = {"state": state, **({} if term is None else {"term": term}), **more}
    return Observation(node=node, at_ns=int(at_s * SECOND), facts=facts)


def kinds(verdict: Verdict) -> list[str]:
    """The kinds of what was found, sorted, each once."""
    return sorted({anomaly.kind for anomaly in verdict.anomalies})


def has_legal_order(operations: Sequence[Operation], model: Model) -> bool:
    """The definition itself: try every order of every choice of the uncertain calls. For ten operations or so."""
    calls = [call for call in map(model, operations) if call is not None]
    open_calls = [call for call in calls if not call.is_certain]
    certain = [call for call in calls if call.is_certain]
    for bits in range(1 << len(open_calls)):
        chosen = certain + [call for at, call in enumerate(open_calls) if bits >> at & 1]
        if _extends([], chosen):
            return True
    return False


def _extends(put: list[Call], rest: list[Call]) -> bool:
    if not rest:
        return True
    first_end = min(call.ended_ns for call in rest)
    state: dict[str, Any] = {}
    for call in put:
        state.update(call.sets)
    return any(
        call.began_ns <= first_end
        and _allows(state, call)
        and _extends([*put, call], [other for other in rest if other is not call])
        for call in rest
    )


def brute_force_order_exists(operations: Sequence[Operation], model: Model) -> bool:
    """As `has_legal_order`, without any thought at all: all permutations. For six operations or so."""
    calls = [call for call in map(model, operations) if call is not None]
    for order in permutations(calls):
        for length in range(len(order) + 1):
            if all(not call.is_certain for call in order[length:]) and _is_legal(order[:length]):
                return True
    return False


def _is_legal(order: Sequence[Call]) -> bool:
    state: dict[str, Any] = {}
    for at, call in enumerate(order):
        if any(later.ended_ns < call.began_ns for later in order[at + 1 :]):
            return False
        if not _allows(state, call):
            return False
        state.update(call.sets)
    return True


def _allows(state: dict[str, Any], call: Call) -> bool:
    is_denied = bool(call.denies) and all(state.get(slot) == value for slot, value in call.denies)
    return not is_denied and all(state.get(slot) == value for slot, value in call.needs)


def simulated_register(
    rng: random.Random,
    *,
    operations: int,
    clients: int = 10,
    key: str = "k",
    unknown: float = 0.02,
    failed: float = 0.02,
    values: int = 0,
    deletes: float = 0.05,
) -> list[Operation]:
    """What clients of a right register see: each operation takes effect at one moment between its two ends.

    `values` > 0: only so many different values are written. Unknown ones take effect late, or never.
    """
    begun = 0
    now = 0
    state: Any = None
    written = 0
    done: list[Operation] = []
    running: dict[int, dict[str, Any]] = {}
    late: list[dict[str, Any]] = []

    def new_value() -> int | None:
        nonlocal written
        if rng.random() < deletes:
            return None
        written += 1
        return rng.randrange(values) if values else written

    def take_effect(what: dict[str, Any]) -> None:
        nonlocal state
        match what["function"]:
            case "read":
                what["got"] = state
            case "write":
                state = what["given"]
            case "cas":
                what["won"] = state == what["given"][0]
                state = what["given"][1] if what["won"] else state
        what["took_effect"] = True

    while begun < operations or running:
        now += 1
        client = rng.randrange(clients)
        if late and rng.random() < 0.05:
            take_effect(late.pop(rng.randrange(len(late))))
        what = running.get(client)
        if what is None:
            if begun < operations:
                begun += 1
                function = rng.choice(["read", "read", "write", "cas"])
                given = {"read": None, "write": new_value(), "cas": [state, new_value()]}[function]
                running[client] = {"function": function, "given": given, "began": now, "fate": rng.random()}
        elif what["fate"] < failed:
            done.append(_ended(running.pop(client), client, key, now, FAILED))
        elif what["fate"] < failed + unknown and what["function"] != "read":
            late.append(running.pop(client))
            done.append(_ended(late[-1], client, key, now, UNKNOWN))
        elif "took_effect" not in what:
            take_effect(what)
        else:
            running.pop(client)
            has_lost = not what.get("won", True)
            done.append(_ended(what, client, key, now, FAILED if has_lost else OK, error="" if has_lost else None))
    return done


def _ended(
    what: dict[str, Any], client: int, key: str, now: int, outcome: Outcome, *, error: str | None = None
) -> Operation:
    given, got = what["given"], what.get("got")
    return op(what["function"], what["began"], now, given, got, outcome=outcome, key=key, process=client, error=error)
