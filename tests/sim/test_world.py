"""The world by itself: order within a connection, faults of one direction only, and a seed that decides everything."""

import ast
import sys
from pathlib import Path

import pytest

from tests.sim import world as module
from tests.sim.world import DROP_NOTICED_S_MAX, Network, Port, SimClock, World


class Ear(Port):
    """Keeps what it hears."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.heard: list[tuple[float, bytes]] = []
        self.epochs: list[int] = []
        self.breaks: list[int] = []
        self.up = True

    def connected(self, name: str, epoch: int) -> None:
        self.epochs.append(epoch)

    def disconnected(self, name: str, epoch: int) -> None:
        self.breaks.append(epoch)

    def message(self, name: str, epoch: int, data: bytes) -> None:
        self.heard.append((self.world.time_s, data))

    @property
    def is_up(self) -> bool:
        return self.up

    @property
    def numbers(self) -> list[int]:
        return [int(data) for _, data in self.heard]


class Pair:
    """Two ears, connected; `a` counts aloud to `b`, a number every 10 ms."""

    def __init__(self, seed: str = "1", *, count: int = 100) -> None:
        self.world = World(seed)
        self.a, self.b = Ear(self.world), Ear(self.world)
        self.network = Network(self.world, {"a": self.a, "b": self.b}, delay_mean_s=0.05)
        self.network.connect_missing()
        for number in range(count):
            self.world.after(number * 0.01, lambda number=number: self.send("a", "b", number))  # type: ignore[misc]

    def send(self, sender: str, receiver: str, number: int) -> None:
        epoch = self.network.connected_epoch(sender, receiver)
        if epoch is not None:
            self.network.send(sender, receiver, epoch, b"%d" % number)


def test_a_connection_keeps_the_order_whatever_the_delays() -> None:
    pair = Pair()
    pair.world.run_until(5.0)
    assert pair.b.numbers == list(range(100))


@pytest.mark.parametrize("seed", "1234")
def test_what_a_stall_held_back_arrives_in_order_between_what_was_under_way_before_and_what_comes_after(
    seed: str,
) -> None:
    pair = Pair(seed)
    pair.world.run_until(0.3)
    pair.network.stall({("a", "b")})
    heard_count = len(pair.b.heard)
    pair.world.run_until(0.6)
    assert len(pair.b.heard) == heard_count
    pair.network.heal()
    pair.world.run_until(5.0)
    assert pair.b.numbers == list(range(100))


def test_what_a_stall_held_back_is_lost_with_the_connection() -> None:
    pair = Pair()
    pair.world.run_until(0.3)
    pair.network.stall({("a", "b")})
    pair.world.run_until(0.6)
    pair.network.break_stalled()
    pair.network.heal()
    pair.network.connect_missing()
    pair.world.run_until(5.0)
    assert pair.b.epochs == [1, 2]
    assert pair.b.breaks == [1]
    assert pair.b.numbers == sorted(pair.b.numbers)
    assert 40 not in pair.b.numbers


def test_a_cut_pair_is_not_dialled_before_it_heals() -> None:
    pair = Pair()
    pair.network.cut({("a", "b")})
    pair.network.connect_missing()
    assert pair.network.connected_epoch("a", "b") is None
    pair.network.heal()
    pair.network.connect_missing()
    assert pair.network.connected_epoch("b", "a") == 2


def test_a_direction_is_slowed_alone() -> None:
    pair = Pair(count=1)
    pair.network.slow({("a", "b")}, 1000.0)
    pair.send("b", "a", 7)
    pair.world.run_until(2.0)
    assert pair.a.numbers == [7]
    assert pair.b.numbers == []
    pair.world.run_until(1000.0)
    assert pair.b.numbers == [0]


def test_a_direction_that_loses_everything_takes_the_connection_with_it() -> None:
    pair = Pair()
    pair.world.run_until(0.3)
    assert pair.network.drop({("a", "b")}) == 1
    heard_count = len(pair.b.heard)
    pair.send("b", "a", 7)
    pair.world.run_until(0.3 + DROP_NOTICED_S_MAX + 1.0)
    assert len(pair.b.heard) == heard_count
    assert pair.a.numbers == [7]
    assert pair.network.connected_epoch("a", "b") is None
    assert pair.a.breaks == pair.b.breaks == [1]
    assert pair.network.drop({("a", "b")}) == 0


def test_a_direction_is_silent_while_it_is_stalled_or_loses_everything() -> None:
    pair = Pair()
    network = pair.network
    assert not network.is_silent("a", "b")
    network.stall({("a", "b")})
    assert network.is_silent("a", "b")
    assert not network.is_silent("b", "a")
    network.heal()
    assert not network.is_silent("a", "b")
    network.drop({("b", "a")})
    assert network.is_silent("b", "a")
    network.break_link("a", "b")
    assert not network.is_silent("b", "a")


def test_the_trace_tells_two_runs_apart_by_when_what_arrived() -> None:
    traces = []
    for seed, count in (("1", 100), ("1", 100), ("2", 100), ("1", 99)):
        pair = Pair(seed, count=count)
        pair.world.run_until(5.0)
        traces.append(pair.world.trace)
    assert traces[0] == traces[1]
    assert len(set(traces)) == 3


def test_who_joins_later_is_dialled_and_who_is_down_is_not() -> None:
    pair = Pair()
    late = Ear(pair.world)
    late.up = False
    pair.network.add("c", late)
    pair.network.connect_missing()
    assert late.epochs == []
    late.up = True
    pair.network.connect_missing()
    assert late.epochs == [1, 1]
    assert pair.network.port("c") is late


def test_clocks_of_one_world_disagree_and_never_go_back() -> None:
    world = World("1")
    first, second = SimClock(world, "a"), SimClock(world, "b")
    before_s = first.now_s()
    world.run_until(100.0)
    passed_s = first.now_s() - before_s
    assert 96.0 <= passed_s <= 104.0
    assert first.now_s() != second.now_s()
    assert first.delay_until_s(first.now_s() + passed_s) == pytest.approx(100.0)
    assert first.delay_until_s(before_s) == 0.0


def test_the_seed_decides_everything_and_a_purpose_has_its_own_chance() -> None:
    runs = []
    for _ in range(2):
        pair = Pair("7")
        pair.world.run_until(5.0)
        runs.append(pair.b.heard)
    assert runs[0] == runs[1]
    world = World("7")
    alone = world.rng_of("one purpose").random()
    world.rng_of("another").random()
    assert world.rng_of("one purpose").random() == alone


def test_the_world_knows_of_nothing_but_the_language() -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    named = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    named |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in named} <= set(sys.stdlib_module_names)
