"""Registers: a compare-and-set names what its read found."""

import random
from collections import Counter

import trio
from trio.testing import MockClock

from jepsen.client import HTTP, Entry
from jepsen.history import Operation, Outcome
from jepsen.workloads.register import KEYS_COUNT, OPERATIONS_MAX, WORKERS_PER_KEY, Register
from jepsen.workloads.workload import Worker
from tests.fakes.workload_run import Driver, run_in_memory


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
    writers = {operation.process for operation in main if operation.function == "write"}
    assert len(writers) == KEYS_COUNT * WORKERS_PER_KEY
    for key in {operation.key for operation in main}:
        used_by = {operation.process for operation in main if operation.key == key}
        assert len(used_by & writers) == WORKERS_PER_KEY
        assert sum(operation.key == key for operation in history.operations) <= OPERATIONS_MAX + 50


async def test_readers_only_read_all_keys_in_use_and_ask_every_node(autojump_clock: MockClock) -> None:
    history = await run_in_memory(Register, seed=3, duration_s=20.0)

    main = [operation for operation in history.operations if operation.phase == "main"]
    writers = {operation.process for operation in main if operation.function == "write"}
    read = [operation for operation in main if operation.process not in writers]
    assert {operation.function for operation in read} == {"read"}
    assert {operation.key for operation in read} == {operation.key for operation in main}
    assert {operation.mode for operation in read} == {"default", "consistent", "stale"}
    assert {operation.node for operation in read} == {operation.node for operation in main}


class Silent(HTTP):
    """A node that stands still."""

    async def get(self, key: str, *, mode: str = "default") -> tuple[Entry | None, int]:
        return await trio.sleep_forever()

    async def put(self, key: str, value: str, *, cas: int | None = None) -> bool:
        return await trio.sleep_forever()

    async def delete(self, key: str, *, cas: int | None = None) -> bool:
        return await trio.sleep_forever()


async def test_a_node_that_stands_still_is_read_from_again_and_again(autojump_clock: MockClock) -> None:
    driver = Driver(Register(random.Random(1)), lambda _: Silent("127.0.0.1:1"), seed=1)
    client = driver.client("n")
    worker = Worker(process=client.process, position=0, rng=random.Random(1), client=client)
    workload = Register(random.Random(1))

    with trio.move_on_after(100.0):
        while True:
            await workload.step(worker)

    lines = driver.history.operations
    functions = Counter(operation.function for operation in lines)
    assert len(lines) > 40, "nobody waits for a dead node for long"
    assert functions["read"] > 2 * functions["write"] > 0
    outcomes = {operation.function: operation.outcome for operation in lines[:-1]}
    assert outcomes == {"read": Outcome.FAILED, "write": Outcome.UNKNOWN}
