"""The double of a foreign member writes the golden bytes, too: what it takes and sends is the wire, not our code."""

import random

import pytest

from gossip import lzw
from gossip.keyring import Keyring
from gossip.packets import open_packet, seal_packet
from gossip.push_pull import decode_push_pull
from gossip.serf_messages import State, decode
from gossip.streams import StreamReader, seal_stream
from tests.fakes import foreign_packing as wire
from tests.fakes.foreign_gossip import ForeignMember, client_tags
from tests.fakes.foreign_packing import Held, StreamMessage, message
from tests.wire.test_gossip_golden import ALIVE, COMPRESSED_TABLE, KEY, LZW, NONCE, PING, TABLE_BYTES

SIZES = (0, 1, 2, 3, 300, 5_000, 40_000)
"""The last one makes compression start over."""


def test_messages_have_the_golden_bytes() -> None:
    assert message(wire.PING, {"SeqNo": 1, "Node": "a"}).hex() == PING
    alive = {"Incarnation": 1, "Node": "a", "Addr": b"\x7f\0\0\1", "Port": 8301, "Vsn": wire.VERSIONS}
    assert message(wire.ALIVE, {**alive, "Meta": wire.meta_of({"role": "node"})}).hex() == ALIVE
    assert wire.compound([bytes([0, 1, 2]), bytes([3, 4])]).hex() == "070200030002" + "000102" + "0304"
    assert wire.tags_of(b"\xff\x81\xa4role\xa4node") == wire.tags_of(b"node") == {"role": "node"}


@pytest.mark.parametrize(("plain", "golden"), LZW)
def test_compression_has_the_golden_bytes(plain: bytes, golden: str) -> None:
    assert wire.shrunk(plain).hex() == golden


@pytest.mark.parametrize("size", SIZES)
def test_each_side_reads_what_the_other_compresses(size: int) -> None:
    for plain in (random.Random(size).randbytes(size), b"abc" * (size // 3 + 1), bytes(size)):
        assert wire.shrunk(plain) == lzw.compress(plain)
        assert wire.grown(lzw.compress(plain)) == plain


@pytest.mark.parametrize("keys", [[], [KEY]])
def test_each_side_opens_what_the_other_seals(keys: list[bytes]) -> None:
    ring = Keyring(keys) if keys else None
    ping = bytes.fromhex(PING)
    assert wire.unpacked(seal_packet(ping, ring, with_crc=True, nonce=NONCE), keys) == [ping]
    assert open_packet(wire.packed(ping, keys, with_crc=True), ring, verify_incoming=True) == ping
    assert StreamReader(ring).feed(wire.streamed(TABLE_BYTES, keys)) == TABLE_BYTES
    found = StreamMessage(Held(seal_stream(TABLE_BYTES, ring, NONCE)), keys)
    assert (found.kind, found.value()["Nodes"]) == (wire.PUSH_PULL, 2)
    assert StreamMessage(Held(bytes.fromhex(COMPRESSED_TABLE)), []).value()["UserStateLen"] == 71


def test_its_table_is_as_large_as_a_real_one() -> None:
    with ForeignMember("foreign", client_tags()) as member:
        table = decode_push_pull(member._table(join=True))
    assert ([node.name for node in table.nodes], table.join, table.complaints) == (["foreign"], True, [])
    state = decode(table.user_state)
    assert isinstance(state, State)
    assert state.status_times == {"foreign": 0}
    assert 580 <= len(table.user_state) <= 640, "512 slots for events, all of them empty"
