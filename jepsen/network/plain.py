"""Everybody on one loopback address, nothing in between: a network that cannot be broken."""

from collections.abc import Collection, Sequence

import trio

from jepsen.network.network import Addresses, Direction, Pids, Unbreakable

LOOPBACK = "127.0.0.1"


class PlainNetwork:
    """See Network."""

    mode = "plain"
    abilities: frozenset[str] = frozenset()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See Network."""
        task_status.started()
        await trio.sleep_forever()

    def know(self, pids: Pids) -> None:
        """See Network."""

    def addresses(self, node: str) -> Addresses:
        """See Network."""
        return Addresses(bind=LOOPBACK, advertise=LOOPBACK, client=LOOPBACK)

    def wrap(self, node: str, command: Sequence[str]) -> list[str]:
        """See Network."""
        return list(command)

    async def open_port(self, node: str, port: int) -> None:
        """Nothing stands between."""

    async def cut(self, directions: Collection[Direction]) -> None:
        """Raises Unbreakable."""
        raise Unbreakable("there is no link to cut on one loopback address")

    async def reopen(self, directions: Collection[Direction]) -> None:
        """Nothing was cut."""

    async def flap(self, directions: Collection[Direction], *, interval_s: tuple[float, float]) -> None:
        """Raises Unbreakable."""
        raise Unbreakable("there is no link to flap on one loopback address")

    async def delay(self, directions: Collection[Direction], *, mean_s: float, jitter_s: float) -> None:
        """Raises Unbreakable."""
        raise Unbreakable("there is no link to slow on one loopback address")

    async def lose(self, directions: Collection[Direction], *, share: float) -> None:
        """Raises Unbreakable."""
        raise Unbreakable("there is no link to lose from on one loopback address")

    async def heal(self) -> None:
        """Nothing was broken."""

    async def effects(self) -> dict[str, int]:
        """See Network."""
        return {}

    async def reaches(self, source: str, target: str, port: int) -> bool:
        """See Network."""
        return True

    async def close(self) -> None:
        """Nothing was opened."""
