"""What transactions record: steps with their reads, proofs of conditions, one state for each listing."""

from collections import defaultdict

from msgspec.structs import replace
from trio.testing import MockClock

from jepsen.checkers.txn import check
from jepsen.history import Operation, Outcome
from jepsen.workloads.txn import Txn
from tests.fakes.workload_run import run_in_memory

Key = tuple[str, str]


async def operations_of(seed: int) -> list[Operation]:
    return (await run_in_memory(Txn, seed=seed, duration_s=20.0)).operations


async def test_an_output_is_the_input_with_its_reads_filled_in(autojump_clock: MockClock) -> None:
    operations = await operations_of(1)

    done = [operation for operation in operations if operation.outcome is Outcome.OK]
    for operation in done:
        assert [step[:2] for step in operation.output] == [step[:2] for step in operation.input]
        for asked, told in zip(operation.input, operation.output, strict=True):
            assert asked[2] is None if asked[0] == "read" else asked == told
    shapes = {tuple(step[0] for step in operation.input) for operation in done}
    assert {("read",) * 4, ("read",) * 2, ("write", "read"), ("write", "expect", "write")} <= shapes
    assert any(step == ["write", step[1], None] for operation in done for step in operation.input)


async def test_what_was_rolled_back_is_failed_and_was_never_seen(autojump_clock: MockClock) -> None:
    operations = await operations_of(2)

    undone = {
        step[2]
        for operation in operations
        if operation.outcome is Outcome.FAILED
        for step in operation.input
        if step[0] == "write"
    } - {None}
    read = {step[2] for operation in operations for step in operation.output or [] if step[0] == "read"}
    assert len(undone) > 5
    assert not undone & read


async def test_what_was_declined_says_what_it_expected_and_that_was_not_there(autojump_clock: MockClock) -> None:
    history = await run_in_memory(Txn, seed=2, duration_s=20.0)

    declined = [each for each in history.operations if each.outcome is Outcome.FAILED and not each.error]
    assert len(declined) > 5
    for operation in declined:
        assert any(step[0] == "expect" for step in operation.input)
    assert check(history).passed
    # Whoever reads right before that what it expected was there convicts.
    at, operation = next((at, each) for at, each in enumerate(history.operations) if each in declined)
    expected = [["read", name, value] for kind, name, value in operation.input if kind == "expect"]
    asked = [["read", name, None] for _, name, _ in expected]
    read = replace(operation, input=asked, output=expected, outcome=Outcome.OK)
    ended_ns = operation.began_ns + 1
    reads = [replace(read, ended_ns=ended_ns), replace(operation, began_ns=ended_ns + 1, ended_ns=ended_ns + 2), read]
    reads[2] = replace(read, began_ns=ended_ns + 3)
    history.operations = [*history.operations[:at], *reads, *history.operations[at + 1 :]]
    assert not check(history).valid


async def test_each_value_is_written_once(autojump_clock: MockClock) -> None:
    written: dict[int, list[Key]] = defaultdict(list)
    for operation in await operations_of(3):
        for what, name, value in operation.input:
            if what == "write" and value is not None:
                written[value].append((operation.key, name))

    assert all(len(places) == 1 for places in written.values())


async def test_only_transactions_that_only_read_have_a_mode(autojump_clock: MockClock) -> None:
    for operation in await operations_of(4):
        only_reads = all(step[0] == "read" for step in operation.input)
        assert (operation.mode in ("default", "consistent", "stale")) == only_reads
