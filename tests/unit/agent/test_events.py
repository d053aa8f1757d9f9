"""Which user events an agent keeps, and what strangers can make it do: nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.events import INDEX_EMPTY, EventRing, check_event, index_of, pack_event, unpack_event
from base.codec import pack_old
from base.errors import InvalidRequest
from structs.event import EVENT_PREFIX, EVENTS_KEPT_MAX, NEW_LEADER, UserEvent

ID = "b2f2ad0e-6e2b-4f6c-a3d5-1f0e3c2d4b5a"
EVENT = UserEvent(event_id=ID, name="deploy", payload=b"\x00v2")


def numbered(number: int) -> str:
    return f"00000000-0000-0000-0000-{number:012x}"


def arrives(ring: EventRing, event: UserEvent, lamport_time: int = 7) -> UserEvent | None:
    return ring.receive(lamport_time, EVENT_PREFIX + event.name, pack_event(event))


def test_an_event_is_packed_with_sorted_keys_and_without_what_is_empty() -> None:
    assert pack_event(EVENT) == b"\x84\xa2ID\xda\x00\x24" + ID.encode() + b"\xa1n\xa6deploy\xa1p\xa3\x00v2\xa1v\x01"
    full = replace(EVENT, payload=b"", node_filter="n", service_filter="s", tag_filter="t")
    assert pack_event(full).endswith(b"\xa1n\xa6deploy\xa2nf\xa1n\xa2sf\xa1s\xa2tf\xa1t\xa1v\x01")


@given(
    st.builds(
        UserEvent,
        event_id=st.uuids().map(str),
        name=st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()),
        payload=st.binary(max_size=60),
        node_filter=st.text("ab.*[]()", max_size=10),
        service_filter=st.text("ab.*[]()", max_size=10),
        tag_filter=st.text("ab.*[]()", max_size=10),
        lamport_time=st.integers(0, (1 << 64) - 1),
    )
)
def test_what_is_packed_is_unpacked(event: UserEvent) -> None:
    assert unpack_event(pack_event(event), event.lamport_time) == event


def test_what_arrives_is_kept_once_with_its_time() -> None:
    ring = EventRing(node_name="n1")
    assert arrives(ring, EVENT, 7) == replace(EVENT, lamport_time=7)
    assert arrives(ring, EVENT, 7) is None
    assert arrives(ring, EVENT, 9) is None, "fired again by a server that was asked twice"
    assert [event.lamport_time for event in ring.events()] == [7]
    assert ring.events("deploy") == ring.events()
    assert ring.events("other") == []


def test_events_of_the_system_itself_are_not_the_users() -> None:
    ring = EventRing(node_name="n1")
    assert ring.receive(1, NEW_LEADER, b"s1") is None
    assert ring.receive(1, "deploy", pack_event(EVENT)) is None
    assert arrives(ring, replace(EVENT, name="_rexec")) is None
    assert ring.events() == []


def test_only_the_last_events_are_kept_oldest_first() -> None:
    ring = EventRing(node_name="n1")
    for number in range(EVENTS_KEPT_MAX + 10):
        arrives(ring, replace(EVENT, event_id=numbered(number)))
    kept = ring.events()
    assert [kept[0].event_id, kept[-1].event_id] == [numbered(10), numbered(EVENTS_KEPT_MAX + 9)]
    assert len(kept) == EVENTS_KEPT_MAX


def test_the_index_is_the_folded_id_of_the_last_event() -> None:
    assert index_of([]) == INDEX_EMPTY == 1
    assert index_of([EVENT]) == 0xB2F2AD0E6E2B4F6C ^ 0xA3D51F0E3C2D4B5A
    assert index_of([EVENT, replace(EVENT, event_id=ID.upper())]) == index_of([EVENT])
    assert index_of([replace(EVENT, event_id=numbered(0))]) == 1


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"node_filter": "^n[0-9]$"}, True),
        ({"node_filter": "^db"}, False),
        ({"service_filter": "^web"}, True),
        ({"service_filter": "cache"}, False),
        ({"service_filter": "web", "tag_filter": "^v1$"}, True),
        ({"service_filter": "web", "tag_filter": "^v2$"}, False),
        ({"service_filter": ".", "tag_filter": "primary"}, True),
        ({"node_filter": "n1", "service_filter": "cache"}, False),
    ],
)
def test_filters_choose_agents_by_node_service_and_tag(filters: dict[str, str], expected: bool) -> None:
    ring = EventRing(node_name="n1", services=lambda: [("web-1", ["v1"]), ("db", ["primary", "v9"])])
    assert (arrives(ring, replace(EVENT, **filters)) is not None) is expected


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x93\x01\x02\x03",
        b"\x84\xa2ID",
        b"\x91" * 400,
        b"\xc1",
        pack_old({"ID": ID}),
        pack_old({"ID": "7", "n": "deploy", "v": 1}),
        pack_old({"ID": ID[:-1] + "\n", "n": "deploy", "v": 1}),
        pack_old({"ID": ID, "n": 7, "v": 1}),
        pack_old({"ID": ID, "n": "deploy", "p": ["x"], "v": 1}),
        pack_old({"ID": ID, "n": "deploy", "v": "1"}),
        pack_old({"ID": ID, "n": "deploy", "v": 2}),
        pack_old({"ID": ID, "n": "deploy", "nf": "(", "v": 1}),
        pack_old({"ID": ID, "n": "deploy", "sf": "[", "v": 1}),
        pack_old({"ID": ID, "n": "deploy", "sf": "a", "tf": "*", "v": 1}),
        pack_old({"ID": ID, "n": "deploy", "p": b"x" * 500, "v": 1}),
        pack_old({"ID": ID, "n": "deploy", "nf": "(a{1000}){1000}", "v": 1}),
    ],
)
def test_what_is_malformed_is_refused_and_changes_nothing(payload: bytes) -> None:
    ring = EventRing(node_name="n1")
    with pytest.raises(InvalidRequest):
        ring.receive(1, EVENT_PREFIX + "deploy", payload)
    assert ring.events() == []


@given(st.binary(max_size=600))
def test_no_bytes_do_more_than_be_refused(payload: bytes) -> None:
    ring = EventRing(node_name="n1")
    try:
        ring.receive(1, EVENT_PREFIX + "x", payload)
    except InvalidRequest:
        assert ring.events() == []


def test_no_filter_takes_long_however_many_services_there_are() -> None:
    services = [(f"{'a' * 100}{number}", ["a" * 100] * 50) for number in range(200)]
    ring = EventRing(node_name="a" * 200, services=lambda: services)
    arrives(ring, replace(EVENT, node_filter="(a*)*", service_filter="(a+)+", tag_filter="(a|aa)+$x"))
    assert ring.events() == []


def test_watchers_are_woken_once_by_the_next_event_and_can_go_before() -> None:
    ring = EventRing(node_name="n1")
    woken: list[str] = []
    ring.watch(lambda: woken.append("stays"))
    forget = ring.watch(lambda: woken.append("goes"))
    forget()
    forget()
    arrives(ring, replace(EVENT, node_filter="^other$"))
    assert woken == []
    arrives(ring, EVENT)
    arrives(ring, replace(EVENT, event_id=numbered(1)))
    assert woken == ["stays"]
    assert ring.watchers_count == 0


def test_text_that_is_no_unicode_is_kept_as_what_can_be_shown() -> None:
    event = unpack_event(pack_old({"ID": ID, "n": b"\xffx", "v": 1}), 1)
    assert event.name == "\ufffdx"


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        (EVENT, None),
        (replace(EVENT, name=""), "User event missing name"),
        (replace(EVENT, tag_filter="a"), "Cannot provide tag filter without service filter"),
        (replace(EVENT, node_filter="["), "Invalid node filter: error parsing regexp: missing closing ]: `[`"),
        (replace(EVENT, payload=b"x" * 500), "user event exceeds limit of 512 bytes"),
        (replace(EVENT, name="é" * 230), "user event exceeds limit of 512 bytes"),
    ],
)
def test_what_cannot_be_fired_says_why(event: UserEvent, complaint: str | None) -> None:
    assert check_event(event) == complaint


def test_what_can_be_fired_can_be_received() -> None:
    ring = EventRing(node_name="n1")
    size = 0
    while check_event(replace(EVENT, payload=b"x" * (size + 1))) is None:
        size += 1
    assert size > 400
    assert arrives(ring, replace(EVENT, payload=b"x" * size)) is not None
