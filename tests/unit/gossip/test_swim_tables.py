"""Whole tables over streams: joins, merges, refusals; other streams; leaving."""

from typing import Any

import pytest

from gossip.exchanges import EXCHANGES_MAX, MERGES_WAITING_MAX, SLICE_COUNT, interval_of
from gossip.instructions import (
    VERSIONS,
    Address,
    AnswerStream,
    CloseStream,
    Instruction,
    Log,
    OpenStream,
    StreamAnswered,
    StreamFailed,
    StreamRequest,
    Versions,
)
from gossip.layers import Node, State
from gossip.messages import Ack, Dead, ErrorMessage, Ping, decode, encode
from gossip.packets import compound
from gossip.push_pull import NodeState, PushPull, decode_push_pull, encode_push_pull
from gossip.streams import encode_user_message
from gossip.versions import versions_complaint
from tests.fakes.swim_group import STRANGER, Group, Peer

META = b"\xff\x80"


def requested(group: Group, message: bytes, name: str = "a") -> Instruction:
    """Return what a member does with the message of a stream."""
    peer = group[name]
    peer.out.clear()
    peer.swim.stream_request(StreamRequest(at_s=group.now_s, stream_id=3, source=STRANGER, message=message))
    answers = [each for each in peer.out if isinstance(each, AnswerStream | CloseStream)]
    assert len(answers) == 1
    assert answers[0].stream_id == 3
    return answers[0]


def state(name: str, number: int = 2, **fields: Any) -> NodeState:
    defaults = {"host": f"10.0.0.{number}", "port": 8301, "meta": META, "incarnation": 1, "state": State.ALIVE}
    return NodeState(name=name, **{**defaults, **fields})


def known(peer: Peer) -> dict[str, State]:
    return {node.name: node.state for node in peer.swim.nodes.values()}


def begun(group: Group, **options: Any) -> tuple[list[str], OpenStream]:
    """Begin an exchange of "a" with a stranger; return where its end will be written, and the stream."""
    results: list[str] = []
    peer = group[options.pop("name", "a")]
    peer.out.clear()
    peer.swim.push_pull(
        group.now_s, STRANGER, join=options.get("join", True), done=lambda _, text: results.append(text)
    )
    stream = next(each for each in peer.out if isinstance(each, OpenStream))
    return results, stream


def answered(group: Group, stream: OpenStream, message: bytes) -> None:
    event = StreamAnswered(at_s=group.now_s, stream_id=stream.stream_id, message=message)
    group["a"].swim.stream_answered(event)


# Joins


def test_one_join_is_enough_for_everybody_to_know_everybody_soon() -> None:
    group = Group(8)
    for name in "bcdefgh":
        assert group.join(name, "a") == ""
    took_s = group.run_until(group.all_alive, within_s=5.0)
    assert took_s < 1.0


def test_both_sides_of_a_join_know_each_other_and_the_state_of_the_upper_layer() -> None:
    group = Group(2)
    group["a"].upper.state, group["b"].upper.state = b"of a", b"of b"
    assert group.join("b", "a") == ""
    assert known(group["a"]) == known(group["b"]) == {"a": State.ALIVE, "b": State.ALIVE}
    assert group["a"].upper.merged == [(b"of b", True)]
    assert group["b"].upper.merged == [(b"of a", True)]


def test_a_responder_answers_with_its_own_table_first_and_merges_afterwards() -> None:
    group = Group(1)
    answer = requested(group, encode_push_pull(PushPull(nodes=[state("b")], user_state=b"x", join=True)))
    assert isinstance(answer, AnswerStream)
    table = decode_push_pull(answer.message)
    assert [node.name for node in table.nodes] == ["a"]
    assert table.join
    assert known(group["a"]) == {"a": State.ALIVE, "b": State.ALIVE}


def test_an_observer_gets_the_table_and_leaves_no_trace() -> None:
    group = Group(1)
    answer = requested(group, encode_push_pull(PushPull(nodes=[])))
    assert isinstance(answer, AnswerStream)
    assert len(decode_push_pull(answer.message).nodes) == 1
    assert (known(group["a"]), group["a"].upper.merged) == ({"a": State.ALIVE}, [])


def test_whom_another_table_holds_for_dead_is_only_suspected() -> None:
    group = Group(1)
    nodes = [state("b"), state("c", 3), state("d", 4, state=State.DEAD)]
    requested(group, encode_push_pull(PushPull(nodes=nodes)))
    requested(
        group, encode_push_pull(PushPull(nodes=[state("b", state=State.DEAD), state("c", 3, state=State.SUSPECT)]))
    )
    assert known(group["a"]) == {"a": State.ALIVE, "b": State.SUSPECT, "c": State.SUSPECT}


def test_who_reads_of_its_own_death_refutes() -> None:
    group = Group(1)
    requested(group, encode_push_pull(PushPull(nodes=[state("a", 1, incarnation=6, state=State.DEAD)])))
    assert group["a"].swim.local.incarnation == 7


def test_port_zero_means_the_receivers() -> None:
    group = Group(1)
    requested(group, encode_push_pull(PushPull(nodes=[state("b", port=0)])))
    assert group["a"].swim.nodes["b"].address == Address("10.0.0.2", 8301)


def test_tables_are_compared_now_and_then_so_that_nothing_is_missed_for_long() -> None:
    group = Group(3)
    group.join_all()
    group.run(5.0)
    group.passes = lambda *_: False
    group["a"].swim.set_meta(group.now_s, b"\xff\x81\xa1x\xa1y")
    group.run_until(lambda: group["b"].swim.nodes["a"].incarnation > 1, within_s=65.0)


@pytest.mark.parametrize(("count", "times"), [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3), (5000, 9)])
def test_large_pools_compare_less_often(count: int, times: int) -> None:
    assert interval_of(30.0, count) == 30.0 * times


# Refusals


def test_a_join_that_the_joiner_refuses_fails_with_its_reason() -> None:
    group = Group(2)
    group["b"].upper.merge_refusal = "Member 'a' part of wrong datacenter 'dc2'"
    assert group.join("b", "a") == "Member 'a' part of wrong datacenter 'dc2'"
    assert known(group["b"]) == {"b": State.ALIVE}


def test_a_join_that_the_responder_refuses_is_told_why_and_shown_no_table() -> None:
    group = Group(2)
    group["a"].upper.merge_refusal = "no"
    assert group.join("b", "a") == "remote error: no"
    assert known(group["b"]) == {"b": State.ALIVE}
    assert group["a"].upper.merged == []
    assert any(log.text == "not merged: no" for log in group["a"].logs)


def test_only_joins_are_vetted() -> None:
    group = Group(1)
    group["a"].upper.merge_refusal = "no"
    requested(group, encode_push_pull(PushPull(nodes=[state("b")], join=False)))
    assert "b" in group["a"].swim.nodes


def speaker(versions: Versions | None, status: State = State.ALIVE, name: str = "x") -> NodeState:
    return state(name, versions=versions, state=status)


def ourselves(versions: Versions = VERSIONS) -> Node:
    address = Address("10.0.0.1", 8301)
    return Node(
        name="us", address=address, meta=b"", incarnation=1, state=State.ALIVE, changed_s=0.0, versions=versions
    )


@pytest.mark.parametrize(
    ("others", "complaint"),
    [
        ([], ""),
        ([speaker((1, 5, 5, 2, 5, 4))], ""),
        ([speaker(None)], ""),
        ([speaker((6, 6, 6, 2, 5, 4))], "Node 'x' protocol version (6) is incompatible: [6, 5]"),
        ([speaker((1, 1, 1, 2, 5, 4))], "Node 'us' protocol version (2) is incompatible: [1, 1]"),
        ([speaker((1, 5, 6, 2, 5, 4), State.DEAD)], "Node 'x' protocol version (6) is incompatible: [1, 5]"),
        ([speaker((1, 5, 2, 2, 5, 1))], "Node 'x' delegate protocol version (1) is incompatible: [2, 5]"),
        ([speaker((6, 6, 2, 2, 5, 4), State.SUSPECT)], ""),
    ],
)
def test_everybody_must_speak_what_all_the_living_understand(others: list[NodeState], complaint: str) -> None:
    ours = [ourselves()]
    assert versions_complaint(others, ours) == complaint


def test_an_incompatible_table_is_not_merged() -> None:
    group = Group(1)
    results, stream = begun(group)
    answered(group, stream, encode_push_pull(PushPull(nodes=[speaker((6, 6, 6, 2, 5, 4))])))
    assert results == ["Node 'x' protocol version (6) is incompatible: [6, 5]"]
    assert list(group["a"].swim.nodes) == ["a"]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (encode(ErrorMessage(text="go away")), "remote error: go away"),
        (b"", "the answer cannot be read"),
        (b"\x06\xc1", "the answer cannot be read"),
        (encode(Ping(sequence=1)), "the answer cannot be read"),
        (b"\x0d\xc1", "the answer cannot be read"),
    ],
)
def test_an_exchange_says_why_it_failed(answer: bytes, text: str) -> None:
    group = Group(1)
    results, stream = begun(group)
    answered(group, stream, answer)
    answered(group, stream, answer)
    assert len(results) == 1
    assert results[0].startswith(text)


def test_each_exchange_ends_even_if_nobody_tells_how() -> None:
    group = Group(1)
    results, stream = begun(group)
    assert stream.deadline_s == group.now_s + 10.0
    group._after(group["a"])
    group["a"].swim.stream_failed(StreamFailed(at_s=group.now_s, stream_id=99, text="another one"))
    assert results == []
    group.run(12.0)
    assert len(results) == 1


def test_exchanges_are_bounded() -> None:
    group = Group(1)
    results: list[str] = []
    for _ in range(EXCHANGES_MAX + 1):
        group["a"].swim.push_pull(group.now_s, STRANGER, join=True, done=lambda _, text: results.append(text))
    assert len(results) == 1
    assert "already" in results[0]


# Other streams


def test_a_ping_by_tcp_is_answered_without_payload() -> None:
    group = Group(1)
    answer = requested(group, encode(Ping(sequence=9, node="a")))
    assert isinstance(answer, AnswerStream)
    assert decode(answer.message) == Ack(sequence=9)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00",
        b"\x00\xc1",
        b"\x06",
        b"\x06\xc1",
        b"\x08",
        b"\x08\x81\xaaUserMsgLen\x05ab",
        b"\x0d\x80",
        b"\xff\xff",
        encode(Ping(sequence=1, node="somebody else")),
        encode(Ack(sequence=1)),
    ],
)
def test_what_a_stream_may_not_bring_closes_it(message: bytes) -> None:
    assert isinstance(requested(Group(1), message), CloseStream)


def test_a_user_message_by_tcp_goes_up_without_an_answer() -> None:
    group = Group(1)
    assert isinstance(requested(group, encode_user_message(b"\x03hello")), CloseStream)
    assert group["a"].upper.messages == [b"\x03hello"]


# Leaving


def test_who_leaves_is_gone_at_once_everywhere_and_goes_on_answering() -> None:
    group = Group(5)
    group.join_all()
    done: list[float] = []
    group["e"].swim.leave(group.now_s, done.append)
    group._after(group["e"])
    group.run_until(lambda: all(known(group[name])["e"] is State.DEAD for name in "abcde"), within_s=2.0)
    group.run_until(lambda: bool(done), within_s=2.0)
    farewells = [message for _, message in group["e"].sent if isinstance(message, Dead)]
    assert farewells == [Dead(incarnation=1, node="e", sender="")] * 4
    assert group["e"].upper.events[-1] == ("left", "e")
    group["e"].sent.clear()
    group.deliver("e", encode(Ping(sequence=1, node="e")))
    assert isinstance(group["e"].sent[-1][1], Ack)


def test_who_leaves_refutes_nothing_any_more() -> None:
    group = Group(2)
    group.join_all()
    b = group["b"]
    b.swim.leave(group.now_s, lambda _: None)
    b.swim.set_meta(group.now_s, b"x")
    for message in (Dead(incarnation=1, node="b", sender="a"), Dead(incarnation=9, node="b", sender="a")):
        group.deliver("b", encode(message))
    for status in State:
        requested(group, encode_push_pull(PushPull(nodes=[state("b", 2, incarnation=5, state=status)])), "b")
    assert (b.swim.local.state, b.swim.local.incarnation) == (State.DEAD, 1)
    group.run(10.0)
    assert known(group["a"]).get("b", State.DEAD) is State.DEAD


def test_a_message_that_rides_with_a_death_goes_up_before_it() -> None:
    group = Group(2)
    group.join_all()
    upper = group["a"].upper
    seen: list[str] = []
    upper.user_message = lambda *_: seen.append("why")  # type: ignore[method-assign]
    upper.left = lambda *_: seen.append("left")  # type: ignore[method-assign]
    group.deliver("a", compound([encode(Dead(incarnation=1, node="b", sender="")), b"\x08\x00why"]))
    assert seen == ["why", "left"]


def test_leaving_alone_takes_no_time_and_leaving_twice_is_leaving_once() -> None:
    group = Group(1)
    done: list[float] = []
    for _ in range(2):
        group["a"].swim.leave(group.now_s, done.append)
    assert done == [group.now_s] * 2


def test_farewells_that_nobody_takes_do_not_hold_anybody_for_ever() -> None:
    group = Group(3)
    group.join_all()
    done: list[float] = []
    group["a"].swim._outbox.queue.pull = lambda *_, **__: []  # type: ignore[method-assign]
    group["a"].swim.leave(group.now_s, done.append)
    group["a"].swim.leave(group.now_s, done.append)
    group._after(group["a"])
    start_s = group.now_s
    group.run(6.0)
    assert done == [start_s + 5.0] * 2


# Long tables


def long_table(count: int = 2 * SLICE_COUNT + 1) -> PushPull:
    return PushPull(nodes=[state(f"n{number}", 3) for number in range(count)], user_state=b"news")


def test_a_long_table_is_merged_in_slices_with_others_in_between() -> None:
    group = Group(1)
    swim = group["a"].swim
    requested(group, encode_push_pull(long_table()))
    known = [len(swim.nodes)]
    while len(known) < 3:
        assert swim.next_deadline_s() <= group.now_s
        assert group["a"].upper.merged == [], "the upper layer's state comes when all are known"
        swim.tick(group.now_s)
        known.append(len(swim.nodes))
    assert known == [1 + SLICE_COUNT, 1 + 2 * SLICE_COUNT, 2 + 2 * SLICE_COUNT]
    assert group["a"].upper.merged == [(b"news", False)]
    assert swim.next_deadline_s() > group.now_s


def test_an_exchange_of_ours_is_over_when_all_is_merged() -> None:
    group = Group(1)
    results, stream = begun(group)
    answered(group, stream, encode_push_pull(long_table()))
    assert results == []
    group.run(0.1)
    assert results == [""]
    assert len(group["a"].swim.nodes) == 2 + 2 * SLICE_COUNT


def test_tables_that_wait_are_few() -> None:
    group = Group(1)
    for _ in range(MERGES_WAITING_MAX + 1):
        requested(group, encode_push_pull(long_table()))
    logged = [each for each in group["a"].out if isinstance(each, Log)]
    assert any("being merged already" in log.text for log in logged)
    group.run(0.1)
    assert len(group["a"].swim.nodes) == 2 + 2 * SLICE_COUNT
