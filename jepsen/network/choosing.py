"""Which network a run gets: what its faults need, and what this machine allows."""

import random
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

import trio

from jepsen.machine import ABILITIES, Machine
from jepsen.nemesis.package import Fault
from jepsen.network import namespaces
from jepsen.network.links import LinkNetwork
from jepsen.network.network import Network
from jepsen.network.plain import PlainNetwork

MODES: Final = ("namespaces", "links", "plain")
"""Best first: real packets, then bytes, then nothing that can be broken."""
BEST: Final = "best"
"""Not a mode: whichever fits."""
PREFIX: Final = "network:"
"""Begins what a fault needs of the network: "network:cut", "network:delay", ..."""


def abilities_of(mode: str, machine: Machine) -> frozenset[str]:
    """What the network of this mode can do on this machine, as faults name it. None if the mode cannot be had."""
    found: frozenset[str] = frozenset()
    if mode == "namespaces" and {"namespaces", "packet-filter"} <= machine.abilities:
        found = namespaces.ABILITIES_WITHOUT_QUEUE | ({"delay"} if "packet-queue" in machine.abilities else set())
    if mode == "links" and "links" in machine.abilities:
        found = LinkNetwork.abilities
    return frozenset(PREFIX + ability for ability in found)


def choose_mode(faults: Collection[type[Fault]], machine: Machine) -> str:
    """The best mode that gives all that these faults need of a network; the one that gives most if none gives all.

    Where they need nothing of it, the plain one: what is not there cannot disturb.
    """
    needed = frozenset(need for fault in faults for need in fault.needs if need.startswith(PREFIX))
    if not needed:
        return "plain"
    return max(MODES, key=lambda mode: (len(needed & abilities_of(mode, machine)), -MODES.index(mode)))


def missing_for(fault: type[Fault], machine: Machine, mode: str, servers_count: int, agents_count: int = 1) -> str:
    """Why this fault cannot be had with so many nodes in this mode (BEST: in any), in a sentence; "" if it can."""
    if servers_count < fault.servers_min:
        return f"It needs {fault.servers_min} servers."
    if agents_count < fault.agents_min:
        return "It needs an agent."
    for need in sorted(fault.needs):
        if need.startswith(PREFIX):
            modes = MODES if mode == BEST else (mode,)
            if not any(need in abilities_of(each, machine) for each in modes):
                return _why_not(need.removeprefix(PREFIX), mode, machine)
        elif need not in machine.abilities:
            return machine.missing.get(need, f"This machine has no {need}.")
    return ""


def _why_not(ability: str, mode: str, machine: Machine) -> str:
    reasons = [machine.missing[each] for each in ABILITIES if each in machine.missing and each in _CARRIERS[mode]]
    return " ".join([f"The network between nodes ({mode}) offers no {ability}.", *reasons])


_CARRIERS: Final = {
    "namespaces": ("namespaces", "packet-filter", "packet-queue"),
    "links": ("links",),
    "plain": (),
    BEST: ("namespaces", "packet-filter", "packet-queue", "links"),
}
"""Mode -> the machine's abilities that it stands on."""


def enter(mode: str) -> None:
    """Make this process ready for that mode. To be called before it starts a thread. Raises NotPossible."""
    if mode == "namespaces":
        namespaces.enter()


@asynccontextmanager
async def opened(mode: str, rng: random.Random | None = None) -> AsyncIterator[Network]:
    """A network of this mode, carrying traffic as long as the block lasts; `rng` draws jitter and losses.

    Raises NotPossible, and unchanged what the block raises.
    """
    chance = rng or random.Random(0)
    network: Network
    if mode == "namespaces":
        network = namespaces.NamespaceNetwork(chance)
    elif mode == "links":
        network = LinkNetwork(chance)
    else:
        network = PlainNetwork()
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(network.run)
        try:
            yield network
        except Exception as error:  # carried over the nursery's border, which would wrap it into a group
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
