"""Registers: a compare-and-set names what its read found."""

from collections import Counter

from trio.testing import MockClock

from jepsen.history import Operation, Outcome
from jepsen.workloads.register import OPERATIONS_MAX, WORKERS_PER_KEY, Register
from tests.fakes.workload_run import run_in_memory


async def test_a_compare_and_set_follows_a_read_of_what_it_expects(autojump_clock: MockClock) -> None:
    history = await run_in_memory(Register, seed=1, duration_s=20.0)

    last: dict[int, Operation] = {}
    outcomes: Counter[Outcome] = Counter()
    for operation in history.operations:
        if operation.function == "cas":
            read = last[operation.process]
            assert (read.function, read.key, read.output) == ("read", operation.key, operation.input[0])
            assert read.mode != "stale"
            outcomes[operation.outcome] += 1
        last[operation.process] = operation
    assert outcomes[Outcome.OK] > 20
    assert outcomes[Outcome.FAILED] > 20, "others must get in between, or nothing is compared"


async def test_values_are_written_once_and_deletions_are_among_the_writes(autojump_clock: MockClock) -> None:
    history = await run_in_memory(Register, seed=2, duration_s=20.0)

    written = [operation.input for operation in history.operations if operation.function == "write"]
    values = [value for value in written if value is not None]
    values += [operation.input[1] for operation in history.operations if operation.function == "cas"]
    assert None in written
    assert len(set(values)) == len(values)


async def test_a_key_is_used_by_several_at_once_and_not_for_long(autojump_clock: MockClock) -> None:
    history = await run_in_memory(Register, seed=3, duration_s=20.0)

    main = [operation for operation in history.operations if operation.phase == "main"]
    for key in {operation.key for operation in main}:
        assert len({operation.process for operation in main if operation.key == key}) == WORKERS_PER_KEY
        assert sum(operation.key == key for operation in history.operations) <= OPERATIONS_MAX + 50
