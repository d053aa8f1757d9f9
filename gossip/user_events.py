"""Sans-IO: user events: sent once, delivered once to everybody, in no particular order.

Each of the last 512 Lamport times has a slot with the events of that time, so that one that comes again is known, and
so that a push/pull can bring what somebody missed. Source: wire format, section 8.3.
"""

from gossip.clocks import LamportClock
from gossip.config import PACKET_BYTES, USER_EVENT_BYTES_MAX
from gossip.context import Context
from gossip.fields import wire_text
from gossip.instructions import UserEventArrived
from gossip.passing_on import Lane, PassingOn
from gossip.serf_messages import (
    EVENT_SLOT_BYTES_MAX,
    EVENT_SLOTS_COUNT,
    EVENTS_PER_SLOT_MAX,
    EventSlot,
    SlotEvent,
    UserEvent,
    encode,
)

RECEIVED_BYTES_MAX = PACKET_BYTES - 100
"""Name and payload of another's event. Members may be set to larger events than ours, but what does not fit into a
packet cannot have come by gossip, nor could we pass it on."""
EVENT_OVERHEAD_BYTES = 48
"""What an event costs in a push/pull besides its name and payload, at most."""
SLOT_BYTES_MAX = EVENT_SLOT_BYTES_MAX - 1024
"""Events of one Lamport time, of which there are at most EVENTS_PER_SLOT_MAX, too; more are dropped. Others of our kind
refuse a state with a larger slot."""
BUFFER_BYTES_MAX = 2 * 1024 * 1024
"""Events of all times. Beyond it the oldest time is given up, and what is as old is refused from then on: a state must
fit into the 10 MiB of a stream, beside the names of all members."""

assert USER_EVENT_BYTES_MAX < RECEIVED_BYTES_MAX < SLOT_BYTES_MAX < BUFFER_BYTES_MAX


class _Slot:
    __slots__ = ("bytes_count", "events", "time")

    def __init__(self, time: int) -> None:
        self.time = time
        self.events: dict[tuple[str, bytes], None] = {}
        self.bytes_count = 0


class UserEvents:
    """The events of one member. `minimum_time`: older ones are dropped."""

    def __init__(self, context: Context, passing_on: PassingOn) -> None:
        self._context = context
        self._passing_on = passing_on
        self.clock = LamportClock()
        self.minimum_time = 0
        self._slots: dict[int, _Slot] = {}
        self._bytes_count = 0

    def fire(self, now_s: float, name: str, payload: bytes, *, coalesce: bool) -> str | None:
        """Send an event to everybody, ourselves included; return why not, if it is too large."""
        event = UserEvent(lamport_time=self.clock.time, name=name, payload=payload, coalesce=coalesce)
        message = encode(event)
        if len(wire_text(name)) + len(payload) > USER_EVENT_BYTES_MAX:
            return f"user event exceeds limit of {USER_EVENT_BYTES_MAX} bytes"
        self.clock.stamp()
        self._take(event)
        self._passing_on.put(now_s, Lane.EVENTS, message)
        return None

    def received(self, now_s: float, event: UserEvent, message: bytes) -> None:
        """Take another's event; pass it on, byte by byte, if it is news."""
        if len(message) <= PACKET_BYTES and self._take(event):
            self._passing_on.put(now_s, Lane.EVENTS, message)

    def ignore_before(self, time: int) -> None:
        """Drop events before `time` from now on: whoever joins does not want to hear what was before."""
        if self.clock.plausible(time):
            self.minimum_time = max(self.minimum_time, time)

    def merge(self, slots: list[EventSlot | None]) -> None:
        """Take the events of a push/pull."""
        for slot in slots:
            if slot is None:
                continue
            for event in slot.events:
                self._take(UserEvent(lamport_time=slot.lamport_time, name=event.name, payload=event.payload))

    def slots(self) -> list[EventSlot]:
        """Return what a push/pull tells others; times without events are left out."""
        return [
            EventSlot(
                lamport_time=slot.time,
                events=[SlotEvent(name=name, payload=payload) for name, payload in slot.events],
            )
            for slot in self._slots.values()
        ]

    def _take(self, event: UserEvent) -> bool:
        """Deliver an event that is news; return whether it was."""
        time = event.lamport_time
        size = len(wire_text(event.name)) + len(event.payload)
        if size > RECEIVED_BYTES_MAX or not self.clock.witness(time) or time < self.minimum_time:
            return False
        if time + EVENT_SLOTS_COUNT < self.clock.time:
            return False
        slot = self._slot(time)
        key = (event.name, event.payload)
        size += EVENT_OVERHEAD_BYTES
        full = slot.bytes_count + size > SLOT_BYTES_MAX or len(slot.events) >= EVENTS_PER_SLOT_MAX
        if key in slot.events or full:
            return False
        slot.events[key] = None
        slot.bytes_count += size
        self._bytes_count += size
        while self._bytes_count > BUFFER_BYTES_MAX:
            self._give_up_oldest()
        self._context.out.append(
            UserEventArrived(lamport_time=time, name=event.name, payload=event.payload, coalesce=event.coalesce)
        )
        return True

    def _slot(self, time: int) -> _Slot:
        """Return the slot of `time`; what was there of an older time is forgotten."""
        slot = self._slots.get(time % EVENT_SLOTS_COUNT)
        if slot is None or slot.time != time:
            self._bytes_count -= slot.bytes_count if slot is not None else 0
            slot = self._slots[time % EVENT_SLOTS_COUNT] = _Slot(time)
        return slot

    def _give_up_oldest(self) -> None:
        oldest = min(self._slots.values(), key=lambda slot: slot.time)
        del self._slots[oldest.time % EVENT_SLOTS_COUNT]
        self._bytes_count -= oldest.bytes_count
        self.minimum_time = max(self.minimum_time, oldest.time + 1)
