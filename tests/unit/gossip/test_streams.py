"""Finding the one message of a stream in bytes that come as they like."""

import gc
import struct
import tracemalloc
from typing import Any

import pytest

from base.codec import OldScanner, Truncated, pack_old
from base.errors import InvalidRequest, TooLarge
from gossip import messages
from gossip.keyring import Keyring
from gossip.messages import Ack, ErrorMessage, Ping
from gossip.packets import COMPRESSED_BYTES_MAX, compressed
from gossip.push_pull import NodeState, PushPull, decode_push_pull, encode_push_pull
from gossip.serf_messages import MEMBERS_MAX
from gossip.streams import (
    COMPRESS_BYTES_MAX,
    PLAIN_BYTES_MAX,
    SMALL_BYTES_MAX,
    STREAM_BYTES_MAX,
    USER_MESSAGE_BYTES_MAX,
    EnvelopeRefused,
    StreamReader,
    decode_user_message,
    encode_user_message,
    error_answer,
    remote_error_text,
    seal_stream,
)
from tests.fakes.lzw_codes import bomb

MIB = 1 << 20
RING = Keyring([bytes(range(16))])
NONCE = bytes(12)
PING = messages.encode(Ping(sequence=1, node="a"))
ERROR = messages.encode(ErrorMessage(text="no"))


def table(nodes_count: int, user_state: bytes = b"") -> bytes:
    nodes = [
        NodeState(name=f"node-{number}", host="127.0.0.1", port=number, meta=bytes(range(200)))
        for number in range(nodes_count)
    ]
    return encode_push_pull(PushPull(nodes=nodes, user_state=user_state))


TABLE = table(3, b"user state")
MESSAGES = {
    "ping": PING,
    "ack": messages.encode(Ack(sequence=1)),
    "error": ERROR,
    "user": encode_user_message(b"\x00abc"),
    "table": TABLE,
    "empty table": table(0),
    "empty user message": encode_user_message(b""),
}


@pytest.mark.parametrize("ring", [None, RING])
@pytest.mark.parametrize("cut_bytes", [0, 5])
def test_a_reader_that_is_done_needs_no_garbage_collector(ring: Keyring | None, cut_bytes: int) -> None:
    def scanners() -> int:
        return sum(isinstance(each, StreamReader | OldScanner) for each in gc.get_objects())

    sent = seal_stream(table(600), ring, NONCE)
    gc.collect()
    gc.disable()
    try:
        before = scanners()
        assert (StreamReader(ring).feed(sent[: len(sent) - cut_bytes]) is None) is bool(cut_bytes)
        assert scanners() == before
    finally:
        gc.enable()


def fed(reader: StreamReader, data: bytes, piece_bytes: int) -> list[int]:
    """Feed it all; return after how many bytes there was a message."""
    ends = []
    for position in range(0, len(data), piece_bytes):
        if reader.feed(data[position : position + piece_bytes]) is not None:
            ends.append(min(len(data), position + piece_bytes))
    return ends


@pytest.mark.parametrize("keyring", [None, RING], ids=["plain", "sealed"])
@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_is_there_with_its_last_byte_and_not_before(name: str, keyring: Keyring | None) -> None:
    data = seal_stream(MESSAGES[name], keyring, NONCE)
    reader = StreamReader(keyring)
    assert fed(reader, data, 1) == [len(data)]
    assert reader.message == MESSAGES[name]
    reader.end()


@pytest.mark.parametrize("name", MESSAGES)
def test_uncompressed_messages_are_taken(name: str) -> None:
    message = MESSAGES[name]
    reader = StreamReader(None)
    assert fed(reader, message, 1) == [len(message)]
    assert reader.message == message


def test_what_comes_behind_the_message_is_ignored() -> None:
    for data in (TABLE, seal_stream(TABLE, None, NONCE), seal_stream(TABLE, RING, NONCE)):
        reader = StreamReader(RING, verify_incoming=False)
        assert reader.feed(data + b"\xc1rest") == TABLE
        assert reader.feed(b"more") == TABLE


def test_a_stream_that_ends_too_early_says_so() -> None:
    for data in (b"", TABLE[:-1], seal_stream(TABLE, None, NONCE)[:-1]):
        reader = StreamReader(None)
        assert reader.feed(data) is None
        with pytest.raises(Truncated, match="in the middle"):
            reader.end()


def test_half_a_message_in_a_whole_envelope_is_refused() -> None:
    for data in (seal_stream(TABLE[:-1], None, NONCE), seal_stream(TABLE[:-1], RING, NONCE), compressed(b"")):
        with pytest.raises(InvalidRequest, match="half a message"):
            StreamReader(RING, verify_incoming=False).feed(data)


def test_long_messages_are_sent_as_they_are() -> None:
    short, long = table(10), table(1500)
    assert len(long) > COMPRESS_BYTES_MAX
    assert seal_stream(short, None, NONCE)[0] == 9
    assert seal_stream(long, None, NONCE) == long


def test_what_nobody_would_take_is_not_sent() -> None:
    with pytest.raises(TooLarge, match="larger than limit"):
        seal_stream(b"\x06" + bytes(STREAM_BYTES_MAX), None, NONCE)


# Refusals, with the foreign wording


def test_a_sealed_stream_without_a_key_is_refused_at_its_first_byte() -> None:
    with pytest.raises(EnvelopeRefused) as refused:
        StreamReader(None).feed(b"\x0a")
    assert str(refused.value) == "Remote state is encrypted and encryption is not configured"


def test_a_plain_stream_is_refused_where_there_is_a_key() -> None:
    with pytest.raises(EnvelopeRefused) as refused:
        StreamReader(RING).feed(TABLE[:1])
    assert str(refused.value) == "Encryption is configured but remote state is not encrypted"
    assert StreamReader(RING, verify_incoming=False).feed(TABLE) == TABLE


def test_a_sealed_stream_over_the_limit_is_refused_by_its_header() -> None:
    with pytest.raises(EnvelopeRefused) as refused:
        StreamReader(RING).feed(struct.pack(">BI", 10, STREAM_BYTES_MAX + 1))
    assert str(refused.value) == "Remote node state is larger than limit (10485761)"
    assert StreamReader(RING).feed(struct.pack(">BI", 10, STREAM_BYTES_MAX)) is None


def test_a_seal_that_no_key_opens_is_refused() -> None:
    sealed = bytearray(seal_stream(TABLE, RING, NONCE))
    sealed[-1] ^= 1
    for data in (bytes(sealed), struct.pack(">BI", 10, 0), struct.pack(">BI", 10, 5) + b"\x01abcd"):
        with pytest.raises(EnvelopeRefused):
            StreamReader(RING).feed(data)


def test_the_length_of_a_sealed_stream_is_sealed_too() -> None:
    header = struct.pack(">BI", 10, len(PING) + 29)
    assert StreamReader(RING).feed(header + RING.seal(PING, header, NONCE)) == PING
    with pytest.raises(EnvelopeRefused):
        StreamReader(RING).feed(header + RING.seal(PING, b"", NONCE))


def test_the_sender_is_told_why() -> None:
    answer = error_answer(EnvelopeRefused("no"))
    assert answer == ERROR
    assert remote_error_text(ErrorMessage(text="no")) == "remote error: no"


@pytest.mark.parametrize("kind", [1, 3, 4, 5, 7, 11, 12, 14, 255])
def test_other_types_belong_on_no_stream(kind: int) -> None:
    for data in (bytes((kind,)), seal_stream(bytes((kind, 0x80)), RING, NONCE)):
        with pytest.raises(InvalidRequest, match=f"message type {kind} on a stream") as refused:
            StreamReader(RING, verify_incoming=False).feed(data)
        assert not isinstance(refused.value, EnvelopeRefused)


def test_seal_and_compression_come_once_and_in_their_order() -> None:
    twice = seal_stream(compressed(PING), RING, NONCE)
    with pytest.raises(InvalidRequest, match="twice"):
        StreamReader(RING).feed(twice)
    sealed = seal_stream(PING, RING, NONCE)
    for data in (compressed(sealed), seal_stream(sealed, RING, NONCE)):
        with pytest.raises(InvalidRequest, match="message type 10"):
            StreamReader(RING, verify_incoming=False).feed(data)


# Bounds


def test_a_header_may_not_announce_more_than_there_can_be() -> None:
    headers: list[Any] = [{"Nodes": MEMBERS_MAX + 1}, {"Nodes": -1}, {"UserStateLen": 1 << 31}, {"Nodes": b"x"}, []]
    for header in headers:
        with pytest.raises(InvalidRequest):
            StreamReader(None).feed(b"\x06" + pack_old(header))
    with pytest.raises(InvalidRequest):
        StreamReader(None).feed(b"\x08" + pack_old({"UserMsgLen": USER_MESSAGE_BYTES_MAX + 1}))


def test_small_messages_stay_small() -> None:
    endless = b"\x00\x82\xa4Node\xdb\xff\xff\xff\xff" + bytes(SMALL_BYTES_MAX)
    with pytest.raises(TooLarge):
        StreamReader(None).feed(endless)
    with pytest.raises(TooLarge):
        StreamReader(None).feed(messages.encode(ErrorMessage(text="x" * SMALL_BYTES_MAX)))
    with pytest.raises(TooLarge):
        StreamReader(None).feed(b"\x06\x81\xdb\xff\xff\xff\xff" + bytes(SMALL_BYTES_MAX))


def test_a_plain_stream_ends_at_the_limit() -> None:
    reader = StreamReader(None)
    piece = bytes(MIB)
    reader.feed(TABLE[:1] + pack_old({"Nodes": 1}) + b"\xdb\xff\xff\xff\xff")
    for _ in range(STREAM_BYTES_MAX // MIB - 1):
        assert reader.feed(piece) is None
    with pytest.raises(TooLarge, match="larger than limit"):
        reader.feed(piece)


def test_a_bomb_is_refused_in_its_envelope() -> None:
    data = b"\x09" + pack_old({"Algo": 0, "Buf": bomb(PLAIN_BYTES_MAX)})
    assert len(data) < 16_000
    with pytest.raises(EnvelopeRefused, match="more than"):
        StreamReader(None).feed(data)


def test_more_compressed_bytes_than_anybody_needs_are_refused() -> None:
    with pytest.raises(EnvelopeRefused):
        StreamReader(None).feed(b"\x09" + pack_old({"Algo": 0, "Buf": bytes(COMPRESSED_BYTES_MAX + 1)}))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x09" + b"\x90" * MIB, id="a wrapper that is a list"),
        pytest.param(b"\x09\x81\xa1x\xdd" + MIB.to_bytes(4, "big") + b"\x80" * MIB, id="a wrapper with much besides"),
        pytest.param(b"\x09\x81\xa3Buf\xdd" + MIB.to_bytes(4, "big") + b"\x80" * MIB, id="a body of a million maps"),
        pytest.param(b"\x06\xdd" + MIB.to_bytes(4, "big") + b"\x80" * MIB, id="a header of a million maps"),
        pytest.param(b"\x06\xdf\xff\xff\xff\xff", id="a header of four billion pairs"),
        pytest.param(b"\x00" + b"\x91" * 5000, id="a deep ping"),
    ],
)
def test_nothing_large_is_built_of_what_will_be_refused(data: bytes) -> None:
    tracemalloc.start()
    try:
        reader = StreamReader(None)
        try:
            reader.feed(data)
            reader.end()
        except (InvalidRequest, TooLarge):
            refused = True
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused
    assert peak < 8 * MIB


def test_a_large_table_is_gone_over_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in values that the scanner is asked for: one for each node, and one for each piece that came early."""
    asked: list[int] = []
    skip = OldScanner.skip

    def counted(self: OldScanner) -> bool:
        asked.append(1)
        return skip(self)

    monkeypatch.setattr(OldScanner, "skip", counted)
    message = table(5000, bytes(300_000))
    assert len(message) > MIB
    pieces = len(message) // 65_536 + 1
    reader = StreamReader(None)
    assert fed(reader, message, 65_536) == [len(message)]
    assert len(decode_push_pull(reader.message or b"").nodes) == 5000
    assert len(asked) <= 1 + 5000 + pieces


def test_a_user_message_is_taken_out() -> None:
    data = encode_user_message(b"\x00abc")
    assert decode_user_message(data) == b"\x00abc"
    for wrong in (data[:-1], b"\x07" + data[1:], b"\x08\x90", b""):
        with pytest.raises(InvalidRequest):
            decode_user_message(wrong)
