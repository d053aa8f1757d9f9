"""Log, snapshot, override and configuration at the start of a server."""

import pytest

from base.errors import DataDamaged
from server.raft import membership
from server.raft.recovery import ConfigurationOverride
from server.raft.starting import first_configuration, reconcile_log
from structs.cluster import Peer
from tests.fakes.group import Snapshot
from tests.fakes.journal import FakeJournal, JournalMemory

A, B, C = (Peer(server_id=each, name=each, address=f"{each}:1") for each in "abc")


def log_of(*terms: int, first_index: int = 1) -> FakeJournal:
    entries = [(b"\x00", first_index + position, term) for position, term in enumerate(terms)]
    return FakeJournal(JournalMemory(entries))


def snapshot_at(index: int, term: int, *peers: Peer, configuration_index: int = 1) -> Snapshot:
    return Snapshot(index=index, term=term, configuration=list(peers), configuration_index=configuration_index)


def test_a_log_that_holds_the_snapshots_last_entry_is_left_alone() -> None:
    log = log_of(0, 1, 1, 2, 2)
    reconcile_log(log, snapshot_at(3, 1))
    assert (log.first_index, log.last_index) == (1, 5)


def test_a_log_that_ends_before_the_snapshot_begins_anew_behind_it() -> None:
    log = log_of(0, 1, 1)
    reconcile_log(log, snapshot_at(7, 4))
    assert log.entries == [(b"\x01", 7, 4)]


def test_a_log_that_contradicts_the_snapshot_loses_its_tail_which_nobody_committed() -> None:
    log = log_of(0, 1, 1, 2, 2)
    reconcile_log(log, snapshot_at(4, 3))
    assert log.entries == [(b"\x01", 4, 3)]


def test_a_gap_between_snapshot_and_log_refuses_to_start() -> None:
    with pytest.raises(DataDamaged, match=r"begins at 9 .* ends at 5"):
        reconcile_log(log_of(2, 2, first_index=9), snapshot_at(5, 2))
    with pytest.raises(DataDamaged, match="no snapshot"):
        reconcile_log(log_of(2, 2, first_index=9), None)


def test_the_configuration_is_the_snapshots_and_what_the_log_says_behind_it() -> None:
    log = log_of(0, 1, 1, 1)
    log.entries[1] = (membership.encode_change("rem", A), 2, 1)
    log.entries[3] = (membership.encode_change("add", C), 4, 1)
    configurations = first_configuration(log, snapshot_at(3, 1, A, B, configuration_index=1), None)
    assert sorted(configurations.latest.peers) == ["a", "b", "c"]
    assert configurations.latest.index == 4
    assert configurations.at(3).index == 1


def test_an_override_replaces_all_that_the_log_said_up_to_it() -> None:
    log = log_of(0, 0, 0, 1, 1)
    log.entries[1] = (membership.encode_change("add", A), 2, 0)
    log.entries[2] = (membership.encode_change("add", B), 3, 0)
    override = ConfigurationOverride(after_index=4, peers=[C])
    configurations = first_configuration(log, None, override)
    assert sorted(configurations.latest.peers) == ["c"]
    log.entries[4] = (membership.encode_change("add", A), 5, 1)
    assert sorted(first_configuration(log, None, override).latest.peers) == ["a", "c"]


def test_a_snapshot_taken_behind_an_override_carries_it_already() -> None:
    log = log_of(0, 1, 1, 1, 1, 1)
    override = ConfigurationOverride(after_index=3, peers=[C])
    configurations = first_configuration(log, snapshot_at(5, 1, C, B), override)
    assert sorted(configurations.latest.peers) == ["b", "c"]
    configurations = first_configuration(log, snapshot_at(2, 1, A, B), override)
    assert sorted(configurations.latest.peers) == ["c"]
