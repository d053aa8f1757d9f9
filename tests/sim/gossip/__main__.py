"""Play scenarios of gossip: `python -m tests.sim.gossip --scenario death --nodes 5 --worlds 1000 --json found.json`.

The same arguments give the same figures, but for those of the processor. Each world has a seed of its own, from --seed
on. Several values may be given to --scenario, --nodes, --lifeguard and --loss, with commas: each combination is played.
"""

import argparse
import gc
import itertools
import json
import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.sim.gossip.ledger import spread
from tests.sim.gossip.scenarios import SCENARIOS, Plan, play

SWITCH = {"on": [True], "off": [False], "both": [True, False]}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.gossip", description=__doc__)
    parser.add_argument("--scenario", default="death", help=f"{', '.join(SCENARIOS)}, or all")
    parser.add_argument("--nodes", default="100", help="how many members to begin with")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--worlds", type=int, default=1, help="how many seeds; their figures are put together")
    parser.add_argument(
        "--minutes", type=float, default=1.0, help="how long, where the scenario has no length of its own"
    )
    parser.add_argument("--lifeguard", choices=SWITCH, default="on")
    parser.add_argument("--loss", default="0", help="share of datagrams that every link loses")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", type=Path, help="write all figures here, in place of what the file says of the same")
    return parser


def main(words: Sequence[str]) -> int:
    """Play what is asked for and print the figures."""
    parser = _parser()
    given = parser.parse_args(words)
    names = list(SCENARIOS) if given.scenario == "all" else given.scenario.split(",")
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}")
    try:
        sizes = [int(each) for each in given.nodes.split(",")]
        losses = [float(each) for each in given.loss.split(",")]
    except ValueError as error:
        parser.error(str(error))
    if min(sizes) < 2 or not 0 <= min(losses) <= max(losses) < 1 or given.worlds < 1 or given.minutes <= 0:
        parser.error("at least two nodes, one world and some time are wanted, and losses from 0 to less than 1")
    plans = [
        Plan(scenario=name, nodes=nodes, seed=given.seed, minutes=given.minutes, lifeguard=lifeguard, loss=loss)
        for name, nodes, lifeguard, loss in itertools.product(names, sizes, SWITCH[given.lifeguard], losses)
    ]
    # One world at a time in each process, and a fresh process for each: thousands of members take gigabytes.
    with multiprocessing.Pool(given.jobs, maxtasksperchild=1 if max(sizes) > 100 else None) as pool:
        for plan in plans:
            seeds = range(plan.seed, plan.seed + given.worlds)
            parts = pool.map(_play, [msgspec.structs.replace(plan, seed=seed) for seed in seeds], chunksize=1)
            figures = {**msgspec.structs.asdict(plan), "worlds": given.worlds, **merged(parts)}
            print("\n".join(lines_of(figures)), flush=True)
            if given.json is not None:
                _write(given.json, figures)
    return 0


def _play(plan: Plan) -> dict[str, Any]:
    # A crowd is millions of records that live until the end: looking through them for garbage again and again takes
    # longer than the rest, and reference counts free whatever is to be freed.
    gc.disable()
    return play(plan)


def merged(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put the figures of several worlds together: spreads of all times, sums of counts, means of what is measured."""
    together: dict[str, Any] = {}
    for name, first in parts[0].items():
        values = [part[name] for part in parts]
        if isinstance(first, dict):
            missing = [None] * sum(value["missing"] for value in values)
            together[name] = spread(
                [*itertools.chain.from_iterable(value.get("all", ()) for value in values), *missing]
            )
        elif isinstance(first, int) or name in ("node-hours", "simulated seconds", "cpu seconds"):
            together[name] = round(sum(values), 3)
        else:
            together[name] = None if None in values else round(sum(values) / len(values), 3)
    return together


def lines_of(figures: dict[str, Any]) -> list[str]:
    """Return the figures as text; counts of mistakes with their rate, too."""
    hours = figures.get("node-hours")
    lines = [", ".join(f"{name} {figures[name]}" for name in (*Plan.__struct_fields__, "worlds"))]
    for name, value in figures.items():
        if name in Plan.__struct_fields__ or name == "worlds":
            continue
        if isinstance(value, dict):
            shown = ", ".join(f"{key} {each}" for key, each in value.items() if key != "all")
        else:
            shown = str(value)
            if hours and name.startswith(("suspicions", "false", "mistaken")) and isinstance(value, int):
                shown += f" ({value / hours:.4f} a node-hour)"
        lines.append(f"  {name}: {shown}")
    return lines


def _write(path: Path, figures: dict[str, Any]) -> None:
    """Put the figures into the file, in place of those of the same plan."""
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    names = [name for name in Plan.__struct_fields__ if name not in ("seed", "minutes")]
    others = [each for each in known if any(each[name] != figures[name] for name in names)]
    path.write_text(json.dumps([*others, figures], indent=None, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
