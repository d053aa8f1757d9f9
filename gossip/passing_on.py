"""Sans-IO: what the upper layer passes on to everybody: intents first, then queries, then user events.

Nothing replaces anything here; a message is dropped after it was sent its full count, or when its queue is full.
Source: wire format, sections 5, 6.5 and 8.7.
"""

from enum import IntEnum

from gossip.broadcast import BroadcastQueue, Sent
from gossip.context import Context

REPEATED_MIN = 8
"""So often a query or an event is sent by each at least, as among ten members. The rule for membership would be half of
that among fewer, and one in 300 of six would miss it: until the next exchange of tables, or, of a query, for ever."""


class Lane(IntEnum):
    """The queues, the most urgent first."""

    INTENTS = 0
    QUERIES = 1
    EVENTS = 2


class PassingOn:
    """The three queues of one member."""

    def __init__(self, context: Context) -> None:
        self._context = context
        multiplier = context.settings.timing.retransmit_multiplier
        self._queues = {
            Lane.INTENTS: BroadcastQueue(multiplier),  # a farewell waits until it was sent
            Lane.QUERIES: BroadcastQueue(multiplier, transmissions_min=REPEATED_MIN),
            Lane.EVENTS: BroadcastQueue(multiplier, transmissions_min=REPEATED_MIN),
        }
        self._serial = 0

    def put(self, now_s: float, lane: Lane, message: bytes, sent: Sent | None = None) -> None:
        """Queue a message; call `sent` when it needs no more sending."""
        self._serial += 1
        members_count = len(self._context.lower.nodes)
        self._queues[lane].put(now_s, str(self._serial), message, members_count=members_count, sent=sent)

    def pull(self, now_s: float, *, overhead_bytes: int, bytes_max: int) -> list[bytes]:
        """Return messages to send now: each costs its size + `overhead_bytes`, all together at most `bytes_max`."""
        messages: list[bytes] = []
        for queue in self._queues.values():
            if not len(queue):
                continue
            members_count = len(self._context.lower.nodes)
            pulled = queue.pull(now_s, overhead_bytes=overhead_bytes, bytes_max=bytes_max, members_count=members_count)
            bytes_max -= sum(len(message) + overhead_bytes for message in pulled)
            messages += pulled
        return messages

    def count(self, lane: Lane) -> int:
        """Return how many messages wait."""
        return len(self._queues[lane])
