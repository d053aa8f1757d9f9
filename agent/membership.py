"""What an agent asks of whoever knows the members, and how gossip answers."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from agent.gossip import LAN_NAME, WAN_NAME, Pool
from base.errors import NotFound, Refused
from base.log import get_logger
from structs.cluster import Member
from structs.coordinate import Coordinate

JOIN_WAN_TEXT = "Must be a server to join WAN cluster"
ADDRESSES_MAX = 64
"""Addresses of one join; each may take seconds to try."""

_log = get_logger("agent")


class JoinReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a join."""

    contacted_count: int
    """How many addresses answered and took us in."""
    errors: dict[str, str] = {}
    """Address -> why not."""


class Membership(Protocol):
    """Who is there, as far as this process knows."""

    def self_member(self) -> Member:
        """Return this node as the others see it."""
        ...

    def members(self, *, wan: bool) -> list[Member]:
        """Return everybody, ourselves included; `wan`: the servers of all datacenters, [] where we are not of them."""
        ...

    def statistics(self) -> dict[str, dict[str, str]]:
        """Return sections of `Stats` that replace or complete those that every agent has."""
        ...

    def coordinate(self) -> Coordinate | None:
        """Return where this node is in the network, None where that is not measured."""
        ...

    async def join(self, addresses: list[str], *, wan: bool) -> JoinReport:
        """Join through each of these; raises Refused where this node cannot join such a pool at all."""
        ...

    async def force_leave(self, name: str, *, prune: bool, wan: bool) -> bool:
        """Turn a failed member into one that left, with `prune` forget it; returns whether there is such a member."""
        ...

    async def leave(self) -> None:
        """Leave gracefully; bounded in time. A second call waits for the first."""
        ...


Statistics = dict[str, dict[str, str]]


class GossipMembership:
    """The pools of this process. See Membership."""

    def __init__(
        self,
        *,
        lan: Pool,
        wan: Pool | None,
        statistics: Callable[[], Statistics],
        leave: Callable[[], Awaitable[None]],
    ) -> None:
        """`statistics` adds sections that gossip knows nothing of; `leave` ends what this process has begun."""
        self._lan = lan
        self._wan = wan
        self._statistics = statistics
        self._leave = leave

    def self_member(self) -> Member:
        """See Membership."""
        return self._lan.self_member()

    def members(self, *, wan: bool) -> list[Member]:
        """See Membership."""
        if wan:
            return self._wan.members() if self._wan is not None else []
        return self._lan.members()

    def statistics(self) -> Statistics:
        """See Membership."""
        pools = {"serf_lan": self._lan.statistics()}
        if self._wan is not None:
            pools["serf_wan"] = self._wan.statistics()
        return {**pools, **self._statistics()}

    def coordinate(self) -> Coordinate | None:
        """See Membership."""
        return self._lan.coordinate()

    def _pool(self, wan: bool) -> Pool:
        pool = self._wan if wan else self._lan
        if pool is None:
            raise Refused(JOIN_WAN_TEXT)
        return pool

    async def join(self, addresses: list[str], *, wan: bool) -> JoinReport:
        """See Membership."""
        count, errors = await self._pool(wan).join(addresses)
        for address, reason in errors.items():
            _log.warn("join failed", pool=WAN_NAME if wan else LAN_NAME, address=address, reason=reason)
        return JoinReport(contacted_count=count, errors=errors)

    async def force_leave(self, name: str, *, prune: bool, wan: bool) -> bool:
        """See Membership."""
        try:
            await self._pool(wan).force_leave(name, prune=prune)
        except NotFound:
            return False
        return True

    async def leave(self) -> None:
        """See Membership."""
        await self._leave()
