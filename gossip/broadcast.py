"""Sans-IO: what is to be told to everybody, each thing a limited number of times. Source: wire format, sections 2.5, 5.

Least often sent goes first, newest first among equals, so that fresh news travel although old ones are still on their
way. A broadcast about a member replaces the queued one about the same member: only the last word counts.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Callable

Sent = Callable[[float], None]
"""Called with the time when a broadcast needs no more sending, whether it was sent its full count or replaced."""

MISFITS_MAX = 32
"""Among a long queue, so many that do not fit end the search for a smaller one; they are first the next time."""
MESSAGE_BYTES_MIN = 28
"""A farewell with a name of one letter; with less room there is nothing to look for."""
QUEUE_LENGTH_MIN = 4096
"""The queue holds this many or two for each member, if that is more; beyond it the most often sent goes."""


def transmissions_of(multiplier: int, members_count: int) -> int:
    """Return how often a broadcast is sent among so many known members."""
    return multiplier * math.ceil(math.log10(members_count + 1))


class Broadcast:
    """One queued message about one member."""

    __slots__ = ("message", "name", "sent", "serial", "transmissions_count")

    def __init__(self, name: str, message: bytes, serial: int, sent: Sent | None) -> None:
        self.name = name
        self.message = message
        self.serial = serial
        self.sent = sent
        self.transmissions_count = 0


Place = tuple[int, int, Broadcast]
"""Times sent, minus serial number, the broadcast: their order is the order of sending."""


class BroadcastQueue:
    """The queue of one member."""

    def __init__(self, multiplier: int, *, transmissions_min: int = 1) -> None:
        self._multiplier = multiplier
        self._transmissions_min = transmissions_min
        self._order: list[Place] = []
        self._by_name: dict[str, Broadcast] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._order)

    def put(self, now_s: float, name: str, message: bytes, *, members_count: int, sent: Sent | None = None) -> None:
        """Queue a message about `name`, in place of the one that is there."""
        self._serial += 1
        dropped = [self._remove(self._by_name[name])] if name in self._by_name else []
        broadcast = Broadcast(name, message, self._serial, sent)
        self._by_name[name] = broadcast
        insort(self._order, _place(broadcast))
        while len(self._order) > max(QUEUE_LENGTH_MIN, 2 * members_count):
            dropped.append(self._remove(self._order[-1][2]))
        _tell(now_s, dropped)

    def pull(self, now_s: float, *, overhead_bytes: int, bytes_max: int, members_count: int) -> list[bytes]:
        """Return messages to send now: each costs its size + `overhead_bytes`, all together at most `bytes_max`."""
        order = self._order
        if not order:
            return []
        taken: list[Broadcast] = []
        position = 0
        while position < len(order) and position < MISFITS_MAX and bytes_max >= MESSAGE_BYTES_MIN + overhead_bytes:
            broadcast = order[position][2]
            cost_bytes = overhead_bytes + len(broadcast.message)
            if cost_bytes > bytes_max:
                position += 1
                continue
            bytes_max -= cost_bytes
            taken.append(broadcast)
            del order[position]
        transmissions_max = max(transmissions_of(self._multiplier, members_count), self._transmissions_min)
        _tell(now_s, self._count(taken, transmissions_max))
        return [broadcast.message for broadcast in taken]

    def _count(self, taken: list[Broadcast], transmissions_max: int) -> list[Broadcast]:
        """Put back what must be sent again; return what is finished."""
        finished = []
        for broadcast in taken:
            broadcast.transmissions_count += 1
            if broadcast.transmissions_count >= transmissions_max:
                del self._by_name[broadcast.name]
                finished.append(broadcast)
            else:
                insort(self._order, _place(broadcast))
        return finished

    def _remove(self, broadcast: Broadcast) -> Broadcast:
        del self._by_name[broadcast.name]
        del self._order[bisect_left(self._order, _place(broadcast))]
        return broadcast


def _place(broadcast: Broadcast) -> Place:
    return broadcast.transmissions_count, -broadcast.serial, broadcast


def _tell(now_s: float, finished: list[Broadcast]) -> None:
    """Only when the queue is in order again, since who is told may queue more."""
    for broadcast in finished:
        if broadcast.sent is not None:
            broadcast.sent(now_s)
