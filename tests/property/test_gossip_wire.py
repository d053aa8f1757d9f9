"""Gossip: whatever is written is read back, and any bytes are read or refused: no other error, and in little time."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from base.codec import pack_old
from base.errors import InvalidRequest, Refused, TooLarge
from gossip import lzw, messages, serf_messages
from gossip.fields import DURATION_NS_MAX, LAMPORT_TIME_MAX, U16_MAX, U32_MAX, Fields
from gossip.keyring import Keyring, dump_keyring, load_keyring
from gossip.layers import State
from gossip.messages import Message, Type
from gossip.packets import PARTS_MAX, compound, compressed, open_packet, seal_packet, split
from gossip.push_pull import NodeState, PushPull, decode_push_pull, encode_push_pull
from gossip.serf_messages import (
    AckCoordinate,
    ConflictResponse,
    EventSlot,
    JoinIntent,
    KeyRequest,
    KeyResponse,
    LeaveIntent,
    NamesFilter,
    Query,
    QueryResponse,
    Relay,
    SerfMessage,
    SerfType,
    SlotEvent,
    TagFilter,
    UserEvent,
    decode_ack_payload,
    decode_filter,
    decode_tags,
    encode_ack_payload,
    encode_filter,
    encode_tags,
)
from gossip.streams import StreamReader, decode_user_message, seal_stream
from tests.fakes.lzw_codes import packed

RING = Keyring([bytes(range(16)), bytes(32)])
REFUSALS = (InvalidRequest, TooLarge)
TIME_S_MAX = 1.0
"""Of the processor, for any few hundred bytes: a thousand times what they take, to find what grows without bound."""

U8 = st.integers(0, 255)
U16 = st.integers(0, U16_MAX)
U32 = st.integers(0, U32_MAX)
LAMPORT = st.integers(0, LAMPORT_TIME_MAX)
WIRE_TEXT = st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
NAME = st.text(max_size=20).filter(str.isprintable)
BLOB = st.binary(max_size=200)
HOST = st.just("") | st.ip_addresses().map(str)
VERSIONS = st.tuples(U8, U8, U8, U8, U8, U8)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)

MESSAGES: dict[type[Message], st.SearchStrategy[Message]] = {
    messages.Ping: st.builds(messages.Ping, sequence=U32, node=NAME),
    messages.IndirectPing: st.builds(
        messages.IndirectPing, sequence=U32, target=HOST, port=U16, node=NAME, nack=st.booleans()
    ),
    messages.Ack: st.builds(messages.Ack, sequence=U32, payload=BLOB),
    messages.Nack: st.builds(messages.Nack, sequence=U32),
    messages.Suspect: st.builds(messages.Suspect, incarnation=U32, node=NAME, sender=NAME),
    messages.Dead: st.builds(messages.Dead, incarnation=U32, node=NAME, sender=NAME),
    messages.Alive: st.builds(
        messages.Alive, incarnation=U32, node=NAME, host=HOST, port=U16, meta=BLOB, versions=VERSIONS
    ),
    messages.ErrorMessage: st.builds(messages.ErrorMessage, text=WIRE_TEXT),
}
SLOT = st.builds(
    EventSlot,
    lamport_time=LAMPORT,
    events=st.lists(st.builds(SlotEvent, name=WIRE_TEXT, payload=BLOB), max_size=3),
)
SERF_MESSAGES: dict[type[SerfMessage], st.SearchStrategy[SerfMessage]] = {
    LeaveIntent: st.builds(LeaveIntent, lamport_time=LAMPORT, node=NAME),
    JoinIntent: st.builds(JoinIntent, lamport_time=LAMPORT, node=NAME),
    serf_messages.State: st.builds(
        serf_messages.State,
        lamport_time=LAMPORT,
        status_times=st.dictionaries(NAME, LAMPORT, max_size=5),
        left_members=st.lists(NAME, max_size=5),
        event_time=LAMPORT,
        events=st.lists(st.none() | SLOT, max_size=5),
        query_time=LAMPORT,
    ),
    UserEvent: st.builds(UserEvent, lamport_time=LAMPORT, name=WIRE_TEXT, payload=BLOB, coalesce=st.booleans()),
    Query: st.builds(
        Query,
        lamport_time=LAMPORT,
        query_id=U32,
        host=HOST,
        port=U16,
        filters=st.lists(BLOB, max_size=3),
        flags=U32,
        relay_factor=U8,
        timeout_ns=st.integers(0, DURATION_NS_MAX),
        name=WIRE_TEXT,
        payload=BLOB,
    ),
    QueryResponse: st.builds(QueryResponse, lamport_time=LAMPORT, query_id=U32, sender=NAME, flags=U32, payload=BLOB),
    ConflictResponse: st.just(ConflictResponse(known=False))
    | st.builds(
        ConflictResponse,
        known=st.just(True),
        name=NAME,
        host=HOST,
        port=U16,
        tags=st.dictionaries(WIRE_TEXT, WIRE_TEXT, max_size=3),
        status=U8,
        protocol_min=U8,
        delegate_current=U8,
    ),
    KeyRequest: st.builds(KeyRequest, key=BLOB),
    KeyResponse: st.builds(KeyResponse, result=st.booleans(), message=WIRE_TEXT, keys=st.lists(WIRE_TEXT, max_size=3)),
    Relay: st.builds(Relay, host=HOST, port=U16, zone=WIRE_TEXT, message=BLOB),
}
NODE = st.builds(
    NodeState,
    name=NAME.filter(bool),
    host=HOST,
    port=U16,
    meta=BLOB,
    incarnation=U32,
    state=st.sampled_from(State),
    versions=VERSIONS,
)
TABLE = st.builds(
    PushPull, nodes=st.lists(NODE, max_size=5), user_state=BLOB, join=st.booleans(), complaints=st.just([])
)

# Values of the old form, with what no sender sends among them, and bytes that are none.
WIRE_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.binary(max_size=4), inner, max_size=4),
    max_leaves=12,
)
RECORDS: list[type[Fields]] = [*messages.KINDS.values(), *serf_messages.KINDS.values(), NodeState]
KEYS = sorted(
    {key for kind in RECORDS for key, _, _ in kind.FIELDS.values()}
    | {"Nodes", "UserStateLen", "UserMsgLen", "Algo", "Buf", "DestAddr", "Events", "StatusLTimes", "LeftMembers", "Vec"}
)
LOOKALIKES = st.builds(
    lambda kind, fields, rest: bytes((kind,)) + pack_old(fields) + rest,
    st.integers(0, 15),
    st.dictionaries(st.sampled_from(KEYS), WIRE_VALUES, max_size=8),
    st.binary(max_size=40),
)
"""A type byte, a map with the right keys and wrong values, and something behind it."""
ANY_BYTES = st.binary(max_size=400) | LOOKALIKES


def _read_stream(keyring: Keyring | None) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        reader = StreamReader(keyring, verify_incoming=False)
        reader.feed(data)
        reader.end()
        return reader.message

    return read


READERS: dict[str, Callable[[bytes], object]] = {
    "message": messages.decode,
    "upper message": serf_messages.decode,
    "filter": decode_filter,
    "tags": decode_tags,
    "position": decode_ack_payload,
    "table": decode_push_pull,
    "user message": decode_user_message,
    "compressed": lambda data: lzw.decompress(data, 1 << 16),
    "packet": lambda data: split(open_packet(data, None)),
    "sealed packet": lambda data: split(open_packet(RING.seal(data, b"", bytes(12)), RING)),
    "parts": split,
    "stream": _read_stream(None),
    "sealed stream": _read_stream(RING),
    "keyring file": lambda data: load_keyring(data.decode("latin-1")),
}


@pytest.mark.parametrize("name", READERS)
def test_any_bytes_are_read_or_refused(name: str) -> None:
    read = READERS[name]

    @given(ANY_BYTES)
    @example(b"")
    @example(b"\x91" * 3000)
    @example(b"\x07\xff" * 300)
    def check(data: bytes) -> None:
        start_s = time.process_time()
        for wrapped in (data, compressed(data)):
            with suppress(*REFUSALS):
                read(wrapped)
        assert time.process_time() - start_s < TIME_S_MAX

    check()


@pytest.mark.parametrize("kind", messages.KINDS.values(), ids=lambda kind: kind.__name__)
def test_messages_come_back(kind: type[Message]) -> None:
    @given(MESSAGES[kind])
    def check(message: Message) -> None:
        assert messages.decode(messages.encode(message)) == message

    check()


@pytest.mark.parametrize("kind", serf_messages.KINDS.values(), ids=lambda kind: kind.__name__)
def test_messages_of_the_upper_layer_come_back(kind: type[SerfMessage]) -> None:
    @given(SERF_MESSAGES[kind])
    def check(message: SerfMessage) -> None:
        assert serf_messages.decode(serf_messages.encode(message)) == message

    check()


@given(TABLE)
def test_tables_come_back(table: PushPull) -> None:
    assert decode_push_pull(encode_push_pull(table)) == table


@given(TABLE, st.sampled_from([None, RING]), st.binary(min_size=12, max_size=12), st.data())
def test_streams_come_back_however_they_are_cut(
    table: PushPull, keyring: Keyring | None, nonce: bytes, data: st.DataObject
) -> None:
    message = encode_push_pull(table)
    sealed = seal_stream(message, keyring, nonce)
    reader = StreamReader(keyring)
    while sealed:
        assert reader.message is None
        size = data.draw(st.integers(1, len(sealed)))
        reader.feed(sealed[:size])
        sealed = sealed[size:]
    assert reader.message == message


@given(
    st.lists(st.builds(lambda kind, rest: bytes((kind,)) + rest, st.sampled_from([0, 2, 3, 4, 5, 8, 11]), BLOB),
             min_size=1, max_size=PARTS_MAX),
    st.sampled_from([None, RING]),
    st.booleans(),
    st.binary(min_size=12, max_size=12),
)  # fmt: skip
def test_packets_come_back(parts: list[bytes], keyring: Keyring | None, with_crc: bool, nonce: bytes) -> None:
    datagram = seal_packet(compound(parts), keyring, with_crc=with_crc, nonce=nonce)
    assert split(open_packet(datagram, keyring)) == parts


@given(
    st.binary(max_size=3000) | st.text("ab", max_size=9000).map(str.encode) | st.builds(bytes, st.integers(0, 50_000))
)
def test_compressed_bytes_come_back(plain: bytes) -> None:
    assert lzw.decompress(lzw.compress(plain), len(plain)) == plain


@given(st.lists(st.tuples(st.integers(0, 511), st.just(9)), max_size=300))
def test_any_codes_are_expanded_or_refused(codes: list[tuple[int, int]]) -> None:
    with suppress(*REFUSALS):
        assert len(lzw.decompress(packed([*codes, (257, 9)]), 4096)) <= 4096


@given(
    st.dictionaries(WIRE_TEXT, WIRE_TEXT, max_size=6), st.lists(FLOAT, max_size=8), FLOAT, st.lists(NAME, max_size=6)
)
def test_tags_positions_and_filters_come_back(
    tags: dict[str, str], axes: list[float], number: float, names: list[str]
) -> None:
    if len(pack_old({key.encode("utf-8", "surrogateescape"): b"" for key in tags})) < 200:
        assert decode_tags(encode_tags(tags)) == tags
    position = AckCoordinate(vec=axes, error=number, adjustment=-number, height=number)
    assert decode_ack_payload(encode_ack_payload(position)) == position
    for wanted in (NamesFilter(names=names), TagFilter(tag=(names or [""])[0], expression="x")):
        assert decode_filter(encode_filter(wanted)) == wanted


@given(
    st.lists(
        st.sampled_from([16, 24, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
        min_size=1,
        max_size=8,
    )
)
def test_keyrings_keep_their_order_and_never_lose_a_key(keys: list[bytes]) -> None:
    ring = Keyring(keys[:1])
    for key in keys:
        ring = ring.install(key).use(key)
        assert ring.keys[0] == key
    assert set(ring.keys) == set(keys)
    assert load_keyring(dump_keyring(ring)) == ring
    for key in keys:
        try:
            ring = ring.remove(key)
        except Refused:
            assert key == ring.keys[0]
    assert ring.keys == (keys[-1],)


def test_every_kind_of_message_has_its_strategy() -> None:
    assert set(MESSAGES) == set(messages.KINDS.values())
    assert set(SERF_MESSAGES) == set(serf_messages.KINDS.values())
    assert {kind.TYPE for kind in SERF_MESSAGES} == set(SerfType)
    assert set(Type) - {kind.TYPE for kind in MESSAGES} == {6, 7, 8, 9, 10, 12}
