"""Power fails at every named point and operation, disks fail, fill up and rot: it happens, and each answer is needed.

The second half takes the product's answer away and sees the simulation convict it.
"""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import PurePath

import msgspec
import pytest

from base.disk import TEMPORARY_SUFFIX
from base.errors import DiskFailed, InvariantBroken, MeshError
from server.raft import journal_replay
from server.raft.snapshots import STATE_NAME, SnapshotMeta, SnapshotStore, decode_meta
from tests.fakes.disk import SimDisk, SimFile
from tests.sim import process
from tests.sim.checks import Violation
from tests.sim.disk_faults import FOLDER, POINTS, SNAPSHOTS_FOLDER, Part
from tests.sim.operators import Operator
from tests.sim.plan import Plan
from tests.sim.process import SimServer, SimSettings
from tests.sim.simulation import Simulation

QUIET = Plan(
    faults=(), duration_s=12.0, crash_in_sync=0.0, crash_at_snapshot=0.0, crash_again=0.0, threshold=15, trailing=3
)
"""Nothing breaks but what a test breaks."""
CRASHES = msgspec.structs.replace(QUIET, faults=("crash", "power", "isolate"))

Strike = Callable[[Simulation, SimServer, random.Random], None]


def run_with(strike: Strike, *, plan: Plan = QUIET, seed: int = 0, interval_s: float = 1.0) -> Counter[str]:
    """Run a seed with `strike` on some server again and again; returns the counts or raises Violation."""
    simulation = Simulation(plan, seed)
    room = simulation.room
    Operator(room.world, room.checker, room.servers, room.network)
    rng = room.rng("strikes")

    def again() -> None:
        if room.world.time_s < plan.duration_s:
            strike(simulation, room.servers[rng.choice(sorted(room.servers))], rng)
            room.world.after(interval_s, again)

    room.world.after(1.0, again)
    return simulation.run()


def run_until(names: list[str], strike: Strike, *, plan: Plan, interval_s: float = 1.0) -> None:
    """Run seeds until all of these were counted; fails after 40."""
    counts: Counter[str] = Counter()
    for seed in range(40):
        counts += run_with(strike, plan=plan, seed=seed, interval_s=interval_s)
        if all(counts[name] for name in names):
            return
    raise AssertionError(f"never happened: {[name for name in names if not counts[name]]}")


def convicted(strike: Strike, *, plan: Plan = QUIET, interval_s: float = 1.0) -> bool:
    """Whether one of 40 seeds breaks a promise; a process that dies of its own mistake counts, too."""
    for seed in range(40):
        try:
            run_with(strike, plan=plan, seed=seed, interval_s=interval_s)
        except (Violation, MeshError, InvariantBroken):
            return True
    return False


def rot(part: Part) -> Strike:
    """Flip a bit, and have the server look at it before the file is gone."""

    def strike(simulation: Simulation, server: SimServer, rng: random.Random) -> None:
        if server.flip_bit(part, rng):
            simulation.room.restart_later(server, rng)

    return strike


def fail_journal_sync(simulation: Simulation, server: SimServer, rng: random.Random) -> None:
    server.faults.fail_sync("journal")


# --- it happens, and nothing is lost


@pytest.mark.parametrize("point", POINTS)
def test_power_may_fail_at_every_point(point: str) -> None:
    def strike(simulation: Simulation, server: SimServer, rng: random.Random) -> None:
        server.faults.crash_at_point(point, rng.randrange(1, 4))

    run_until([f"crash at point {point}"], strike, plan=msgspec.structs.replace(CRASHES, duration_s=6.0, threshold=5))


@pytest.mark.parametrize(("end", "power"), [("power lost", True), ("killed", False)])
def test_a_process_may_end_instead_of_every_kind_of_operation(end: str, power: bool) -> None:
    def strike(simulation: Simulation, server: SimServer, rng: random.Random) -> None:
        server.faults.crash_at_operation(rng.randrange(40), power=power)

    operations = ("create", "allocate", "write", "sync", "rename", "sync folder", "remove", "make folder")
    run_until([f"{end} at {each}" for each in operations], strike, plan=CRASHES, interval_s=0.5)


def test_a_server_may_die_again_while_it_cuts_what_is_torn() -> None:
    plan = msgspec.structs.replace(QUIET, crash_in_sync=0.05, crash_again=0.9)
    run_until(["power lost at cut", "killed at cut"], lambda simulation, server, rng: None, plan=plan)


@pytest.mark.parametrize("part", ["journal", "snapshots"])
def test_a_sync_may_fail(part: Part) -> None:
    counts = run_with(lambda simulation, server, rng: server.faults.fail_sync(part))
    assert counts[f"sync failed in {part}"] > 0
    assert counts["disk failed"] > 0
    assert counts["acked"] > 0


def test_a_disk_may_be_full_for_a_while() -> None:
    counts = run_with(lambda simulation, server, rng: server.faults.fill(rng.randrange(20_000), 1.5), interval_s=2.0)
    assert counts["disk full"] > 0
    assert counts["acked"] > 0


def test_a_server_with_a_damaged_journal_refuses_to_start_and_another_takes_its_place() -> None:
    run_until(["bit flipped in journal", "refused to start", "damaged servers replaced"], rot("journal"), plan=QUIET)


def test_a_damaged_snapshot_is_neither_used_nor_taken_from_another() -> None:
    def strike(simulation: Simulation, server: SimServer, rng: random.Random) -> None:
        for leader in simulation.room.leaders():
            leader.flip_bit("snapshots", rng)

    run_until(["refused to start"], rot("snapshots"), plan=CRASHES)
    few_entries_kept = msgspec.structs.replace(CRASHES, threshold=40, trailing=0)
    run_until(["damaged snapshot refused"], strike, plan=few_entries_kept, interval_s=0.2)


@pytest.mark.parametrize("seed", range(4))
def test_a_snapshot_that_rots_where_others_need_it_is_replaced_though_nobody_writes_any_more(seed: int) -> None:
    plan = msgspec.structs.replace(QUIET, duration_s=6.0, threshold=40, trailing=0)
    simulation = Simulation(plan, seed)
    room = simulation.room

    def cut() -> None:
        follower = next(server for server in room.servers.values() if server not in room.leaders())
        room.network.cut({room.network.pair(follower.server_id, other) for other in room.others(follower)})

    def rot() -> None:
        for server in room.servers.values():
            for name in server.disk.list(SNAPSHOTS_FOLDER):
                if not name.endswith(TEMPORARY_SUFFIX):
                    server.disk.flip_bit(SNAPSHOTS_FOLDER / name / STATE_NAME, 40, 3)

    room.world.after(2.0, cut)
    room.world.after(plan.duration_s - 0.5, lambda: setattr(simulation, "_write", lambda: None))
    room.world.after(plan.duration_s - 0.01, rot)
    counts = simulation.run()
    assert counts["damaged snapshot refused"] > 0
    assert counts["installed"] > 0


def test_links_may_be_slow_one_way_and_lose_everything() -> None:
    def strike(simulation: Simulation, server: SimServer, rng: random.Random) -> None:
        network = simulation.room.network
        away = {(server.server_id, other) for other in simulation.room.others(server)}
        network.slow(away, 30.0)
        simulation.room.checker.counts["dropped"] += network.drop({rng.choice(sorted(away))})

    counts = run_with(strike)
    assert counts["dropped"] > 0
    assert counts["acked"] > 0


# --- each answer is needed


class StubbornFile(SimFile):
    """Takes a failed sync for a hiccup and calls it again, as programs did before 2018."""

    def sync(self) -> None:
        try:
            super().sync()
        except DiskFailed:
            self._disk.failed = None
            super().sync()


class StubbornDisk(SimDisk):
    def open_file(self, path: PurePath, *, create: bool = False) -> SimFile:
        return StubbornFile(self, path, super().open_file(path, create=create)._file)


def test_a_server_that_syncs_again_after_a_failed_sync_is_convicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "SimDisk", StubbornDisk)
    assert convicted(fail_journal_sync, plan=CRASHES)


def test_a_server_that_cuts_damage_as_if_it_were_torn_is_convicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_replay, "tail_is_torn", lambda *args: True)
    settings = Plan.settings

    def in_one_segment(plan: Plan) -> SimSettings:
        return msgspec.structs.replace(settings(plan), segment_bytes=1 << 20)  # in a sealed one nothing can be torn

    monkeypatch.setattr(Plan, "settings", in_one_segment)
    assert convicted(rot("journal"), plan=CRASHES)


def test_a_server_that_believes_any_snapshot_is_convicted(monkeypatch: pytest.MonkeyPatch) -> None:
    def believe(store: SnapshotStore, name: str) -> SnapshotMeta:
        return decode_meta(store._disk.read(store._folder / name / "meta.json"))

    monkeypatch.setattr(SnapshotStore, "_read_verified", believe)
    assert convicted(rot("snapshots"), plan=CRASHES)


def test_a_server_that_renames_a_snapshot_before_it_is_durable_is_convicted(monkeypatch: pytest.MonkeyPatch) -> None:
    sync = SimFile.sync
    monkeypatch.setattr(SimFile, "sync", lambda file: None if file.path.name == "state.mdb" else sync(file))

    def strike(simulation: Simulation, server: SimServer, rng: random.Random) -> None:
        server.faults.crash_at_point("snapshot.after_rename")

    assert convicted(strike)


class Careless(Operator):
    """Wipes a damaged server and starts it under its old id, which has promised and acknowledged things."""

    def replace(self, server: SimServer) -> None:
        server.disk.remove_tree(FOLDER)
        server.retired = False
        self._world.after(0.1, server.start)


def test_an_operator_who_wipes_a_server_and_keeps_its_id_is_convicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "Operator", Careless)
    assert convicted(rot("journal"), plan=CRASHES, interval_s=0.5)
