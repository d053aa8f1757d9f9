"""Every server of a datacenter brings the others into the WAN pool, so that an operator has to join only one.

Source: servers specification, section 11; gossip wire format, section 9.5.
"""

from collections.abc import Iterable, Sequence

import trio

from base.limits import Turns
from base.network import join_address
from server.gossip import GossipPool
from structs.cluster import Member, MemberStatus
from structs.members import server_facts

FLOOD_INTERVAL_S = 60.0
TARGETS_MAX = 16
"""Servers joined at a time. One that is not there takes half a minute to find out, and others wait meanwhile."""


def flood_targets(lan: Iterable[Member], wan: Iterable[Member], datacenter: str) -> list[str]:
    """Return the WAN addresses of those LAN servers that the WAN pool does not know by name yet."""
    suffix = f".{datacenter}"
    known = {member.name.removesuffix(suffix) for member in wan if member.name.endswith(suffix)}
    targets = []
    for member in lan:
        facts = server_facts(member)
        if facts is None or facts.datacenter != datacenter or member.status is not MemberStatus.ALIVE:
            continue
        if facts.wan_join_port and member.name not in known:
            targets.append(join_address(member.address, facts.wan_join_port))
    return targets


class Flooding:
    """Joins LAN servers into the WAN pool, every `FLOOD_INTERVAL_S` and when one joins the LAN."""

    def __init__(self, *, datacenter: str, lan: GossipPool, wan: GossipPool) -> None:
        self._datacenter = datacenter
        self._lan = lan
        self._wan = wan
        self._kick = trio.Event()
        self._turns = Turns(TARGETS_MAX)

    def heard(self, members: Sequence[Member]) -> None:
        """These have joined the LAN; a plain function."""
        if any(server_facts(member) is not None for member in members):
            self._kick.set()

    async def run(self) -> None:
        """Join until cancelled."""
        while True:
            self._kick = trio.Event()
            targets = flood_targets(self._lan.members(), self._wan.members(), self._datacenter)
            if targets:
                await self._wan.join(self._turns.pick(targets))
            with trio.move_on_after(FLOOD_INTERVAL_S):
                await self._kick.wait()
