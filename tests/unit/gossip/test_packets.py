"""What is around the messages of one datagram."""

import struct

import pytest

from base.codec import pack_old
from base.errors import InvalidRequest, InvariantBroken, TooLarge
from gossip import lzw
from gossip.keyring import Keyring
from gossip.packets import (
    COMPRESS_BYTES_MIN,
    PARTS_MAX,
    PLAIN_BYTES_MAX,
    SPLIT_DEPTH_MAX,
    SPLIT_PARTS_MAX,
    compound,
    compressed,
    decompressed,
    open_packet,
    room_bytes,
    seal_packet,
    split,
)

RING, OTHER_RING = Keyring([bytes(16)]), Keyring([bytes(range(16))])
NONCE = bytes(12)
PING, ACK = b"\x00\x80", b"\x02\x80"


def raw_compound(parts: list[bytes]) -> bytes:
    """A compound without the bound of ours."""
    sizes = struct.pack(f">{len(parts)}H", *map(len, parts))
    return bytes((7, len(parts))) + sizes + b"".join(parts)


def nested(depth: int, message: bytes = PING) -> bytes:
    for _ in range(depth):
        message = raw_compound([message])
    return message


@pytest.mark.parametrize("keyring", [None, RING], ids=["plain", "sealed"])
@pytest.mark.parametrize("with_crc", [False, True], ids=["no crc", "crc"])
@pytest.mark.parametrize("count", [1, 60], ids=["alone", "compound"])
def test_what_is_sent_arrives(keyring: Keyring | None, with_crc: bool, count: int) -> None:
    parts = [PING, ACK] * count
    datagram = seal_packet(compound(parts), keyring, with_crc=with_crc, nonce=NONCE)
    assert split(open_packet(datagram, keyring)) == parts


def test_only_what_gets_smaller_is_compressed() -> None:
    assert seal_packet(bytes(COMPRESS_BYTES_MIN), None, with_crc=False, nonce=b"")[0] == 9
    assert seal_packet(bytes(COMPRESS_BYTES_MIN - 1), None, with_crc=False, nonce=b"")[0] == 0
    unlike = bytes(range(256))
    assert seal_packet(unlike, None, with_crc=False, nonce=b"") == unlike


def test_room_is_counted_with_its_overheads() -> None:
    assert room_bytes(encrypted=False) == 1398
    assert room_bytes(encrypted=True) == 1369
    assert room_bytes(used_bytes=25, encrypted=True) == 1344


def test_a_message_alone_needs_no_compound() -> None:
    assert compound([PING]) == PING


def test_more_parts_than_foreign_members_can_count_are_a_defect() -> None:
    assert split(compound([PING] * PARTS_MAX)) == [PING] * PARTS_MAX
    for parts in ([], [PING] * (PARTS_MAX + 1), [PING, bytes(1 << 16)]):
        with pytest.raises(InvariantBroken):
            compound(parts)


def test_a_wrong_checksum_drops_the_packet() -> None:
    datagram = bytearray(seal_packet(PING, None, with_crc=True, nonce=b""))
    datagram[-1] ^= 1
    with pytest.raises(InvalidRequest, match="checksum"):
        open_packet(bytes(datagram), None)


def test_a_checksum_counts_only_outermost() -> None:
    inside = seal_packet(PING, None, with_crc=True, nonce=b"")
    assert split(compound([inside, PING])) == [inside, PING]
    assert split(open_packet(compressed(inside), None)) == [inside]


def test_who_has_a_key_takes_nothing_else_unless_told_so() -> None:
    with pytest.raises(InvalidRequest):
        open_packet(PING, RING)
    with pytest.raises(InvalidRequest):
        open_packet(seal_packet(PING, OTHER_RING, with_crc=False, nonce=NONCE), RING)
    assert open_packet(PING, RING, verify_incoming=False) == PING


def test_an_empty_packet_is_refused() -> None:
    for datagram, keyring in ((b"", None), (b"", RING), (RING.seal(b"", b"", NONCE), RING)):
        with pytest.raises(InvalidRequest):
            open_packet(datagram, keyring)
    with pytest.raises(InvalidRequest):
        split(b"")


def test_a_length_past_the_end_drops_that_part_and_those_behind_it() -> None:
    whole = raw_compound([PING, ACK, PING])
    assert split(whole[:-1]) == [PING, ACK]
    lying = bytes((7, 3)) + struct.pack(">3H", 2, 50_000, 2) + PING + ACK + PING
    assert split(lying) == [PING]


def test_a_count_of_255_is_read_as_it_stands() -> None:
    assert split(raw_compound([PING] * 255)) == [PING] * 255


@pytest.mark.parametrize(
    "head", [b"\x07", b"\x07\x00", b"\x07\xff", b"\x07\x01\x00", b"\x07\x01\xff\xffx", b"\x07\x01\x00\x00"]
)
def test_a_compound_without_a_message_is_refused(head: bytes) -> None:
    with pytest.raises(InvalidRequest):
        split(head)


def test_parts_may_be_wrapped_again() -> None:
    inner = compressed(raw_compound([ACK, PING]))
    assert split(raw_compound([PING, inner, raw_compound([ACK])])) == [PING, ACK, PING, ACK]


def test_a_part_that_cannot_be_read_spoils_no_other() -> None:
    assert split(raw_compound([PING, b"\x09\x80\x00", b"\x09", b"\x09\xc1", ACK])) == [PING, ACK]


def test_nesting_ends_at_a_depth() -> None:
    assert split(nested(SPLIT_DEPTH_MAX)) == [PING]
    with pytest.raises(InvalidRequest):
        split(nested(SPLIT_DEPTH_MAX + 1))
    with pytest.raises(InvalidRequest):
        split(nested(1000))
    assert split(raw_compound([nested(1000), ACK])) == [ACK]


def test_compression_within_compression_ends_at_a_depth() -> None:
    message = PING
    for _ in range(SPLIT_DEPTH_MAX):
        message = compressed(message)
    assert split(open_packet(message, None)) == [PING]
    assert split(open_packet(compressed(message), None)) == [PING]
    with pytest.raises(InvalidRequest):
        split(open_packet(compressed(compressed(message)), None))


def test_a_small_packet_does_not_grow_without_bound() -> None:
    bomb = compressed(bytes(PLAIN_BYTES_MAX + 1))
    assert len(bomb) < 1000
    for read in (split, lambda data: open_packet(data, None)):
        with pytest.raises(TooLarge):
            read(bomb)
    large = compressed(bytes(PLAIN_BYTES_MAX // 2))
    with pytest.raises(TooLarge):
        split(raw_compound([large] * 3))


def test_a_packet_has_so_many_parts_and_no_more() -> None:
    full = raw_compound([PING] * 254)
    assert len(split(raw_compound([full] * 4))) == 4 * 254
    with pytest.raises(TooLarge, match=str(SPLIT_PARTS_MAX)):
        split(raw_compound([full] * 5))


def test_the_compressed_wrapper_may_come_in_any_order_and_with_more_in_it() -> None:
    body = lzw.compress(PING)
    for fields in ({"Buf": body, "Algo": 0}, {"Buf": body}, {"Algo": 0, "Buf": body, "New": [{}]}):
        assert decompressed(b"\x09" + pack_old(fields), 10) == PING


@pytest.mark.parametrize(
    "fields", [{"Algo": 1, "Buf": lzw.compress(PING)}, {"Algo": 0}, {"Algo": 0, "Buf": [1] * 1000}, [], 5, {}], ids=repr
)
def test_other_wrappers_are_refused(fields: object) -> None:
    with pytest.raises(InvalidRequest):
        decompressed(b"\x09" + pack_old(fields), 10)
