"""Well-formed messages that say anything at all: nothing raises, nothing grows without end, no stranger is served."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.instructions import Address, Finished, QueryWanted
from gossip.serf_messages import (
    ConflictResponse,
    EventSlot,
    JoinIntent,
    KeyRequest,
    KeyResponse,
    LeaveIntent,
    NamesFilter,
    Query,
    QueryResponse,
    Relay,
    SerfMessage,
    SlotEvent,
    State,
    TagFilter,
    UserEvent,
    decode,
    encode,
    encode_filter,
)
from tests.fakes.lower_layer import UpperWorld

times = st.sampled_from([0, 1, 2, 5, 600, 1 << 20, (1 << 48) + 3, (1 << 62), (1 << 63) - 1])
names = st.sampled_from(["me", "a", "b", "", "nobody", "\udcff", "x" * 255, "with space"])
hosts = st.sampled_from(["127.0.0.1", "127.0.0.2", "127.0.0.3", "", "0.0.0.0", "::1", "10.9.9.9"])
ports = st.sampled_from([8301, 0, 53, 65535])
small = st.binary(max_size=20)
query_names = st.sampled_from(
    ["q", "", "_serf_ping", "_serf_conflict", "_serf_install-key", "_serf_use-key", "_serf_list-keys", "_serf_"]
)
filters = st.one_of(
    small,
    st.lists(names.filter(bool), max_size=3).map(lambda some: encode_filter(NamesFilter(names=some))),
    st.text("a(|)*+?[]{}0-9\\", max_size=20).map(lambda text: encode_filter(TagFilter(tag="role", expression=text))),
)
key_requests = st.builds(KeyRequest, key=st.sampled_from([b"", b"k" * 16, b"n" * 32, b"x"]))
conflicts = st.builds(ConflictResponse, known=st.booleans(), name=names, host=hosts, port=ports)
payloads = st.one_of(
    small, key_requests.map(encode), conflicts.map(encode), st.builds(KeyResponse, result=st.booleans()).map(encode)
)
responses = st.builds(
    QueryResponse,
    lamport_time=times,
    query_id=st.integers(0, 3),
    sender=names,
    flags=st.integers(0, 3),
    payload=payloads,
)
messages = st.one_of(
    st.builds(LeaveIntent, lamport_time=times, node=names),
    st.builds(JoinIntent, lamport_time=times, node=names),
    st.builds(UserEvent, lamport_time=times, name=names, payload=st.binary(max_size=40), coalesce=st.booleans()),
    st.builds(
        Query,
        lamport_time=times,
        query_id=st.integers(0, 3),
        host=hosts,
        port=ports,
        filters=st.lists(filters, max_size=3),
        flags=st.integers(0, 3),
        relay_factor=st.sampled_from([0, 1, 255]),
        timeout_ns=st.sampled_from([0, 10**9, (1 << 63) - 1]),
        name=query_names,
        payload=payloads,
    ),
    responses,
    st.builds(Relay, host=hosts, port=ports, message=st.one_of(small, responses.map(encode))),
    conflicts,
    key_requests,
)
slots = st.builds(
    EventSlot,
    lamport_time=times,
    events=st.lists(st.builds(SlotEvent, name=names, payload=small), max_size=3),
)
states = st.builds(
    State,
    lamport_time=times,
    status_times=st.dictionaries(names, times),
    left_members=st.lists(names, max_size=3),
    event_time=times,
    events=st.lists(st.none() | slots, max_size=3),
    query_time=times,
)
steps = st.one_of(messages, messages, states, st.sampled_from([0.3, 20.0, 400.0]), st.just("ask"))


@settings(max_examples=200)
@given(st.lists(steps, max_size=40))
def test_whatever_members_say_is_borne(story: list[Any]) -> None:
    world = UpperWorld("a", "b", keys=[b"k" * 16], tags={"role": "web"})
    asked_count = 0
    for step in story:
        if isinstance(step, State):
            world.serf.merge_state(world.now_s, encode(step), join=True)
        elif isinstance(step, SerfMessage):
            world.hear(step)
        elif step == "ask":
            asked_count += 1
            world.serf.ask(QueryWanted(at_s=world.now_s, operation=asked_count, name="q", payload=b""))
        else:
            world.later(step)
        world.serf.settle(world.now_s)
        world.passed_on()
    world.later(700)
    assert len(world.seen(Finished)) == asked_count, "every question has exactly one end"
    assert [member.name for member in world.serf.roster.members()] == ["a", "b", "me"]
    assert isinstance(decode(world.serf.local_state(world.now_s, join=False)), State)
    assert world.serf.keys()
    known = {Address("127.0.0.1", 8301), Address("127.0.0.2", 8301), Address("127.0.0.3", 8301)}
    assert {to for to, _ in world.lower.sent} <= known, "nothing was sent to a stranger"
