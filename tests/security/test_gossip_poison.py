"""What a single forged packet leaves behind must not keep the members from comparing their tables for good.

Weakness class: a record that is taken from anybody and refused in everybody's sum.
"""

import random

import pytest

from gossip.instructions import VERSIONS, Address, Versions
from gossip.layers import Node, State
from gossip.members import TABLE_BYTES_MAX, Members, record_bytes
from gossip.messages import Alive, encode
from gossip.push_pull import NodeState, PushPull, encode_push_pull
from gossip.serf_messages import State as SerfState
from gossip.serf_messages import encode as encode_serf
from gossip.streams import STREAM_BYTES_MAX
from gossip.user_events import BUFFER_BYTES_MAX
from tests.fakes.swim_group import Group


def forged(name: str, versions: Versions = VERSIONS, meta: bytes = b"\xff\x80", incarnation: int = 1) -> bytes:
    return encode(Alive(incarnation=incarnation, node=name, host="10.0.0.77", port=8301, meta=meta, versions=versions))


@pytest.mark.parametrize(
    "odd",
    [
        [(6, 6, 6, 2, 5, 4)],
        [(1, 1, 1, 2, 5, 4)],
        [(1, 5, 9, 2, 5, 4)],
        [(1, 5, 2, 9, 9, 9)],
        [(0, 0, 0, 0, 0, 0)],
        [(1, 2, 2, 2, 5, 4), (1, 5, 5, 2, 5, 4)],  # each goes together with us, but not with the other
    ],
)
def test_members_whose_versions_do_not_go_together_with_the_others_do_not_come_in(odd: list[Versions]) -> None:
    group = Group(3)
    group.join_all()
    for number, versions in enumerate(odd):
        group.deliver("a", forged(f"odd{number}", versions))
        group.deliver("b", forged(f"odd{number}", versions))
    group.run(70.0)  # two comparisons of tables by each
    logged = [log.text for peer in group.peers.values() for log in peer.logs]
    assert not [text for text in logged if "not merged" in text or "not compared" in text]
    assert any("version" in text for text in logged)
    assert group.all_alive()


def test_a_known_member_cannot_be_given_odd_versions() -> None:
    group = Group(2)
    group.join_all()
    stolen = Alive(incarnation=5, node="b", host="10.0.0.2", port=8301, meta=b"\xff\x80", versions=(6, 6, 6, 2, 5, 4))
    group.deliver("a", encode(stolen))
    assert group["a"].swim.nodes["b"].versions == VERSIONS


def node(name: str, meta: bytes) -> Node:
    return Node(
        name=name, address=Address("10.0.0.1", 1), meta=meta, incarnation=1, state=State.ALIVE, changed_s=0.0,
        versions=VERSIONS,
    )  # fmt: skip


@pytest.mark.parametrize(("name_length", "meta_bytes"), [(8, 512), (255, 0), (12, 170)])
def test_a_table_that_is_full_still_fits_a_stream(name_length: int, meta_bytes: int) -> None:
    members = Members(node("us", b""), random.Random(1))
    number = 0
    while members.has_room(name := f"{number:0{name_length}}", bytes(meta_bytes)):
        members.add(node(name, bytes(meta_bytes)))
        number += 1
    table = PushPull(
        nodes=[
            NodeState(name=each.name, host="2001:db8:85a3:1234:5678:8a2e:370:7334", port=65535, meta=each.meta,
                      incarnation=1 << 31, versions=VERSIONS)
            for each in members.nodes.values()
        ],
        user_state=encode_serf(
            SerfState(status_times=dict.fromkeys(members.nodes, 1 << 62), left_members=list(members.nodes))
        ),
    )  # fmt: skip
    assert number > 9_000
    assert len(encode_push_pull(table)) + BUFFER_BYTES_MAX <= STREAM_BYTES_MAX


def test_room_is_counted_as_members_come_change_and_go() -> None:
    members = Members(node("us", b""), random.Random(1))
    least = record_bytes("us", b"")
    x = node("x", bytes(100))
    members.add(x)
    members.describe(x, bytes(300))
    assert members._table_bytes == least + record_bytes("x", bytes(300))
    members._table_bytes = TABLE_BYTES_MAX
    assert not members.has_room("y", b"")
    assert not members.has_room("x", bytes(301))
    assert members.has_room("x", bytes(300))
    members._table_bytes = least + record_bytes("x", bytes(300))
    members.change(x, State.DEAD, 1.0)
    members.forget("x")
    assert members._table_bytes == least


def test_a_newcomer_for_whom_there_is_no_room_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossip.members.TABLE_BYTES_MAX", 1500)
    group = Group(1)
    for number in range(9):
        group.deliver("a", forged(f"fake{number}", meta=bytes(200)))
    assert 3 < len(group["a"].swim.nodes) < 8
    assert any("members already" in log.text for log in group["a"].logs)
