"""Two faults at once: both must show, all are healed, and in an order that lets the later ones succeed."""

import random
from pathlib import Path
from typing import ClassVar

import pytest

from jepsen.cluster import Cluster, ProcessFailed
from jepsen.nemesis.combined import HEALING_RANKS, PAIRS, Combined, Pair, combine, healing_order
from jepsen.nemesis.package import Fault, Injection, NotInjected


class Spy(Fault):
    """Writes down what it is asked to do, and fails where it is told to."""

    done: ClassVar[list[str]] = []
    fails: ClassVar[set[str]] = set()

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._do("inject", NotInjected)
        return Injection(what=f"{self.name} did", nodes=["server-1", self.name])

    async def evidence(self, cluster: Cluster) -> str:
        self._do("evidence", NotInjected)
        return f"{self.name} shows"

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        self._do("heal", ProcessFailed)

    def _do(self, act: str, error: type[Exception]) -> None:
        self.done.append(f"{act} {self.name}")
        if f"{act} {self.name}" in self.fails:
            raise error(f"{self.name} does not {act}")


class Killer(Spy):
    name = "killer"
    package = "kill"
    description = "kills"
    hold_s = (1.0, 9.0)
    options = ("-hcl", "a = 1")
    needs = frozenset({"links"})


class Cutter(Spy):
    name = "cutter"
    package = "partition"
    description = "cuts"
    hold_s = (2.0, 4.0)
    recovery_s = 20.0
    options = ("-hcl", "a = 1")
    subject = True


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    Spy.done.clear()
    Spy.fails.clear()
    return Cluster(tmp_path, servers=0, agents=0)


def both() -> Fault:
    return combine(Pair(first="killer", second="cutter", why="why not"), (Killer, Cutter))()


async def test_both_are_injected_in_order_and_both_are_told(cluster: Cluster, autojump_clock: object) -> None:
    fault = both()
    injection = await fault.inject(cluster, random.Random(1))
    assert (injection.what, injection.nodes) == ("killer did; cutter did", ["cutter", "killer", "server-1"])
    assert await fault.evidence(cluster) == "killer shows; cutter shows"
    assert Spy.done == ["inject killer", "inject cutter", "evidence killer", "evidence cutter"]


@pytest.mark.parametrize("blind", ["killer", "cutter"])
async def test_a_pair_counts_only_if_both_show(cluster: Cluster, autojump_clock: object, blind: str) -> None:
    Spy.fails.add(f"evidence {blind}")
    with pytest.raises(NotInjected, match=blind):
        await both().evidence(cluster)


async def test_either_may_be_healed_first(cluster: Cluster, autojump_clock: object) -> None:
    seen = set()
    for seed in range(20):
        Spy.done.clear()
        await both().heal(cluster, random.Random(seed))
        seen.add(tuple(Spy.done))
    assert seen == {("heal cutter", "heal killer"), ("heal killer", "heal cutter")}


@pytest.mark.parametrize("stuck", [["cutter"], ["killer"], ["cutter", "killer"]])
async def test_the_others_are_healed_when_one_cannot_be_and_all_trouble_is_told(
    cluster: Cluster, autojump_clock: object, stuck: list[str]
) -> None:
    Spy.fails.update(f"heal {name}" for name in stuck)
    with pytest.raises(ProcessFailed) as caught:
        await both().heal(cluster, random.Random(1))
    assert sorted(Spy.done) == ["heal cutter", "heal killer"]
    assert [name for name in ("cutter", "killer") if f"{name} does not heal" in str(caught.value)] == stuck


async def test_both_are_healed_when_the_second_never_came_about(cluster: Cluster, autojump_clock: object) -> None:
    Spy.fails.add("inject cutter")
    fault = both()
    with pytest.raises(NotInjected):
        await fault.inject(cluster, random.Random(1))
    await fault.heal(cluster, random.Random(1))
    assert sorted(Spy.done[-2:]) == ["heal cutter", "heal killer"]


def test_a_pair_needs_what_either_part_needs() -> None:
    fault = both()
    assert isinstance(fault, Combined)
    assert (fault.name, fault.package) == ("killer+cutter", "combined")
    assert fault.hold_s == (2.0, 9.0)
    assert fault.recovery_s == 20.0
    assert fault.needs == {"links"}
    assert fault.subject
    assert fault.options == ("-hcl", "a = 1"), "equal options are given once"


class Joiner(Spy):
    name = "joiner"
    package = "membership"
    description = "joins"


class Slow(Spy):
    name = "slow"
    package = "disk"
    description = "is slow"


@pytest.mark.parametrize("seed", range(20))
def test_who_waits_for_others_is_healed_after_them(seed: int) -> None:
    order = [fault.name for fault in healing_order([Joiner(), Slow(), Killer(), Cutter()], random.Random(seed))]
    assert order[2:] == ["slow", "joiner"]


def test_changes_of_members_begin_before_anything_else_is_broken() -> None:
    assert HEALING_RANKS["membership"] == max(HEALING_RANKS.values())
    assert [pair.name for pair in PAIRS if pair.second.startswith(("membership", "snapshot", "restart"))] == []
