"""`python -m bench kv|gossip|catalog [--quick] [--only PART ...] [--data FOLDER]`: from the root of the checkout."""

import argparse
import sys
import tempfile
from pathlib import Path

import trio
from rich.console import Console

from bench.catalog import PARTS as CATALOG_PARTS
from bench.gossip import PARTS as GOSSIP_PARTS
from bench.harness import commit_name, machine_name, raise_file_limit
from bench.kv import PARTS as KV_PARTS
from bench.kv import Bench
from bench.ledger import Results
from bench.loads.load import generator_name, install_generator

TABLE_WIDTH = 110
"""Of output that goes to a file, where rich would fold it at 80."""


SUITES = {"kv": KV_PARTS, "gossip": GOSSIP_PARTS, "catalog": CATALOG_PARTS}


async def run(bench: Bench, suite: str, parts: list[str]) -> None:
    for part in parts:
        bench.results.console.print(f"[bold]{part}[/]")
        await SUITES[suite][part](bench)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("what", choices=sorted(SUITES))
    parser.add_argument("--quick", action="store_true", help="shorter loads, and no million keys")
    parser.add_argument("--only", action="append", help="this part; may be repeated")
    parser.add_argument("--data", type=Path, help="folder for the clusters' data; by default a temporary one")
    arguments = parser.parse_args()
    suite = SUITES[arguments.what]
    unknown = [part for part in arguments.only or [] if part not in suite]
    if unknown:
        parser.error(f"{arguments.what} has the parts {', '.join(suite)}, not {', '.join(unknown)}")
    raise_file_limit()
    install_generator()
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=TABLE_WIDTH)
    if generator_name() != "wrk":
        console.print("wrk is not installed: the slower generator of our own makes the load, so rates are lower")
    root = Path(__file__).resolve().parents[1]
    results = Results(machine=machine_name(), commit=commit_name(root), console=console)
    with tempfile.TemporaryDirectory(prefix="mesh-bench-") as temporary:
        folder = arguments.data or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            bench = Bench(folder=folder, results=results, quick=arguments.quick)
            trio.run(run, bench, arguments.what, arguments.only or list(suite))
        except KeyboardInterrupt:
            console.print("stopped")
            return 130
        finally:
            results.print_table()
    return 0


if __name__ == "__main__":
    sys.exit(main())
