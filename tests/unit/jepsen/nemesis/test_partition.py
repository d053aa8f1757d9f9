"""Partitions and slow packets count only where the network shows them."""

import random
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from jepsen.cluster import Cluster
from jepsen.nemesis import partition, targets
from jepsen.nemesis.package import NotInjected
from jepsen.nemesis.packets import PacketsDelay
from jepsen.network.network import Direction, effect
from jepsen.network.plain import PlainNetwork


class Switchboard(PlainNetwork):
    """Does nothing but write down what it is asked for; its counters are the test's."""

    def __init__(self) -> None:
        self.broken: set[Direction] = set()
        self.how = ""
        self.counters: Counter[str] = Counter()
        self.leaky = False

    async def cut(self, directions: Collection[Direction]) -> None:
        self.broken |= set(directions)
        self.how = "cut"

    async def flap(self, directions: Collection[Direction], *, interval_s: tuple[float, float]) -> None:
        self.broken |= set(directions)
        self.how = "flap"

    async def delay(self, directions: Collection[Direction], *, mean_s: float, jitter_s: float) -> None:
        self.broken |= set(directions)
        self.how = f"delay {mean_s:.3f}"

    async def heal(self) -> None:
        self.broken.clear()

    async def effects(self) -> dict[str, int]:
        return dict(self.counters)

    async def reaches(self, source: str, target: str, port: int) -> bool:
        return self.leaky or not {(source, target), (target, source)} & self.broken


@pytest.fixture
def network() -> Switchboard:
    return Switchboard()


@pytest.fixture
def cluster(tmp_path: Path, network: Switchboard, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(targets, "healthy", list)
    made = Cluster(tmp_path, servers=3, agents=1, network=network)
    yield made
    made.close()


async def test_a_cut_counts_where_the_network_kept_something_back_and_nobody_gets_across(
    cluster: Cluster, network: Switchboard
) -> None:
    fault, rng = partition.PartitionHalves(), random.Random(1)
    injection = await fault.inject(cluster, rng)
    assert network.how == "cut"
    assert set(injection.nodes) == {node.name for node in cluster.nodes}
    direction = min(network.broken)
    network.counters[effect("dropped", direction)] += 7
    said = await fault.evidence(cluster)
    assert said.startswith("7 packets dropped, ")
    assert "cannot reach server-" in said
    await fault.heal(cluster, rng)
    assert not network.broken


async def test_a_cut_that_kept_nothing_back_does_not_count(cluster: Cluster, network: Switchboard) -> None:
    fault = partition.PartitionOne()
    network.counters[effect("dropped", ("server-1", "server-2"))] = 5
    network.counters[effect("dropped", ("server-2", "server-1"))] = 5
    await fault.inject(cluster, random.Random(1))
    with pytest.raises(NotInjected, match="counted nothing"):
        await fault.evidence(cluster)


async def test_what_was_kept_back_elsewhere_does_not_count(cluster: Cluster, network: Switchboard) -> None:
    fault = partition.PartitionBridge()
    await fault.inject(cluster, random.Random(1))
    everywhere = {(one, other) for one in cluster.nodes for other in cluster.nodes if one is not other}
    elsewhere = {(one.name, other.name) for one, other in everywhere} - network.broken
    network.counters.update(effect("held", direction) for direction in elsewhere)
    with pytest.raises(NotInjected, match="counted nothing"):
        await fault.evidence(cluster)


async def test_a_cut_that_lets_a_new_connection_through_does_not_count(cluster: Cluster, network: Switchboard) -> None:
    fault = partition.PartitionAgent()
    await fault.inject(cluster, random.Random(1))
    network.counters.update(effect("refused", direction) for direction in network.broken)
    network.leaky = True
    with pytest.raises(NotInjected, match="still reaches"):
        await fault.evidence(cluster)


async def test_one_way_cuts_one_direction_only_and_both_kinds_are_drawn(
    cluster: Cluster, network: Switchboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def the_leader(_: Cluster) -> object:
        return cluster.servers[0]

    monkeypatch.setattr(targets, "the_leader", the_leader)
    drawn = set()
    for seed in range(10):
        network.broken.clear()
        await partition.PartitionOneWay().inject(cluster, random.Random(seed))
        assert not any((there, here) in network.broken for here, there in network.broken)
        drawn.add(("server-1", "server-2") in network.broken)
        assert (("server-1", "server-2") in network.broken) != (("server-2", "server-1") in network.broken)
    assert drawn == {True, False}


async def test_flapping_must_have_cut_more_than_once(cluster: Cluster, network: Switchboard) -> None:
    fault = partition.PartitionFlapping()
    await fault.inject(cluster, random.Random(1))
    assert network.how == "flap"
    for direction in network.broken:
        network.counters[effect("held", direction)] += 100
        network.counters[effect("flapped", direction)] += 1
    with pytest.raises(NotInjected, match="only once"):
        await fault.evidence(cluster)
    for direction in network.broken:
        network.counters[effect("flapped", direction)] += 2
    assert (await fault.evidence(cluster)).startswith("cut 3 times, ")


async def test_delay_must_have_made_something_late(cluster: Cluster, network: Switchboard) -> None:
    fault = PacketsDelay()
    injection = await fault.inject(cluster, random.Random(1))
    assert network.how.startswith("delay 0.0")
    assert injection.what.startswith("delay of ")
    network.counters[effect("queued", ("server-1", "server-2"))] += 3
    with pytest.raises(NotInjected, match="counted nothing"):
        await fault.evidence(cluster)
    network.counters[effect("delayed", ("server-1", "server-2"))] += 3
    assert await fault.evidence(cluster) == "3 packets delayed"


async def test_what_was_not_injected_shows_nothing_and_heals_all_the_same(cluster: Cluster) -> None:
    for fault in (partition.PartitionHalves(), PacketsDelay()):
        with pytest.raises(NotInjected):
            await fault.evidence(cluster)
        await fault.heal(cluster, random.Random(1))
        await fault.heal(cluster, random.Random(1))
