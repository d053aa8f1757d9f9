"""Golden bytes of yamux frames: what real foreign members send and expect. A change here is a change of the wire."""

import pytest

from rpc.errors import ProtocolViolated
from rpc.yamux import GO_AWAY_NORMAL, GO_AWAY_PROTOCOL_ERROR, WINDOW_BYTES, Session, YamuxStream


def out(session: Session) -> str:
    """All that a session wants to send, in hexadecimal."""
    data = b""
    while piece := session.take_out():
        data += piece
    return data.hex()


def accepting() -> tuple[Session, list[YamuxStream]]:
    streams: list[YamuxStream] = []
    return Session(dialler=False, accept=streams.append), streams


def test_a_dialler_opens_and_writes_as_seen() -> None:
    session = Session(dialler=True)
    stream = session.open()
    session.write(stream, b"abc")
    assert out(session) == "000100010000000100000000000000000000000100000003616263"
    assert session.open().number == 3


def test_an_acceptor_accepts_and_answers_as_seen() -> None:
    session, streams = accepting()
    session.feed(bytes.fromhex("000100010000000100000000000000000000000100000003616263"))
    assert [stream.number for stream in streams] == [1]
    assert session.take(streams[0]) == b"abc"
    session.write(streams[0], bytes.fromhex("83a54572726f72a0"))
    assert out(session) == "00010002000000010000000000000000000000010000000883a54572726f72a0"


def test_the_other_sides_first_stream_is_two() -> None:
    session, _ = accepting()
    session.open()
    assert out(session) == "000100010000000200000000"


def test_a_stream_may_be_opened_by_a_data_frame() -> None:
    session, streams = accepting()
    session.feed(bytes.fromhex("0000000100000001000000026869"))
    assert session.take(streams[0]) == b"hi"
    assert out(session) == "000100020000000100000000"


@pytest.mark.parametrize(
    ("frame", "answer"),
    [("000200010000000000000007", "000200020000000000000007"), ("000200020000000000000007", "")],
    ids=["ping", "pong"],
)
def test_pings_are_answered_with_their_number(frame: str, answer: str) -> None:
    session, _ = accepting()
    session.feed(bytes.fromhex(frame))
    assert out(session) == answer


def test_closing_and_resetting() -> None:
    session, streams = accepting()
    session.feed(bytes.fromhex("000100010000000100000000000100010000000300000000"))
    out(session)
    session.close(streams[0])
    session.abort(streams[1])
    assert out(session) == "000100040000000100000000000100080000000300000000"


def test_credit_is_given_back_from_half_a_window_on() -> None:
    session, streams = accepting()
    session.feed(bytes.fromhex("000100010000000100000000"))
    out(session)
    half = WINDOW_BYTES // 2
    session.feed(bytes.fromhex("000000000000000100020000") + bytes(half))
    assert out(session) == ""
    while session.take(streams[0]):
        pass
    assert out(session) == "000100000000000100020000"


def test_going_away() -> None:
    session, _ = accepting()
    session.go_away(GO_AWAY_NORMAL)
    session.go_away(GO_AWAY_PROTOCOL_ERROR)
    assert out(session) == "000300000000000000000000000300000000000000000001"
    session.feed(bytes.fromhex("000100010000000100000000"))
    assert out(session) == "000100080000000100000000", "who has gone takes no more streams"


def test_another_version_and_an_unknown_type_end_the_session() -> None:
    for head in ("01", "0004"):
        session, _ = accepting()
        with pytest.raises(ProtocolViolated):
            session.feed(bytes.fromhex(head.ljust(24, "0")))
