"""What a server sees of a gossip pool: the face of its driver, so that tests can stand in.

Plain functions return at once and never wait for the network. A real pool and the one of the tests
(`tests/fakes/gossip.py`) satisfy the same test, `tests/unit/server/test_gossip_pools.py`.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

from gossip.instructions import KeyringResult
from structs.cluster import Member
from structs.coordinate import Coordinate

JOIN = "join"
LEAVE = "leave"
FAILED = "failed"
UPDATE = "update"
REAP = "reap"

MembersHandler = Callable[[str, list[Member]], None]
"""Called with one of the kinds above and the members as they are from now on (with REAP: as they were last). It is
called in the event loop, after `members()` has changed; it must neither wait nor raise."""


class GossipPool(Protocol):
    """One pool, LAN or WAN. Members of the WAN pool are named `NODE.DATACENTER`."""

    def members(self) -> list[Member]:
        """Everybody known, ourselves included, with the status of now: alive, leaving, left or failed."""
        ...

    def self_member(self) -> Member:
        """Ourselves as the others see us."""
        ...

    def set_tags(self, tags: dict[str, str]) -> None:
        """Our tags are these from now on; we ourselves and the others see it a moment later."""
        ...

    def subscribe(self, handler: MembersHandler) -> None:
        """Call `handler` at every change from now on, for as long as the pool lives."""
        ...

    async def join(self, addresses: list[str]) -> int:
        """Join through each of these gossip addresses (host:port); returns how many took us in. Never raises for it."""
        ...

    async def leave(self) -> None:
        """Say goodbye, and go on answering until the others have heard it. The caller bounds it; twice is once."""
        ...

    def force_leave(self, name: str, *, prune: bool = False) -> None:
        """Turn a failed member into one that left, or forget it at once; a LEAVE (or REAP) follows. Others: nothing."""
        ...

    def fire(self, name: str, payload: bytes, *, coalesce: bool) -> None:
        """Send a user event to everybody, ourselves included; raises InvalidRequest if it is too large."""
        ...

    def coordinate(self) -> Coordinate | None:
        """Where we are, None where that is not known yet."""
        ...

    def coordinates(self) -> Mapping[str, Coordinate]:
        """Where the others are, by name, as far as known."""
        ...

    async def change_keys(self, verb: str, key: bytes = b"", *, relay_factor: int = 0) -> KeyringResult:
        """Install, use, remove or list keys of gossip at every member."""
        ...
