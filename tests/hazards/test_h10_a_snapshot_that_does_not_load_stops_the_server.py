"""H10: the library logs that a snapshot could not be loaded, and goes on with an empty state."""

import pytest

from base.errors import DataDamaged
from tests.fakes.group import Group, Snapshot


def test_the_failure_of_the_state_machine_to_load_leaves_the_core() -> None:
    group = Group()
    group.elect("a")
    core = group["b"]

    def broken(meta: Snapshot) -> None:
        raise DataDamaged("state.mdb is not what was written")

    group.members["b"].applier.load = broken  # type: ignore[method-assign]
    peers, configuration_index = core.configuration_at(core.last_index)
    meta = Snapshot(index=100, term=core.term, configuration=peers, configuration_index=configuration_index)
    with pytest.raises(DataDamaged):
        core.install(meta, group.now_s)
    assert core.applied_index < 100


def test_a_log_that_begins_behind_its_snapshot_refuses_to_start() -> None:
    group = Group()
    group.elect("a")
    group.propose("a", b"1", b"2", b"3")
    group.run(0.3)
    group.take_snapshot("b")
    group.crash("b")
    group.members["b"].snapshot = None
    with pytest.raises(DataDamaged, match="no snapshot"):
        group.start("b")
