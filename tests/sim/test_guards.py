"""Without a guard some seed breaks a promise, and each check is really asked while a simulation runs.

What a check says to made-up facts is in `test_checks.py`.
"""

import msgspec
import pytest

from base.errors import InvalidRequest
from server.raft.core import Core
from server.raft.journal import Journal
from server.raft.snapshots import SnapshotMeta
from tests.sim.checks import Checker, Violation
from tests.sim.plan import PLANS, Plan
from tests.sim.simulation import HEAL_S, Simulation, run_seed
from tests.sim.state import ListState

SEEDS_COUNT = 40
QUIET = Plan(faults=(), duration_s=4.0, crash_in_sync=0.0, crash_at_snapshot=0.0, crash_again=0.0)


def kind_of(plan: Plan) -> str | None:
    """Which promise the first seed breaks that breaks any."""
    return next(filter(None, (run_seed(plan, seed).kind for seed in range(SEEDS_COUNT))), None)


@pytest.mark.parametrize(
    ("off", "plan", "changes", "kinds"),
    [
        ("h3", "three-servers", {}, {"InvariantBroken in require"}),
        ("h8", "leases", {}, {"lease", "stale read"}),
        ("h20", "three-servers", {}, {"diverged", "log matching"}),
        ("h22", "tiny-snapshots", {}, {"InvariantBroken in require"}),
        ("h23", "changing-members", {"change_interval_s": 0.15}, {"incomplete leader", "diverged", "no leader"}),
        ("order", "slow-disks", {}, {"incomplete leader", "two leaders", "log matching"}),
        ("fsync", "slow-disks", {}, {"refused", "incomplete leader", "two votes"}),
    ],
)
def test_without_a_guard_the_library_is_convicted(
    off: str, plan: str, changes: dict[str, float], kinds: set[str]
) -> None:
    assert kind_of(msgspec.structs.replace(PLANS[plan], off=(off,), **changes)) in kinds


def test_what_is_committed_before_it_is_durable_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = property(lambda journal: 1, lambda journal, index: None)
    monkeypatch.setattr(Journal, "synced_index", stuck, raising=False)
    assert run_seed(QUIET, 1).kind == "not durable"


def test_a_configuration_that_the_log_does_not_hold_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Core, "configuration_index", property(lambda core: 0))
    assert run_seed(QUIET, 1).kind == "configuration"


def test_an_installation_that_fails_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(core: Core, meta: object, now: float) -> bool:
        raise InvalidRequest("a test refuses this")

    monkeypatch.setattr(Core, "install", refuse)
    assert kind_of(PLANS["tiny-snapshots"]) == "install"


@pytest.mark.parametrize(("leads", "kind"), [(False, "down"), (True, "no leader")])
def test_a_server_that_does_not_come_back_after_healing_is_seen(leads: bool, kind: str) -> None:
    simulation = Simulation(QUIET, 1)
    room = simulation.room

    def stop() -> None:
        leading = room.leaders()
        next(server for server in room.servers.values() if (server in leading) is leads).stop(power=True)

    room.world.after(QUIET.duration_s + HEAL_S - 0.1, stop)
    with pytest.raises(Violation) as caught:
        simulation.run()
    assert caught.value.kind == kind


def test_damage_that_nobody_did_is_seen() -> None:
    simulation = Simulation(QUIET, 1)
    room = simulation.room
    server = room.servers["server-1"]

    def damage() -> None:
        server.stop(power=False)
        path = server.faults._files("journal")[0]
        server.disk.flip_bit(path, 0, 0)
        room.start(server)

    room.world.after(2.0, damage)
    with pytest.raises(Violation) as caught:
        simulation.run()
    assert caught.value.kind == "refused"


def test_an_entry_that_is_applied_again_and_a_snapshot_of_another_state_are_seen() -> None:
    checker = Checker()
    state = ListState("a", checker)
    state.apply(2, 1, b"x")
    state.commit()
    with pytest.raises(Violation, match="applied index 2 twice"):
        state.apply(2, 1, b"x")
    copy = state.copy()
    meta = SnapshotMeta(
        index=2, term=1, configuration=[], configuration_index=1, size_bytes=0, sha256="", digest="another"
    )
    fresh = ListState("b", checker)
    fresh.prepare(meta, copy.data)
    with pytest.raises(Violation) as caught:
        fresh.load(meta)
    assert caught.value.kind == "digest"
