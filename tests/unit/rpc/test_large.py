"""Replies that are larger than a frame: the multiplexer alone, well-behaved peers and others."""

import pytest

from base.errors import Internal
from rpc.errors import ProtocolViolated
from rpc.frame import BODY_BYTES_MAX, CHUNK_BYTES_MAX, ERROR, LARGE, PART, PING, REPLY, encode_frame
from rpc.large import PART_BYTES, REPLY_BYTES_MAX, Budget
from rpc.mux import Mux, Slot
from tests.unit.rpc.test_mux import RecordingHost, deliver, receive, side, slot

SIZE = BODY_BYTES_MAX + 3 * PART_BYTES + 7


def greeted(budget: Budget | None = None) -> tuple[Mux, RecordingHost, Mux, RecordingHost]:
    """Return two sides that know of each other what they take; the dialler's first."""
    near, near_host = side(dialler=True)
    far_host = RecordingHost()
    far = far_host.mux = Mux(far_host, dialler=False, budget=budget)
    near.greet()
    deliver(near, far)
    deliver(far, near)
    return near, near_host, far, far_host


def called(near: Mux, far: Mux, count: int = 1) -> list[Slot]:
    """Have so many calls under way."""
    slots = [slot() for _ in range(count)]
    for each in slots:
        near.call(each, "slow", b"")
    deliver(near, far)
    return slots


def size_of(size: int) -> bytes:
    return size.to_bytes(8, "big")


def test_a_large_reply_arrives_whole_in_both_directions() -> None:
    near, near_host, far, far_host = greeted()
    (mine,) = called(near, far)
    (theirs,) = called(far, near)
    body = bytes(range(251)) * (SIZE // 251)
    far.reply(mine.seq, body)
    near.reply(theirs.seq, body)
    deliver(far, near)
    deliver(near, far)
    assert near_host.replies == [(mine, body)]
    assert far_host.replies == [(theirs, body)]
    assert not near.calls


def test_large_replies_take_turns_and_everything_else_overtakes_them() -> None:
    near, host, far, _ = greeted()
    first, second, small = called(near, far, 3)
    far.reply(first.seq, bytes(SIZE + 2 * PART_BYTES))
    far.reply(second.seq, bytes(SIZE))
    near.feed(far.take_out())  # both are announced
    for _ in range(4):
        near.feed(far.take_out())
    assert near.process()
    assert first.arriving is not None
    assert second.arriving is not None
    assert first.arriving.size - first.arriving.bytes_missing == 2 * PART_BYTES
    assert second.arriving.size - second.arriving.bytes_missing == 2 * PART_BYTES
    far.reply(small.seq, b"small")
    near.feed(far.take_out())
    assert near.process()
    assert host.replies == [(small, b"small")]
    deliver(far, near)
    assert [each for each, _ in host.replies] == [small, second, first]


def test_cancelling_frees_both_sides_and_parts_on_the_way_are_ignored() -> None:
    budget = Budget()
    whole = budget.bytes_left
    near, host, far, _ = greeted(budget)
    (mine,) = called(near, far)
    far.reply(mine.seq, bytes(SIZE))
    near.feed(far.take_out())
    on_the_way = far.take_out()
    assert near.process()
    assert budget.bytes_left == whole - SIZE
    near.abandon_call(mine)
    assert mine.arriving is None
    deliver(near, far)
    near.feed(on_the_way)
    assert near.process()
    assert not far.large_waiting
    assert budget.bytes_left == whole
    assert host.replies == []
    assert host.failures == []


def test_more_than_the_sender_may_hold_is_refused_and_room_comes_back() -> None:
    near, host, far, _ = greeted(Budget(2 * SIZE))
    slots = called(near, far, 4)
    for each in slots[:3]:
        far.reply(each.seq, bytes(SIZE))
    deliver(far, near)
    assert [each for each, _ in host.replies] == slots[:2]
    ((failed, error),) = host.failures
    assert failed is slots[2]
    assert isinstance(error, Internal)
    assert not error.definite
    far.reply(slots[3].seq, bytes(SIZE))
    deliver(far, near)
    assert len(host.replies) == 3


def test_an_error_in_the_middle_ends_the_call_and_gives_its_room_back() -> None:
    host = RecordingHost()
    budget = Budget(SIZE)
    near = host.mux = Mux(host, dialler=True, budget=budget)
    mine = slot()
    near.call(mine, "slow", b"")
    assert receive(near, 1, LARGE, "", size_of(SIZE))
    assert budget.bytes_left == 0
    assert receive(near, 1, ERROR, "", b"\x93\xa8Internal\xa1x\xc2")
    assert budget.bytes_left == SIZE
    assert [each for each, _ in host.failures] == [mine]


def test_closing_gives_back_what_was_announced_and_never_came() -> None:
    host = RecordingHost()
    budget = Budget(2 * SIZE)
    near = host.mux = Mux(host, dialler=True, budget=budget)
    for seq in (1, 3):
        near.call(slot(), "slow", b"")
        assert receive(near, seq, LARGE, "", size_of(SIZE))
        assert receive(near, seq, PART, "", bytes(PART_BYTES))
    assert budget.bytes_left == 0
    near.close()
    assert budget.bytes_left == 2 * SIZE
    assert not near.calls


@pytest.mark.parametrize("size", [SIZE + 1, REPLY_BYTES_MAX + 1, (1 << 64) - 1])
def test_an_announcement_beyond_the_bounds_fails_its_call_alone_and_keeps_no_byte(size: int) -> None:
    host = RecordingHost()
    budget = Budget(SIZE)
    near = host.mux = Mux(host, dialler=True, budget=budget)
    mine, other = slot(), slot()
    near.call(mine, "slow", b"")
    near.call(other, "slow", b"")
    assert receive(near, 1, LARGE, "", size_of(size))
    assert receive(near, 1, PART, "", bytes(PART_BYTES))
    assert receive(near, 3, REPLY, "", b"fine")
    ((failed, error),) = host.failures
    assert failed is mine
    assert isinstance(error, Internal)
    assert host.replies == [(other, b"fine")]
    assert budget.bytes_left == SIZE


VIOLATIONS = [
    ("no number", [(LARGE, b"\x00\x50\x00\x00")]),
    ("would fit a frame", [(LARGE, size_of(BODY_BYTES_MAX))]),
    ("announced twice", [(LARGE, size_of(SIZE)), (LARGE, size_of(SIZE))]),
    ("part of nothing", [(PART, b"x")]),
    ("empty part", [(LARGE, size_of(SIZE)), (PART, b"")]),
    ("huge part", [(LARGE, size_of(SIZE)), (PART, bytes(CHUNK_BYTES_MAX + 1))]),
    ("more than announced", [(LARGE, size_of(SIZE)), *[(PART, bytes(CHUNK_BYTES_MAX))] * 5]),
    ("a second reply", [(LARGE, size_of(SIZE)), (PART, b"x"), (REPLY, b"y")]),
]


@pytest.mark.parametrize(("name", "sent"), VIOLATIONS, ids=[row[0] for row in VIOLATIONS])
def test_a_violation_is_noticed_and_its_call_fails_with_the_connection(
    name: str, sent: list[tuple[int, bytes]]
) -> None:
    near, host = side(dialler=True)
    mine = slot()
    near.call(mine, "slow", b"")
    for kind, body in sent[:-1]:
        receive(near, 1, kind, "", body)
    kind, body = sent[-1]
    with pytest.raises(ProtocolViolated):
        receive(near, 1, kind, "", body)
    assert list(near.calls.values()) == [mine]
    assert host.replies == []


def test_unknown_features_are_ignored_and_a_plain_ping_unlearns_nothing() -> None:
    near, host = side(dialler=True)
    far, _ = side(dialler=False)
    receive(far, 0, PING, "", b"\xff\xff")
    receive(far, 0, PING, "", b"")
    (mine,) = called(near, far)
    far.reply(mine.seq, bytes(SIZE))
    deliver(far, near)
    assert [each for each, _ in host.replies] == [mine]


def test_a_plain_ping_gets_the_plain_answer() -> None:
    far, _ = side(dialler=False)
    receive(far, 0, PING, "", b"")
    out: list[bytes] = []
    encode_frame(0, 10, "", b"", out)
    assert far.take_out() == b"".join(out)
