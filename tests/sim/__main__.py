"""Run or replay seeds: `python -m tests.sim --seeds 200 --start 0 --jobs 2 --nodes 3 --off h4`."""

import argparse
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from typing import Any

import msgspec

from server.raft.timings import Guards
from tests.sim.checks import Violation
from tests.sim.process import SimSettings
from tests.sim.simulation import Simulation


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a run; with a seed it is replayed exactly."""

    nodes: int = 3
    duration_s: float = 18.0
    membership: bool = False
    members_min: int = 3
    """Changes of membership leave at least so many."""
    leases: bool = False
    """Faults, writes and reads chosen so that a leader is often replaced while it may still hold its lease."""
    off: tuple[str, ...] = ()
    threshold: int = 25
    trailing: int = 8

    def command(self, seed: int) -> str:
        """The command that brings this run back."""
        words = [f"python -m tests.sim --start {seed} --seeds 1 --nodes {self.nodes} --duration {self.duration_s:g}"]
        words += [f"--threshold {self.threshold} --trailing {self.trailing}"]
        words += [f"--membership --members-min {self.members_min}"] if self.membership else []
        words += ["--leases"] if self.leases else []
        words += [f"--off {','.join(self.off)}"] if self.off else []
        return " ".join(words)

    def settings(self) -> SimSettings:
        """The guards that are left, by the first part of their names."""
        names = {name.split("_")[0]: name for name in Guards.__struct_fields__}
        unknown = [each for each in self.off if each not in names and each not in ("order", "fsync")]
        if unknown:
            raise SystemExit(f"unknown guards: {unknown}; known are {sorted(names)}, order, fsync")
        return SimSettings(
            guards=Guards(**{names[each]: False for each in self.off if each in names}),
            order="order" not in self.off,
            durable="fsync" not in self.off,
            snapshot_threshold=self.threshold,
            trailing_count=self.trailing,
        )


LEASES: dict[str, Any] = {
    "faults": ("bridge", "bridge", "transfer", "one way", "isolate"),
    "writes_rate": 2.5,
    "reads_rate": 60.0,
    "fault_interval_s": 1.5,
}


def run_seed(arguments: Arguments, seed: int) -> tuple[int, Counter[str], str | None]:
    """Run one seed; returns the counts and what was violated, if anything."""
    simulation = Simulation(
        seed,
        servers_count=arguments.nodes,
        duration_s=arguments.duration_s,
        membership=arguments.membership,
        members_min=arguments.members_min,
        settings=arguments.settings(),
        **(LEASES if arguments.leases else {}),
    )
    try:
        return seed, simulation.run(), None
    except Violation as violation:
        return seed, simulation.checker.counts, str(violation)
    except Exception:  # the border: whatever a core dies of is a finding, and the other seeds go on
        return seed, simulation.checker.counts, traceback.format_exc(limit=-4)


def _run(work: tuple[Arguments, int]) -> tuple[int, Counter[str], str | None]:
    return run_seed(*work)


def main() -> int:
    """Exit code 1 if any seed broke a promise."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--duration", type=float, default=18.0)
    parser.add_argument("--threshold", type=int, default=25)
    parser.add_argument("--trailing", type=int, default=8)
    parser.add_argument("--membership", action="store_true")
    parser.add_argument("--members-min", type=int, default=3)
    parser.add_argument("--leases", action="store_true")
    parser.add_argument("--off", default="")
    given = parser.parse_args()
    arguments = Arguments(
        nodes=given.nodes,
        duration_s=given.duration,
        membership=given.membership,
        members_min=given.members_min,
        leases=given.leases,
        off=tuple(filter(None, given.off.split(","))),
        threshold=given.threshold,
        trailing=given.trailing,
    )
    work = [(arguments, seed) for seed in range(given.start, given.start + given.seeds)]
    total: Counter[str] = Counter()
    failed = 0
    began_s = time.monotonic()
    with multiprocessing.Pool(given.jobs) as pool:
        for seed, counts, violation in pool.imap_unordered(_run, work):
            total.update(counts)
            if violation is not None:
                failed += 1
                print(f"seed {seed}: {violation}\n  {arguments.command(seed)}", flush=True)
    took_s = time.monotonic() - began_s
    print(", ".join(f"{name} {count}" for name, count in sorted(total.items())))
    print(f"{given.seeds} seeds, {failed} violations, {took_s:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
