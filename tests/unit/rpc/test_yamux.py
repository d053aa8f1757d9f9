"""The session alone: two of them joined by bytes, and one against what a member should never send."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import RateLimited, Unreachable
from rpc import yamux
from rpc.errors import ProtocolViolated
from rpc.yamux import (
    ACK,
    DATA,
    DEAD_AFTER_LOOKS,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_BYTES,
    OUT_BYTES_MIXED,
    PING,
    PING_AFTER_LOOKS,
    RST,
    SYN,
    UNACKNOWLEDGED_MAX,
    WINDOW_BYTES,
    WINDOW_UPDATE,
    Session,
    YamuxStream,
)


def frame(kind: int, flags: int, number: int, length: int, payload: bytes = b"", version: int = 0) -> bytes:
    return HEADER.pack(version, kind, flags, number, length) + payload


def drain(session: Session) -> bytes:
    """All that the session wants to send now."""
    data = b""
    while piece := session.take_out():
        data += piece
    return data


class Pair:
    """A dialling and an accepting session; bytes between them are cut as asked."""

    def __init__(self) -> None:
        self.accepted: list[YamuxStream] = []
        self.near = Session(dialler=True)
        self.far = Session(dialler=False, accept=self.accepted.append)

    def carry(self, cut_bytes: int = 1 << 30) -> None:
        """Carry bytes both ways until neither side has more to say."""
        while (there := drain(self.near)) + (back := drain(self.far)):
            for data, session in ((there, self.far), (back, self.near)):
                for position in range(0, len(data), cut_bytes):
                    session.feed(data[position : position + cut_bytes])

    def open(self) -> tuple[YamuxStream, YamuxStream]:
        stream = self.near.open()
        self.carry()
        return stream, self.accepted[-1]


def taken(session: Session, stream: YamuxStream) -> bytes:
    data = b""
    while piece := session.take(stream):
        data += piece
    return data


def server() -> tuple[Session, list[YamuxStream]]:
    streams: list[YamuxStream] = []
    return Session(dialler=False, accept=streams.append), streams


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 100_000), min_size=1, max_size=6),
    cut_bytes=st.one_of(st.integers(1, 40), st.integers(1000, 70_000)),
    both=st.booleans(),
)
def test_any_cut_of_the_bytes_carries_the_same_data(sizes: list[int], cut_bytes: int, both: bool) -> None:
    pair = Pair()
    sizes = [min(size, cut_bytes * 500) for size in sizes]  # tiny pieces of large data only take long
    streams = [pair.near.open() for _ in sizes]
    for number, (stream, size) in enumerate(zip(streams, sizes, strict=True)):
        pair.near.write(stream, bytes([number]) * size)
        pair.near.close(stream)
    pair.carry(cut_bytes)
    assert [taken(pair.far, stream) for stream in pair.accepted] == [
        bytes([number]) * size for number, size in enumerate(sizes)
    ]
    assert all(stream.ended_far for stream in pair.accepted)
    if both:
        for stream in pair.accepted:
            pair.far.write(stream, b"answer")
            pair.far.close(stream)
        pair.carry(cut_bytes)
        assert all(taken(pair.near, stream) == b"answer" for stream in streams)
        for session in (pair.near, pair.far):
            assert not session.streams
            assert (session.bytes_kept, session.waiting_bytes, session.out_bytes) == (0, 0, 0)


def test_more_than_a_window_waits_until_the_reader_takes() -> None:
    pair = Pair()
    near, far = pair.open()
    pair.near.write(near, bytes(WINDOW_BYTES * 2))
    pair.carry()
    assert far.bytes_received == WINDOW_BYTES
    assert pair.near.waiting_bytes == WINDOW_BYTES
    assert len(taken(pair.far, far)) == WINDOW_BYTES
    pair.carry()
    assert len(taken(pair.far, far)) == WINDOW_BYTES
    assert pair.near.waiting_bytes == 0


def test_a_large_answer_lets_small_ones_pass() -> None:
    session, streams = server()
    session.feed(frame(WINDOW_UPDATE, SYN, 1, 1 << 30) + frame(WINDOW_UPDATE, SYN, 3, 0))
    drain(session)
    session.write(streams[0], bytes(OUT_BYTES_MIXED * 8))
    session.write(streams[1], b"small")
    before = b""
    while b"small" not in before:
        before += session.take_out()
    assert len(before) < OUT_BYTES_MIXED * 2


def test_bytes_on_a_stream_that_is_over_are_skipped() -> None:
    pair = Pair()
    near, far = pair.open()
    pair.near.write(near, b"crossed")
    pair.far.abort(far)
    pair.carry()
    assert near.reset
    assert not pair.far.streams
    assert not pair.near.streams
    pair.near.write(near, b"too late")
    assert drain(pair.near) == b""


def test_closing_waits_for_what_was_written() -> None:
    pair = Pair()
    near, far = pair.open()
    pair.near.write(near, bytes(WINDOW_BYTES + 1))
    pair.near.close(near)
    pair.carry()
    assert not far.ended_far
    assert len(taken(pair.far, far)) == WINDOW_BYTES
    pair.carry()
    assert (len(taken(pair.far, far)), far.ended_far) == (1, True)


def test_a_session_that_went_away_takes_and_opens_nothing_more_but_goes_on() -> None:
    pair = Pair()
    near, far = pair.open()
    pair.far.go_away(0)
    pair.carry()
    assert not pair.near.may_open
    with pytest.raises(Unreachable):
        pair.near.open()
    pair.near.write(near, b"still")
    pair.carry()
    assert taken(pair.far, far) == b"still"


def test_too_many_streams_that_nobody_accepts_are_not_opened() -> None:
    session = Session(dialler=True)
    streams = [session.open() for _ in range(UNACKNOWLEDGED_MAX)]
    assert not session.has_room
    with pytest.raises(RateLimited):
        session.open()
    session.feed(frame(WINDOW_UPDATE, ACK, streams[0].number, 0) + frame(WINDOW_UPDATE, RST, streams[1].number, 0))
    session.open()
    session.open()
    assert not session.has_room


def test_streams_beyond_the_bound_are_reset_and_the_session_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamux, "STREAMS_MAX", 2)
    session, streams = server()
    session.feed(b"".join(frame(WINDOW_UPDATE, SYN, number, 0) for number in (1, 3, 5)))
    assert [stream.number for stream in streams] == [1, 3]
    assert drain(session).endswith(frame(WINDOW_UPDATE, RST, 5, 0))
    session.feed(frame(DATA, 0, 5, 3, b"abc") + frame(WINDOW_UPDATE, FIN, 5, 0) + frame(DATA, 0, 1, 1, b"x"))
    assert session.take(streams[0]) == b"x"


def test_streams_may_be_opened_out_of_order() -> None:
    session, streams = server()
    session.feed(frame(WINDOW_UPDATE, SYN, 3, 0) + frame(WINDOW_UPDATE, SYN, 1, 0))
    assert [stream.number for stream in streams] == [3, 1]


def test_received_data_that_nobody_takes_is_bounded_over_all_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rpc.kept.KEPT_BYTES_MAX", 1000)
    session, streams = server()
    session.feed(frame(DATA, SYN, 1, 900, bytes(900)) + frame(DATA, SYN, 3, 200, bytes(200)))
    assert not streams[0].reset
    assert streams[1].reset
    assert session.bytes_kept == 900
    taken(session, streams[0])
    assert session.keep(streams[0], 900)
    assert session.bytes_kept == 900
    assert not session.keep(streams[0], 1100)
    assert streams[0].reset
    assert session.bytes_kept == 0


def test_small_pieces_that_nobody_takes_cost_little_more_than_their_bytes() -> None:
    session, streams = server()
    session.feed(frame(WINDOW_UPDATE, SYN, 1, 0))
    sent = bytes(range(256)) * 64
    for position in range(0, len(sent), 2):
        session.feed(frame(DATA, 0, 1, 2, sent[position : position + 2]))
    received = streams[0].received
    assert sys.getsizeof(received) + sum(map(sys.getsizeof, received)) < 1.2 * len(sent)
    assert taken(session, streams[0]) == sent


def test_data_that_nobody_reads_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yamux, "WAITING_BYTES_MAX", WINDOW_BYTES * 2)
    session, streams = server()
    session.feed(frame(WINDOW_UPDATE, SYN, 1, 0))
    with pytest.raises(ProtocolViolated, match="reads"):
        session.write(streams[0], bytes(WINDOW_BYTES * 4))


OPEN = frame(WINDOW_UPDATE, SYN, 1, 0)


@pytest.mark.parametrize(
    "data",
    [
        frame(DATA, 0, 0, 0, version=1),
        frame(4, 0, 0, 0),
        frame(255, 255, 255, 255),
        frame(WINDOW_UPDATE, SYN, 2, 0),
        frame(WINDOW_UPDATE, SYN, 0, 0),
        OPEN + OPEN,
        OPEN + frame(DATA, 0, 1, WINDOW_BYTES + 1),
        OPEN + frame(DATA, 0, 1, 0xFFFFFFFF),
        frame(DATA, 0, 99, 0xFFFFFFFF),
        OPEN + frame(DATA, 0, 1, 100_000, bytes(100_000)) * 3,
        OPEN + frame(WINDOW_UPDATE, FIN, 1, 0) * 2,
        OPEN + frame(WINDOW_UPDATE, FIN, 1, 0) + frame(DATA, 0, 1, 1, b"x"),
        OPEN + frame(WINDOW_UPDATE, 0, 1, 0xFFFFFFFF),
        b"GET /v1/kv/a HTTP/1.1\r\n\r\n",
    ],
    ids=[
        "version", "type", "noise", "parity", "zero", "twice", "window", "huge", "unknown", "flood", "ended", "late",
        "credit", "http",
    ],
)  # fmt: skip
def test_what_breaks_the_rules_ends_the_session_before_memory_is_taken(data: bytes) -> None:
    session, _ = server()
    with pytest.raises(ProtocolViolated):
        session.feed(data)
    assert session.bytes_kept <= WINDOW_BYTES


@pytest.mark.parametrize("code", [1, 2, 77])
def test_an_error_of_the_other_side_ends_the_session(code: int) -> None:
    session, _ = server()
    with pytest.raises(Unreachable, match="ended the session"):
        session.feed(frame(GO_AWAY, 0, 0, code))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_frames_whatsoever_leak_or_raise_anything_else(data: st.DataObject) -> None:
    session, streams = server()
    numbers = st.sampled_from([0, 1, 2, 3, 5])
    for _ in range(data.draw(st.integers(1, 30))):
        kind = data.draw(st.sampled_from([DATA, DATA, WINDOW_UPDATE, WINDOW_UPDATE, PING]))
        flags = data.draw(st.sampled_from([0, 0, SYN, ACK, FIN, RST, SYN | FIN, FIN | RST]))
        length = data.draw(st.sampled_from([0, 1, 500, WINDOW_BYTES]))
        try:
            session.feed(frame(kind, flags, data.draw(numbers), length, bytes(length) if kind == DATA else b""))
        except ProtocolViolated:
            break
        act = data.draw(st.sampled_from(["none", "take", "write", "close", "abort"]))
        if streams and act != "none":
            stream = data.draw(st.sampled_from(streams))
            if act == "take":
                taken(session, stream)
            elif act == "write":
                session.write(stream, bytes(1000))
            elif act == "close":
                session.close(stream)
            else:
                session.abort(stream)
        drain(session)
        open_streams = list(session.streams.values())
        assert session.bytes_kept == sum(stream.bytes_received for stream in open_streams)
        assert session.waiting_bytes == sum(stream.waiting_bytes for stream in open_streams)
    session.end()
    assert (session.bytes_kept, session.waiting_bytes, len(session.streams)) == (0, 0, 0)


def test_a_silent_side_is_asked_and_then_given_up() -> None:
    session, _ = server()
    for look in range(1, DEAD_AFTER_LOOKS):
        assert session.look(heard=False) is None
        assert len(drain(session)) == (HEADER_BYTES if look == PING_AFTER_LOOKS else 0)
    assert session.look(heard=False) == "gave no sign of life"


def test_a_sign_of_life_starts_the_count_again_and_doubt_shortens_it() -> None:
    session, _ = server()
    for _ in range(DEAD_AFTER_LOOKS * 3):
        assert session.look(heard=False) is None or pytest.fail("given up in spite of signs of life")
        session.look(heard=True)
    session.doubt()
    assert session.look(heard=False) is None
    assert session.look(heard=False) is not None
