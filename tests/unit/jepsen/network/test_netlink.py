"""Packing and reading messages of the kernel's packet filter."""

import errno
import struct

import pytest

from jepsen.network import netlink


def test_attributes_are_padded_to_four_bytes_and_read_back_without_padding() -> None:
    packed = netlink.attribute(3, b"abcde") + netlink.number(4, 258) + netlink.text(5, "x")
    assert len(packed) == 12 + 8 + 8
    assert list(netlink.elements(packed)) == [(3, b"abcde"), (4, b"\0\0\1\2"), (5, b"x\0")]


def test_nested_attributes_are_marked_and_the_mark_is_no_part_of_their_type() -> None:
    packed = netlink.nested(7, netlink.number(1, 5), netlink.number(2, 6))
    assert struct.unpack_from("=HH", packed) == (20, 7 | netlink.NESTED)
    assert netlink.attributes(netlink.attributes(packed)[7]) == {1: b"\0\0\0\5", 2: b"\0\0\0\6"}


def test_several_messages_in_one_datagram_are_told_apart() -> None:
    first = netlink.message(2560, netlink.REQUEST, 11, netlink.attribute(1, b"a"), family=2)
    second = netlink.message(2561, netlink.REQUEST, 12, b"", family=2)
    found = list(netlink.messages(first + second))
    assert [(each.kind, each.sequence) for each in found] == [(2560, 11), (2561, 12)]
    assert netlink.attributes(found[0].payload) == {1: b"a"}
    assert found[1].payload == b""


def test_an_error_message_raises_what_the_kernel_said_and_an_acknowledgement_nothing() -> None:
    def answer(code: int) -> netlink.Received:
        payload = struct.pack("=i", code) + bytes(16)
        head = struct.pack("=IHHII", 16 + len(payload), netlink.ERROR, 0, 5, 0)
        (received,) = netlink.messages(head + payload)
        return received

    answer(0).raise_for_error()
    with pytest.raises(OSError, match="EPERM") as raised:
        answer(-errno.EPERM).raise_for_error()
    assert raised.value.errno == errno.EPERM
