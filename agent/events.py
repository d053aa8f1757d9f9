"""Sans-IO: the user events that this agent has seen, and which of those that arrive are meant for it.

Events have no order across agents and may be lost; the ring keeps the last EVENTS_KEPT_MAX in the order in which they
arrived. Whoever waits for the next one hands in a function that is called once; see `watch`.

What arrives was written by whoever may speak in the cluster: names, ids and filters are checked, and a filter that
takes long to match counts as one that does not match. Source: gossip specification, section 8; wire format, section
9.3; HTTP API, section 7.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from base.codec import pack_old, unpack_old
from base.errors import InvalidRequest
from base.patterns import Pattern
from structs.event import EVENT_PREFIX, EVENT_VERSION, EVENTS_KEPT_MAX, UserEvent

PAYLOAD_BYTES_MAX = 512
"""Name and packed event together, as gossip counts them."""
TOO_LARGE_TEXT = f"user event exceeds limit of {PAYLOAD_BYTES_MAX} bytes"
REMOTE_EXECUTION = "_rexec"
"""Asks agents to run a command (`agent/remote_exec.py`). Nobody is shown it."""
INDEX_EMPTY = 1
"""What there is to block on before anything has happened: 0 would make clients spin."""

LocalServices = Callable[[], Iterable[tuple[str, Sequence[str]]]]
"""Id and tags of each service of this agent."""

_uuid = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE).fullmatch
_TEXT_KEYS = {"ID": "event_id", "n": "name", "nf": "node_filter", "sf": "service_filter", "tf": "tag_filter"}


def pack_event(event: UserEvent) -> bytes:
    """Return an event as gossip carries it; what is empty is left out."""
    found: dict[str, Any] = {"ID": event.event_id, "n": event.name}
    optional = {"nf": event.node_filter, "p": event.payload, "sf": event.service_filter, "tf": event.tag_filter}
    found.update({key: value for key, value in optional.items() if value})
    found["v"] = event.version
    return pack_old(dict(sorted(found.items())))


def unpack_event(payload: bytes, lamport_time: int) -> UserEvent:
    """Return the event in a payload of gossip; raises InvalidRequest for anything else."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise InvalidRequest(TOO_LARGE_TEXT)
    found = unpack_old(payload)
    if not isinstance(found, dict):
        raise InvalidRequest("a user event is no map")
    texts: dict[str, str] = {}
    for key, field in _TEXT_KEYS.items():
        value = found.get(key) or b""
        if not isinstance(value, bytes):
            raise InvalidRequest(f"{key} of a user event is no text")
        texts[field] = value.decode("utf-8", "replace")
    data, version = found.get("p") or b"", found.get("v", 0)
    if not isinstance(data, bytes) or not isinstance(version, int):
        raise InvalidRequest("a user event has fields of other types")
    if not _uuid(texts["event_id"]):
        raise InvalidRequest("the id of a user event is no UUID")
    if not texts["name"]:
        raise InvalidRequest("a user event has no name")
    return UserEvent(payload=data, version=version, lamport_time=lamport_time, **texts)


def check_event(event: UserEvent) -> str | None:
    """Return why an event cannot be fired, None if it can."""
    if not event.name:
        return "User event missing name"
    if event.tag_filter and not event.service_filter:
        return "Cannot provide tag filter without service filter"
    filters = {"node": event.node_filter, "service": event.service_filter, "tag": event.tag_filter}
    for what, text in filters.items():
        try:
            Pattern(text)
        except InvalidRequest as error:
            return f"Invalid {what} filter: {error}"
    if len(EVENT_PREFIX) + len(event.name.encode("utf-8", "replace")) + len(pack_event(event)) > PAYLOAD_BYTES_MAX:
        return TOO_LARGE_TEXT
    return None


def index_of(events: Sequence[UserEvent]) -> int:
    """Return what a client blocks on: the id of the last event, folded to 64 bits. It is compared, never ordered."""
    if not events:
        return INDEX_EMPTY
    number = int(events[-1].event_id.replace("-", ""), 16)
    return ((number >> 64) ^ (number & ((1 << 64) - 1))) or INDEX_EMPTY


class EventRing:
    """The last events that were meant for this agent."""

    def __init__(self, *, node_name: str, services: LocalServices = lambda: ()) -> None:
        self._node_name = node_name
        self._services = services
        self._events: deque[UserEvent] = deque(maxlen=EVENTS_KEPT_MAX)
        self._watchers: dict[int, Callable[[], None]] = {}
        self._watchers_total = 0
        self._executions: deque[str] = deque(maxlen=EVENTS_KEPT_MAX)
        self.on_execution: Callable[[UserEvent], None] | None = None
        """Told of events that ask for remote execution; None: they are ignored."""

    def receive(self, lamport_time: int, name: str, payload: bytes) -> UserEvent | None:
        """Take an event of gossip; returns it where it is new and meant for us, None where it is not.

        Raises: InvalidRequest for what is malformed, or whose filters are; nothing else happens then.
        """
        if not name.startswith(EVENT_PREFIX):
            return None
        event = unpack_event(payload, lamport_time)
        if event.version > EVENT_VERSION:
            raise InvalidRequest(f"user event version {event.version} is newer than {EVENT_VERSION}")
        if event.name == REMOTE_EXECUTION:
            self._execute(event)
            return None
        if any(event.event_id == kept.event_id for kept in self._events):
            return None
        if not self._is_meant(event):
            return None
        self._events.append(event)
        watchers, self._watchers = self._watchers, {}
        for wake in watchers.values():
            wake()
        return event

    def _execute(self, event: UserEvent) -> None:
        if self.on_execution is None or event.event_id in self._executions or not self._is_meant(event):
            return
        self._executions.append(event.event_id)
        self.on_execution(event)

    def _is_meant(self, event: UserEvent) -> bool:
        if event.node_filter and not Pattern(event.node_filter).found_in(self._node_name):
            return False
        if not event.service_filter:
            return True
        service_pattern = Pattern(event.service_filter)
        tag_pattern = Pattern(event.tag_filter) if event.tag_filter else None
        for service_id, tags in self._services():
            if not service_pattern.found_in(service_id):
                continue
            if tag_pattern is None or any(tag_pattern.found_in(tag) for tag in tags):
                return True
        return False

    def events(self, name: str = "") -> list[UserEvent]:
        """Return what is kept, oldest first; with `name` only events of that name."""
        return [event for event in self._events if not name or event.name == name]

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` once when the next event is taken; returns what takes that back."""
        self._watchers_total += 1
        number = self._watchers_total
        self._watchers[number] = wake

        def forget() -> None:
            self._watchers.pop(number, None)

        return forget

    @property
    def watchers_count(self) -> int:
        """How many wait for the next event."""
        return len(self._watchers)
