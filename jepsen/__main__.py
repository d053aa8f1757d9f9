"""`python -m jepsen run|check|list|matrix|soak|mutants`: break a cluster on purpose and judge what its clients saw."""

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import trio

from jepsen import machine as machines
from jepsen.campaign import Ended, matrix_plans, run_plan, soak_plans
from jepsen.checkers.registry import judge
from jepsen.cluster import ProcessFailed
from jepsen.history import History, HistoryDamaged, load
from jepsen.machine import Machine
from jepsen.nemesis.package import Fault
from jepsen.nemesis.registry import FAULTS, packages
from jepsen.network.choosing import BEST, choose_mode, enter, missing_for
from jepsen.network.kernel import NotPossible
from jepsen.report import matrix_page, page
from jepsen.report.progress import Progress
from jepsen.report.summary import summarise
from jepsen.report.table import print_catalogue, print_verdicts
from jepsen.run import FolderTaken, RunOptions, claim, run
from jepsen.subject import convict
from jepsen.subject.mutants import MUTANTS
from jepsen.workloads.registry import WORKLOADS
from jepsen.workloads.workload import Workload

EXIT_PASSED, EXIT_BROKEN, EXIT_USAGE, EXIT_UNDECIDED, EXIT_INTERRUPTED = 0, 1, 2, 3, 130
WORST_FIRST = (EXIT_BROKEN, EXIT_USAGE, EXIT_UNDECIDED, EXIT_PASSED)
RUNS_FOLDER = Path("jepsen-runs")
HISTORY_NAME = "history.jsonl"


class UsageError(Exception):
    """What was asked for makes no sense; the text says why."""


def chosen_workloads(text: str) -> tuple[type[Workload], ...]:
    """The workloads of these names, comma separated; "all" are all. Raises UsageError."""
    names = list(WORKLOADS) if text == "all" else [each for each in text.split(",") if each]
    unknown = [name for name in names if name not in WORKLOADS]
    if unknown or not names:
        raise UsageError(f"no such workload: {', '.join(unknown) or text!r}; there are {', '.join(WORKLOADS)}")
    return tuple(WORKLOADS[name] for name in dict.fromkeys(names))


def chosen_faults(text: str) -> tuple[type[Fault], ...]:
    """The faults of these names or packages, comma separated; "all" are all. Raises UsageError."""
    by_package = packages()
    names: list[str] = []
    for each in filter(None, text.split(",")):
        if each != "all" and each not in FAULTS and each not in by_package:
            raise UsageError(f"no such fault or package: {each}; `python -m jepsen list` names them")
        names += list(FAULTS) if each == "all" else by_package.get(each, [each])
    return tuple(FAULTS[name] for name in dict.fromkeys(names))


def available(
    faults: Sequence[type[Fault]], machine: Machine, mode: str, servers_count: int, agents_count: int = 1
) -> dict[str, str]:
    """Fault -> why it cannot be had here, for those that cannot."""
    named = {fault.name: missing_for(fault, machine, mode, servers_count, agents_count) for fault in faults}
    return {name: why for name, why in named.items() if why}


def chosen_addresses(text: str) -> tuple[str, ...]:
    """HTTP addresses, comma separated. Raises UsageError."""
    addresses = tuple(filter(None, text.split(",")))
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or "/" in address or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise UsageError(f"--at needs addresses like 127.0.0.1:8500, comma separated, not {address!r}")
    return addresses


def command_run(given: argparse.Namespace) -> int:
    """Make one run."""
    machine = machines.detect()
    workloads, faults = chosen_workloads(given.workload), chosen_faults(given.fault)
    addresses = chosen_addresses(given.at)
    if addresses and (faults or given.mutant):
        raise UsageError("--at names a cluster that runs already: its processes cannot be broken from here")
    if addresses and given.network != "auto":
        raise UsageError("--at names a cluster that runs already: its network is what it is")
    if given.mutant and given.mutant not in MUTANTS:
        raise UsageError(f"no such mutant: {given.mutant}; there are {', '.join(MUTANTS)}")
    mode = given.network
    if mode == "auto":
        mode = choose_mode(faults, machine)
    absent = available(faults, machine, mode, given.nodes, given.agents)
    elsewhere = absent.keys() - available(faults, machine, BEST, given.nodes, given.agents).keys()
    if given.network != "auto" and elsewhere:
        raise UsageError(f"{', '.join(name for name in absent if name in elsewhere)}: not with --network {mode}")
    for name, why in absent.items():
        print(f"{name} is left out: {why}", file=sys.stderr)
    if faults and len(absent) == len(faults):
        raise UsageError("none of the faults can be had here")
    seed = given.seed if given.seed is not None else time.time_ns() % (1 << 32)
    options = RunOptions(
        seed=seed,
        folder=(given.folder or RUNS_FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}-{seed}").absolute(),
        workloads=workloads,
        faults=tuple(fault for fault in faults if fault.name not in absent),
        servers_count=given.nodes,
        agents_count=given.agents,
        duration_s=given.seconds,
        network=mode,
        rate=given.rate,
        mutant=given.mutant,
        addresses=addresses,
        left_out=absent,
    )
    enter(mode)
    progress = Progress()
    progress.start()
    try:
        history = trio.run(run, options, machine, progress)
    finally:
        progress.stop()
    return conclude(history, options.folder)


def conclude(history: History, folder: Path, *, prefix: str = "") -> int:
    """Judge a history, write what is found beside it, print it; returns the exit code.

    What cannot be written does not change the verdict. `prefix` begins the names of the files.
    """
    verdicts = judge(history)
    report: Path | None = folder / f"{prefix}report.html"
    summary = summarise(history, verdicts, folder=str(folder))
    try:
        page.write(history, verdicts, folder / f"{prefix}report.html")
        (folder / f"{prefix}summary.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary)))
    except OSError as error:
        report = None
        print(f"jepsen: the verdict could not be written down: {error}", file=sys.stderr)
    print_verdicts(history, verdicts, report)
    if not all(verdict.valid for verdict in verdicts):
        return EXIT_BROKEN
    return EXIT_PASSED if all(verdict.decided for verdict in verdicts) else EXIT_UNDECIDED


def command_check(given: argparse.Namespace) -> int:
    """Judge saved histories again. One that is damaged does not keep the others from being judged."""
    codes = [EXIT_PASSED]
    for path in given.histories:
        file = path / HISTORY_NAME if path.is_dir() else path
        print(f"== {file}", file=sys.stderr)
        try:
            history = load(file)
        except (HistoryDamaged, OSError) as error:
            print(f"jepsen: {error}", file=sys.stderr)
            codes.append(EXIT_USAGE)
        else:
            codes.append(conclude(history, file.parent, prefix="" if file.name == HISTORY_NAME else f"{file.stem}-"))
    return min(codes, key=WORST_FIRST.index)


def command_list(given: argparse.Namespace) -> int:
    """Print what there is, and what of it this machine can do."""
    machine = machines.detect()
    faults = tuple(FAULTS.values())
    absent = {name: why for name in FAULTS if (why := available(faults, machine, "best", 5).get(name, ""))}
    print_catalogue(WORKLOADS, FAULTS, absent, MUTANTS, machine)
    return EXIT_PASSED


def command_matrix(given: argparse.Namespace) -> int:
    """All workloads under all faults."""
    machine = machines.detect()
    chosen = chosen_faults(given.fault)
    absent = available(chosen, machine, "best", 5)
    for name, why in absent.items():
        print(f"{name} is left out: {why}", file=sys.stderr)
    names = {fault.name for fault in chosen} - set(absent)
    grouped = {package: [name for name in members if name in names] for package, members in packages().items()}
    plans = matrix_plans(
        {package: members for package, members in grouped.items() if members},
        [workload.name for workload in chosen_workloads(given.workload)],
        minutes=given.minutes,
        seed=given.seed,
        both_networks=choose_mode(chosen, machine) != "links" and "links" in machine.abilities,
    )
    if not plans:
        raise UsageError("none of the faults can be had here")
    folder = _campaign_folder(given, f"matrix-{given.seed}")
    ended: list[Ended] = []
    try:
        for plan in plans:
            ended.append(run_plan(plan, folder / plan.name, say=_say))
    finally:  # also when interrupted: what has been run was not in vain
        never = [plan.name for plan in plans[len(ended) :]]
        code = _conclude_campaign(ended, folder, title=f"Matrix, seed {given.seed}", never=never, left_out=absent)
    return code


def command_soak(given: argparse.Namespace) -> int:
    """Random runs until time is over or one fails."""
    machine = machines.detect()
    chosen = chosen_faults(given.fault)
    absent = available(chosen, machine, "best", 3)
    for name, why in absent.items():
        print(f"{name} is left out: {why}", file=sys.stderr)
    names = sorted({fault.name for fault in chosen} - set(absent))
    workloads = [workload.name for workload in chosen_workloads(given.workload)]
    if given.minutes * 60.0 < given.seconds:
        raise UsageError(f"{given.minutes:g} minutes have no room for a run of {given.seconds:g} s (--seconds)")
    folder = _campaign_folder(given, f"soak-{given.seed}")
    until_s = time.monotonic() + given.minutes * 60.0
    ended: list[Ended] = []
    try:
        for plan in soak_plans(names, workloads, seconds=given.seconds, seed=given.seed):
            if time.monotonic() + plan.seconds > until_s:
                break
            ended.append(run_plan(plan, folder / plan.name, say=_say))
            if not ended[-1].passed and not given.keep_going:
                break
    finally:
        code = _conclude_campaign(ended, folder, title=f"Soak, seed {given.seed}", left_out=absent)
    return code


def _campaign_folder(given: argparse.Namespace, name: str) -> Path:
    """A folder of the campaign's own. Raises FolderTaken, OSError."""
    folder: Path = (given.folder or RUNS_FOLDER / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}").absolute()
    claim(folder)
    return folder


def _conclude_campaign(
    ended: Sequence[Ended], folder: Path, *, title: str, left_out: Mapping[str, str], never: Sequence[str] = ()
) -> int:
    """Write the pages of all runs and name them.

    `left_out` says of faults why they cannot be had here; `never` are the runs that were not begun any more.
    """
    summaries = [each.summary for each in ended if each.summary is not None]
    lost = [*(each.plan.name for each in ended if each.summary is None), *never]
    matrix_page.write(summaries, folder / "index.html", title=title, lost=lost, left_out=left_out)
    text = matrix_page.summary_markdown(summaries, title=title, lost=lost, left_out=left_out)
    (folder / "summary.md").write_text(text, encoding="utf-8")
    for each in ended:
        word = "passed" if each.passed else f"FAILED with exit code {each.exit_code}"
        print(f"{each.plan.name:24} {word} in {each.took_s:.0f} s", file=sys.stderr)
    print(folder / "summary.md")
    return EXIT_PASSED if ended and all(each.passed for each in ended) else EXIT_BROKEN


def command_mutants(given: argparse.Namespace) -> int:
    """Run deliberately broken builds until each is convicted."""
    unknown = [name for name in given.names if name not in MUTANTS]
    if unknown:
        raise UsageError(f"no such mutant: {', '.join(unknown)}; there are {', '.join(MUTANTS)}")
    return convict.main(given.names, folder=_campaign_folder(given, "mutants"), say=_say)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="jepsen", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, action: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(action=action)
        return made

    one = command("run", command_run, "one run: start, drive, break, heal, read, judge, report")
    one.add_argument("--workload", default="register", metavar="NAMES", help='comma separated, or "all"')
    one.add_argument("--fault", default="", metavar="NAMES", help='faults or packages, comma separated, or "all"')
    one.add_argument("--nodes", type=int, default=3, choices=(1, 3, 5), help="servers")
    one.add_argument("--agents", type=int, default=1, choices=range(4))
    one.add_argument("--seconds", type=_positive, default=30.0)
    one.add_argument("--seed", type=int)
    one.add_argument("--rate", type=_positive, default=1.0, help="operations a second, times the usual")
    one.add_argument("--network", default="auto", choices=("auto", "namespaces", "links", "plain"))
    one.add_argument("--break", dest="mutant", default="", metavar="MUTANT", help="run a deliberately broken build")
    one.add_argument("--at", default="", metavar="ADDRESSES", help="HTTP addresses of a cluster that runs already")
    one.add_argument("--folder", type=Path, help="where history, logs and report go")

    again = command("check", command_check, "judge saved histories again")
    again.add_argument("histories", nargs="+", type=Path, help="history.jsonl, or the folder of a run")

    command("list", command_list, "workloads, faults, mutants, and what this machine can do")

    matrix = command("matrix", command_matrix, "all workloads under all faults")
    soak = command("soak", command_soak, "random runs until time is over or one fails")
    for each in (matrix, soak):
        each.add_argument("--minutes", type=_positive, default=30.0)
        each.add_argument("--workload", default="all", metavar="NAMES")
        each.add_argument("--fault", default="all", metavar="NAMES")
        each.add_argument("--seed", type=int, default=1)
        each.add_argument("--folder", type=Path)
    soak.add_argument("--seconds", type=_positive, default=60.0, help="of each run")
    soak.add_argument("--keep-going", action="store_true", help="also after a run that failed")

    mutants = command("mutants", command_mutants, "run deliberately broken builds until each is convicted")
    mutants.add_argument("names", nargs="*", metavar="MUTANT")
    mutants.add_argument("--folder", type=Path)
    return root


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The errors in a group, however deep."""
    for each in group.exceptions:
        yield from leaves(each) if isinstance(each, BaseExceptionGroup) else (each,)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit codes: 0 all promises held, 1 one was broken, 2 usage or the cluster did not start, 3 undecided, 130."""
    given = parser().parse_args(arguments)
    code = EXIT_USAGE
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell started this in the background
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # heals and takes down, as Ctrl-C does
    try:
        action: Callable[[argparse.Namespace], int] = given.action
        code = action(given)
    except* KeyboardInterrupt:
        print("interrupted; everything that was started is taken down", file=sys.stderr)
        code = EXIT_INTERRUPTED
    except* (UsageError, ProcessFailed, HistoryDamaged, FolderTaken, NotPossible, OSError) as errors:
        # A group where it comes out of a run's tasks.
        for error in leaves(errors):
            print(f"jepsen: {error}", file=sys.stderr)
        code = EXIT_USAGE
    except* Exception as errors:  # border: Python's own exit code would say that a promise was broken
        traceback.print_exception(errors)
        print("jepsen: the harness itself failed; that says nothing about the cluster", file=sys.stderr)
        code = EXIT_USAGE
    return code


if __name__ == "__main__":
    sys.exit(main())
