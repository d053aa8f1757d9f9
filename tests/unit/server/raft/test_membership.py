"""The configuration, as the log says it."""

import pytest

from base import codec
from base.errors import InvalidRequest, InvariantBroken, Refused
from server.raft import membership
from server.raft.membership import Configurations, bootstrap_entries, encode_change, encode_set
from structs.cluster import Peer

A, B, C = (Peer(server_id=each, name=f"n-{each}", address=f"10.0.0.1:{number}") for number, each in enumerate("abc"))


def peers_of(configurations: Configurations) -> list[str]:
    return sorted(configurations.latest.peers)


def test_bootstrap_entries_are_the_same_bytes_in_whatever_order_the_servers_are_seen() -> None:
    assert bootstrap_entries([C, A, B]) == bootstrap_entries([A, B, C])
    assert [(index, term) for _, index, term in bootstrap_entries([A, B, C])] == [(2, 0), (3, 0), (4, 0)]


def test_the_bytes_of_a_change_never_change() -> None:
    """Golden: logs and other servers hold them."""
    assert encode_change("add", A) == b"\x02" + codec.pack(["add", "a", ["a", "n-a", "10.0.0.1:0"]])
    assert encode_change("rem", A).hex() == "0293a372656da16193a161a36e2d61aa31302e302e302e313a30"


@pytest.mark.parametrize(
    "peers", [[], [A, A], [A, Peer(server_id="z", name="z", address=A.address)]], ids=["none", "id", "address"]
)
def test_a_bootstrap_that_cannot_be_meant_is_refused(peers: list[Peer]) -> None:
    with pytest.raises(InvalidRequest):
        bootstrap_entries(peers)


def test_changes_take_effect_when_they_enter_the_log_and_are_taken_back_when_they_leave_it() -> None:
    configurations = Configurations(index=1, peers=[A, B])
    configurations.append(7, 3, encode_change("add", C))
    configurations.append(9, 3, encode_change("rem", A))
    assert peers_of(configurations) == ["b", "c"]
    assert configurations.latest.index == 9
    assert configurations.cut_from(8)
    assert peers_of(configurations) == ["a", "b", "c"]
    assert not configurations.cut_from(8)
    assert configurations.cut_from(7)
    assert peers_of(configurations) == ["a", "b"]


def test_the_base_configuration_is_never_cut() -> None:
    configurations = Configurations(index=5, peers=[A])
    assert not configurations.cut_from(1)
    assert peers_of(configurations) == ["a"]


def test_a_snapshot_carries_the_configuration_of_its_index_not_the_newest() -> None:
    configurations = Configurations(index=1, peers=[A, B])
    configurations.append(7, 3, encode_change("add", C))
    assert configurations.at(6).index == 1
    assert configurations.at(7).index == 7
    assert configurations.at(100).index == 7
    assert configurations.at(0).index == 1


def test_only_a_committed_configuration_or_the_bootstrap_makes_a_server_active() -> None:
    configurations = Configurations(index=0, peers=[])
    for command, index, term in bootstrap_entries([A, B]):
        configurations.append(index, term, command)
    configurations.append(7, 3, encode_change("add", C))
    assert sorted(configurations.committed(1).peers) == ["a", "b"]
    assert sorted(configurations.committed(7).peers) == ["a", "b", "c"]


def test_an_installed_snapshot_replaces_what_came_before_it_and_keeps_what_follows() -> None:
    configurations = Configurations(index=1, peers=[A])
    configurations.append(7, 3, encode_change("add", B))
    configurations.append(20, 3, encode_change("add", C))
    configurations.restart_at(index=7, peers=[A, B], snapshot_index=15)
    assert (configurations.at(15).index, configurations.latest.index) == (7, 20)
    configurations.restart_at(index=20, peers=[A, B, C], snapshot_index=25)
    assert configurations.at(1).index == 20


def test_trimming_forgets_what_no_log_can_return_to() -> None:
    configurations = Configurations(index=1, peers=[A])
    configurations.append(7, 3, encode_change("add", B))
    configurations.append(9, 3, encode_change("add", C))
    configurations.forget_before(8)
    assert configurations.at(1).index == 7
    assert peers_of(configurations) == ["a", "b", "c"]


def test_an_add_of_a_known_id_changes_its_address() -> None:
    moved = Peer(server_id="a", name="n-a", address="10.9.9.9:1")
    assert membership.apply_change({"a": A, "b": B}, encode_change("add", moved)) == {"a": moved, "b": B}


def test_a_recovered_configuration_replaces_everything() -> None:
    assert membership.apply_change({"a": A, "b": B}, encode_set([C])) == {"c": C}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x01",
        codec.pack(["add", "a", []]),
        codec.pack(["add", "b", ["a", "n", "x"]]),
        codec.pack(["???", "a", ["a", "n", "x"]]),
    ],
    ids=["nothing", "a number", "no peer", "another id", "unknown"],
)
def test_an_entry_that_nobody_can_have_written_stops_the_server(body: bytes) -> None:
    with pytest.raises(InvariantBroken):
        membership.apply_change({}, b"\x02" + body)


@pytest.mark.parametrize(
    ("operation", "peer", "text"),
    [
        ("rem", C, "is not in the configuration"),
        ("rem", A, "transfer the leadership first"),
        ("add", B, "is already in the configuration"),
        ("add", Peer(server_id="z", name="z", address=B.address), "belongs to server b"),
        ("add", Peer(server_id="b", name="b", address="elsewhere:1"), None),
        ("add", C, None),
        ("rem", B, None),
    ],
)
def test_a_change_is_refused_with_the_reason(operation: membership.Operation, peer: Peer, text: str | None) -> None:
    reason = membership.complaint(operation, peer, peers={"a": A, "b": B}, self_id="a")
    assert reason is None if text is None else text in (reason or "")


def test_a_change_waits_for_the_leaders_own_entry_and_for_the_change_before() -> None:
    membership.require_changeable(ready=True, configuration_index=5, commit_index=5)
    with pytest.raises(Refused, match="own term"):
        membership.require_changeable(ready=False, configuration_index=5, commit_index=5)
    with pytest.raises(Refused, match="another change is in progress"):
        membership.require_changeable(ready=True, configuration_index=6, commit_index=5)
