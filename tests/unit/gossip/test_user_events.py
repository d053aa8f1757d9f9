"""User events: once to everybody, whoever floods. Source: wire format, section 8.3."""

from collections import Counter

from gossip.instructions import Address, Finished, JoinWanted, QueryWanted, UserEventArrived, UserEventWanted
from gossip.serf_messages import EventSlot, Query, SlotEvent, State, UserEvent, decode, encode
from gossip.user_events import BUFFER_BYTES_MAX, SLOT_BYTES_MAX
from tests.fakes.lower_layer import UpperWorld


def fire(world: UpperWorld, name: str, payload: bytes = b"") -> object:
    world.serf.fire(UserEventWanted(at_s=world.now_s, operation=1, name=name, payload=payload))
    return world.seen(Finished)[-1].result


def arrived(world: UpperWorld) -> list[tuple[int, str]]:
    return [(event.lamport_time, event.name) for event in world.seen(UserEventArrived)]


def test_who_fires_hears_it_too() -> None:
    world = UpperWorld("a")
    assert fire(world, "deploy", b"1") is None
    assert fire(world, "deploy", b"2") is None
    assert arrived(world) == [(1, "deploy"), (2, "deploy")]
    assert [type(message) for message in world.passed_on()] == [UserEvent, UserEvent]


def test_an_event_and_a_query_are_sent_eight_times_by_each_of_a_few_members() -> None:
    world = UpperWorld("a")
    fire(world, "deploy")
    world.serf.ask(QueryWanted(at_s=world.now_s, operation=2, name="who", payload=b""))
    assert Counter(type(message) for _ in range(20) for message in world.passed_on()) == {UserEvent: 8, Query: 8}


def test_a_replayed_event_is_dropped() -> None:
    world = UpperWorld("a")
    event = UserEvent(lamport_time=9, name="e", payload=b"p", coalesce=True)
    for _ in range(3):
        world.hear(event)
    world.hear(UserEvent(lamport_time=9, name="e", payload=b"other"))
    assert arrived(world) == [(9, "e"), (9, "e")]
    assert len(world.passed_on()) == 2
    assert world.seen(UserEventArrived)[0].coalesce


def test_events_too_old_to_be_known_again_are_dropped() -> None:
    world = UpperWorld("a")
    world.hear(UserEvent(lamport_time=1000, name="new"))
    world.hear(UserEvent(lamport_time=1001 - 512, name="old enough"))
    world.hear(UserEvent(lamport_time=1000 - 512, name="too old"))
    assert arrived(world) == [(1000, "new"), (489, "old enough")]


def test_events_too_large_are_refused_by_name_and_payload_as_whoever_fires_them_counts() -> None:
    world = UpperWorld("a")
    assert fire(world, "e", b"x" * 512) == "user event exceeds limit of 512 bytes"
    assert fire(world, "e", b"x" * 511) is None
    assert fire(world, "é" * 300) == "user event exceeds limit of 512 bytes"
    world.hear(UserEvent(lamport_time=50, name="e", payload=b"x" * 1400))
    assert arrived(world) == [(1, "e")]


def test_who_joins_does_not_hear_what_was_before() -> None:
    state = encode(State(event_time=9, events=[EventSlot(lamport_time=8, events=[SlotEvent(name="before")])]))
    world = UpperWorld("a")
    world.serf.join(JoinWanted(at_s=world.now_s, operation=1, addresses=[Address("127.0.0.2", 8301)]))
    world.serf.merge_state(world.now_s, state, join=True)
    assert arrived(world) == []
    world = UpperWorld("a")
    world.serf.merge_state(world.now_s, state, join=True)
    assert arrived(world) == [(8, "before")], "a join of somebody else"


def test_a_restart_does_not_bring_old_events_back() -> None:
    world = UpperWorld("a")
    world.serf.restore("event-clock: 40\n")
    world.hear(UserEvent(lamport_time=40, name="before"))
    world.hear(UserEvent(lamport_time=41, name="since"))
    assert arrived(world) == [(41, "since")]


def test_one_lamport_time_holds_only_so_much() -> None:
    world = UpperWorld("a")
    for number in range(200):
        world.hear(UserEvent(lamport_time=5, name=f"e{number}", payload=b"x" * 500))
    assert 50 < len(arrived(world)) <= SLOT_BYTES_MAX // 500
    state = decode(world.serf.local_state(world.now_s, join=False))
    assert isinstance(state, State)


def test_a_flood_of_events_gives_up_the_oldest_and_their_replays() -> None:
    world = UpperWorld("a")
    for time in range(2, 500):
        for number in range(10):
            world.hear(UserEvent(lamport_time=time, name=f"e{number}", payload=b"x" * 500))
    state = world.serf.local_state(world.now_s, join=False)
    assert len(state) < BUFFER_BYTES_MAX + 200
    world.out.clear()
    world.hear(UserEvent(lamport_time=2, name="e0", payload=b"x" * 500))
    world.hear(UserEvent(lamport_time=2, name="never seen"))
    assert arrived(world) == []
    assert world.serf.statistics()["event_queue"] == 4096


def test_a_forged_time_does_not_deafen_us() -> None:
    world = UpperWorld("a")
    world.hear(UserEvent(lamport_time=3, name="honest"))
    world.hear(UserEvent(lamport_time=(1 << 63) - 1, name="forged"))
    world.hear(UserEvent(lamport_time=4, name="honest"))
    assert arrived(world) == [(3, "honest"), (4, "honest")]
