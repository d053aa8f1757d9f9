"""Sans-IO: the messages of the upper layer, as records and as bytes. Source: wire format, section 8.

They travel as user messages of the layer below, as its user state (`State`), and as payloads of queries and their
answers. Each is one type byte of its own numbering and one map, as `fields.py` says. What members say of themselves in
meta data and acks is in `meta.py`, and can be had from here too.
"""

from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import Any, ClassVar

import msgspec

from base.codec import OldReader, pack_old
from base.errors import InvalidRequest, TooLarge
from gossip.fields import (
    LIST_ITEMS_MAX,
    Fields,
    bytes_of,
    bytes_or_nil,
    duration_of,
    flag_of,
    from_map,
    host_of,
    lamport_time_of,
    list_of,
    name_of,
    same,
    text_of,
    texts_of,
    to_bytes,
    to_map,
    u8,
    u16,
    u32,
    wire_host,
    wire_text,
    wire_texts,
)
from gossip.instructions import Status
from gossip.meta import DIMENSIONS_MAX as DIMENSIONS_MAX
from gossip.meta import AckCoordinate as AckCoordinate
from gossip.meta import decode_ack_payload as decode_ack_payload
from gossip.meta import decode_tags as decode_tags
from gossip.meta import encode_ack_payload as encode_ack_payload
from gossip.meta import encode_tags as encode_tags

MEMBERS_MAX = 32_768
"""Members of one pool, the dead included: six times the largest that are run, and more than fit a stream with tags."""
EVENT_SLOTS_COUNT = 512
"""How many Lamport times of user events a member remembers; a foreign state lists that many, mostly nil."""
EVENT_SLOT_BYTES_MAX = 64 * 1024
EVENTS_PER_SLOT_MAX = 128
"""So many members may fire an event at one Lamport time, each of the largest size."""
STATE_KEY_BYTES_MAX = 2048
"""A key or single value of a state: no more than a name and its header."""


class SerfType(IntEnum):
    """The first byte of a message of the upper layer."""

    LEAVE = 0
    JOIN = 1
    STATE = 2
    USER_EVENT = 3
    QUERY = 4
    QUERY_RESPONSE = 5
    CONFLICT_RESPONSE = 6
    KEY_REQUEST = 7
    KEY_RESPONSE = 8
    RELAY = 9


class QueryFlag(IntFlag):
    """What a query asks for besides an answer."""

    ACK = 1
    NO_BROADCAST = 2


class ResponseFlag(IntFlag):
    """What a response is."""

    ACK = 1
    """No answer yet: the query has arrived."""


class SerfMessage(Fields, frozen=True, kw_only=True):
    """One message."""

    TYPE: ClassVar[SerfType]


class Intent(SerfMessage, frozen=True, kw_only=True):
    """What `LeaveIntent` and `JoinIntent` have in common."""

    FIELDS = {"lamport_time": ("LTime", lamport_time_of, same), "node": ("Node", name_of, wire_text)}
    lamport_time: int = 0
    node: str = ""


class LeaveIntent(Intent, frozen=True, kw_only=True):
    """`node` goes, or is to be taken for gone."""

    TYPE = SerfType.LEAVE


class JoinIntent(Intent, frozen=True, kw_only=True):
    """`node` is here to stay."""

    TYPE = SerfType.JOIN


class SlotEvent(Fields, frozen=True, kw_only=True):
    """One user event in a push/pull."""

    FIELDS = {"name": ("Name", text_of, wire_text), "payload": ("Payload", bytes_of, same)}
    name: str = ""
    payload: bytes = b""


def _slot_events_of(value: Any) -> list[SlotEvent]:
    events = list_of(lambda item: from_map(SlotEvent, item))(value)
    if len(events) > EVENTS_PER_SLOT_MAX:
        raise TooLarge(f"{len(events)} user events at one Lamport time")
    return events


class EventSlot(Fields, frozen=True, kw_only=True):
    """The user events of one Lamport time."""

    FIELDS = {
        "lamport_time": ("LTime", lamport_time_of, same),
        "events": ("Events", _slot_events_of, lambda events: [to_map(event) for event in events]),
    }
    lamport_time: int = 0
    events: list[SlotEvent] = []


class State(SerfMessage, frozen=True, kw_only=True):
    """User state of a push/pull: the three clocks, who is known since when, who left, and late user events."""

    TYPE = SerfType.STATE
    lamport_time: int = 0
    status_times: dict[str, int] = {}
    left_members: list[str] = []
    event_time: int = 0
    events: list[EventSlot | None] = []
    query_time: int = 0


class UserEvent(SerfMessage, frozen=True, kw_only=True):
    """A user event; `coalesce`: the newest of a name stands for all."""

    TYPE = SerfType.USER_EVENT
    FIELDS = {
        "lamport_time": ("LTime", lamport_time_of, same),
        "name": ("Name", text_of, wire_text),
        "payload": ("Payload", bytes_of, same),
        "coalesce": ("CC", flag_of, same),
    }
    lamport_time: int = 0
    name: str = ""
    payload: bytes = b""
    coalesce: bool = False


class Query(SerfMessage, frozen=True, kw_only=True):
    """A question to all that its filters let through; answers go to `host` and `port`."""

    TYPE = SerfType.QUERY
    FIELDS = {
        "lamport_time": ("LTime", lamport_time_of, same),
        "query_id": ("ID", u32, same),
        "host": ("Addr", host_of, wire_host),
        "port": ("Port", u16, same),
        "filters": ("Filters", list_of(bytes_of), lambda filters: filters or None),
        "flags": ("Flags", u32, int),
        "relay_factor": ("RelayFactor", u8, same),
        "timeout_ns": ("Timeout", duration_of, same),
        "name": ("Name", text_of, wire_text),
        "payload": ("Payload", bytes_of, same),
    }
    lamport_time: int = 0
    query_id: int = 0
    host: str = ""
    port: int = 0
    filters: list[bytes] = []
    """As `encode_filter` makes them."""
    flags: int = 0
    relay_factor: int = 0
    timeout_ns: int = 0
    name: str = ""
    payload: bytes = b""


class QueryResponse(SerfMessage, frozen=True, kw_only=True):
    """`sender`'s answer to the query of that time and id, or its acknowledgement."""

    TYPE = SerfType.QUERY_RESPONSE
    FIELDS = {
        "lamport_time": ("LTime", lamport_time_of, same),
        "query_id": ("ID", u32, same),
        "sender": ("From", name_of, wire_text),
        "flags": ("Flags", u32, int),
        "payload": ("Payload", bytes_of, bytes_or_nil),
    }
    lamport_time: int = 0
    query_id: int = 0
    sender: str = ""
    flags: int = 0
    payload: bytes = b""


class ConflictResponse(SerfMessage, frozen=True, kw_only=True):
    """Who has the name in question, as the sender knows it; `known` False (nil on the wire): nobody."""

    TYPE = SerfType.CONFLICT_RESPONSE
    FIELDS = {
        "name": ("Name", name_of, wire_text),
        "host": ("Addr", host_of, wire_host),
        "port": ("Port", u16, same),
        "tags": ("Tags", texts_of, wire_texts),
        "status": ("Status", u8, int),
        "protocol_min": ("ProtocolMin", u8, same),
        "protocol_max": ("ProtocolMax", u8, same),
        "protocol_current": ("ProtocolCur", u8, same),
        "delegate_min": ("DelegateMin", u8, same),
        "delegate_max": ("DelegateMax", u8, same),
        "delegate_current": ("DelegateCur", u8, same),
    }
    known: bool = True
    name: str = ""
    host: str = ""
    port: int = 0
    tags: dict[str, str] = {}
    status: int = int(Status.NONE)
    protocol_min: int = 0
    protocol_max: int = 0
    protocol_current: int = 0
    delegate_min: int = 0
    delegate_max: int = 0
    delegate_current: int = 0


class KeyRequest(SerfMessage, frozen=True, kw_only=True):
    """Payload of a key query: the key itself."""

    TYPE = SerfType.KEY_REQUEST
    FIELDS = {"key": ("Key", bytes_of, same)}
    key: bytes = b""


class KeyResponse(SerfMessage, frozen=True, kw_only=True):
    """Payload of its answer; keys in base64."""

    TYPE = SerfType.KEY_RESPONSE
    FIELDS = {
        "result": ("Result", flag_of, same),
        "message": ("Message", text_of, wire_text),
        "keys": ("Keys", list_of(text_of), lambda keys: [wire_text(key) for key in keys] or None),
    }
    result: bool = False
    message: str = ""
    keys: list[str] = []


class _RelayTarget(Fields, frozen=True, kw_only=True):
    FIELDS = {"host": ("IP", host_of, wire_host), "port": ("Port", u16, same), "zone": ("Zone", text_of, wire_text)}
    host: str = ""
    port: int = 0
    zone: str = ""


class Relay(SerfMessage, frozen=True, kw_only=True):
    """Please pass `message` (type byte of this layer and body) on to `host` and `port`."""

    TYPE = SerfType.RELAY
    host: str = ""
    port: int = 0
    zone: str = ""
    message: bytes = b""


# Messages that are no plain map


def _state_bytes(state: State) -> bytes:
    return pack_old(
        {
            "EventLTime": state.event_time,
            "Events": [slot and to_map(slot) for slot in state.events],
            "LTime": state.lamport_time,
            "LeftMembers": [wire_text(name) for name in state.left_members],
            "QueryLTime": state.query_time,
            "StatusLTimes": {wire_text(name): time for name, time in state.status_times.items()},
        }
    )


def _read_time(reader: OldReader) -> int:
    return lamport_time_of(reader.read_within(STATE_KEY_BYTES_MAX))


def _read_names(reader: OldReader) -> list[str]:
    count = reader.enter_list(MEMBERS_MAX)
    return [name_of(reader.read_within(STATE_KEY_BYTES_MAX)) for _ in range(count)]


def _read_status_times(reader: OldReader) -> dict[str, int]:
    times: dict[str, int] = {}
    for _ in range(reader.enter_map(MEMBERS_MAX)):
        name = name_of(reader.read_within(STATE_KEY_BYTES_MAX))
        times[name] = _read_time(reader)
    return times


def _read_slots(reader: OldReader) -> list[EventSlot | None]:
    count = reader.enter_list(EVENT_SLOTS_COUNT)
    return [_slot_of(reader.read_within(EVENT_SLOT_BYTES_MAX)) for _ in range(count)]


def _slot_of(value: Any) -> EventSlot | None:
    return None if value is None else from_map(EventSlot, value)


_STATE_FIELDS: dict[str, tuple[str, Callable[[OldReader], Any]]] = {
    "LTime": ("lamport_time", _read_time),
    "StatusLTimes": ("status_times", _read_status_times),
    "LeftMembers": ("left_members", _read_names),
    "EventLTime": ("event_time", _read_time),
    "Events": ("events", _read_slots),
    "QueryLTime": ("query_time", _read_time),
}


def _read_state(reader: OldReader) -> State:
    """Read key by key: this is the one message that may be large, and most of it must not be built to be refused."""
    values: dict[str, Any] = {}
    for _ in range(reader.enter_map(LIST_ITEMS_MAX)):
        name, read = _STATE_FIELDS.get(text_of(reader.read_within(STATE_KEY_BYTES_MAX)), ("", None))
        if read:
            values[name] = read(reader)
        else:
            reader.skip()
    return State(**values)


def _conflict_bytes(response: ConflictResponse) -> bytes:
    return to_bytes(response) if response.known else pack_old(None)


def _read_conflict(reader: OldReader) -> ConflictResponse:
    fields = reader.read()
    return ConflictResponse(known=False) if fields is None else from_map(ConflictResponse, fields)


def _relay_bytes(relay: Relay) -> bytes:
    target = _RelayTarget(host=relay.host, port=relay.port, zone=relay.zone)
    return pack_old({"DestAddr": to_map(target)}) + relay.message


def _read_relay(reader: OldReader) -> Relay:
    fields = reader.read()
    if not isinstance(fields, dict):
        raise InvalidRequest("a map expected")
    target = from_map(_RelayTarget, fields.get("DestAddr"))
    return Relay(host=target.host, port=target.port, zone=target.zone, message=bytes(reader.rest()))


KINDS: dict[SerfType, type[SerfMessage]] = {
    kind.TYPE: kind
    for kind in (
        *(LeaveIntent, JoinIntent, State, UserEvent, Query, QueryResponse),
        *(ConflictResponse, KeyRequest, KeyResponse, Relay),
    )
}
_KINDS_BY_BYTE: dict[int, type[SerfMessage]] = {int(kind): message for kind, message in KINDS.items()}
_WRITERS: dict[type[SerfMessage], Callable[[Any], bytes]] = {
    State: _state_bytes,
    ConflictResponse: _conflict_bytes,
    Relay: _relay_bytes,
}
_READERS: dict[type[SerfMessage], Callable[[OldReader], SerfMessage]] = {
    State: _read_state,
    ConflictResponse: _read_conflict,
    Relay: _read_relay,
}


def encode(message: SerfMessage) -> bytes:
    """Return type byte of this layer and body."""
    return bytes((message.TYPE,)) + _WRITERS.get(type(message), to_bytes)(message)


def decode(data: bytes | memoryview) -> SerfMessage:
    """Return the message; raises InvalidRequest, or TooLarge for one with more items than anybody has."""
    kind = _KINDS_BY_BYTE.get(data[0]) if data else None
    if kind is None:
        raise InvalidRequest(f"serf message type {data[0] if data else 'missing'}")
    read = _READERS.get(kind)
    return read(_body(data)) if read else from_map(kind, _body(data).read())


def _body(data: bytes | memoryview) -> OldReader:
    return OldReader(memoryview(data)[1:], list_items_max=LIST_ITEMS_MAX)


# Filters of queries


class NamesFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Only these members are meant."""

    names: list[str]


class TagFilter(Fields, frozen=True, kw_only=True):
    """Only members are meant whose tag has a place where the regular expression matches."""

    FIELDS = {"tag": ("Tag", text_of, wire_text), "expression": ("Expr", text_of, wire_text)}
    tag: str = ""
    expression: str = ""


Filter = NamesFilter | TagFilter
_FILTER_NAMES, _FILTER_TAG = range(2)


def encode_filter(wanted: Filter) -> bytes:
    """Return one of `Query.filters`."""
    if isinstance(wanted, NamesFilter):
        return bytes((_FILTER_NAMES,)) + pack_old([wire_text(name) for name in wanted.names])
    return bytes((_FILTER_TAG,)) + to_bytes(wanted)


def decode_filter(data: bytes) -> Filter:
    """Return the filter; raises InvalidRequest, for kinds that are not known too."""
    if data[:1] == bytes((_FILTER_NAMES,)):
        return NamesFilter(names=list_of(text_of)(_body(data).read()))
    if data[:1] == bytes((_FILTER_TAG,)):
        return from_map(TagFilter, _body(data).read())
    raise InvalidRequest("a filter of a query that nobody knows")
