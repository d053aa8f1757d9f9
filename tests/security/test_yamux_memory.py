"""Requests that never end, on many sessions: what is held for all of them together is bounded, and others get through.

Weakness class: bounds for each of something of which anybody may open as many as he likes.
"""

import pytest

from rpc import kept as bounds
from rpc.kept import KEPT_BYTES_FREE, Kept
from rpc.yamux import DATA, HEADER, SYN, VERSION, Session, YamuxStream


def opened(kept: Kept) -> tuple[Session, list[YamuxStream]]:
    streams: list[YamuxStream] = []
    return Session(dialler=False, accept=streams.append, kept=kept), streams


def bring(session: Session, number: int, size: int) -> None:
    """Have `size` bytes arrive on a new stream."""
    session.feed(HEADER.pack(VERSION, DATA, SYN, number, size) + bytes(size))


def test_what_all_sessions_keep_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "KEPT_BYTES_ALL_MAX", 4 * KEPT_BYTES_FREE)
    kept = Kept()
    sessions = [opened(kept) for _ in range(4)]
    for session, _ in sessions:
        for number in range(1, 21, 2):
            bring(session, number, KEPT_BYTES_FREE // 2)
    assert kept.bytes_count == sum(session.bytes_kept for session, _ in sessions)
    assert kept.bytes_count <= (4 + len(sessions)) * KEPT_BYTES_FREE
    assert any(stream.reset for _, streams in sessions for stream in streams)


def test_a_session_gets_its_share_whatever_the_others_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "KEPT_BYTES_ALL_MAX", KEPT_BYTES_FREE)
    kept = Kept()
    greedy, _ = opened(kept)
    for number in range(1, 9, 2):
        bring(greedy, number, KEPT_BYTES_FREE // 2)
    modest, streams = opened(kept)
    bring(modest, 1, 1000)
    (stream,) = streams
    assert modest.take(stream) == bytes(1000)
    assert modest.keep(stream, 1000)
    assert not stream.reset


def test_what_a_session_held_is_given_back_when_it_ends() -> None:
    kept = Kept()
    session, streams = opened(kept)
    for number in range(1, 9, 2):
        bring(session, number, 1000)
    session.take(streams[0])
    assert session.keep(streams[0], 1000)
    session.keep(streams[0], 0)
    session.abort(streams[1])
    assert kept.bytes_count == 2000
    session.end()
    assert kept.bytes_count == 0
