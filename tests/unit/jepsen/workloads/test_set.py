"""Sets: what is read in the end is what each replica holds; an odd entry is shown as it is."""

import random
from collections.abc import Sequence

from trio.testing import MockClock

from jepsen.client import HTTP, Client, Entry
from jepsen.history import Operation
from jepsen.workloads.set import SETTLE_S, Set
from jepsen.workloads.workload import Worker
from tests.fakes.store import Row, entry_of


class Lagging(HTTP):
    """A node whose replica shows element 1 only, until it has been listed `lists_until_settled` times."""

    def __init__(self, lists_until_settled: int, odd: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__("127.0.0.1:1")
        self._left = lists_until_settled
        self._odd = odd

    async def put(self, key: str, value: str, *, cas: int | None = None) -> bool:
        return True

    async def scan(self, prefix: str, *, mode: str = "default") -> tuple[list[Entry], int]:
        self._left -= mode == "stale"
        late = mode == "stale" and self._left >= 0
        entries = [("1", "1")] if late else [("1", "1"), ("10", "10"), ("2", "2"), *self._odd]
        return [entry_of(prefix + name, Row(value, 1, 1)) for name, value in entries], 5 if late else 9


async def final_reads(http: HTTP) -> list[Operation]:
    lines: list[Operation] = []
    client = Client(address="127.0.0.1:1", node="n", workload="set", process=1, record=lines.append, now_ns=lambda: 0)
    client.http = http
    workload = Set(random.Random(1))
    await workload.step(Worker(process=1, position=0, rng=random.Random(1), client=client))
    lines.clear()
    await workload.finish([client])
    return lines


async def test_the_last_stale_read_waits_until_the_replica_has_caught_up(autojump_clock: MockClock) -> None:
    default, stale = await final_reads(Lagging(3))

    assert (default.mode, default.output, default.index) == ("default", [1, 2, 10], 9)
    assert (stale.mode, stale.output, stale.index) == ("stale", [1, 2, 10], 9)


async def test_a_replica_that_never_catches_up_is_shown_as_it_is(autojump_clock: MockClock) -> None:
    began_s = autojump_clock.current_time()
    _, stale = await final_reads(Lagging(1_000_000))

    assert (stale.output, stale.index) == ([1], 5)
    assert SETTLE_S <= autojump_clock.current_time() - began_s <= SETTLE_S + 1.0


async def test_an_entry_whose_key_and_value_disagree_is_no_element(autojump_clock: MockClock) -> None:
    default, _ = await final_reads(Lagging(0, [("7", "8"), ("9", "")]))

    assert default.output[:3] == [1, 2, 10]
    assert [str(each).rpartition("/")[2] for each in default.output[3:]] == ["7=8", "9="]
