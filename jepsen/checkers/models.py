"""Small sequential specifications: what an operation needs of the state, and what it makes of it.

Everything that is searched for a legal order is a *guarded assignment*: it needs some slots to hold certain values and
sets some slots, all at one moment. A register has one slot; a group of keys under transactions has one slot a key.
One that the server declined, saying no more than that what it expected was not there, is a look at the state as well:
at some moment while it was made, not all of that was there.
(Lists and counters have checkers of their own, which need no search: `append.py`, `counter.py`.)
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from jepsen.history import Operation, Outcome

FOREVER_NS = 2**63 - 1
"""The end of an operation that may take effect at any time after it began."""
BEGINNING_NS = -1
"""Before everything."""
STALE = "stale"
"""A read in this mode shows the state of one moment, but perhaps of long ago: it began at the beginning."""
Value = str | int | float | bool | None
Slot = str


class Call(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One operation as the search sees it."""

    operation: Operation
    began_ns: int
    ended_ns: int
    needs: tuple[tuple[Slot, Value], ...]
    """What it saw: impossible at a moment when a slot holds anything else."""
    sets: tuple[tuple[Slot, Value], ...]
    denies: tuple[tuple[Slot, Value], ...] = ()
    """What it was told is not so: impossible at a moment when all these slots hold these values. Only of pure calls."""

    @property
    def is_pure(self) -> bool:
        """Whether it only looked."""
        return not self.sets

    @property
    def is_certain(self) -> bool:
        """Whether it happened."""
        return self.ended_ns != FOREVER_NS


Model = Callable[[Operation], Call | None]
"""Turns an operation into a call; None: it promises nothing, or certainly did not happen and does not say why."""


class Crooked(ValueError):
    """An operation that contradicts itself, or has not the shape its workload says; the text tells how."""


def register(operation: Operation) -> Call | None:
    """`read`, `write` (null: delete), `cas` with input [expected, new] of one register, which begins as null.

    Raises Crooked.
    """
    if is_declined(operation) and operation.function == "cas" and _is_pair(operation.input):
        return _call(operation, denies=[("", value_of(operation.input[0]))])
    if not _counts(operation, is_pure=operation.function == "read"):
        return None
    match operation.function, operation.input:
        case "read", _:
            return _call(operation, needs=[("", value_of(operation.output))], sets=[])
        case "write", new:
            return _call(operation, needs=[], sets=[("", value_of(new))])
        case "cas", [expected, new]:
            return _call(operation, needs=[("", value_of(expected))], sets=[("", value_of(new))])
    raise Crooked(f"a register knows no {operation.function} of {operation.input!r}")


def txn(operation: Operation) -> Call | None:
    """`txn`: a list of ["read", key, value] and ["write", key, value] that take effect at one moment, in this order.

    ["expect", key, value] is a condition: if the key holds anything else there, nothing of the whole is done.
    Raises Crooked, also where a transaction does not see its own writes, or sees two values of one key.
    """
    asked = operation.input
    if operation.function != "txn" or not isinstance(asked, list):
        raise Crooked(f"a transaction was expected, not {operation.function} of {asked!r}")
    is_known = operation.outcome is Outcome.OK
    if is_declined(operation):
        return _declined_txn(operation)
    if not _counts(operation, is_pure=all(micro[0] != "write" for micro in asked)):
        return None
    steps = operation.output if is_known else asked
    if not isinstance(steps, list) or [step[:2] for step in steps] != [micro[:2] for micro in asked]:
        raise Crooked(f"the answer {steps!r} does not belong to {asked!r}")
    needs: dict[Slot, Value] = {}
    sets: dict[Slot, Value] = {}
    for (kind, slot, raw), micro in zip(steps, asked, strict=True):
        value = value_of(raw)
        if kind == "write":
            sets[slot] = value_of(micro[2])
        elif kind not in ("read", "expect"):
            raise Crooked(f"a transaction knows no {kind!r}")
        elif is_known or kind == "expect":
            seen = sets.get(slot, needs.get(slot, value))
            if seen != value:
                raise Crooked(f"{slot} is {value!r} in the same transaction that saw or wrote {seen!r}")
            if slot not in sets:
                needs[slot] = value
    return _call(operation, needs=needs.items(), sets=sets.items())


def is_declined(operation: Operation) -> bool:
    """Whether the server answered, and answered that it did not do it."""
    return operation.outcome is Outcome.FAILED and not operation.error


def _is_pair(raw: Any) -> bool:
    return isinstance(raw, list) and len(raw) == 2


def _declined_txn(operation: Operation) -> Call | None:
    """One of its expectations was wrong; None: it had none, or one that its own writes made wrong."""
    denies: dict[Slot, Value] = {}
    sets: dict[Slot, Value] = {}
    for kind, slot, raw in operation.input:
        value = value_of(raw)
        if kind == "write":
            sets[slot] = value
        elif kind == "expect":
            if sets.get(slot, denies.get(slot, value)) != value:
                return None
            if slot not in sets:
                denies[slot] = value
    return _call(operation, denies=denies.items()) if denies else None


def value_of(raw: Any) -> Value:
    """Return the value itself, or the JSON text of what cannot be compared quickly."""
    if raw is None or isinstance(raw, str | int | float):
        return raw
    return json.dumps(raw, sort_keys=True)


def _counts(operation: Operation, *, is_pure: bool) -> bool:
    if operation.outcome is Outcome.FAILED:
        return False
    if is_pure:
        return operation.outcome is Outcome.OK
    return True


def _call(
    operation: Operation,
    *,
    needs: Iterable[tuple[Slot, Value]] = (),
    sets: Iterable[tuple[Slot, Value]] = (),
    denies: Iterable[tuple[Slot, Value]] = (),
) -> Call:
    assigned, denied = _by_slot(sets), _by_slot(denies)
    is_old = operation.mode == STALE and not assigned
    return Call(
        operation=operation,
        began_ns=BEGINNING_NS if is_old else operation.began_ns,
        ended_ns=operation.ended_ns if operation.outcome is Outcome.OK or denied else FOREVER_NS,
        needs=_by_slot(needs),
        sets=assigned,
        denies=denied,
    )


def _by_slot(pairs: Iterable[tuple[Slot, Value]]) -> tuple[tuple[Slot, Value], ...]:
    return tuple(sorted(pairs, key=lambda pair: pair[0]))
