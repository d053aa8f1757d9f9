"""Two faults at once: both must show, all are healed, and in an order that lets the later ones succeed."""

import random
from pathlib import Path
from typing import ClassVar

import pytest

from jepsen.cluster import Cluster, ProcessFailed
from jepsen.nemesis.combined import HEALING_ORDER, PAIRS, Combined, Pair, combine, healing_order
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
def cluster(tmp_path: Path, autojump_clock: object) -> Cluster:
    Spy.done.clear()
    Spy.fails.clear()
    return Cluster(tmp_path, servers=0, agents=0)


def both() -> Fault:
    return combine(Pair(first="killer", second="cutter", why="why not"), (Killer, Cutter))()


async def test_both_are_injected_in_order_and_both_are_told(cluster: Cluster) -> None:
    fault = both()
    injection = await fault.inject(cluster, random.Random(1))
    assert (injection.what, injection.nodes) == ("killer did; cutter did", ["cutter", "killer", "server-1"])
    assert await fault.evidence(cluster) == "killer shows; cutter shows"
    assert Spy.done == ["inject killer", "inject cutter", "evidence killer", "evidence cutter"]


@pytest.mark.parametrize("blind", ["killer", "cutter"])
async def test_a_pair_counts_only_if_both_show(cluster: Cluster, blind: str) -> None:
    Spy.fails.add(f"evidence {blind}")
    with pytest.raises(NotInjected, match=blind):
        await both().evidence(cluster)


async def test_links_are_healed_before_processes_whatever_came_first(cluster: Cluster) -> None:
    await both().heal(cluster, random.Random(1))
    assert Spy.done == ["heal cutter", "heal killer"]


@pytest.mark.parametrize("stuck", [["cutter"], ["killer"], ["cutter", "killer"]])
async def test_the_others_are_healed_when_one_cannot_be_and_all_trouble_is_told(
    cluster: Cluster, stuck: list[str]
) -> None:
    Spy.fails.update(f"heal {name}" for name in stuck)
    with pytest.raises(ProcessFailed) as caught:
        await both().heal(cluster, random.Random(1))
    assert Spy.done == ["heal cutter", "heal killer"]
    assert [name for name in ("cutter", "killer") if f"{name} does not heal" in str(caught.value)] == stuck


async def test_both_are_healed_when_the_second_never_came_about(cluster: Cluster) -> None:
    Spy.fails.add("inject cutter")
    fault = both()
    with pytest.raises(NotInjected):
        await fault.inject(cluster, random.Random(1))
    await fault.heal(cluster, random.Random(1))
    assert Spy.done[-2:] == ["heal cutter", "heal killer"]


def test_a_pair_needs_what_either_part_needs() -> None:
    fault = both()
    assert isinstance(fault, Combined)
    assert (fault.name, fault.package) == ("killer+cutter", "combined")
    assert fault.hold_s == (2.0, 9.0)
    assert fault.recovery_s == 20.0
    assert fault.needs == {"links"}
    assert fault.subject
    assert fault.options == ("-hcl", "a = 1"), "equal options are given once"


def test_changes_of_members_begin_first_and_are_healed_last() -> None:
    assert HEALING_ORDER[-1] == "membership"
    assert [pair.name for pair in PAIRS if pair.second.startswith("membership")] == []
    assert [fault.name for fault in healing_order([Killer(), Cutter()])] == ["cutter", "killer"]
