"""What faults have in common that do one thing to the processes of some nodes."""

import random
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from jepsen.cluster import Cluster, Node
from jepsen.nemesis import targets
from jepsen.nemesis.package import Fault, Injection
from jepsen.nemesis.processes import RECOVERY_S
from jepsen.nemesis.targets import Share


class Strike(Fault):
    """Base: some servers are chosen and struck at once."""

    recovery_s = RECOVERY_S
    share: ClassVar[Share] = Share.ONE
    blow: ClassVar[str]
    """What it does, for a sentence: "SIGKILL"."""

    def __init__(self) -> None:
        self._victims: list[Node] = []

    async def choose(self, cluster: Cluster, rng: random.Random) -> list[Node]:
        """Whom to strike; raises NotInjected."""
        return targets.some(cluster, self.share, rng)

    @abstractmethod
    def strike(self, victims: Sequence[Node]) -> None:
        """Do it to all of them."""

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._victims = []
        victims = await self.choose(cluster, rng)
        self.strike(victims)
        self._victims = victims
        return Injection(what=f"{self.blow} to {targets.names(victims)}", nodes=[node.name for node in victims])
