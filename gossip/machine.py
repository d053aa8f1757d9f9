"""Sans-IO: one member of one pool: events in, instructions out.

Composes the two layers: `swim.Swim` (who is there) below, `serf.Serf` (what that means) above. Nothing is decided here.
"""

import math
import random
from collections.abc import Callable
from typing import Any

from base.errors import require
from gossip.config import Settings
from gossip.coordinate import Coordinate
from gossip.instructions import (
    Event,
    ForceLeaveWanted,
    Instruction,
    JoinWanted,
    KeyringWanted,
    LeaveWanted,
    Member,
    PacketReceived,
    QueryAnswered,
    QueryWanted,
    Started,
    StreamAnswered,
    StreamFailed,
    StreamRequest,
    TagsChanged,
    TimerFired,
    UserEventWanted,
    WakeAt,
)
from gossip.serf import AliveRefused, MergeRefused, Serf
from gossip.serf_messages import encode_tags
from gossip.swim import Swim


class GossipMachine:
    """One member. `keys`: the keys of gossip, primary first, empty if nothing is encrypted.

    `merge_refused` and `alive_refused` are the agent's rules about who may be a member: why not, or None.
    Raises TooLarge for tags that do not fit, ConfigInvalid for an address that is none.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        rng: random.Random,
        keys: list[bytes],
        merge_refused: MergeRefused | None = None,
        alive_refused: AliveRefused | None = None,
    ) -> None:
        meta = encode_tags(settings.tags)
        self._out: list[Instruction] = []
        self._serf = Serf(
            settings, rng=rng, out=self._out, keys=keys, merge_refused=merge_refused, alive_refused=alive_refused
        )
        self._swim = Swim(settings, rng=rng, upper=self._serf, out=self._out, meta=meta)
        self._serf.attach(self._swim)
        self._wake_s = math.inf
        self._started = False
        serf, swim = self._serf, self._swim
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            Started: self._start,
            TimerFired: self._tick,
            PacketReceived: lambda event: swim.packet(event.at_s, event.source, event.payload),
            StreamRequest: swim.stream_request,
            StreamAnswered: swim.stream_answered,
            StreamFailed: swim.stream_failed,
            JoinWanted: serf.join,
            LeaveWanted: serf.leave,
            ForceLeaveWanted: serf.force_leave,
            UserEventWanted: serf.fire,
            QueryWanted: serf.ask,
            QueryAnswered: serf.answer,
            KeyringWanted: serf.change_keys,
            TagsChanged: serf.change_tags,
        }

    def handle(self, event: Event) -> list[Instruction]:
        """Take one event and return what must be done, in this order. `Started` must be the first, and only once."""
        require(self._started != isinstance(event, Started), "gossip must be started once, and first", event)
        self._handlers[type(event)](event)
        self._serf.settle(event.at_s)
        # A deadline that moved away needs no word: the old one comes, nothing is due, and the new one is asked for.
        next_s = min(self._swim.next_deadline_s(), self._serf.next_deadline_s())
        if next_s < self._wake_s:
            self._wake_s = next_s
            self._out.append(WakeAt(at_s=next_s))
        out = self._out[:]
        self._out.clear()
        return out

    def _start(self, event: Started) -> None:
        self._started = True
        self._serf.restore(event.snapshot)
        self._swim.start(event.at_s)
        self._serf.start(event.at_s)

    def _tick(self, event: TimerFired) -> None:
        self._wake_s = math.inf
        self._swim.tick(event.at_s)
        self._serf.tick(event.at_s)

    # What can be seen from outside, at any time

    def members(self) -> list[Member]:
        """Return all members by name; the same list, not to be changed, until something changes."""
        return self._serf.roster.members()

    def local_member(self) -> Member:
        """Return ourselves; before the start, as we shall be."""
        return self._serf.local_member()

    def coordinate(self) -> Coordinate:
        """Return where we are in the network."""
        return self._serf.coordinate()

    def coordinate_of(self, name: str) -> Coordinate | None:
        """Return where a member is, None if it is not known."""
        return self._serf.coordinate_of(name)

    def coordinates(self) -> dict[str, Coordinate]:
        """Return where members are, by name, as far as known; a copy."""
        return self._serf.coordinates()

    def keys(self) -> list[bytes]:
        """Return the keys in force, primary first."""
        return self._serf.keys()

    def statistics(self) -> dict[str, int]:
        """Return counts and clocks of both layers."""
        return {**self._serf.statistics(), "health_score": self._swim.statistics().health_score}
