"""What a run is made of: a plan (everything but the seed), and the schedule of faults that plan and seed amount to.

A schedule is drawn before the run begins. Each of its steps has a seed of its own for whatever it still has to choose,
so a step can be taken away and the others do what they did.
"""

import random
import shlex
from collections.abc import Iterable
from typing import Any

import msgspec

from server.raft.timings import Guards
from tests.sim.process import SimSettings

FAULTS = {
    "crash": "{on} dies, by power or by kill, and starts again",
    "crash all": "everybody dies and starts again",
    "power": "half of the room loses power",
    "partition": "the room falls into two parts",
    "bridge": "{on} loses some of the others, who still reach each other; then a second blow",
    "one way": "some directions go silent, or all that {on} sends",
    "flap": "the links of {on} break again and again",
    "pause": "the process of {on} stands still",
    "slow link": "what goes to {on}, or comes from it, is slow",
    "loss": "what goes to {on}, or comes from it, is lost until the connections are given up",
    "slow disk": "the disk of {on} becomes slow",
    "full disk": "the disk of {on} has little space or none",
    "failing sync": "one of the next syncs at {on} fails",
    "bit flip": "a bit on the disk of {on} is damaged",
    "power at point": "power fails at {on}, or it is killed, at one of the next passings of a failpoint",
    "power at operation": "power fails at {on}, or it is killed, at one of the next operations of its disk",
    "transfer": "the leader is told to hand over",
    "isolate": "{on} loses all its links",
    "change": "a member is added or removed",
}
"""Name -> what it does, in words; `faults.py` does it."""

LEADER = "the leader"
LEADER_AIMED = 0.4
"""So many steps aim at whoever leads then: it has more to lose than the others."""
SPARES_COUNT = 2
"""Servers that stand by where members change."""

_GUARDS = {name.split("_")[0]: name for name in Guards.__struct_fields__}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that makes a run, but its seed."""

    nodes: int = 3
    duration_s: float = 15.0
    """Simulated seconds of faults and writes; then everything heals."""
    faults: tuple[str, ...] = tuple(name for name in FAULTS if name != "change")
    """Steps are drawn from these, all alike; a name given twice comes twice as often."""
    fault_interval_s: float = 1.0
    """Simulated seconds between two faults, in the mean."""
    membership: bool = False
    """Members are added and removed."""
    change_interval_s: float = 1.0
    """Simulated seconds between two changes of membership, in the mean."""
    members_min: int = 3
    """Changes of membership leave at least so many."""
    writes_rate: float = 25.0
    """Groups of writes a simulated second."""
    reads_rate: float = 10.0
    """Reads a simulated second at each server."""
    threshold: int = 25
    """A snapshot every so many entries."""
    trailing: int = 8
    """Entries kept in the log behind a snapshot."""
    sync_mean_s: float = 0.002
    crash_in_sync: float = 0.004
    """Probability that power fails, or the process is killed, in a sync."""
    crash_at_snapshot: float = 0.1
    """Probability that a server dies between a durable snapshot and what its log makes of it."""
    crash_again: float = 0.15
    """Probability that a server whose power failed at its disk, or whose disk failed, dies again while it starts."""
    real_state: bool = False
    """The product's state machine on LMDB, instead of a list of what was applied."""
    off: tuple[str, ...] = ()
    """Guards that are switched off, by the first part of their names, `order` and `fsync`."""

    @property
    def servers_count(self) -> int:
        """Members at first, and those that stand by."""
        return self.nodes + (SPARES_COUNT if self.membership else 0)

    def complaint(self) -> str | None:
        """Why this cannot be run, or None."""
        known = {*_GUARDS, "order", "fsync"}
        if not known.issuperset(self.off):
            return f"unknown guards: {sorted({*self.off} - known)}; known are {sorted(known)}"
        if not FAULTS.keys() >= {*self.faults}:
            return f"unknown faults: {sorted({*self.faults} - FAULTS.keys())}; known are {sorted(FAULTS)}"
        return None

    def settings(self) -> SimSettings:
        """What each server is told of this."""
        return SimSettings(
            guards=Guards(**{_GUARDS[each]: False for each in self.off if each in _GUARDS}),
            real_state=self.real_state,
            order="order" not in self.off,
            durable="fsync" not in self.off,
            snapshot_threshold=self.threshold,
            trailing_count=self.trailing,
            sync_mean_s=self.sync_mean_s,
            crash_in_sync=self.crash_in_sync,
            crash_at_snapshot=self.crash_at_snapshot,
        )


PLANS = {
    "three-servers": Plan(),
    "five-servers": Plan(nodes=5, fault_interval_s=1.5),
    "changing-members": Plan(membership=True),
    "down-to-one-member": Plan(nodes=2, membership=True, members_min=1),
    "leases": Plan(
        faults=("bridge", "bridge", "transfer", "one way", "isolate"),
        fault_interval_s=1.5,
        writes_rate=2.5,
        reads_rate=60.0,
    ),
    "tiny-snapshots": Plan(threshold=5, trailing=0),
    "tiny-snapshots-five": Plan(nodes=5, threshold=5, trailing=0),
    "tiny-snapshots-three-to-five": Plan(membership=True, threshold=5, trailing=0),
    "real-state": Plan(real_state=True, fault_interval_s=1.5),
    "rare-faults": Plan(fault_interval_s=4.0, duration_s=20.0),
    "slow-disks": Plan(sync_mean_s=0.02, crash_in_sync=0.05, fault_interval_s=1.5),
}
"""Name -> plan. `leases`: leaders are replaced while they may still hold a lease."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a schedule."""

    at_s: float
    """Simulated seconds since the run began."""
    fault: str
    on: str
    """The server's id, or `the leader`: whoever leads then."""
    seed: int
    """For whatever the fault chooses when it acts: sides, delays, how long it lasts."""

    def line(self, position: int) -> str:
        """Position, time, fault and what it does, for people."""
        return f"{position:4} {self.at_s:6.2f} s  {self.fault:<18} {FAULTS[self.fault].format(on=self.on)}"


def draw(plan: Plan, seed: int) -> list[Step]:
    """The schedule of this seed. A shorter plan has the first steps of a longer one, so positions stay."""
    steps = list(_stream(f"faults {seed}", plan, plan.faults, first_s=1.0, interval_s=plan.fault_interval_s))
    if plan.membership:
        steps += _stream(f"changes {seed}", plan, ("change",), first_s=2.0, interval_s=plan.change_interval_s)
    return sorted(steps, key=lambda step: step.at_s)


def _stream(seed: str, plan: Plan, faults: tuple[str, ...], *, first_s: float, interval_s: float) -> Iterable[Step]:
    rng = random.Random(seed)
    at_s = first_s
    while faults and at_s < plan.duration_s:
        fault = rng.choice(faults)
        on = f"server-{rng.randrange(plan.servers_count)}"
        on = LEADER if rng.random() < LEADER_AIMED else on
        yield Step(at_s=at_s, fault=fault, on=on, seed=rng.getrandbits(32))
        at_s += rng.expovariate(1 / interval_s)


# --- on the command line


def flag(field: str) -> str:
    """The option that sets this field of a plan; times are in seconds there too."""
    return "--" + field.removesuffix("_s").replace("_", "-")


def command(name: str, plan: Plan, seed: int, keep: Iterable[int] | None = None) -> str:
    """The command that runs this seed again; `name` is that of the plan from which `plan` came."""
    words = ["python", "-m", "tests.sim", "--plan", name, "--start", str(seed), "--seeds", "1"]
    for field in Plan.__struct_fields__:
        value = getattr(plan, field)
        if value != getattr(PLANS[name], field):
            words += _option(field, value)
    if keep is not None:
        words += ["--keep", ",".join(map(str, keep))]
    return shlex.join(words)


def _option(field: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag(field) if value else flag(field).replace("--", "--no-", 1)]
    if isinstance(value, tuple):
        return [flag(field), ",".join(value)]
    short = f"{value:g}"
    return [flag(field), short if float(short) == value else repr(value)]
