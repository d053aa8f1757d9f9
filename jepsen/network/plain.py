"""Everybody on one loopback address, nothing in between: a network that cannot be broken."""

from collections.abc import Collection, Sequence

from jepsen.network.network import Addresses, Direction

LOOPBACK = "127.0.0.1"


class Unbreakable(Exception):
    """This network cannot do that."""


class PlainNetwork:
    """See Network."""

    mode = "plain"
    abilities: frozenset[str] = frozenset()

    def addresses(self, node: str) -> Addresses:
        return Addresses(bind=LOOPBACK, advertise=LOOPBACK, client=LOOPBACK)

    def wrap(self, node: str, command: Sequence[str]) -> list[str]:
        return list(command)

    async def open_port(self, node: str, port: int) -> None:
        """Nothing stands between."""

    async def cut(self, directions: Collection[Direction]) -> None:
        raise Unbreakable("there is no link to cut on one loopback address")

    async def delay(self, directions: Collection[Direction], *, mean_s: float, jitter_s: float) -> None:
        raise Unbreakable("there is no link to slow on one loopback address")

    async def lose(self, directions: Collection[Direction], *, share: float) -> None:
        raise Unbreakable("there is no link to lose from on one loopback address")

    async def heal(self) -> None:
        """Nothing was broken."""

    async def effects(self) -> dict[str, int]:
        return {}

    async def reaches(self, source: str, target: str, port: int) -> bool:
        return True

    async def close(self) -> None:
        """Nothing was opened."""
