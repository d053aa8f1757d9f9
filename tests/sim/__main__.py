"""Run seeds: `python -m tests.sim --plan all --seeds 200 --jobs 2`, and one again: `--start 17 --seeds 1 --story`."""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterable

import msgspec

from tests.sim.plan import FAULTS, PLANS, Plan, command, draw, flag
from tests.sim.shrink import shrink
from tests.sim.simulation import Outcome, run_seed

SHRUNK_COUNT_MAX = 2
"""So many failing seeds of a campaign are shrunk: the others mostly fail of the same cause."""


class Work(msgspec.Struct, frozen=True):
    """One seed to be run; the name is that of the plan from which `plan` was made."""

    name: str
    plan: Plan
    seed: int
    keep: tuple[int, ...] | None


def _run(work: Work) -> tuple[Work, Outcome]:
    return work, run_seed(work.plan, work.seed, work.keep)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--plan", choices=[*PLANS, "all"], default="three-servers", help="all: each seed the next plan")
    parser.add_argument("--seeds", type=int, default=50, help="how many")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep", type=_positions, help="of one seed, only the steps at these positions: 3,7,12")
    parser.add_argument("--story", action="store_true", help="of one seed, print what happens")
    parser.add_argument(
        "--shrink",
        action=argparse.BooleanOptionalAction,
        help=f"shorten the first {SHRUNK_COUNT_MAX} failing runs (the default, but with --keep or --story)",
    )
    group = parser.add_argument_group("changes to the plan")
    for field in msgspec.structs.fields(Plan):
        if field.type is bool:
            group.add_argument(flag(field.name), dest=field.name, action=argparse.BooleanOptionalAction)
        else:
            several = isinstance(field.default, tuple)
            kind, metavar = (_names, "A,B") if several else (field.type, str(field.default))
            group.add_argument(flag(field.name), dest=field.name, type=kind, metavar=metavar)
    return parser


def _positions(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in text.split(",") if each)


def _names(text: str) -> tuple[str, ...]:
    return tuple(each for each in text.split(",") if each)


def main(words: list[str]) -> int:
    """Exit code 1 if any seed broke a promise."""
    parser = _parser()
    given = parser.parse_args(words)
    if given.seeds != 1 and (given.story or given.keep is not None):
        parser.error("--keep and --story are for one seed: --seeds 1")
    changes = {name: getattr(given, name) for name in Plan.__struct_fields__ if getattr(given, name) is not None}
    names = list(PLANS) if given.plan == "all" else [given.plan]
    plans = {name: msgspec.structs.replace(PLANS[name], **changes) for name in names}
    complaint = next(filter(None, (plan.complaint() for plan in plans.values())), None)
    if complaint is not None:
        parser.error(complaint)
    works = [
        Work(names[seed % len(names)], plans[names[seed % len(names)]], seed, given.keep)
        for seed in range(given.start, given.start + given.seeds)
    ]
    if given.keep and max(given.keep) >= len(draw(works[0].plan, given.start)):
        parser.error("--keep names a position after the last step of the schedule")
    failed = _campaign(works, given.jobs, story=given.story)
    wanted = given.shrink if given.shrink is not None else not given.story and given.keep is None
    for work in failed[:SHRUNK_COUNT_MAX] if wanted else ():
        _print_shrunk(work)
    return 1 if failed else 0


def _campaign(works: list[Work], jobs: int, *, story: bool) -> list[Work]:
    """Run them all, print what broke and what it amounted to; returns those that failed."""
    total: Counter[str] = Counter()
    failed = []
    simulated_s = 0.0
    began_s = time.monotonic()
    with multiprocessing.Pool(jobs) as pool:
        for done_count, (work, outcome) in enumerate(pool.imap_unordered(_run, works), 1):
            total.update(outcome.counts)
            simulated_s += outcome.simulated_s
            if story:
                _print_story(work, outcome)
            if outcome.violation is not None:
                failed.append(work)
                replay = command(work.name, work.plan, work.seed, work.keep)
                print(f"seed {work.seed}: {outcome.violation}\n  {replay}", flush=True)
            rates = _rates(done_count, len(failed), time.monotonic() - began_s, simulated_s)
            if sys.stderr.isatty():
                print(f"\r{rates}", end="\n" if done_count == len(works) else "", file=sys.stderr, flush=True)
    faults = {name: (total.pop(f"fault {name}", 0), total.pop(f"missed {name}", 0)) for name in FAULTS}
    print("faults: " + ", ".join(f"{name} {count}" for name, (count, _) in faults.items() if count))
    print("hit nothing: " + ", ".join(f"{name} {missed}" for name, (_, missed) in faults.items() if missed))
    print("counts: " + ", ".join(f"{name} {count}" for name, count in sorted(total.items())))
    print(rates)
    return failed


def _rates(seeds_count: int, failed_count: int, took_s: float, simulated_s: float) -> str:
    return (
        f"{seeds_count} seeds, {failed_count} violations, {took_s:.1f} s, {simulated_s:.0f} simulated s, "
        f"{simulated_s / took_s:.0f} simulated s per s"
    )


def _print_story(work: Work, outcome: Outcome) -> None:
    _print_schedule(work.plan, work.seed, work.keep)
    print("what happened:")
    for at_s, text in outcome.story:
        print(f"{at_s:10.3f} s  {text}")
    print(f"trace: {outcome.trace}")


def _print_schedule(plan: Plan, seed: int, keep: Iterable[int] | None) -> None:
    print("schedule:")
    for position, step in enumerate(draw(plan, seed)):
        if keep is None or position in keep:
            print(f"  {step.line(position)}")


def _print_shrunk(work: Work) -> None:
    shrunk = shrink(work.plan, work.seed, work.keep)
    if shrunk is None:
        raise AssertionError(f"seed {work.seed} does not fail again: something but the seed decides")
    rest = "" if shrunk.minimal else ", and not to the end"
    print(
        f"seed {work.seed}, shrunk from {shrunk.steps_before_count} steps to {len(shrunk.keep)} "
        f"in {shrunk.attempts_count} attempts{rest}: {shrunk.outcome.violation}"
    )
    print(f"  {command(work.name, shrunk.plan, work.seed, shrunk.keep)}")
    _print_schedule(shrunk.plan, work.seed, shrunk.keep)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
