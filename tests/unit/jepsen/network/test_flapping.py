"""Links that come and go."""

import random
from collections.abc import Collection

import trio
import trio.testing

from jepsen.network.flapping import Flapper
from jepsen.network.network import Direction, count

AB: list[Direction] = [("a", "b"), ("b", "a")]


class Line:
    """Remembers when it was cut and opened."""

    def __init__(self) -> None:
        self.changes: list[tuple[float, bool]] = []

    async def cut(self, directions: Collection[Direction]) -> None:
        assert list(directions) == AB
        self.changes.append((trio.current_time(), True))

    async def reopen(self, directions: Collection[Direction]) -> None:
        assert list(directions) == AB
        self.changes.append((trio.current_time(), False))


async def test_cut_and_open_alternate_each_for_a_while_from_the_interval(
    autojump_clock: trio.testing.MockClock,
) -> None:
    line = Line()
    flapper = Flapper(line.cut, line.reopen, random.Random(5))
    with trio.move_on_after(20):
        await flapper.run(AB, (0.2, 1.0))
    assert [cut for _, cut in line.changes] == [index % 2 == 0 for index in range(len(line.changes))]
    whiles = [later - earlier for (earlier, _), (later, _) in zip(line.changes, line.changes[1:], strict=False)]
    assert all(0.2 <= each <= 1.0001 for each in whiles)
    assert max(whiles) - min(whiles) > 0.3
    assert count(flapper.counted, ["flapped"], [("a", "b")]) == sum(cut for _, cut in line.changes)


async def test_after_stop_nothing_changes_any_more(autojump_clock: trio.testing.MockClock) -> None:
    line = Line()
    flapper = Flapper(line.cut, line.reopen, random.Random(5))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flapper.run, AB, (0.2, 1.0))
        await trio.sleep(3)
        flapper.stop()
        changes = len(line.changes)
        await trio.sleep(3)
    assert changes > 3
    assert len(line.changes) == changes
