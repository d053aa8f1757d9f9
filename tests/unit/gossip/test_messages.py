"""Messages of the membership layer: foreign forms that are taken, and what is refused."""

import pytest

from base.codec import pack_old
from base.errors import InvalidRequest
from gossip import messages
from gossip.instructions import VERSIONS
from gossip.messages import Ack, Alive, Dead, Ping, Type, decode


def body(kind: Type, fields: object) -> bytes:
    return bytes((kind,)) + pack_old(fields)


@pytest.mark.parametrize("kind", messages.KINDS, ids=lambda kind: kind.name)
def test_a_map_with_nothing_in_it_is_a_record_of_zeros(kind: Type) -> None:
    assert decode(body(kind, {})) == messages.KINDS[kind]()
    assert decode(body(kind, {"New": [{"x": 1}]})) == messages.KINDS[kind]()


@pytest.mark.parametrize(
    "data", [b"", b"\x06\x80", b"\x0e\x80", b"\xff", b"\x00", b"\x00\x90", b"\x00\xc1", b"\x00\xc0"]
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(data)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Type.PING, {"SeqNo": 1 << 32}),
        (Type.PING, {"SeqNo": -1}),
        (Type.PING, {"SeqNo": 1.0}),
        (Type.PING, {"SeqNo": True}),
        (Type.PING, {"Node": b"x" * 256}),
        (Type.PING, {"Node": b"a\nb"}),
        (Type.PING, {"Node": b"\xff"}),
        (Type.PING, {"Node": None}),
        (Type.INDIRECT_PING, {"Target": b"abc"}),
        (Type.INDIRECT_PING, {"Nack": 2}),
        (Type.INDIRECT_PING, {"Nack": []}),
        (Type.ACK, {"Payload": 5}),
        (Type.ALIVE, {"Vsn": bytes(5)}),
        (Type.ALIVE, {"Port": 1 << 16}),
        (Type.ERROR, {"Error": 5}),
    ],
)
def test_values_that_cannot_be_are_refused(kind: Type, fields: object) -> None:
    with pytest.raises(InvalidRequest):
        decode(body(kind, fields))


def test_foreign_forms_are_taken() -> None:
    assert decode(body(Type.ACK, {"Payload": None})) == Ack()
    assert decode(body(Type.ALIVE, {"Vsn": b""})) == Alive(versions=VERSIONS)
    assert decode(memoryview(body(Type.PING, {"Node": b"\xc3\xa9"}))) == Ping(node="é")
    assert decode(body(Type.DEAD, {"From": b"a", "Node": b"a"})) == Dead(node="a", sender="a")


def test_an_ipv4_address_has_four_bytes_in_every_message() -> None:
    assert b"\xa4Addr\xa4\x01\x02\x03\x04" in messages.encode(Alive(host="1.2.3.4"))
    mapped = decode(body(Type.ALIVE, {"Addr": bytes(10) + b"\xff\xff\x01\x02\x03\x04"}))
    assert isinstance(mapped, Alive)
    assert mapped.host != "1.2.3.4"
