"""Many runs, one after the other, each a process of its own: the matrix of all workloads and faults, and the soak.

A run of its own process cannot leave anything behind for the next one: not its network, not its descriptors, not a
child. Every run is `python -m jepsen run …`; its result is the file `summary.json` in its folder.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from jepsen.cluster import die_with_parent, undisturbed
from jepsen.report.summary import RunSummary

RUN_OVERHEAD_S = 150.0
"""Start, last healing, final reads, judging and the report take less; a run that takes longer is ended and failed."""
KILL_AFTER_S = 20.0
RUN_EXTRA_S = 14.0
"""What a run takes beside its seconds, usually: start, final reads, judging."""
JUDGED = frozenset({0, 1, 3})
"""Exit codes of a run that was judged: passed, broken, undecided."""
FIVE_NODES = frozenset({"partition", "kill"})
"""Packages whose faults only show all their forms with five servers."""
BOTH_NETWORKS = ("partition", "packets")
"""Packages that a matrix also runs on links, where it would otherwise only use namespaces: there connections break."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a campaign."""

    name: str
    arguments: tuple[str, ...]
    seconds: float


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How one run of a campaign ended."""

    plan: Plan
    exit_code: int
    took_s: float
    summary: RunSummary | None
    """None: it made none, which is a failure."""

    @property
    def passed(self) -> bool:
        return self.exit_code == 0 and self.summary is not None


def matrix_plans(
    packages: dict[str, list[str]],
    workloads: Sequence[str],
    *,
    minutes: float,
    seed: int,
    both_networks: bool = False,
) -> list[Plan]:
    """Return the runs of one matrix: each package of faults with all workloads at once, in `minutes` altogether.

    All workloads share the cluster of a run, so every pair of workload and fault occurs. With `both_networks` the
    packages of BOTH_NETWORKS have a second run, on links.
    """
    rng = random.Random(f"matrix {seed}")
    runs = [(package, "auto") for package in packages]
    if both_networks:
        runs += [(package, "links") for package in BOTH_NETWORKS if package in packages]
    share_s = minutes * 60.0 / max(1, sum(weight_of(packages[package]) for package, _ in runs))
    plans: list[Plan] = []
    for package, network in runs:
        names = packages[package]
        nodes = 5 if package in FIVE_NODES else 3
        arguments = ["--workload", ",".join(workloads), "--fault", ",".join(names), "--nodes", str(nodes)]
        if network != "auto":
            arguments += ["--network", network]
        plans.append(
            Plan(
                name=package if network == "auto" else f"{package}-{network}",
                arguments=(*arguments, "--seed", str(rng.getrandbits(32))),
                seconds=max(20.0, share_s * weight_of(names) - RUN_EXTRA_S),
            )
        )
    return plans


def weight_of(faults: Sequence[str]) -> int:
    """How much time a package gets: by the number of its faults."""
    return 2 + len(faults)


def run_plan(plan: Plan, folder: Path, *, say: Callable[[str], None]) -> Ended:
    """Run one plan in a process of its own; it ends in bounded time."""
    command = [sys.executable, "-m", "jepsen", "run", *plan.arguments]
    command += ["--seconds", f"{plan.seconds:.0f}", "--folder", str(folder)]
    began_s = time.monotonic()
    say(f"== {plan.name}: {' '.join(command[3:])}")
    with _child(command) as child:
        try:
            exit_code = child.wait(plan.seconds + RUN_OVERHEAD_S)
        except subprocess.TimeoutExpired:
            say(f"{plan.name} did not end in its time")
            exit_code = -1
    # Other codes mean that the run came to no verdict: a summary in its folder would be that of an older run.
    summary = _summary_in(folder) if exit_code in JUDGED else None
    return Ended(plan=plan, exit_code=exit_code, took_s=time.monotonic() - began_s, summary=summary)


@contextlib.contextmanager
def _child(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A run; ended by SIGTERM, and by SIGKILL if that is not enough, whatever ends this block."""
    with undisturbed():
        child = subprocess.Popen(command, preexec_fn=die_with_parent)  # noqa: S603  our own program
    try:
        yield child
    finally:
        if child.poll() is None:
            os.kill(child.pid, signal.SIGTERM)
            try:
                child.wait(KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _summary_in(folder: Path) -> RunSummary | None:
    try:
        return msgspec.json.decode((folder / "summary.json").read_bytes(), type=RunSummary)
    except (OSError, msgspec.DecodeError):
        return None


def soak_plans(faults: Sequence[str], workloads: Sequence[str], *, seconds: float, seed: int) -> Iterator[Plan]:
    """Yield runs without end: random faults, workloads and sizes, each with a seed of its own."""
    rng = random.Random(f"soak {seed}")
    number = 0
    while True:
        number += 1
        chosen = rng.sample(list(faults), min(len(faults), rng.randint(1, 4)))
        nodes = rng.choice((3, 3, 5))
        arguments = ("--workload", ",".join(workloads), "--fault", ",".join(chosen), "--nodes", str(nodes))
        yield Plan(name=f"soak-{number}", arguments=(*arguments, "--seed", str(rng.getrandbits(32))), seconds=seconds)
