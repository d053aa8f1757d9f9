"""Golden bytes of gossip, as foreign members write them. A change here is a change of the wire: they would not follow.

Sources: the examples of wire format, sections 2 and 3, and records written out by hand by its sections 4, 7, 8 and 10.
"""

import struct

import pytest

from base.errors import InvalidRequest, TooLarge
from gossip import lzw, messages, serf_messages
from gossip.instructions import VERSIONS
from gossip.keyring import Keyring
from gossip.layers import State
from gossip.messages import Ack, Alive, Dead, ErrorMessage, IndirectPing, Message, Nack, Ping, Suspect
from gossip.packets import compound, compressed, open_packet, seal_packet, split
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
from gossip.streams import StreamReader, decode_user_message, encode_user_message, seal_stream

KEY = bytes(range(16))
NONCE = bytes.fromhex("6465666768696a6b6c6d6e6f")
RING = Keyring([KEY])
PING = "0082a44e6f6465a161a55365714e6f01"
ALIVE = (
    "0486a441646472a47f000001ab496e6361726e6174696f6e01a44d657461acff81a4726f6c65a46e6f6465"
    "a44e6f6465a161a4506f7274cd206da356736ea6010502020504"
)

MESSAGES: list[tuple[Message, str]] = [
    (Ping(sequence=1, node="a"), PING),
    (Ack(sequence=300), "0282a75061796c6f6164c0a55365714e6fcd012c"),
    (Nack(sequence=1), "0b81a55365714e6f01"),
    (Suspect(incarnation=1, node="a", sender="b"), "0383a446726f6da162ab496e6361726e6174696f6e01a44e6f6465a161"),
    (Dead(incarnation=1, node="a"), "0583a446726f6da0ab496e6361726e6174696f6e01a44e6f6465a161"),
    (Alive(incarnation=1, node="a", host="127.0.0.1", port=8301, meta=encode_tags({"role": "node"})), ALIVE),
    (IndirectPing(sequence=2, target="127.0.0.1", port=8301, node="a", nack=True),
     "0185" "a44e61636bc3" "a44e6f6465a161" "a4506f7274cd206d" "a55365714e6f02" "a6546172676574a47f000001"),
    (ErrorMessage(text="no"), "0d81a54572726f72a26e6f"),
]  # fmt: skip
"""A message -> its bytes."""

LZW = [
    (b"", "000302"),
    (b"aaaa", "00c3080c1310"),
    (b"ababab", "00c38811283020"),
    (bytes(8), "0001081c283020"),
]

STATE = serf_messages.State(lamport_time=2, status_times={"a": 1}, event_time=1, query_time=1)
STATE_BYTES = (
    b"\x02\x86\xaaEventLTime\x01\xa6Events\x90\xa5LTime\x02\xabLeftMembers\x90\xaaQueryLTime\x01"
    b"\xacStatusLTimes\x81\xa1a\x01"
)
TABLE = PushPull(
    nodes=[
        NodeState(
            name="a",
            host="127.0.0.1",
            port=8301,
            meta=encode_tags({"role": "node"}),
            incarnation=1,
            versions=VERSIONS,
        ),
        NodeState(name="b", host="127.0.0.2", port=8302, incarnation=7, state=State.DEAD, versions=VERSIONS),
    ],
    user_state=STATE_BYTES,
    join=True,
)
TABLE_BYTES = (
    b"\x06\x83\xa4Join\xc3\xa5Nodes\x02\xacUserStateLen\x47"
    b"\x87\xa4Addr\xa4\x7f\0\0\x01\xabIncarnation\x01\xa4Meta\xac\xff\x81\xa4role\xa4node\xa4Name\xa1a"
    b"\xa4Port\xcd\x20\x6d\xa5State\0\xa3Vsn\xa6\x01\x05\x02\x02\x05\x04"
    b"\x87\xa4Addr\xa4\x7f\0\0\x02\xabIncarnation\x07\xa4Meta\xa0\xa4Name\xa1b"
    b"\xa4Port\xcd\x20\x6e\xa5State\x02\xa3Vsn\xa6\x01\x05\x02\x02\x05\x04" + STATE_BYTES
)

SERF_MESSAGES: list[tuple[SerfMessage, bytes]] = [
    (LeaveIntent(lamport_time=3, node="a"), b"\x00\x82\xa5LTime\x03\xa4Node\xa1a"),
    (JoinIntent(lamport_time=1 << 40, node="a"), b"\x01\x82\xa5LTime\xcf\0\0\1\0\0\0\0\0\xa4Node\xa1a"),
    (STATE, STATE_BYTES),
    (
        serf_messages.State(
            left_members=["b"], events=[None, EventSlot(lamport_time=1, events=[SlotEvent(name="x", payload=b"y")])]
        ),
        b"\x02\x86\xaaEventLTime\0\xa6Events\x92\xc0\x82\xa6Events\x91\x82\xa4Name\xa1x\xa7Payload\xa1y\xa5LTime\x01"
        b"\xa5LTime\0\xabLeftMembers\x91\xa1b\xaaQueryLTime\0\xacStatusLTimes\x80",
    ),
    (
        UserEvent(lamport_time=1, name="consul:new-leader", payload=b"s1"),
        b"\x03\x84\xa2CC\xc2\xa5LTime\x01\xa4Name\xb1consul:new-leader\xa7Payload\xa2s1",
    ),
    (
        Query(
            lamport_time=1,
            query_id=7,
            host="127.0.0.1",
            port=8301,
            filters=[encode_filter(NamesFilter(names=["a"]))],
            flags=serf_messages.QueryFlag.ACK,
            relay_factor=2,
            timeout_ns=3_200_000_000,
            name="_serf_ping",
        ),
        b"\x04\x8a\xa4Addr\xa4\x7f\0\0\x01\xa7Filters\x91\xa4\x00\x91\xa1a\xa5Flags\x01\xa2ID\x07\xa5LTime\x01"
        b"\xa4Name\xaa_serf_ping\xa7Payload\xa0\xa4Port\xcd\x20\x6d\xabRelayFactor\x02"
        b"\xa7Timeout\xce\xbe\xbc\x20\0",
    ),
    (
        QueryResponse(lamport_time=1, query_id=7, sender="a", flags=serf_messages.ResponseFlag.ACK),
        b"\x05\x85\xa5Flags\x01\xa4From\xa1a\xa2ID\x07\xa5LTime\x01\xa7Payload\xc0",
    ),
    (
        ConflictResponse(
            name="a",
            host="127.0.0.1",
            port=8301,
            tags={"role": "node"},
            status=1,
            protocol_min=1,
            protocol_max=5,
            protocol_current=2,
            delegate_min=2,
            delegate_max=5,
            delegate_current=4,
        ),
        b"\x06\x8b\xa4Addr\xa4\x7f\0\0\x01\xabDelegateCur\x04\xabDelegateMax\x05\xabDelegateMin\x02\xa4Name\xa1a"
        b"\xa4Port\xcd\x20\x6d\xabProtocolCur\x02\xabProtocolMax\x05\xabProtocolMin\x01\xa6Status\x01"
        b"\xa4Tags\x81\xa4role\xa4node",
    ),
    (ConflictResponse(known=False), b"\x06\xc0"),
    (KeyRequest(key=KEY), b"\x07\x81\xa3Key\xb0" + KEY),
    (KeyResponse(result=True, keys=["AA=="]), b"\x08\x83\xa4Keys\x91\xa4AA==\xa7Message\xa0\xa6Result\xc3"),
    (KeyResponse(message="no"), b"\x08\x83\xa4Keys\xc0\xa7Message\xa2no\xa6Result\xc2"),
    (
        Relay(host="127.0.0.1", port=8301, message=b"\x05\x80"),
        b"\x09\x81\xa8DestAddr\x83\xa2IP\xa4\x7f\0\0\x01\xa4Port\xcd\x20\x6d\xa4Zone\xa0\x05\x80",
    ),
]
FILTERS: list[tuple[NamesFilter | TagFilter, bytes]] = [
    (NamesFilter(names=["a", "b"]), b"\x00\x92\xa1a\xa1b"),
    (TagFilter(tag="role", expression="^no"), b"\x01\x82\xa4Expr\xa3^no\xa3Tag\xa4role"),
]
COORDINATE = AckCoordinate(vec=[0.0] * 8, error=1.5, height=1e-5)
COORDINATE_BYTES = (
    b"\x01\x84\xaaAdjustment\xcb" + bytes(8) + b"\xa5Error\xcb" + struct.pack(">d", 1.5)
    + b"\xa6Height\xcb" + struct.pack(">d", 1e-5) + b"\xa3Vec\x98" + (b"\xcb" + bytes(8)) * 8
)  # fmt: skip


def by_type(value: object) -> str:
    return "" if isinstance(value, str | bytes) else type(value).__name__


@pytest.mark.parametrize(("message", "golden"), MESSAGES, ids=by_type)
def test_a_message_is_written_and_read_as_ever(message: Message, golden: str) -> None:
    assert messages.encode(message).hex() == golden
    assert messages.decode(bytes.fromhex(golden)) == message


@pytest.mark.parametrize(("message", "golden"), SERF_MESSAGES, ids=by_type)
def test_a_message_of_the_upper_layer_is_written_and_read_as_ever(message: SerfMessage, golden: bytes) -> None:
    assert serf_messages.encode(message) == golden
    assert serf_messages.decode(golden) == message


def test_a_table_is_written_and_read_as_ever() -> None:
    assert encode_push_pull(TABLE) == TABLE_BYTES
    assert decode_push_pull(TABLE_BYTES) == TABLE


def test_an_empty_table_is_how_an_observer_asks() -> None:
    golden = b"\x06\x83\xa4Join\xc2\xa5Nodes\x00\xacUserStateLen\x00"
    assert encode_push_pull(PushPull(nodes=[])) == golden
    assert decode_push_pull(golden) == PushPull(nodes=[])


def test_a_user_message_on_a_stream_is_counted() -> None:
    golden = b"\x08\x81\xaaUserMsgLen\x04\x00abc"
    assert encode_user_message(b"\x00abc") == golden
    assert decode_user_message(golden) == b"\x00abc"


def test_filters_tags_and_positions_are_written_and_read_as_ever() -> None:
    for wanted, golden in FILTERS:
        assert encode_filter(wanted) == golden
        assert decode_filter(golden) == wanted
    assert encode_tags({"role": "node"}) == b"\xff\x81\xa4role\xa4node"
    assert decode_tags(b"\xff\x81\xa4role\xa4node") == {"role": "node"}
    assert encode_ack_payload(COORDINATE) == COORDINATE_BYTES
    assert decode_ack_payload(COORDINATE_BYTES) == COORDINATE


@pytest.mark.parametrize(("plain", "golden"), LZW)
def test_compression_gives_the_bytes_it_always_gave(plain: bytes, golden: str) -> None:
    assert lzw.compress(plain).hex() == golden
    assert lzw.decompress(bytes.fromhex(golden), len(plain)) == plain


def test_the_compressed_wrapper_names_its_algorithm() -> None:
    assert compressed(bytes(8)).hex() == "0982a4416c676f00a3427566a70001081c283020"


def test_a_compound_has_all_lengths_first() -> None:
    parts = [bytes.fromhex("000102"), bytes.fromhex("0304")]
    assert compound(parts).hex() == "0702000300020001020304"
    assert split(compound(parts)) == parts


PACKETS = {
    "checksum": "0c8a4f3e580082a44e6f6465a161a55365714e6f01",
    "sealed": "016465666768696a6b6c6d6e6f1ae0eaebb466dd5bfa9b0475f78444ed913f5899c4ce3c516e83912825d98936",
    "padded": "006465666768696a6b6c6d6e6f1ae0eaebb466dd5bfa9b0475f78444ed209868ef82b9cd4ae47fa187ace2e7e3"
    "1e829c7372d4a90bcae3d0b6455602fc",
}
"""The ping, wrapped in three ways; the last one is only ever received."""


def test_packets_are_wrapped_and_opened_as_ever() -> None:
    ping = bytes.fromhex(PING)
    assert seal_packet(ping, None, with_crc=True, nonce=b"").hex() == PACKETS["checksum"]
    assert seal_packet(ping, RING, with_crc=False, nonce=NONCE).hex() == PACKETS["sealed"]
    assert open_packet(bytes.fromhex(PACKETS["checksum"]), None) == ping
    for name in ("sealed", "padded"):
        assert open_packet(bytes.fromhex(PACKETS[name]), RING) == ping


STREAM = "0a0000002d016465666768696a6b6c6d6e6f1ae0eaebb466dd5bfa9b0475f78444edef6b64da94cf00ed6a9d84542e657edb"
COMPRESSED_TABLE = (
    "0982a4416c676f00a3427566da00d1000d0c22a5e44d1a37c34a397943a6cc1c01acaacc2923670a9d3074ca3029e3e6c8215241c89091"
    "43ea0f00000156257133268c1c3718d3bc7113805493321759fd0b444ace1b366548b96118d44998366542852105e58d1c3acd40b429"
    "6511631900a3accc71632a400101020a10f8187264c9930254b27409938e4c37076ce20c038a9451a4a1c430750a15841baa17330ac8"
    "bab5ebd7b00404185255c40e473a4ca8a4411ac054e3c77320958a3cb94cda8d66e8dc6c238662665551ea50ccc39932abaa74eacc69"
    "ed3090d2000101"
)


def test_streams_are_sealed_and_read_as_ever() -> None:
    header = bytes.fromhex(STREAM[:10])
    assert (header + RING.seal(bytes.fromhex(PING), header, NONCE)).hex() == STREAM
    assert StreamReader(RING).feed(bytes.fromhex(STREAM)) == bytes.fromhex(PING)
    assert seal_stream(TABLE_BYTES, None, b"").hex() == COMPRESSED_TABLE
    assert StreamReader(None).feed(bytes.fromhex(COMPRESSED_TABLE)) == TABLE_BYTES


# Every message cut short is refused, or (where only trailing values are missing) read; it never breaks the reader.

WHOLE = {
    **{f"message {type(message).__name__}": (messages.decode, bytes.fromhex(golden)) for message, golden in MESSAGES},
    **{
        f"serf {position} {type(message).__name__}": (serf_messages.decode, golden)
        for position, (message, golden) in enumerate(SERF_MESSAGES)
    },
    **{f"filter {type(wanted).__name__}": (decode_filter, golden) for wanted, golden in FILTERS},
    "table": (decode_push_pull, TABLE_BYTES),
    "user message": (decode_user_message, b"\x08\x81\xaaUserMsgLen\x04\x00abc"),
    "position": (decode_ack_payload, COORDINATE_BYTES),
    **{
        f"packet {name}": (lambda data: split(open_packet(data, RING)), bytes.fromhex(golden))
        for name, golden in PACKETS.items()
        if name != "checksum"
    },
    "packet checksum": (lambda data: split(open_packet(data, None)), bytes.fromhex(PACKETS["checksum"])),
    "stream plain": (lambda data: _read_to_the_end(data, None), bytes.fromhex(COMPRESSED_TABLE)),
    "stream sealed": (lambda data: _read_to_the_end(data, RING), bytes.fromhex(STREAM)),
    "compressed": (lambda data: lzw.decompress(data, 1 << 16), lzw.compress(TABLE_BYTES)),
}
MAY_END_EARLIER = {"packet checksum": {1, 2, 3, 4}, "serf 12 Relay": range(34, 37), "position": {0}}
"""Truncations that still are something: a packet of one to four bytes, a relay of less, no position at all."""


def _read_to_the_end(data: bytes, keyring: Keyring | None) -> bytes | None:
    reader = StreamReader(keyring)
    reader.feed(data)
    reader.end()
    return reader.message


@pytest.mark.parametrize("name", WHOLE)
def test_every_truncation_is_refused(name: str) -> None:
    read, golden = WHOLE[name]
    read(golden)
    for size in range(len(golden)):
        if size in MAY_END_EARLIER.get(name, ()):
            read(golden[:size])
            continue
        with pytest.raises((InvalidRequest, TooLarge)):
            read(golden[:size])
