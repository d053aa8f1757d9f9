"""`python -m jepsen mutants`: run every deliberately broken build until a checker convicts it, and print who did.

The harness is worth what it finds. A mutant that is not convicted within its rounds is a hole in workloads, faults or
checkers, and the command fails. Each round is `python -m jepsen run --break NAME …` in a process of its own, with
another seed.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from jepsen.campaign import Ended, Plan, run_plan
from jepsen.subject.convictions import CONVICTIONS, Conviction
from jepsen.subject.mutants import MUTANTS

EXIT_ALL_CONVICTED, EXIT_SOME_ESCAPED, EXIT_USAGE = 0, 1, 2
COLUMNS = ("mutant", "workload", "fault", "convicted by", "rounds", "seconds")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one mutant."""

    name: str
    conviction: Conviction
    checkers: list[str]
    """Who convicted it; empty: nobody."""
    rounds: int
    took_s: float
    seed: int
    """Of the last round."""


def main(names: Sequence[str], *, folder: Path, say: Callable[[str], None]) -> int:
    """Try these mutants (none named: all), print the table, and return the exit code."""
    unknown = [name for name in names if name not in MUTANTS]
    if unknown:
        say(f"no such mutant: {', '.join(unknown)}; there are {', '.join(MUTANTS)}")
        return EXIT_USAGE
    findings = [try_mutant(name, folder / name, say=say) for name in names or MUTANTS]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mutants.json").write_bytes(msgspec.json.format(msgspec.json.encode(findings)))
    (folder / "mutants.md").write_text(table(findings), encoding="utf-8")
    print(table(findings), end="")
    return EXIT_ALL_CONVICTED if all(finding.checkers for finding in findings) else EXIT_SOME_ESCAPED


def try_mutant(name: str, folder: Path, *, say: Callable[[str], None]) -> Finding:
    """Run one mutant under what should convict it, until a checker does or its rounds are over."""
    conviction = CONVICTIONS[name]
    began_s = time.monotonic()
    rounds = 0
    checkers: list[str] = []
    while rounds < conviction.rounds_max and not checkers:
        rounds += 1
        ended = run_plan(plan_of(name, conviction, rounds), folder / str(rounds), say=say)
        checkers = convicting(ended)
    took_s = time.monotonic() - began_s
    say(f"{name}: {'convicted by ' + ', '.join(checkers) if checkers else 'NOT CONVICTED'} in {took_s:.0f} s")
    seed = conviction.seed + rounds - 1
    return Finding(name=name, conviction=conviction, checkers=checkers, rounds=rounds, took_s=took_s, seed=seed)


def plan_of(name: str, conviction: Conviction, number: int) -> Plan:
    """The run of one round; rounds count from 1."""
    words = ["--break", name, "--workload", conviction.workload]
    if conviction.fault:
        words += ["--fault", conviction.fault]
    words += ["--seed", str(conviction.seed + number - 1), *conviction.options]
    return Plan(name=f"{name} {number}", arguments=tuple(words), seconds=conviction.seconds)


def convicting(ended: Ended) -> list[str]:
    """Names of the checkers that found a promise broken, in the order of the summary."""
    if ended.summary is None:
        return []
    return [verdict.checker for verdict in ended.summary.verdicts if not verdict.valid]


def table(findings: Sequence[Finding]) -> str:
    """The findings as a Markdown table."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS)]
    for finding in findings:
        conviction = finding.conviction
        checkers = ", ".join(dict.fromkeys(finding.checkers)) or "nobody"
        fault = conviction.fault or "none"
        rows.append((finding.name, conviction.workload, fault, checkers, str(finding.rounds), f"{finding.took_s:.0f}"))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
