"""What a breakable network offers. Directions are (from, to) pairs of node names; clients are never cut off."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import trio

Direction = tuple[str, str]
Pids = Callable[[], Mapping[str, int]]
"""Which nodes run now: name -> process id."""


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Where one node lives. Hosts without ports."""

    bind: str
    """Its -bind."""
    advertise: str
    """Its -advertise: what the others dial."""
    client: str
    """Its -client: where its HTTP port listens, reachable from the harness."""


class Unbreakable(Exception):
    """This network cannot do that."""


class Network(Protocol):
    """One instance a cluster. All changes are complete when the call returns."""

    mode: str
    """namespaces, links or plain"""
    abilities: frozenset[str]
    """Of: cut, one-way, delay, loss"""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry traffic until cancelled, then take everything down. Must be under way before the first `open_port`."""
        ...

    def know(self, pids: Pids) -> None:
        """Tell it how to find out which process is which node."""
        ...

    def addresses(self, node: str) -> Addresses:
        """Where the node must live; also makes room for one that is new."""
        ...

    def wrap(self, node: str, command: Sequence[str]) -> list[str]:
        """The command that runs `command` as that node, in the node's own network; the process id stays."""
        ...

    async def open_port(self, node: str, port: int) -> None:
        """Others will dial this port of the node and send datagrams to it: whatever stands between must let them."""
        ...

    async def cut(self, directions: Collection[Direction]) -> None:
        """Nothing passes in these directions any more, silently, until `heal`. Adds to what is cut already."""
        ...

    async def reopen(self, directions: Collection[Direction]) -> None:
        """What `cut` did to these directions is over; what else befalls them is not."""
        ...

    async def flap(self, directions: Collection[Direction], *, interval_s: tuple[float, float]) -> None:
        """Cut these directions, open them again, and so on until `heal`, each for a while drawn from the interval."""
        ...

    async def delay(self, directions: Collection[Direction], *, mean_s: float, jitter_s: float) -> None:
        """What passes in these directions arrives later: by the mean, and at most the jitter more or less."""
        ...

    async def lose(self, directions: Collection[Direction], *, share: float) -> None:
        """This share of packets (namespaces) is lost; with links, connections break at this rate a second."""
        ...

    async def heal(self) -> None:
        """Everything passes at once again."""
        ...

    async def effects(self) -> dict[str, int]:
        """Counters since the start, by names that `effect` makes. They never fall."""
        ...

    async def reaches(self, source: str, target: str, port: int) -> bool:
        """Whether a new connection from one node to a port of the other is answered within a second."""
        ...

    async def close(self) -> None:
        """Take everything down. May be called twice."""
        ...


def effect(kind: str, direction: Direction) -> str:
    """The name of a counter. Kinds: dropped, lost, delayed packets; held, late bytes; refused, broken connections.

    `dropped`, `held` and `refused` are the work of a cut, `lost` and `broken` of loss, `delayed` and `late` of delay:
    these have arrived late, while those `queued` were only meant to. `flapped` counts the cuts of a direction that
    comes and goes.
    """
    return f"{kind} {direction[0]}->{direction[1]}"


UNITS: Final = {
    "dropped": "packets",
    "lost": "packets",
    "delayed": "packets",
    "held": "bytes",
    "late": "bytes",
    "refused": "connections",
    "broken": "connections",
    "flapped": "directions",
}
"""What each kind of counter counts."""


def count(effects: Mapping[str, int], kinds: Collection[str], directions: Collection[Direction] | None = None) -> int:
    """The sum of these kinds of counters in these directions (None: in all)."""
    if directions is None:
        return sum(number for name, number in effects.items() if name.split(" ", 1)[0] in kinds)
    return sum(effects.get(effect(kind, direction), 0) for kind in kinds for direction in directions)
