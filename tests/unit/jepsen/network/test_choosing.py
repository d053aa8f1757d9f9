"""Which network a run gets."""

import random
from typing import ClassVar

import pytest
import trio

from jepsen.cluster import Cluster
from jepsen.machine import Machine
from jepsen.nemesis.package import Fault, Injection
from jepsen.nemesis.registry import FAULTS
from jepsen.network.choosing import BEST, choose_mode, missing_for, opened

EVERYTHING = frozenset({"links", "namespaces", "packet-filter", "packet-queue"})


class Harmless(Fault):
    """Does nothing."""

    name = "harmless"
    package = "test"
    description = "does nothing"

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        return Injection(what="nothing", nodes=[])

    async def evidence(self, cluster: Cluster) -> str:
        return "nothing"

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        """Nothing to heal."""


class Cut(Harmless):
    name = "cut"
    needs: ClassVar[frozenset[str]] = frozenset({"network:cut"})


class Slow(Harmless):
    name = "slow"
    needs: ClassVar[frozenset[str]] = frozenset({"network:delay"})
    servers_min = 5


class Compiled(Harmless):
    name = "compiled"
    needs: ClassVar[frozenset[str]] = frozenset({"compiler"})


def machine(*missing: str) -> Machine:
    return Machine(
        abilities=EVERYTHING - set(missing), missing={each: f"No {each}: so it is." for each in missing}, facts={}
    )


def test_faults_that_need_no_network_get_the_plain_one() -> None:
    assert choose_mode([], machine()) == "plain"
    assert choose_mode([Harmless, Compiled], machine()) == "plain"


def test_namespaces_come_before_links_where_they_give_all_that_is_needed() -> None:
    assert choose_mode([Cut, Slow], machine()) == "namespaces"
    assert choose_mode([Cut], machine("packet-queue")) == "namespaces"


def test_links_serve_where_namespaces_cannot_be_had_or_give_less() -> None:
    assert choose_mode([Cut, Slow], machine("packet-queue")) == "links"
    assert choose_mode([Cut], machine("namespaces")) == "links"
    assert choose_mode([Cut], machine("packet-filter")) == "links"


def test_what_is_missing_is_said_in_a_sentence() -> None:
    assert missing_for(Cut, machine(), BEST, 3) == ""
    assert missing_for(Cut, machine("namespaces"), BEST, 3) == ""
    said = missing_for(Cut, machine("namespaces"), "namespaces", 3)
    assert said == "The network between nodes (namespaces) offers no cut. No namespaces: so it is."
    assert missing_for(Cut, machine(), "plain", 3) == "The network between nodes (plain) offers no cut."
    assert missing_for(Compiled, machine("compiler"), "plain", 3) == "No compiler: so it is."
    assert missing_for(Slow, machine(), BEST, 3) == "It needs 5 servers."
    assert missing_for(Slow, machine("packet-queue"), BEST, 5) == ""
    assert "No packet-queue: so it is." in missing_for(Slow, machine("packet-queue"), "namespaces", 5)


@pytest.mark.parametrize("mode", ["plain", "links"])
async def test_an_error_of_the_block_comes_out_as_it_was(mode: str) -> None:
    async def fail() -> None:
        async with opened(mode) as network:
            assert network.mode == mode
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


async def test_a_block_that_is_cancelled_ends() -> None:
    with trio.move_on_after(0.05) as scope:
        async with opened("links"):
            await trio.sleep_forever()
    assert scope.cancelled_caught


def test_faults_of_agents_need_one() -> None:
    assert "agent" in missing_for(FAULTS["kill-agent"], machine(), "plain", 3, 0)
    assert missing_for(FAULTS["kill-agent"], machine(), "plain", 1, 1) == ""
    assert missing_for(FAULTS["kill-one"], machine(), "plain", 3, 0) == ""
