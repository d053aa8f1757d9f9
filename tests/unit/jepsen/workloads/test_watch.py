"""A watcher passes back the index it was given, whatever happens in between."""

import random
from collections.abc import Sequence
from typing import Any

from trio.testing import MockClock

from jepsen.client import HTTP, CallFailed, Client, Entry
from jepsen.history import History, Operation, Outcome
from jepsen.workloads.watch import ALL, SHARES, WATCHERS, WRITERS_COUNT, Watch
from jepsen.workloads.workload import Worker
from tests.fakes.store import Row, entry_of
from tests.fakes.workload_run import run_in_memory


class Scripted(HTTP):
    """Answers waits as the script says: an entry's modify index or None, and an index; or an error."""

    def __init__(self, script: Sequence[tuple[int | None, int] | CallFailed]) -> None:
        super().__init__("127.0.0.1:1")
        self._script = iter(script)

    async def wait(
        self, key: str, *, index: int, wait_s: float, mode: str = "default", recurse: bool = False
    ) -> tuple[list[Entry], int]:
        answer = next(self._script)
        if isinstance(answer, CallFailed):
            raise answer
        modified, reached = answer
        return ([] if modified is None else [entry_of(key, Row("17", 1, modified))]), reached


async def watched(*script: tuple[int | None, int] | CallFailed) -> list[Operation]:
    lines: list[Operation] = []
    client = Client(address="127.0.0.1:1", node="n", workload="watch", process=5, record=lines.append, now_ns=lambda: 0)
    client.http = Scripted(script)
    worker = Worker(process=5, position=WRITERS_COUNT, rng=random.Random(1), client=client)
    workload = Watch(random.Random(1))
    for _ in script:
        await workload.step(worker)
    return lines


def indexes(operations: Sequence[Operation]) -> list[int]:
    return [operation.input["index"] for operation in operations]


async def test_the_next_wait_goes_on_where_the_last_one_ended() -> None:
    operations = await watched((7, 7), (7, 7), (None, 12), (13, 13))

    assert indexes(operations) == [0, 7, 7, 12]
    assert [operation.output for operation in operations] == [
        {"value": 17, "modify_index": 7, "index": 7},
        {"value": 17, "modify_index": 7, "index": 7},
        {"value": None, "modify_index": 0, "index": 12},
        {"value": 17, "modify_index": 13, "index": 13},
    ]


async def test_after_an_error_nothing_is_skipped() -> None:
    operations = await watched((7, 7), CallFailed("no leader"), CallFailed("no leader"), (9, 9), (9, 9))

    assert indexes(operations) == [0, 7, 7, 7, 9]
    assert [operation.outcome for operation in operations] == [
        Outcome.OK,
        Outcome.FAILED,
        Outcome.FAILED,
        Outcome.OK,
        Outcome.OK,
    ]


async def test_an_index_that_goes_back_is_begun_anew() -> None:
    assert indexes(await watched((7, 7), (5, 5), (5, 5), (5, 5))) == [0, 7, 0, 5]


def writes_of(history: History) -> list[Operation]:
    return [operation for operation in history.operations if operation.function == "write"]


async def test_writes_tell_their_modify_index_and_deletions_none(autojump_clock: MockClock) -> None:
    history = await run_in_memory(Watch, seed=1, duration_s=10.0)

    writes = writes_of(history)
    deletions = [operation for operation in writes if operation.input is None]
    values: list[Any] = [operation.input for operation in writes if operation.input is not None]
    assert len(set(values)) == len(values)
    assert deletions
    assert all(operation.output == {"modify_index": None} for operation in deletions)
    told = [operation.output["modify_index"] for operation in writes if operation.input is not None]
    assert len(set(told)) == len(told)
    assert min(told) > 0


async def test_every_key_has_watchers_and_most_change_seldom_enough_to_show_lost_wake_ups(
    autojump_clock: MockClock,
) -> None:
    history = await run_in_memory(Watch, seed=1, duration_s=30.0)

    assert {name for name, _ in WATCHERS} == {*SHARES, ALL}
    counts = [sum(operation.key.endswith(name) for operation in writes_of(history)) for name in SHARES]
    often, steadily, *seldom = counts
    assert often > 2 * steadily
    assert all(5 <= count <= 40 for count in seldom)


async def test_watchers_of_all_keys_see_each_with_its_index(autojump_clock: MockClock) -> None:
    history = await run_in_memory(Watch, seed=1, duration_s=10.0)

    lists = [operation for operation in history.operations if operation.function == "wait_all"]
    modify_index_of = {each.input: each.output["modify_index"] for each in writes_of(history) if each.input is not None}
    assert {operation.mode for operation in lists} == {"default", "consistent"}
    assert any(operation.phase == "final" for operation in lists)
    for operation in lists:
        assert operation.key.endswith("/")
        for key, (value, modify_index) in operation.output["values"].items():
            assert key.startswith(operation.key)
            assert modify_index_of[value] == modify_index
    assert len(max((operation.output["values"] for operation in lists), key=len)) == len(SHARES)
