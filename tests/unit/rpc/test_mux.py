"""The multiplexer alone: two of them joined by bytes, and one against what a peer should never send."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from base.errors import Internal, MeshError, NoLeader, RateLimited, TooLarge
from rpc import mux as mux_module
from rpc.errors import ProtocolViolated
from rpc.flow import CHUNK_COST_BYTES, CREDIT_BYTES_MIN, WINDOW_BYTES, Flow
from rpc.frame import (
    BODY_BYTES_MAX,
    CANCEL,
    CHUNK_BYTES_MAX,
    CREDIT,
    DATA,
    END,
    ERROR,
    REPLY,
    REQUEST,
    STREAM,
    encode_frame,
)
from rpc.mux import OUT_BYTES_MAX, Mux, Slot


class RecordingHost:
    """Remembers what it is told; answers "echo" at once and everything else never."""

    def __init__(self) -> None:
        self.replies: list[tuple[Slot, bytes]] = []
        self.failures: list[tuple[Slot, MeshError]] = []
        self.requests: list[tuple[int, str, bytes]] = []
        self.cancels: list[Any] = []
        self.flows: list[Flow] = []
        self.mux: Mux

    def replied(self, slot: Slot, body: bytes) -> None:
        self.replies.append((slot, body))

    def failed(self, slot: Slot, error: MeshError) -> None:
        self.failures.append((slot, error))

    def requested(self, seq: int, method: str, body: bytes) -> object | None:
        self.requests.append((seq, method, body))
        if method == "echo":
            self.mux.reply(seq, body)
            return None
        return f"job {seq}"

    def cancelled(self, served: Any) -> None:
        self.cancels.append(served)

    def opened(self, flow: Flow, method: str, body: bytes) -> object:
        self.flows.append(flow)
        return f"stream {flow.seq}"


def side(*, dialler: bool) -> tuple[Mux, RecordingHost]:
    host = RecordingHost()
    host.mux = Mux(host, dialler=dialler)
    return host.mux, host


def deliver(source: Mux, target: Mux) -> None:
    while source.out or source.large_waiting:
        data = source.take_out()
        source.out_bytes -= len(data)
        target.feed(data)
    assert target.process()


def receive(target: Mux, seq: int, kind: int, method: str = "", body: bytes = b"") -> bool:
    out: list[bytes] = []
    encode_frame(seq, kind, method, body, out)
    target.feed(b"".join(out))
    return target.process()


def slot() -> Slot:
    return Slot(None, 0.0)


def test_calls_of_both_sides_are_answered_over_one_connection() -> None:
    near, near_host = side(dialler=True)
    far, far_host = side(dialler=False)
    mine, theirs = slot(), slot()
    near.call(mine, "echo", b"a")
    far.call(theirs, "echo", b"b")
    deliver(near, far)
    deliver(far, near)
    deliver(near, far)
    assert near_host.replies == [(mine, b"a")]
    assert far_host.replies == [(theirs, b"b")]
    assert not near.calls
    assert not far.calls
    assert not near.served
    assert not far.served
    assert (mine.seq, theirs.seq) == (1, 2)


def test_answers_come_in_any_order() -> None:
    near, host = side(dialler=True)
    far, _ = side(dialler=False)
    first, second = slot(), slot()
    near.call(first, "slow", b"")
    near.call(second, "slow", b"")
    deliver(near, far)
    far.reply(second.seq, b"2")
    far.fail(first.seq, NoLeader())
    deliver(far, near)
    assert host.replies == [(second, b"2")]
    assert [(one, type(error)) for one, error in host.failures] == [(first, NoLeader)]


def test_an_abandoned_call_is_cancelled_there_and_its_late_answer_ignored() -> None:
    near, near_host = side(dialler=True)
    far, far_host = side(dialler=False)
    waiting = slot()
    near.call(waiting, "slow", b"")
    deliver(near, far)
    near.abandon_call(waiting)
    near.abandon_call(waiting)
    far.reply(waiting.seq, b"late")
    deliver(far, near)
    deliver(near, far)
    assert far_host.cancels == ["job 1"]
    assert not near_host.replies
    assert not near.calls
    assert not far.served


def test_nothing_is_sent_for_a_call_that_is_too_large_or_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    near, _ = side(dialler=True)
    with pytest.raises(TooLarge):
        near.call(slot(), "m", bytes(BODY_BYTES_MAX + 1))
    monkeypatch.setattr(mux_module, "CALLS_MAX", 2)
    near.call(slot(), "m", b"")
    near.call(slot(), "m", b"")
    sent = near.out_bytes_total
    with pytest.raises(RateLimited):
        near.call(slot(), "m", b"")
    assert near.out_bytes_total == sent
    assert len(near.calls) == 2


def test_a_peer_with_too_many_calls_is_told_so_and_the_connection_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    near, host = side(dialler=True)
    far, _ = side(dialler=False)
    slots = [slot() for _ in range(3)]
    for one in slots:
        near.call(one, "slow", b"")
    monkeypatch.setattr(mux_module, "CALLS_MAX", 2)
    deliver(near, far)
    deliver(far, near)
    assert [(one, type(error)) for one, error in host.failures] == [(slots[2], RateLimited)]


def test_a_peer_of_the_first_version_gets_the_error_it_knows_and_that_does_not_claim_that_nothing_happened() -> None:
    near, host = side(dialler=True)
    far, _ = side(dialler=False)
    near.call(slot(), "slow", b"")
    deliver(near, far)
    far.reply(1, bytes(BODY_BYTES_MAX + 1))
    deliver(far, near)
    (error,) = [error for _, error in host.failures]
    assert isinstance(error, Internal)
    assert not error.definite


def test_processing_stops_while_the_peer_does_not_read() -> None:
    far, host = side(dialler=False)
    body = bytes(CHUNK_BYTES_MAX)
    out: list[bytes] = []
    for seq in range(1, 21, 2):
        encode_frame(seq, REQUEST, "echo", body, out)
    far.feed(b"".join(out))
    assert not far.process()
    assert far.out_bytes <= OUT_BYTES_MAX + len(body) + 100
    assert len(host.requests) < 10
    while not far.process():
        far.out_bytes -= len(far.take_out())
    assert len(host.requests) == 10


def test_ping_is_answered() -> None:
    near, _ = side(dialler=True)
    far, _ = side(dialler=False)
    near.ping()
    deliver(near, far)
    assert far.out
    deliver(far, near)


VIOLATIONS = [
    ("kind 0", [(1, 0, "", b"")]),
    ("unknown kind", [(1, 99, "", b"")]),
    ("number of our side", [(2, REQUEST, "m", b"")]),
    ("number 0", [(0, REQUEST, "m", b"")]),
    ("same number twice", [(1, REQUEST, "slow", b""), (1, REQUEST, "slow", b"")]),
    ("falling numbers", [(3, REQUEST, "slow", b""), (1, REQUEST, "slow", b"")]),
    ("long method", [(1, REQUEST, "m" * 129, b"")]),
    ("stream on a used number", [(1, REQUEST, "slow", b""), (1, STREAM, "s", b"")]),
    ("error without error", [(2, ERROR, "", b"nonsense")]),
    ("empty chunk", [(1, STREAM, "s", b""), (1, DATA, "", b"")]),
    ("huge chunk", [(1, STREAM, "s", b""), (1, DATA, "", bytes(CHUNK_BYTES_MAX + 1))]),
    ("chunk after the end", [(1, STREAM, "s", b""), (1, END, "", b""), (1, DATA, "", b"x")]),
    ("credit that is no number", [(1, STREAM, "s", b""), (1, CREDIT, "", b"xyz")]),
    ("credit beyond the window", [(1, STREAM, "s", b""), (1, CREDIT, "", b"\xff\xff\xff\xff")]),
    ("chunks beyond the window", [(1, STREAM, "s", b"")] + [(1, DATA, "", bytes(CHUNK_BYTES_MAX))] * 4),
]


@pytest.mark.parametrize(("name", "sent"), VIOLATIONS, ids=[row[0] for row in VIOLATIONS])
def test_a_violation_is_noticed(name: str, sent: list[tuple[int, int, str, bytes]]) -> None:
    far, _ = side(dialler=False)
    for seq, kind, method, body in sent[:-1]:
        receive(far, seq, kind, method, body)
    seq, kind, method, body = sent[-1]
    with pytest.raises(ProtocolViolated):
        receive(far, seq, kind, method, body)


@pytest.mark.parametrize("kind", [REPLY, CANCEL, DATA, END, CREDIT])
def test_frames_about_numbers_that_are_not_open_are_ignored(kind: int) -> None:
    far, host = side(dialler=False)
    assert receive(far, 40, kind, "", b"\x00\x00\x00\x01")
    assert receive(far, 41, kind, "", b"\x00\x00\x00\x01")
    assert not host.cancels
    assert not far.out


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 8),
            st.integers(0, 11),
            st.sampled_from(["", "echo", "slow"]),
            st.sampled_from([b"", b"x", b"\x00\x00\x10\x00", bytes(70000)]),
        ),
        max_size=30,
    )
)
def test_no_sequence_of_frames_does_worse_than_a_violation(sent: list[tuple[int, int, str, bytes]]) -> None:
    far, _ = side(dialler=False)
    for seq, kind, method, body in sent:
        try:
            receive(far, seq, kind, method, body)
        except ProtocolViolated:
            return
        assert set(far.flows) <= set(far.served)
        assert len(far.served) <= len(sent)


# Streams


def opened_stream() -> tuple[Mux, Flow, Mux, Flow, RecordingHost]:
    near, _ = side(dialler=True)
    far, far_host = side(dialler=False)
    flow = near.open_stream("s", b"")
    deliver(near, far)
    return near, flow, far, far_host.flows[0], far_host


def test_chunks_flow_in_both_directions_until_both_ended() -> None:
    near, flow, far, far_flow, _ = opened_stream()
    near.send_chunk(flow, b"up")
    near.end_chunks(flow)
    deliver(near, far)
    assert far.take_chunk(far_flow) == b"up"
    assert far_flow.ended_far
    far.send_chunk(far_flow, b"down")
    far.complete_stream(far_flow, None)
    deliver(far, near)
    assert near.take_chunk(flow) == b"down"
    assert flow.ended_far
    near.abandon_stream(flow)
    assert not near.out
    assert not near.flows
    assert not far.flows
    assert not far.served


def test_credit_comes_back_as_the_reader_takes_chunks() -> None:
    near, flow, far, far_flow, _ = opened_stream()
    chunk = bytes(CHUNK_BYTES_MAX // 2)
    cost = len(chunk) + CHUNK_COST_BYTES
    count = 0
    while flow.credit >= cost:
        near.send_chunk(flow, chunk)
        count += 1
    assert count * cost <= WINDOW_BYTES
    deliver(near, far)
    for _ in range(count):
        far.take_chunk(far_flow)
    deliver(far, near)
    assert flow.credit > WINDOW_BYTES - CREDIT_BYTES_MIN - cost
    assert flow.credit == far_flow.window


def test_an_error_ends_a_stream_for_the_side_that_opened_it() -> None:
    near, flow, far, far_flow, _ = opened_stream()
    far.complete_stream(far_flow, NoLeader())
    deliver(far, near)
    assert isinstance(flow.failure, NoLeader)
    near.abandon_stream(flow)
    assert not near.out


def test_abandoning_a_stream_cancels_it_on_the_other_side() -> None:
    near, flow, far, far_flow, host = opened_stream()
    near.send_chunk(flow, b"x")
    near.abandon_stream(flow)
    deliver(near, far)
    assert host.cancels == ["stream 1"]
    assert not far.flows
    assert not far.served
    far.complete_stream(far_flow, NoLeader())
    assert not far.out


def test_too_many_streams_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    near, _, far, _, _ = opened_stream()
    second = near.open_stream("s", b"")
    monkeypatch.setattr(mux_module, "STREAMS_MAX", 1)
    with pytest.raises(RateLimited):
        near.open_stream("s", b"")
    deliver(near, far)
    deliver(far, near)
    assert isinstance(second.failure, RateLimited)


def test_replies_are_taken_while_our_own_output_is_stuck() -> None:
    """Two sides full of output must not wait for one another."""
    near, host = side(dialler=True)
    waiting = slot()
    near.call(waiting, "m", b"")
    while near.out_bytes <= OUT_BYTES_MAX:
        near.call(slot(), "m", bytes(CHUNK_BYTES_MAX))
    assert receive(near, waiting.seq, REPLY, "", b"answer")
    assert host.replies == [(waiting, b"answer")]
    assert not receive(near, 2, REQUEST, "echo", b"x")
    assert not receive(near, 4, REQUEST, "echo", b"y")
    near.out_bytes -= sum(map(len, near.out))
    near.out.clear()
    assert near.process()
    assert [body for _, _, body in host.requests] == [b"x", b"y"]
