"""What a Raft message must look like before it is believed."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import InvalidRequest
from server.raft import envelope as wire
from tests.fakes.group import Group, append

WELLFORMED: list[list[Any]] = [
    [wire.APPEND, 3, 1.0, 0.0, 0, 4, 2, 3, []],
    [wire.APPEND, 3, 1.0, 0.0, 0, 4, 2, 3, [[b"\x00x", 5, 2], [b"\x01", 6, 3]]],
    [wire.APPEND_REPLY, 3, 1.0, 1.0, 0, 5, False, True],
    [wire.VOTE_REQUEST, 3, 1.0, 0.0, wire.FLAG_TRANSFER, 4, 2],
    [wire.VOTE_REPLY, 3, 1.0, 0.0, 0],
    [wire.TIMEOUT_NOW, 3, 1.0, 0.0, 0],
    [wire.PREVOTE_REQUEST, 3, 1.0, 0.0, 0, 4, 4, 2],
    [wire.PREVOTE_REPLY, 3, 1.0, 0.0, 0, 4, True],
    [wire.OFFER, 3, 1.0, 0.0, 0, 4, 2, 4],
    [wire.HEARTBEAT_ACK, 3, 1.0, 1.0, 0],
    [wire.STALE, 3, 1.0, 0.0, 0],
]


@pytest.mark.parametrize("message", WELLFORMED, ids=lambda message: f"kind {message[0]}")
def test_what_the_table_promises_is_accepted_and_may_grow_at_the_end(message: list[Any]) -> None:
    assert wire.require_wellformed(message) == message[0]
    assert wire.require_wellformed([*message, "from a later version"]) == message[0]


@pytest.mark.parametrize("message", WELLFORMED, ids=lambda message: f"kind {message[0]}")
@pytest.mark.parametrize("wrong", [None, "x", -1, 2**63, 1.5, [], {}, math.nan, math.inf], ids=repr)
def test_every_field_of_another_kind_is_refused(message: list[Any], wrong: Any) -> None:
    for position, field in enumerate(message):
        if (wrong == [] and isinstance(field, list)) or (wrong == 1.5 and isinstance(field, float)):
            continue
        with pytest.raises(InvalidRequest):
            wire.require_wellformed([*message[:position], wrong, *message[position + 1 :]])


@pytest.mark.parametrize("message", WELLFORMED, ids=lambda message: f"kind {message[0]}")
def test_a_message_that_was_cut_is_refused(message: list[Any]) -> None:
    for length in range(len(message)):
        with pytest.raises(InvalidRequest):
            wire.require_wellformed(message[:length])


@pytest.mark.parametrize(
    "entries",
    [
        [[b"\x00x", 7, 2]],
        [[b"\x00x", 5, 2], [b"\x00x", 5, 2]],
        [[b"\x00x", 5, 1]],
        [[b"\x00x", 5, 4]],
        [[b"", 5, 2]],
        [["x", 5, 2]],
        [[b"\x00x", 5]],
        [[b"\x00x", True, 2]],
        [None],
    ],
    ids=repr,
)
def test_entries_that_no_leader_can_have_sent_are_refused(entries: list[Any]) -> None:
    with pytest.raises(InvalidRequest):
        wire.require_wellformed([wire.APPEND, 3, 1.0, 0.0, 0, 4, 2, 3, entries])


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=8)
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=9),
    max_leaves=20,
)


@given(message=ANYTHING | st.tuples(st.integers(0, 11), st.integers(0, 9), st.floats(), st.floats()).map(list))
def test_garbage_raises_nothing_but_invalid_request(message: Any) -> None:
    group = GARBAGE_GROUP
    before = group["b"].term, group["b"].last_index
    try:
        group["b"].receive("a", group.epoch("a", "b"), message, group.now_s)
    except InvalidRequest:
        assert (group["b"].term, group["b"].last_index) == before


GARBAGE_GROUP = Group()


def test_an_acknowledgement_of_what_was_never_sent_is_refused() -> None:
    group = Group()
    group.elect("a")
    core = group["a"]
    message = [wire.APPEND_REPLY, core.term, 0.0, 0.0, 0, core.last_index + 2, False, True]
    with pytest.raises(InvalidRequest, match="never sent"):
        core.receive("b", group.epoch("a", "b"), message, group.now_s)


def test_an_echo_from_the_future_is_refused_so_that_nobody_can_lengthen_a_lease() -> None:
    group = Group()
    group.elect("a")
    core = group["a"]
    for message in (
        [wire.APPEND_REPLY, core.term, 0.0, group.now_s + 100.0, 0, core.last_index + 1, False, True],
        [wire.HEARTBEAT_ACK, core.term, 0.0, group.now_s + 100.0, 0],
    ):
        with pytest.raises(InvalidRequest, match="not come yet"):
            core.receive("b", group.epoch("a", "b"), message, group.now_s)


def test_an_append_helper_of_the_tests_writes_what_the_table_says() -> None:
    wire.require_wellformed(append(term=3, prev=(4, 2), entries=[(b"\x00x", 5, 3)]))
