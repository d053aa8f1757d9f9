"""The search agrees with the definition, in both directions, and keeps its bound."""

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jepsen.checkers.models import register, txn
from jepsen.checkers.search import search
from jepsen.history import Operation
from tests.unit.jepsen.checkers.histories import (
    FAILED,
    OK,
    UNKNOWN,
    brute_force_order_exists,
    has_legal_order,
    op,
    simulated_register,
)

SPANS = st.tuples(st.integers(0, 12), st.integers(0, 8)).map(lambda pair: (pair[0], pair[0] + pair[1]))
VALUES = st.sampled_from([None, 1, 2, 3])
OUTCOMES = st.sampled_from([OK, OK, OK, OK, UNKNOWN, FAILED, FAILED])
KINDS = st.sampled_from(["read", "write", "write", "expect"])


@st.composite
def register_operations(
    draw: st.DrawFn, most: int = 8, functions: tuple[str, ...] = ("read", "write", "cas")
) -> list[Operation]:
    made = []
    for _ in range(draw(st.integers(1, most))):
        began, ended = draw(SPANS)
        function = draw(st.sampled_from(functions))
        if function == "declined":
            made.append(op("cas", began, ended, [draw(VALUES), 0], outcome=FAILED, error=""))
            continue
        given: Any = {"read": None, "write": draw(VALUES), "cas": [draw(VALUES), draw(VALUES)]}[function]
        got = draw(VALUES) if function == "read" else None
        outcome = draw(OUTCOMES)
        error = "" if function == "cas" and draw(st.booleans()) else None
        made.append(op(function, began, ended, given, got, outcome=outcome, error=error))
    return made


@st.composite
def transactions(draw: st.DrawFn) -> list[Operation]:
    made = []
    for _ in range(draw(st.integers(1, 6))):
        began, ended = draw(SPANS)
        slots = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True))
        asked = [[draw(KINDS), slot, draw(VALUES)] for slot in slots]
        asked = [[kind, slot, None if kind == "read" else value] for kind, slot, value in asked]
        got = [[kind, slot, draw(VALUES) if kind == "read" else value] for kind, slot, value in asked]
        error = draw(st.sampled_from(["", None]))
        made.append(op("txn", began, ended, asked, got, outcome=draw(OUTCOMES), error=error))
    return made


def answer(operations: list[Operation], model: Any = register) -> bool | None:
    return search([call for call in map(model, operations) if call is not None]).legal


@settings(max_examples=800)
@given(register_operations())
def test_the_search_and_the_definition_say_the_same_of_a_register(operations: list[Operation]) -> None:
    assert answer(operations) == has_legal_order(operations, register)


@settings(max_examples=800)
@given(register_operations(most=7, functions=("read", "write", "write", "declined", "declined")))
def test_so_they_do_where_much_was_declined(operations: list[Operation]) -> None:
    assert answer(operations) == has_legal_order(operations, register)


def test_a_declined_one_is_looked_for_at_every_moment_that_it_had() -> None:
    declined = op("cas", 4, 8, [7, 9], outcome=FAILED, error="")
    write = op("write", 0, 1, 7)
    assert not answer([write, declined])
    assert answer([op("write", 4, 5, 7), declined])
    for began, ended, outcome, right in (
        (2, 3, OK, True),
        (2, 3, UNKNOWN, True),
        (5, 6, OK, True),
        (7, 20, OK, True),
        (7, 20, UNKNOWN, True),
        (9, 20, OK, False),
        (9, 20, UNKNOWN, False),
        (2, 20, FAILED, False),
    ):
        assert answer([write, op("write", began, ended, 8, outcome=outcome), declined]) == right
    # What nobody can have overwritten, since it was there before and after.
    assert not answer([write, op("write", 2, 3, 8, outcome=UNKNOWN), declined, op("read", 9, 10, None, 7)])
    absent = op("cas", 4, 8, [None, 9], outcome=FAILED, error="")
    assert not answer([absent])
    assert not answer([write, op("write", 2, 3, None), absent])
    assert answer([write, absent])


def test_a_hundred_thousand_operations_cost_little_more_than_themselves() -> None:
    rng = random.Random(7)
    spent = count = 0
    for _ in range(40):
        operations = simulated_register(rng, operations=150, clients=6, unknown=0.05)
        found = search([call for call in map(register, operations) if call is not None])
        assert found.legal
        spent += found.configurations_count
        count += len(operations)
    assert spent < count


@settings(max_examples=400)
@given(transactions())
def test_the_search_and_the_definition_say_the_same_of_transactions(operations: list[Operation]) -> None:
    assert answer(operations, txn) == has_legal_order(operations, txn)


@settings(max_examples=300)
@given(register_operations(most=5))
def test_the_definition_is_the_one_of_the_book(operations: list[Operation]) -> None:
    assert has_legal_order(operations, register) == brute_force_order_exists(operations, register)


@given(st.integers(0, 2**32), st.sampled_from([0, 2, 5]))
def test_what_a_right_register_answers_has_a_legal_order(seed: int, values: int) -> None:
    rng = random.Random(seed)
    operations = simulated_register(rng, operations=120, clients=6, values=values)
    assert answer(operations)


@given(st.integers(0, 2**32), st.sampled_from([0, 3]))
def test_after_one_wrong_answer_the_search_says_what_the_definition_says(seed: int, values: int) -> None:
    rng = random.Random(seed)
    operations = simulated_register(rng, operations=9, clients=3, values=values, unknown=0.2)
    reads = [at for at, each in enumerate(operations) if each.function == "read" and each.outcome is OK]
    if reads:
        at = rng.choice(reads)
        wrong = rng.choice([None, *range(1, 6)])
        operations[at] = op("read", operations[at].began_ns, operations[at].ended_ns, None, wrong)
    assert answer(operations) == has_legal_order(operations, register)


def test_the_order_found_is_legal_and_complete() -> None:
    operations = simulated_register(random.Random(5), operations=60, values=4)
    calls = [call for call in map(register, operations) if call is not None]
    found = search(calls)
    state: dict[str, Any] = {}
    for at, position in enumerate(found.order):
        call = calls[position]
        assert all(state.get(slot) == value for slot, value in call.needs)
        assert not call.denies or any(state.get(slot) != value for slot, value in call.denies)
        assert all(calls[later].ended_ns >= call.began_ns for later in found.order[at + 1 :])
        state.update(call.sets)
    assert {at for at, call in enumerate(calls) if call.is_certain and not call.denies} <= set(found.order)


def hopeless(count: int) -> list[Operation]:
    """Concurrent writes of few values, and more reads than there are writes: every subset must be tried."""
    writes = [op("write", 0, 1000, at % 3) for at in range(count)]
    reads = [op("read", 10 * at + 1, 10 * at + 5, None, at % 3) for at in range(count + 1)]
    return [*writes, *reads]


def test_a_search_that_grows_too_large_gives_up_and_says_so() -> None:
    calls = [call for call in map(register, hopeless(24)) if call is not None]
    found = search(calls, configurations_max=50)
    assert found.legal is None
    assert found.configurations_count == 50


def test_equal_times_count_as_concurrent() -> None:
    assert answer([op("write", 0, 5, 1), op("read", 5, 9, None, None)])
    assert not answer([op("write", 0, 4, 1), op("read", 5, 9, None, None)])
