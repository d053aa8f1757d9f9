"""What a breakable network offers. Directions are (from, to) pairs of node names; clients are never cut off."""

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

Direction = tuple[str, str]


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where one node lives. Hosts without ports."""

    bind: str
    """Its -bind."""
    advertise: str
    """Its -advertise: what the others dial."""
    client: str
    """Its -client: where its HTTP port listens, reachable from the harness."""


class Network(Protocol):
    """One instance a cluster. All changes are complete when the call returns."""

    mode: str
    """namespaces, links or plain"""
    abilities: frozenset[str]
    """Of: cut, one-way, delay, loss"""

    def addresses(self, node: str) -> Addresses:
        """Where the node must live; also makes room for one that is new."""
        ...

    def wrap(self, node: str, command: Sequence[str]) -> list[str]:
        """The command that runs `command` as that node, in the node's own network."""
        ...

    async def open_port(self, node: str, port: int) -> None:
        """Others will dial this TCP port of the node: whatever stands between must let them."""
        ...

    async def cut(self, directions: Collection[Direction]) -> None:
        """Nothing passes in these directions any more, silently, until `heal`. Adds to what is cut already."""
        ...

    async def delay(self, directions: Collection[Direction], *, mean_s: float, jitter_s: float) -> None:
        """What passes in these directions arrives later."""
        ...

    async def lose(self, directions: Collection[Direction], *, share: float) -> None:
        """This share of packets (namespaces) is lost; with links, connections break at this rate a second."""
        ...

    async def heal(self) -> None:
        """Everything passes at once again."""
        ...

    async def effects(self) -> dict[str, int]:
        """Counters since the start: packets dropped, bytes held back, connections broken, ..."""
        ...

    async def reaches(self, source: str, target: str, port: int) -> bool:
        """Whether a new connection from one node to a port of the other is answered within a second."""
        ...

    async def close(self) -> None:
        """Take everything down. May be called twice."""
        ...
