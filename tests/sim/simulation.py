"""A whole group under faults, drawn from one seed; then everything heals and it must converge.

What is checked is in `checks.py`; what one server does in `process.py`. The same seed does the same on every machine.
"""

import random
from collections import Counter

from structs.cluster import Peer
from tests.sim.checks import Checker, Violation
from tests.sim.process import SimServer, SimSettings
from tests.sim.world import Network, Port, World

ALL_FAULTS = (
    "crash",
    "crash all",
    "power",
    "partition",
    "bridge",
    "one way",
    "flap",
    "pause",
    "slow disk",
    "transfer",
    "isolate",
)
HEAL_S = 12.0


class Simulation:
    """`Simulation(seed).run()` returns counts or raises Violation."""

    def __init__(
        self,
        seed: int,
        *,
        servers_count: int = 3,
        duration_s: float = 18.0,
        settings: SimSettings | None = None,
        faults: tuple[str, ...] = ALL_FAULTS,
        membership: bool = False,
        members_min: int = 3,
        writes_rate: float = 25.0,
        reads_rate: float = 20.0,
        fault_interval_s: float = 1.0,
    ) -> None:
        self.rng = random.Random(f"raft simulation {seed}")
        self.world = World(self.rng)
        self.checker = Checker()
        self._settings = settings or SimSettings()
        self._faults = faults
        self._duration_s = duration_s
        self._membership = membership
        self._members_min = members_min
        self._writes_rate = writes_rate
        self._reads_rate = reads_rate
        self._fault_interval_s = fault_interval_s
        spare_count = 2 if membership else 0
        self.peers = [
            Peer(server_id=f"server-{number}", name=f"n{number}", address=f"127.0.0.1:{8300 + number}")
            for number in range(servers_count + spare_count)
        ]
        self.servers = {
            peer.server_id: SimServer(
                self.world, peer, self.checker, self._settings, self._restart_later, self._check_leases
            )
            for peer in self.peers
        }
        ports: dict[str, Port] = dict(self.servers)
        self.network = Network(self.world, ports, delay_mean_s=self.rng.choice((0.002, 0.01, 0.03)))
        self._next_token = 0
        first = self.peers[:servers_count]
        for server in self.servers.values():
            server.network = self.network
            server.start(bootstrap=first if server.peer in first else None)

    def run(self) -> Counter[str]:
        """Break things for a while, heal, and check what is left."""
        world = self.world
        world.after(0.01, self._dial)
        world.after(0.5, self._write)
        world.after(0.5, self._read)
        world.after(1.0, self._break)
        world.after(0.5, self._look)
        if self._membership:
            world.after(2.0, self._change)
        world.run_until(self._duration_s)
        self._heal()
        world.run_until(self._duration_s + HEAL_S)
        self._finish()
        counts = self.checker.counts
        counts["messages"] = self.network.sent_count
        counts["events"] = world.events_count
        return counts

    def leaders(self) -> list[SimServer]:
        """Those that believe that they lead."""
        return [server for server in self.servers.values() if server.core is not None and server.core.is_leader]

    def _check_leases(self, elected: SimServer) -> None:
        """Nobody is elected while the leader of an earlier term may still answer reads alone.

        Late votes may still make somebody the leader of an *earlier* term; it can neither commit nor hold a lease.
        """
        assert elected.core is not None
        for server in self.servers.values():
            core = server.core
            if core is not None and core.term < elected.core.term and core.lease_valid(server.clock.now_s()):
                raise Violation(f"{elected.server_id} is elected while {server.server_id} holds its lease")

    # --- what keeps happening

    def _dial(self) -> None:
        self.network.connect_missing()
        self.world.after(self.rng.uniform(0.02, 0.2), self._dial)

    def _write(self) -> None:
        if self.world.time_s >= self._duration_s:
            return
        running = [server for server in self.servers.values() if server.is_up]
        leading = self.leaders()
        if running:
            server = self.rng.choice(leading if leading and self.rng.random() < 0.9 else running)
            for _ in range(self.rng.choice((1, 1, 1, 4, 12))):
                server.propose(self._next_token)
                self._next_token += 1
        self.world.after(self.rng.expovariate(self._writes_rate), self._write)

    def _read(self) -> None:
        for server in self.servers.values():
            server.read(self.rng.choice(("default", "default", "consistent")))
        self.world.after(self.rng.expovariate(self._reads_rate), self._read)

    def _look(self) -> None:
        for server in self.servers.values():
            if server.core is not None and server.journal is not None:
                self.checker.configuration(server.server_id, server.core, server.journal)
        self.checker.log_matching(
            (server.server_id, server.journal) for server in self.servers.values() if server.journal is not None
        )
        self.world.after(0.5, self._look)

    def _change(self) -> None:
        if self.world.time_s >= self._duration_s:
            return
        for server in self.leaders():
            assert server.core is not None
            members = {peer.server_id for peer in server.core.configuration()}
            outside = [peer for peer in self.peers if peer.server_id not in members]
            inside = [peer for peer in self.peers if peer.server_id in members and peer != server.peer]
            if outside and (len(members) < self._members_min or self.rng.random() < 0.5):
                server.change("add", self.rng.choice(outside))
            elif inside:
                server.change("rem", self.rng.choice(inside))
        self.world.after(self.rng.expovariate(1.0), self._change)

    # --- faults

    def _restart_later(self, server: SimServer, *, power: bool | None = None) -> None:
        server.stop(power=self.rng.random() < 0.7 if power is None else power)
        self.world.after(self.rng.uniform(0.05, 3.0), lambda: self._start(server))

    def _start(self, server: SimServer) -> None:
        if not server.is_up:
            server.start()

    def _break(self) -> None:
        if self.world.time_s >= self._duration_s:
            return
        fault = self.rng.choice(self._faults)
        self.checker.counts[f"fault {fault}"] += 1
        server = self.rng.choice(list(self.servers.values()))
        leading = self.leaders()
        if leading and self.rng.random() < 0.4:
            server = self.rng.choice(leading)
        getattr(self, "_fault_" + fault.replace(" ", "_"))(server)
        self.world.after(self.rng.expovariate(1 / self._fault_interval_s), self._break)

    def _fault_crash(self, server: SimServer) -> None:
        if server.is_up:
            self._restart_later(server)

    def _fault_power(self, server: SimServer) -> None:
        """Half of the room loses power at once."""
        for each in self.servers.values():
            if each.is_up and self.rng.random() < 0.5:
                self._restart_later(each, power=True)

    def _fault_crash_all(self, server: SimServer) -> None:
        for each in self.servers.values():
            if each.is_up:
                self._restart_later(each)

    def _sides(self) -> set[tuple[str, str]]:
        names = sorted(self.servers)
        side = set(self.rng.sample(names, self.rng.randrange(1, len(names))))
        return {Network.pair(a, b) for a in names for b in names if a in side and b not in side}

    def _fault_partition(self, server: SimServer) -> None:
        self.network.cut(self._sides())
        self.world.after(self.rng.uniform(0.3, 4.0), self.network.heal)

    def _fault_bridge(self, server: SimServer) -> None:
        """One server loses some of the others, who still reach each other: who is heard differs from who could be."""
        others = [other for other in self.servers if other != server.server_id]
        lost = self.rng.sample(others, self.rng.randrange(1, len(others))) if len(others) > 1 else others
        self.network.cut({Network.pair(server.server_id, other) for other in lost})
        self.world.after(self.rng.uniform(1.0, 3.0), self.network.heal)
        self.world.after(self.rng.uniform(0.5, 1.3), lambda: self._second_blow(server, self.rng.choice(others)))

    def _second_blow(self, server: SimServer, other: str) -> None:
        """While somebody may be about to campaign: a voter forgets its promise, or a leader hears nobody any more."""
        if self.rng.random() < 0.5 and self.servers[other].is_up:
            self._blink(self.servers[other])
        if self.rng.random() < 0.7:
            self._stall_towards(server)

    def _blink(self, server: SimServer) -> None:
        """A process dies and is back at once: everything that it had only promised is forgotten."""
        server.stop(power=False)
        self.world.after(0.02, lambda: self._start(server))

    def _fault_one_way(self, server: SimServer) -> None:
        directions = {pair if self.rng.random() < 0.5 else pair[::-1] for pair in sorted(self._sides())}
        if self.rng.random() < 0.5:
            directions = {(server.server_id, other) for other in self.servers if other != server.server_id}
        self.network.stall(directions)
        if self.rng.random() < 0.5:
            self.world.after(self.rng.uniform(0.2, 2.0), self.network.break_stalled)
        self.world.after(self.rng.uniform(0.3, 4.0), self.network.heal)

    def _fault_flap(self, server: SimServer) -> None:
        """One server's links break again and again."""
        for _ in range(self.rng.randrange(2, 8)):
            self.world.after(self.rng.uniform(0.0, 2.0), lambda: self.network.break_all(server.server_id))

    def _fault_isolate(self, server: SimServer) -> None:
        """One server, preferably the leader, alone."""
        self.network.cut({Network.pair(server.server_id, other) for other in self.servers if other != server.server_id})
        self.world.after(self.rng.uniform(0.5, 4.0), self.network.heal)

    def _fault_pause(self, server: SimServer) -> None:
        server.pause(self.rng.uniform(0.2, 4.0))

    def _fault_slow_disk(self, server: SimServer) -> None:
        server.sync_factor = self.rng.choice((20.0, 100.0))
        self.world.after(self.rng.uniform(0.5, 3.0), lambda: setattr(server, "sync_factor", 1.0))

    def _fault_transfer(self, server: SimServer) -> None:
        for each in self.leaders():
            each.transfer()
            if self.rng.random() < 0.5:
                self.world.after(self.rng.uniform(0.0, 0.06), lambda each=each: self._stall_towards(each))  # type: ignore[misc]

    def _stall_towards(self, server: SimServer) -> None:
        """The others still hear this server, and it hears nobody."""
        self.network.stall({(other, server.server_id) for other in self.servers if other != server.server_id})
        self.world.after(self.rng.uniform(0.3, 2.0), self.network.heal)

    # --- the end

    def _heal(self) -> None:
        self.network.heal()
        for server in self.servers.values():
            server.sync_factor = 1.0
            server.paused_until_s = min(server.paused_until_s, self.world.time_s)
            self.world.after(0.01, lambda server=server: server._arm(0.0))  # type: ignore[misc]
            if not server.is_up:
                self.world.after(self.rng.uniform(0.0, 1.0), lambda server=server: self._start(server))  # type: ignore[misc]

    def _finish(self) -> None:
        leading = self.leaders()
        if len(leading) != 1 or leading[0].core is None:
            raise Violation(f"after healing {len(leading)} servers lead")
        members = {peer.server_id for peer in leading[0].core.configuration()}
        states = {}
        for server_id in sorted(members):
            server = self.servers[server_id]
            if not server.is_up:
                raise Violation(f"after healing {server_id} is down")
            states[server_id] = [command for _, _, command in server.applier.state]
            if server.core is None or server.core.configuration() != leading[0].core.configuration():
                raise Violation(f"{server_id} and {leading[0].server_id} disagree about the configuration")
        self.checker.finish(states)
