"""Frames: any cut of the bytes gives the same frames, and limits come before memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.codec import encode
from base.errors import TooLarge
from rpc import frame as frames
from rpc.errors import ProtocolViolated
from rpc.frame import BODY_BY_REFERENCE_BYTES, BODY_BYTES_MAX, FRAME_BYTES_MAX, Frame, FrameReader, encode_frame

FRAMES = st.builds(
    Frame,
    seq=st.integers(0, 2**64 - 1),
    kind=st.integers(1, 10),
    method=st.text(max_size=20),
    body=st.one_of(st.binary(max_size=300), st.sampled_from([0, 255, 256, 65535, 65536]).map(lambda size: bytes(size))),
)


def wire(*sent: Frame) -> bytes:
    out: list[bytes] = []
    sizes = [encode_frame(one.seq, one.kind, one.method, one.body, out) for one in sent]
    data = b"".join(out)
    assert sum(sizes) == len(data)
    return data


def read_all(reader: FrameReader) -> list[Frame]:
    found = []
    while (frame := reader.next()) is not None:
        found.append(frame)
    return found


@given(sent=st.lists(FRAMES, max_size=5), cuts=st.lists(st.integers(0, 200_000), max_size=8))
def test_frames_survive_any_cut(sent: list[Frame], cuts: list[int]) -> None:
    data = wire(*sent)
    reader = FrameReader()
    found: list[Frame] = []
    start = 0
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        reader.feed(data[start:cut])
        found += read_all(reader)
        start = cut
    assert found == sent
    assert reader.bytes_kept == 0


def test_a_frame_may_come_byte_by_byte() -> None:
    reader = FrameReader()
    data = wire(Frame(seq=1, kind=frames.REQUEST, method="KVS.Get", body=b"abc"))
    for position in range(len(data)):
        assert reader.next() is None
        reader.feed(data[position : position + 1])
    assert read_all(reader) == [Frame(seq=1, kind=frames.REQUEST, method="KVS.Get", body=b"abc")]


@pytest.mark.parametrize("size", [BODY_BY_REFERENCE_BYTES - 1, BODY_BY_REFERENCE_BYTES, BODY_BYTES_MAX])
def test_bodies_around_the_limits_are_carried(size: int) -> None:
    sent = Frame(seq=7, kind=frames.REPLY, method="", body=bytes(size))
    reader = FrameReader()
    reader.feed(wire(sent))
    assert reader.next() == sent


def test_a_large_body_is_sent_without_a_copy() -> None:
    body = bytes(BODY_BY_REFERENCE_BYTES)
    out: list[bytes] = []
    encode_frame(1, frames.REPLY, "", body, out)
    assert out[-1] is body


def test_a_body_over_the_limit_is_refused_before_it_is_sent() -> None:
    out: list[bytes] = []
    with pytest.raises(TooLarge):
        encode_frame(1, frames.REQUEST, "m", bytes(BODY_BYTES_MAX + 1), out)
    assert out == []


@pytest.mark.parametrize("size", [FRAME_BYTES_MAX + 1, 0xFFFFFFFF])
def test_a_huge_prefix_is_refused_before_its_bytes_arrive(size: int) -> None:
    reader = FrameReader()
    reader.feed(size.to_bytes(4, "big"))
    with pytest.raises(ProtocolViolated, match="exceeds"):
        reader.next()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"garbage that is no msgpack",
        encode([1, 2]),
        encode(["1", 2, "m", b""]),
        encode([1, 2, b"m", b""]),
        encode([1, 2, "m", "text"]),
        encode([1, 2, "m", None]),
        encode({"seq": 1}),
        encode([1, 2, "m", b""]) + b"x",
    ],
)
def test_what_is_no_frame_is_a_violation(payload: bytes) -> None:
    reader = FrameReader()
    reader.feed(len(payload).to_bytes(4, "big") + payload)
    with pytest.raises(ProtocolViolated):
        reader.next()


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_waits_for_more_but_never_crashes(data: bytes) -> None:
    reader = FrameReader()
    reader.feed(data)
    try:
        read_all(reader)
    except ProtocolViolated:
        return
    assert reader.bytes_kept <= len(data)
