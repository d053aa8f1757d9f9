"""The servers of one run, their links, and what is told of them; what faults and clients act upon."""

import random
from collections.abc import Callable

from structs.cluster import Peer
from tests.sim.checks import Checker, Violation
from tests.sim.operators import Operator
from tests.sim.plan import LEADER, Plan, Step
from tests.sim.process import POWER_FAILS, SimServer
from tests.sim.world import Network, Port, World

STARTING_OPERATIONS_COUNT = 8
"""Of a disk, while a server starts: names are synced, what is torn is cut, the last batch is written again."""


class Room:
    """Each source of chance has a generator of its own, so that more draws of one do not shift those of another."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self.plan = plan
        self.seed = seed
        self.world = World(f"seed {seed}")
        self.checker = Checker()
        self.story: list[tuple[float, str]] = []
        """(simulated seconds, what happened), in this order."""
        self.peers = [
            Peer(server_id=f"server-{number}", name=f"n{number}", address=f"127.0.0.1:{8300 + number}")
            for number in range(plan.servers_count)
        ]
        self._crashes: dict[str, random.Random] = {}
        settings = plan.settings()
        self.servers = {
            peer.server_id: SimServer(self.world, peer, self.checker, settings, self._crashed, self._elected)
            for peer in self.peers
        }
        ports: dict[str, Port] = dict(self.servers)
        self.network = Network(self.world, ports, delay_mean_s=self.rng("delays").choice((0.002, 0.01, 0.03)))
        first = self.peers[: plan.nodes]
        for server in self.servers.values():
            server.network = self.network
            server.tell = self.tell
            server.start(bootstrap=first if server.peer in first else None)
        if not plan.membership:
            Operator(self.world, self.checker, self.servers, self.network)

    def rng(self, name: str) -> random.Random:
        """A generator for one purpose."""
        return random.Random(f"{name} of seed {self.seed}")

    @property
    def is_breaking(self) -> bool:
        """Whether faults may still strike: the healing has not begun."""
        return self.world.time_s < self.plan.duration_s

    def tell(self, text: str) -> None:
        """Something happens now."""
        self.world.note(text)
        self.story.append((self.world.time_s, text))

    def strikes_later(self, fault: str) -> Callable[[], None]:
        """This fault waits for something that may never happen: it has hit nothing until that calls the result."""
        counts = self.checker.counts
        counts[f"missed {fault}"] += 1
        waiting = True

        def struck() -> None:
            nonlocal waiting
            if waiting:
                waiting = False
                counts[f"missed {fault}"] -= 1
                counts[f"fault {fault}"] += 1

        return struck

    def leaders(self) -> list[SimServer]:
        """Those that believe that they lead."""
        return [server for server in self.servers.values() if server.core is not None and server.core.is_leader]

    def aimed_at(self, step: Step, rng: random.Random) -> SimServer:
        """Whom a step hits: anybody where nobody leads, or where the server is given up."""
        if step.on == LEADER:
            return rng.choice(self.leaders() or self.alive())
        server = self.servers[step.on]
        return rng.choice(self.alive()) if server.retired else server

    def alive(self) -> list[SimServer]:
        """All but those that are given up because their disk was damaged."""
        return [server for server in self.servers.values() if not server.retired]

    def others(self, server: SimServer) -> list[str]:
        """The ids of all servers that live, but this one."""
        return [other.server_id for other in self.alive() if other is not server]

    def start(self, server: SimServer) -> None:
        """Begin a process, unless one runs or the server is given up."""
        if not server.is_up and not server.retired:
            self.tell(f"{server.server_id} starts")
            server.start()

    def restart_later(self, server: SimServer, rng: random.Random, *, power: bool | None = None) -> str:
        """End a process now and begin another; returns what happened."""
        power = rng.random() < POWER_FAILS if power is None else power
        delay_s = rng.uniform(0.05, 3.0)
        server.stop(power=power)
        self.world.after(delay_s, lambda: self.start(server))
        return f"{server.server_id} {'loses power' if power else 'is killed'}, back in {delay_s:.2f} s"

    def heal_later(self, delay_s: float) -> None:
        """All links work again in `delay_s`, those too that another fault has broken meanwhile."""

        def heal() -> None:
            self.network.heal()
            self.tell("the links heal")

        self.world.after(delay_s, heal)

    def _crashed(self, server: SimServer, *, power: bool | None = None) -> None:
        """A server has died of itself: its disk failed, or its power at a place that was armed or by accident."""
        rng = self._crashes.setdefault(server.server_id, self.rng(f"crashes of {server.server_id}"))
        self.tell(self.restart_later(server, rng, power=power))
        if self.is_breaking and rng.random() < self.plan.crash_again:
            number, power_again = rng.randrange(STARTING_OPERATIONS_COUNT), rng.random() < POWER_FAILS
            server.faults.crash_at_operation(number, power=power_again)

    def _elected(self, elected: SimServer) -> None:
        """Nobody is elected while the leader of an earlier term may still answer reads alone.

        Late votes may still make somebody the leader of an *earlier* term; it can neither commit nor hold a lease.
        """
        assert elected.core is not None
        self.tell(f"{elected.server_id} is elected in term {elected.core.term}")
        for server in self.servers.values():
            core = server.core
            if core is not None and core.term < elected.core.term and core.lease_valid(server.clock.now_s()):
                raise Violation(
                    f"{elected.server_id} is elected while {server.server_id} holds its lease", kind="lease"
                )
