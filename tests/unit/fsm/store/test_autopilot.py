"""Autopilot's configuration: one row, compared by its index. Source: state store specification, sections 9 and 14."""

from fsm.store import autopilot
from structs.autopilot import AutopilotConfig
from tests.fakes.replica import Replica


def config_of(replica: Replica) -> AutopilotConfig | None:
    with replica.machine.read() as view:
        return autopilot.get(view)


def test_the_first_leader_writes_it_and_no_later_one_does(replica: Replica) -> None:
    assert config_of(replica) is None
    assert replica.autopilot(AutopilotConfig(max_trailing_logs=1), only_if_absent=True)
    assert not replica.autopilot(AutopilotConfig(max_trailing_logs=2), only_if_absent=True)
    assert config_of(replica) == AutopilotConfig(max_trailing_logs=1, create_index=1, modify_index=1)


def test_a_compare_and_set_wants_the_index_of_what_is_there(replica: Replica) -> None:
    assert not replica.autopilot(AutopilotConfig(), cas=True)
    assert replica.autopilot(AutopilotConfig())
    assert not replica.autopilot(AutopilotConfig(max_trailing_logs=1), cas=True)
    assert replica.autopilot(AutopilotConfig(max_trailing_logs=1, modify_index=2), cas=True)
    assert config_of(replica) == AutopilotConfig(max_trailing_logs=1, create_index=2, modify_index=4)


def test_what_is_the_same_already_is_not_written(replica: Replica) -> None:
    replica.autopilot(AutopilotConfig())
    before = replica.dump()
    assert replica.autopilot(AutopilotConfig(create_index=9, modify_index=9))
    assert replica.dump() == before
