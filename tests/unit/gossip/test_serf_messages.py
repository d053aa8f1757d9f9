"""Messages of the upper layer: foreign forms that are taken, and what is refused."""

import pytest

from base.codec import pack_old
from base.errors import InvalidRequest, TooLarge
from gossip import serf_messages
from gossip.config import TAGS_BYTES_MAX
from gossip.fields import LAMPORT_TIME_MAX
from gossip.serf_messages import (
    DIMENSIONS_MAX,
    EVENT_SLOTS_COUNT,
    EVENTS_PER_SLOT_MAX,
    MEMBERS_MAX,
    AckCoordinate,
    ConflictResponse,
    EventSlot,
    JoinIntent,
    KeyResponse,
    NamesFilter,
    Query,
    QueryResponse,
    Relay,
    SerfType,
    SlotEvent,
    State,
    UserEvent,
    decode,
    decode_ack_payload,
    decode_filter,
    decode_tags,
    encode,
    encode_ack_payload,
    encode_filter,
    encode_tags,
)


def body(kind: SerfType, fields: object) -> bytes:
    return bytes((kind,)) + pack_old(fields)


def test_every_type_has_a_record() -> None:
    assert set(serf_messages.KINDS) == set(SerfType)


@pytest.mark.parametrize("kind", [kind for kind in SerfType if kind is not SerfType.RELAY], ids=lambda kind: kind.name)
def test_a_map_with_nothing_in_it_is_a_record_of_zeros(kind: SerfType) -> None:
    assert decode(body(kind, {})) == serf_messages.KINDS[kind]()


@pytest.mark.parametrize("kind", SerfType, ids=lambda kind: kind.name)
@pytest.mark.parametrize("value", [[1, 2], 5, b"x", True], ids=repr)
def test_what_is_no_map_is_refused(kind: SerfType, value: object) -> None:
    with pytest.raises(InvalidRequest):
        decode(body(kind, value))


@pytest.mark.parametrize("data", [b"", b"\x0a\x80", b"\xff\x80", b"\x00"], ids=repr)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(data)


def test_lamport_times_leave_room_to_go_on() -> None:
    """Whoever follows the highest time that is taken can still count on and be written."""
    assert decode(body(SerfType.JOIN, {"LTime": LAMPORT_TIME_MAX})) == JoinIntent(lamport_time=LAMPORT_TIME_MAX)
    assert encode(JoinIntent(lamport_time=LAMPORT_TIME_MAX + 1_000_000))
    for time in (LAMPORT_TIME_MAX + 1, -1, 1.0, b"1", None):
        with pytest.raises(InvalidRequest):
            decode(body(SerfType.JOIN, {"LTime": time}))


def test_nil_stands_for_nothing() -> None:
    assert decode(body(SerfType.QUERY, {"Filters": None, "Payload": None, "Addr": None})) == Query()
    assert decode(body(SerfType.QUERY_RESPONSE, {"Payload": None})) == QueryResponse()
    assert decode(body(SerfType.KEY_RESPONSE, {"Keys": None})) == KeyResponse()
    assert decode(body(SerfType.CONFLICT_RESPONSE, None)) == ConflictResponse(known=False)
    assert decode(body(SerfType.STATE, {"StatusLTimes": None, "LeftMembers": None, "Events": None})) == State()


def test_the_state_of_a_foreign_member_lists_all_slots() -> None:
    slot = {"LTime": 4, "Events": [{"Name": b"deploy", "Payload": None}]}
    fields = {"LTime": 9, "Events": [None] * (EVENT_SLOTS_COUNT - 1) + [slot], "New": [[{}]]}
    state = decode(body(SerfType.STATE, fields))
    assert isinstance(state, State)
    assert state.lamport_time == 9
    assert state.events[-1] == EventSlot(lamport_time=4, events=[SlotEvent(name="deploy")])
    assert not any(state.events[:-1])
    assert decode(encode(state)) == state


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"Events": [None] * (EVENT_SLOTS_COUNT + 1)}, id="slots"),
        pytest.param({"Events": [{"Events": [{}] * (EVENTS_PER_SLOT_MAX + 1)}]}, id="events"),
        pytest.param({"Events": [{"Events": [{"Payload": bytes(70_000)}]}]}, id="bytes"),
        pytest.param({"StatusLTimes": {b"x" * 3000: 1}}, id="name"),
    ],
)
def test_a_state_with_more_than_there_can_be_is_too_large(fields: object) -> None:
    with pytest.raises(TooLarge):
        decode(body(SerfType.STATE, fields))


def test_a_state_that_announces_millions_is_refused_before_any_is_read() -> None:
    for key in (b"\xabLeftMembers\xdd", b"\xacStatusLTimes\xdf", b"\xa6Events\xdd"):
        for count in (MEMBERS_MAX + 1, 0xFFFFFFFF):
            with pytest.raises(TooLarge):
                decode(b"\x02\x81" + key + count.to_bytes(4, "big"))
    with pytest.raises(TooLarge):
        decode(b"\x02\xdf\xff\xff\xff\xff")


@pytest.mark.parametrize(
    "fields",
    [
        {"StatusLTimes": {"a": -1}},
        {"StatusLTimes": {"a": b"x"}},
        {"StatusLTimes": [1]},
        {"LeftMembers": [5]},
        {"LeftMembers": {}},
        {"Events": [5]},
        {"Events": [{"Events": [5]}]},
        {"Events": 5},
        {"LTime": []},
    ],
    ids=repr,
)
def test_an_impossible_state_is_refused(fields: object) -> None:
    with pytest.raises(InvalidRequest):
        decode(body(SerfType.STATE, fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"ID": 1 << 32},
        {"Port": 1 << 16},
        {"RelayFactor": 256},
        {"Timeout": -1},
        {"Timeout": 1 << 63},
        {"Filters": [5]},
        {"Filters": b"x"},
        {"Addr": b"abc"},
        {"Name": 5},
        {"Payload": 5},
        {"Flags": -1},
    ],
    ids=repr,
)
def test_an_impossible_query_is_refused(fields: object) -> None:
    with pytest.raises(InvalidRequest):
        decode(body(SerfType.QUERY, fields))


def test_a_relay_carries_any_message() -> None:
    inner = encode(QueryResponse(query_id=7, sender="a"))
    relay = Relay(host="::1", port=8301, message=inner)
    assert decode(encode(relay)) == relay
    for wrong in ({}, {"DestAddr": None}, {"DestAddr": {"IP": b"x"}}):
        with pytest.raises(InvalidRequest):
            decode(body(SerfType.RELAY, wrong))


def test_a_text_without_bytes_is_refused_on_the_way_out() -> None:
    """JSON may hold half a surrogate pair; what stands for undecodable bytes is another matter."""
    with pytest.raises(InvalidRequest):
        encode(UserEvent(name="\ud800"))
    event = UserEvent(name="\udcff")
    assert decode(encode(event)) == event


def test_filters_of_other_kinds_are_refused() -> None:
    assert decode_filter(encode_filter(NamesFilter(names=[]))) == NamesFilter(names=[])
    for data in (b"", b"\x02\x90", b"\x00\x81\xa1a\x01", b"\x00\x91\x01", b"\x01\x90", b"\x01\x81\xa3Tag\x05", b"\x00"):
        with pytest.raises(InvalidRequest):
            decode_filter(data)


def test_meta_data_without_the_mark_is_a_role() -> None:
    assert decode_tags(b"web") == {"role": "web"}
    assert decode_tags(b"") == {"role": ""}
    assert decode_tags(b"\xff\xc0") == {}


def test_tags_have_a_limit() -> None:
    room = TAGS_BYTES_MAX - len(b"\xff\x81\xa1a\xda\x00\x00")
    assert decode_tags(encode_tags({"a": "x" * room})) == {"a": "x" * room}
    with pytest.raises(TooLarge, match="exceeds limit of 512 bytes"):
        encode_tags({"a": "x" * (room + 1)})


@pytest.mark.parametrize(
    "meta", [b"\xff", b"\xff\x90", b"\xff\x81\xa1a\x01", b"\xff\x81\xa1a", b"\xff\xdf\xff\xff\xff\xff"]
)
def test_impossible_tags_are_refused(meta: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_tags(meta)


def test_tags_are_written_in_one_order() -> None:
    assert encode_tags({"b": "1", "a": "2"}) == encode_tags({"a": "2", "b": "1"})


def test_positions_may_come_in_whole_numbers_and_go_in_floats() -> None:
    payload = b"\x01" + pack_old({"Vec": [0, 1, 2.5], "Error": 1, "Height": 0})
    position = decode_ack_payload(payload)
    assert position == AckCoordinate(vec=[0.0, 1.0, 2.5], error=1.0)
    assert encode_ack_payload(AckCoordinate(vec=[0], error=1)).count(b"\xcb") == 4
    assert decode_ack_payload(b"") is None


@pytest.mark.parametrize(
    "payload",
    [
        b"\x02\x80",
        b"\x01",
        b"\x01\x90",
        b"\x01" + pack_old({"Vec": [float("nan")]}),
        b"\x01" + pack_old({"Error": float("inf")}),
        b"\x01" + pack_old({"Height": True}),
        b"\x01" + pack_old({"Vec": b"x"}),
    ],
    ids=repr,
)
def test_impossible_positions_are_refused(payload: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_ack_payload(payload)


def test_a_position_has_so_many_dimensions_and_no_more() -> None:
    with pytest.raises(TooLarge):
        decode_ack_payload(b"\x01" + pack_old({"Vec": [0.0] * (DIMENSIONS_MAX + 1)}))
