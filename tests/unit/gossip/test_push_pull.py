"""Tables of nodes: what is kept of a foreign one, and what must never be sent."""

import pytest

from base.codec import pack_old
from base.errors import InvalidRequest, TooLarge
from gossip.instructions import VERSIONS
from gossip.layers import State
from gossip.push_pull import COMPLAINTS_MAX, NODE_BYTES_MAX, NodeState, PushPull, decode_push_pull, encode_push_pull

WIRE_NODE = {"Name": b"a", "Addr": bytes((10, 0, 0, 1)), "Port": 8301, "State": 1, "Vsn": bytes((1, 5, 2, 2, 5, 4))}


def message(*nodes: object, user_state: bytes = b"", **header: object) -> bytes:
    fields = {"Nodes": len(nodes), "UserStateLen": len(user_state), "Join": False} | header
    return b"\x06" + pack_old(fields) + b"".join(pack_old(node) for node in nodes) + user_state


def only(**changes: object) -> PushPull:
    return decode_push_pull(message(WIRE_NODE | changes))


def test_a_node_is_read() -> None:
    assert only().nodes == [NodeState(name="a", host="10.0.0.1", port=8301, state=State.SUSPECT, versions=VERSIONS)]
    assert only(Addr=bytes(15) + b"\x01", Meta=b"m", Incarnation=7).nodes == [
        NodeState(name="a", host="::1", port=8301, meta=b"m", incarnation=7, state=State.SUSPECT, versions=VERSIONS)
    ]


def test_missing_fields_are_zero_and_unknown_ones_are_skipped() -> None:
    table = decode_push_pull(message({"Name": b"a", "New": [{}]}))
    assert table.nodes == [NodeState(name="a", versions=None)]


@pytest.mark.parametrize("versions", [None, b"", bytes(5)])
def test_a_node_without_six_versions_is_known_as_one(versions: bytes | None) -> None:
    assert only(Vsn=versions).nodes[0].versions is None


def test_versions_of_the_future_are_read_as_far_as_they_are_known() -> None:
    assert only(Vsn=bytes((1, 2, 3, 4, 5, 6, 7))).nodes[0].versions == (1, 2, 3, 4, 5, 6)


def test_a_record_without_versions_is_never_sent() -> None:
    """A foreign member does not survive it."""
    sent = encode_push_pull(PushPull(nodes=[NodeState(name="a", versions=None)]))
    assert decode_push_pull(sent).nodes[0].versions == VERSIONS


@pytest.mark.parametrize(
    "changes",
    [
        {"Name": b""},
        {"Name": b"x" * 256},
        {"Name": b"a\nb"},
        {"Name": 5},
        {"Addr": b"abc"},
        {"Addr": "10.0.0.1"},
        {"Port": 65_536},
        {"Port": -1},
        {"Port": 1.5},
        {"Incarnation": 1 << 32},
        {"State": 3},
        {"State": -1},
        {"State": None},
        {"Meta": [1]},
        {"Vsn": 5},
    ],
    ids=repr,
)
def test_an_impossible_record_is_left_out_and_mentioned(changes: dict[str, object]) -> None:
    table = decode_push_pull(message(WIRE_NODE | changes, WIRE_NODE | {"Name": b"b"}, user_state=b"u"))
    assert [node.name for node in table.nodes] == ["b"]
    assert len(table.complaints) == 1
    assert table.user_state == b"u"


def test_complaints_are_few() -> None:
    table = decode_push_pull(message(*[5] * 1000, WIRE_NODE))
    assert len(table.nodes) == 1
    assert len(table.complaints) == COMPLAINTS_MAX


def test_a_table_that_is_not_what_its_header_says_is_refused() -> None:
    whole = message(WIRE_NODE, WIRE_NODE, user_state=b"user")
    for size in range(len(whole)):
        with pytest.raises(InvalidRequest):
            decode_push_pull(whole[:size])
    for wrong in (b"\x05" + whole[1:], message(Nodes=1), message(UserStateLen=1), message(Nodes=None)):
        with pytest.raises(InvalidRequest):
            decode_push_pull(wrong)


def test_a_huge_record_is_refused_before_it_is_built() -> None:
    with pytest.raises(TooLarge):
        decode_push_pull(message(WIRE_NODE | {"Meta": bytes(NODE_BYTES_MAX)}))


def test_a_header_of_millions_is_refused_cheaply() -> None:
    for header in (
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa5Nodes\xce\xff\xff\xff\xff",
        b"\x81\xacUserStateLen\xce\xff\xff\xff\xff",
    ):
        with pytest.raises(InvalidRequest):
            decode_push_pull(b"\x06" + header)
