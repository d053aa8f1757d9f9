"""Clocks that jump and clocks that go faster or slower than others: the clock library inside the servers does it.

Wall clocks decide nothing, so they may show anything. Leases and elections run by boot clocks whose rates may differ by
10 % (`docs/guarantees.md`); here they differ by up to 8 %. Within that everything must hold as on a quiet day.
"""

import email.utils
import random
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import trio

from jepsen.cluster import Cluster, Node
from jepsen.http_client import NotAnswered, NotSent
from jepsen.nemesis import targets
from jepsen.nemesis.disk import control
from jepsen.nemesis.package import Fault, Injection, NotInjected
from jepsen.subject.page import Page

NS_PER_S = 1_000_000_000
PPB = 1_000_000_000
DATE_ERROR_S = 3.0
"""An HTTP date has whole seconds and is made anew once a second."""


class _ClockFault(Fault):
    """Base: healed by the pages."""

    package = "clock"
    needs = frozenset({"compiler"})
    subject = True

    async def heal(self, cluster: Cluster, rng: random.Random) -> None:
        for server in cluster.servers:
            if server.subject:
                with control(server) as page:
                    page.heal_clocks()


def some_servers(cluster: Cluster, rng: random.Random) -> list[Node]:
    """Any number of the servers that run; raises NotInjected where none does."""
    running = targets.healthy(cluster.servers)
    return targets.choose(running, rng.randint(1, max(1, len(running))), rng)


async def wall_offset_s(node: Node) -> float:
    """How far the server's own wall clock is ahead of ours, by the date of its answers; raises NotInjected."""
    try:
        reply = await node.request("GET", "/v1/status/leader", timeout_s=2.0)
    except (NotSent, NotAnswered) as error:
        raise NotInjected(f"{node.name} does not answer") from error
    told = email.utils.parsedate_to_datetime(reply.headers["date"])
    return told.timestamp() - time.time()


class ClockJump(_ClockFault):
    """Wall clocks of some servers are hours off, either way."""

    name = "clock-jump"
    description = "wall clocks of some servers jump by seconds to days, either way, and back later"
    jump_s: ClassVar[tuple[float, float]] = (10.0, 86_400.0 * 3)

    def __init__(self) -> None:
        self._jumps_s: dict[str, float] = {}

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._jumps_s = {}
        low, high = self.jump_s
        for node in some_servers(cluster, rng):
            jump_s = round(rng.choice((-1.0, 1.0)) * low * (high / low) ** rng.random())
            with control(node) as page:
                page.wall_offset_ns = jump_s * NS_PER_S
            self._jumps_s[node.name] = jump_s
        what = "wall clocks jumped: " + ", ".join(f"{name} by {jump:+.0f} s" for name, jump in self._jumps_s.items())
        return Injection(what=what, nodes=list(self._jumps_s))

    async def evidence(self, cluster: Cluster) -> str:
        seen: list[str] = []
        for node in cluster.servers:
            jump_s = self._jumps_s.get(node.name)
            if jump_s is None:
                continue
            offset_s = await wall_offset_s(node)
            if abs(offset_s - jump_s) > DATE_ERROR_S:
                raise NotInjected(f"{node.name} dates its answers {offset_s:+.0f} s off instead of {jump_s:+.0f} s")
            seen.append(f"{node.name} {offset_s:+.0f} s")
        if not seen:
            raise NotInjected("no clock jumped")
        return "dates of answers are off: " + ", ".join(seen)


class _Shown(_ClockFault):
    """Base: its effect is in the pages' counters."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._before: dict[str, int] = {}

    @abstractmethod
    def counter(self, page: Page) -> int:
        """What must change while the fault holds."""

    def remember(self, nodes: Sequence[Node]) -> None:
        """These are hit; keep their counters."""
        self._nodes = list(nodes)
        self._before = {}
        for node in nodes:
            with control(node) as page:
                self._before[node.name] = self.counter(page)

    def changes(self) -> dict[str, int]:
        """How much each counter has changed since; raises NotInjected where one has not."""
        found: dict[str, int] = {}
        for node in self._nodes:
            with control(node) as page:
                found[node.name] = self.counter(page) - self._before[node.name]
            if not found[node.name]:
                raise NotInjected(f"{node.name} did not look at its clock")
        if not found:
            raise NotInjected("no clock was touched")
        return found


class ClockStrobe(_Shown):
    """Wall clocks jump to and fro many times a second."""

    name = "clock-strobe"
    description = "wall clocks of some servers jump to and fro by up to a minute, some 50 times a second"
    hold_s = (1.0, 3.0)
    strobe_s: ClassVar[tuple[float, float]] = (1.0, 3.0)
    amplitude_s: ClassVar[tuple[float, float]] = (0.1, 60.0)
    period_s: ClassVar[float] = 0.02

    def __init__(self) -> None:
        super().__init__()
        self._jumps = 0

    def counter(self, page: Page) -> int:
        return page.clock_reads

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        self._jumps = 0
        nodes = some_servers(cluster, rng)
        self.remember(nodes)
        amplitude_ns = int(rng.uniform(*self.amplitude_s) * NS_PER_S)
        with trio.move_on_after(rng.uniform(*self.strobe_s)):
            while True:
                for node in nodes:
                    with control(node) as page:
                        page.wall_offset_ns = rng.randint(-amplitude_ns, amplitude_ns)
                self._jumps += 1
                await trio.sleep(self.period_s)
        what = (
            f"wall clocks of {targets.names(nodes)} jumped {self._jumps} times within {amplitude_ns / NS_PER_S:.1f} s"
        )
        return Injection(what=what, nodes=[node.name for node in nodes])

    async def evidence(self, cluster: Cluster) -> str:
        return "wrong readings: " + ", ".join(f"{name} {count}" for name, count in self.changes().items())


class ClockRate(_Shown):
    """Boot clocks, by which leases run, go at different rates."""

    name = "clock-rate"
    description = "boot clocks of all servers, by which leases run, go up to 4 % too fast or too slow"
    deviation_max: ClassVar[float] = 0.04
    """So two of them differ by at most 0.08 / 0.96 = 8.3 %, within the promised 10 %."""

    def counter(self, page: Page) -> int:
        return page.boot_ahead_ns

    async def inject(self, cluster: Cluster, rng: random.Random) -> Injection:
        nodes = targets.healthy(cluster.servers)
        self.remember(nodes)
        rates = {node.name: rng.choice((-1.0, 1.0, rng.uniform(-1.0, 1.0))) * self.deviation_max for node in nodes}
        for node in nodes:
            with control(node) as page:
                page.rate_ppb = int(rates[node.name] * PPB)
        what = "boot clocks go " + ", ".join(f"{rate:+.1%} at {name}" for name, rate in rates.items())
        return Injection(what=what, nodes=list(rates))

    async def evidence(self, cluster: Cluster) -> str:
        gains = {name: change / NS_PER_S for name, change in self.changes().items()}
        return "boot clocks have gained " + ", ".join(
            f"{gain * 1000:+.0f} ms at {name}" for name, gain in gains.items()
        )
