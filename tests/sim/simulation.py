"""A whole group under a schedule of faults; then everything heals and it must converge.

What is checked is in `checks.py`; what one server does in `process.py`. The same seed does the same on every machine.
"""

import random
import traceback
from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

import msgspec

from tests.sim import faults
from tests.sim.checks import Violation
from tests.sim.plan import Plan, draw
from tests.sim.room import Room

HEAL_S = 8.0
"""Starts within 1 s, an election or two within 3 s; then snapshots are fetched, a replacement joins."""
LOOK_INTERVAL_S = 0.5

T = TypeVar("T")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one run came to."""

    seed: int
    counts: Counter[str]
    simulated_s: float
    """When it ended, in its own time: at the violation, if there was one."""
    story: list[tuple[float, str]]
    trace: str
    """A digest of every message that arrived, where each server was after each round, and all that was told."""
    violation: str | None = None
    kind: str | None = None
    """Which promise was broken: the same for all that broke it."""


def run_seed(plan: Plan, seed: int, keep: Iterable[int] | None = None) -> Outcome:
    """Run one seed, with the steps of its schedule at these positions only, or all."""
    simulation = Simulation(plan, seed, keep)
    violation = kind = None
    try:
        simulation.run()
    except Violation as broken:
        violation = str(broken)
        kind = broken.kind
    except Exception as died:  # the border: whatever a core dies of is a finding, and the other seeds go on
        violation = traceback.format_exc(limit=-4)
        kind = f"{type(died).__name__} in {traceback.extract_tb(died.__traceback__)[-1].name}"
    room = simulation.room
    if violation is not None:
        room.tell(f"VIOLATION: {violation}")
    return Outcome(
        seed=seed,
        counts=room.checker.counts,
        simulated_s=room.world.time_s,
        story=room.story,
        trace=room.world.trace,
        violation=violation,
        kind=kind,
    )


class Simulation:
    """`Simulation(plan, seed).run()` returns counts or raises Violation."""

    def __init__(self, plan: Plan, seed: int, keep: Iterable[int] | None = None) -> None:
        self.room = room = Room(plan, seed)
        self._plan = plan
        steps = draw(plan, seed)
        self._steps = {position: steps[position] for position in (range(len(steps)) if keep is None else keep)}
        self._dials = room.rng("dials")
        self._writes = room.rng("writes")
        self._reads = room.rng("reads")
        self._healing = room.rng("healing")
        self._next_token = 0

    def run(self) -> Counter[str]:
        """Break things for a while, heal, and check what is left."""
        room, world = self.room, self.room.world
        world.after(0.01, self._dial)
        if self._plan.writes_rate:
            world.after(0.5, self._write)
        if self._plan.reads_rate:
            world.after(0.5, self._read)
        world.after(LOOK_INTERVAL_S, self._look)
        for position, step in self._steps.items():
            world.after(step.at_s, lambda step=step, position=position: faults.act(room, step, position))  # type: ignore[misc]
        world.run_until(self._plan.duration_s)
        self._heal()
        world.run_until(self._plan.duration_s + HEAL_S)
        self._finish()
        counts = room.checker.counts
        counts["messages"] = room.network.sent_count
        counts["events"] = world.events_count
        return counts

    # --- what keeps happening. Each turn draws the same number of times, whatever state the servers are in.

    def _dial(self) -> None:
        self.room.network.connect_missing()
        self.room.world.after(self._dials.uniform(0.02, 0.2), self._dial)

    def _write(self) -> None:
        room, rng = self.room, self._writes
        if not room.is_breaking:
            return
        to_leader, batch = rng.random() < 0.9, rng.choice((1, 1, 1, 4, 12))
        running = [server for server in room.servers.values() if server.is_up]
        server = _pick(rng, (to_leader and room.leaders()) or running)
        for _ in range(batch):
            if server is not None:
                server.propose(self._next_token)
            self._next_token += 1
        room.world.after(rng.expovariate(self._plan.writes_rate), self._write)

    def _read(self) -> None:
        for server in self.room.servers.values():
            server.read(self._reads.choice(("default", "default", "consistent")))
        self.room.world.after(self._reads.expovariate(self._plan.reads_rate), self._read)

    def _look(self) -> None:
        room = self.room
        for server in room.servers.values():
            if server.core is not None and server.journal is not None:
                room.checker.configuration(server.server_id, server.core, server.journal)
        room.checker.log_matching(
            (server.server_id, server.journal) for server in room.servers.values() if server.journal is not None
        )
        room.world.after(LOOK_INTERVAL_S, self._look)

    # --- the end

    def _heal(self) -> None:
        room = self.room
        room.tell("everything heals")
        room.network.heal()
        for server in room.servers.values():
            server.calm()
            server.sync_factor = 1.0
            server.paused_until_s = min(server.paused_until_s, room.world.time_s)
            room.world.after(0.01, lambda server=server: server._arm(0.0))  # type: ignore[misc]
            delay_s = self._healing.uniform(0.0, 1.0)
            if not server.is_up:
                room.world.after(delay_s, lambda server=server: room.start(server))  # type: ignore[misc]

    def _finish(self) -> None:
        leading = self.room.leaders()
        if len(leading) != 1 or leading[0].core is None:
            raise Violation(f"after healing {len(leading)} servers lead", kind="no leader")
        members = {peer.server_id for peer in leading[0].core.configuration()}
        states = {}
        for server_id in sorted(members):
            server = self.room.servers[server_id]
            if not server.is_up:
                raise Violation(f"after healing {server_id} is down", kind="down")
            states[server_id] = server.state.history
            if server.core is None or server.core.configuration() != leading[0].core.configuration():
                both = f"{server_id} and {leading[0].server_id}"
                raise Violation(f"{both} disagree about the configuration", kind="configuration")
        self.room.checker.finish(states)


def _pick(rng: random.Random, choices: list[T]) -> T | None:
    """One of them, by exactly one draw."""
    drawn = rng.random()
    return choices[int(drawn * len(choices))] if choices else None
