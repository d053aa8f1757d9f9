"""Sans-IO: the layer above membership: tags, intents, user events, queries, keys, conflicts, coordinates, snapshots.

Put together here; decided in the files that are imported. Implements `layers.Upper` for the layer below, which is told
by `attach`. Source: wire format, sections 7 to 10.
"""

import random
from collections.abc import Callable
from typing import Any

from base.errors import InvalidRequest, TooLarge
from gossip.clocks import LamportClock
from gossip.config import Settings
from gossip.conflict import QUERY as CONFLICT_QUERY
from gossip.conflict import Conflicts
from gossip.context import Context
from gossip.coordinate import Coordinate, CoordinateClient, of_payload, payload_of
from gossip.instructions import (
    Address,
    Finished,
    ForceLeaveWanted,
    Instruction,
    JoinWanted,
    KeyringWanted,
    LeaveWanted,
    Member,
    QueryAnswered,
    QueryResult,
    QueryWanted,
    TagsChanged,
    UserEventWanted,
)
from gossip.joining import Joining
from gossip.key_queries import KeyQueries
from gossip.layers import Lower, Node
from gossip.leaving import Leaving
from gossip.passing_on import Lane, PassingOn
from gossip.query_answering import Answering
from gossip.query_asking import Asking
from gossip.reaping import Reaping
from gossip.roster import Roster, member_of
from gossip.serf_messages import (
    JoinIntent,
    LeaveIntent,
    Query,
    QueryResponse,
    Relay,
    SerfMessage,
    State,
    UserEvent,
    decode,
    encode,
    encode_tags,
)
from gossip.snapshot import Snapshot, Snapshotter
from gossip.user_events import UserEvents

PING_QUERY = "ping"
MergeRefused = Callable[[list[Member]], str | None]
AliveRefused = Callable[[Member], str | None]


class Serf:
    """One member's upper layer. `merge_refused` and `alive_refused` are the agent's rules; None refuses nobody."""

    def __init__(
        self,
        settings: Settings,
        *,
        rng: random.Random,
        out: list[Instruction],
        keys: list[bytes],
        merge_refused: MergeRefused | None = None,
        alive_refused: AliveRefused | None = None,
    ) -> None:
        self._settings = settings
        self._merge_refused = merge_refused
        self._alive_refused = alive_refused
        self._clock = LamportClock()
        query_clock = LamportClock()
        context = self._context = Context(settings, rng=rng, out=out)
        self._passing_on = PassingOn(context)
        self._coordinates = CoordinateClient(rng)
        self.roster = Roster(context, self._clock, refute=self._announce, forgotten=self._coordinates.forget)
        self._events = UserEvents(context, self._passing_on)
        self._answering = Answering(context, self._passing_on, query_clock, self._deliver)
        self._asking = Asking(context, self._passing_on, self.roster, query_clock, self._answering.hear)
        self._query_clock = query_clock
        self._keys = KeyQueries(context, self._asking, keys)
        self._conflicts = Conflicts(context, self._asking, self.roster)
        self._ack_payload = payload_of(self._coordinates.coordinate)
        self._snapshotter = Snapshotter(context, self._times)
        self._snapshot = Snapshot()
        self._joining = Joining(context, self.roster, self._snapshotter, self._announce)
        self._leaving = Leaving(context, self.roster, self._passing_on, self._clock, self._snapshotter)
        self._reaping = Reaping(context, self.roster)
        self._answering.internal = {
            PING_QUERY: lambda now_s, query: None,
            CONFLICT_QUERY: self._conflicts.answer,
            **self._keys.answers(),
        }
        self._handlers: dict[type[SerfMessage], Callable[[float, Any, bytes], None]] = {
            LeaveIntent: self._leave_intent,
            JoinIntent: self._join_intent,
            UserEvent: self._events.received,
            Query: self._answering.received,
            QueryResponse: lambda now_s, response, _: self._asking.answered(now_s, response),
            Relay: lambda now_s, relay, _: self._answering.relayed(now_s, relay),
        }

    def attach(self, lower: Lower) -> None:
        """Set the layer below, once, before anything happens."""
        self._context.lower = lower

    # Life

    def restore(self, text: str) -> None:
        """Take the snapshot file as it was found, before the layer below starts."""
        self._snapshot = self._snapshotter.begin(text)
        time, event_time, query_time = self._snapshot.times.values()
        clocks = ((self._clock, time), (self._events.clock, event_time), (self._query_clock, query_time))
        for clock, seen in clocks:
            if seen:
                clock.witness(seen)
        # What is not newer than our last life has been delivered then.
        self._events.minimum_time = event_time + 1 if event_time else 0
        self._answering.minimum_time = query_time + 1 if query_time else 0

    def start(self, now_s: float) -> None:
        """Begin, once the layer below has."""
        self._reaping.start(now_s)
        self._joining.rejoin(now_s, self._snapshot.alive)
        self._snapshot = Snapshot()

    def next_deadline_s(self) -> float:
        """Return when `tick` is wanted; infinite if never."""
        return self._context.timers.next_s()

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        self._context.timers.run(now_s)

    def settle(self, now_s: float) -> None:
        """To be called after every event: see to it that the snapshot follows."""
        self._snapshotter.watch_clocks(now_s)

    # What the application wants

    def join(self, event: JoinWanted) -> None:
        """See JoinWanted."""
        self._joining.join(event.at_s, event.operation, event.addresses)

    def leave(self, event: LeaveWanted) -> None:
        """See LeaveWanted."""
        self._leaving.leave(event.at_s, event.operation)

    def force_leave(self, event: ForceLeaveWanted) -> None:
        """See ForceLeaveWanted."""
        self._leaving.force(event.at_s, event.operation, event.name, prune=event.prune)

    def fire(self, event: UserEventWanted) -> None:
        """See UserEventWanted."""
        complaint = self._events.fire(event.at_s, event.name, event.payload, coalesce=event.coalesce)
        self._context.out.append(Finished(operation=event.operation, result=complaint))

    def ask(self, event: QueryWanted) -> None:
        """See QueryWanted."""
        out = self._context.out

        def done(_: float, result: QueryResult) -> None:
            out.append(Finished(operation=event.operation, result=result))

        complaint = self._asking.ask(
            event.at_s,
            event.name,
            event.payload,
            done,
            names=event.names,
            tags=event.tags,
            wants_acks=event.wants_acks,
            relay_factor=event.relay_factor,
            timeout_s=event.timeout_s,
        )
        if complaint is not None:
            out.append(Finished(operation=event.operation, result=complaint))

    def answer(self, event: QueryAnswered) -> None:
        """See QueryAnswered."""
        self._answering.answer(event.at_s, event.query_id, event.payload)

    def change_keys(self, event: KeyringWanted) -> None:
        """See KeyringWanted."""
        out = self._context.out
        self._keys.ask(
            event.at_s,
            event.verb,
            event.key,
            event.relay_factor,
            lambda _, result: out.append(Finished(operation=event.operation, result=result)),
        )

    def change_tags(self, event: TagsChanged) -> None:
        """See TagsChanged."""
        try:
            meta = encode_tags(event.tags)
        except (InvalidRequest, TooLarge) as error:
            self._context.log("error", "tags not changed", why=str(error))
            return
        self._context.lower.set_meta(event.at_s, meta)

    # What can be seen

    def local_member(self) -> Member:
        """Return ourselves."""
        known = self.roster.known.get(self._settings.name)
        return known.member() if known is not None else member_of(self._context.lower.local)

    def coordinate(self) -> Coordinate:
        """Return where we are."""
        return self._coordinates.coordinate

    def coordinate_of(self, name: str) -> Coordinate | None:
        """Return where a member is, None if it is not known."""
        return self.coordinate() if name == self._settings.name else self._coordinates.of(name)

    def coordinates(self) -> dict[str, Coordinate]:
        """Return where others are, by name, as far as known."""
        return self._coordinates.all()

    def keys(self) -> list[bytes]:
        """Return the keys in force, primary first."""
        return self._keys.keys

    def statistics(self) -> dict[str, int]:
        """Return counts and clocks."""
        time, event_time, query_time = self._times()
        return {
            "coordinate_resets": self._coordinates.resets_count,
            "event_queue": self._passing_on.count(Lane.EVENTS),
            "event_time": event_time,
            "failed": len(self.roster.failed),
            "intent_queue": self._passing_on.count(Lane.INTENTS),
            "left": len(self.roster.left),
            "member_time": time,
            "members": len(self.roster.known),
            "query_queue": self._passing_on.count(Lane.QUERIES),
            "query_time": query_time,
        }

    # What the layer below asks: layers.Upper

    def local_state(self, now_s: float, *, join: bool) -> bytes:
        """Return the user state of a push/pull of ours."""
        time, event_time, query_time = self._times()
        return encode(
            State(
                lamport_time=time,
                status_times={name: known.told_time() for name, known in self.roster.known.items()},
                left_members=list(self.roster.left),
                event_time=event_time,
                events=list(self._events.slots()),
                query_time=query_time,
            )
        )

    def merge_state(self, now_s: float, state: bytes, *, join: bool) -> None:
        """Take the other side's user state, if it sent any."""
        try:
            other = decode(state)
        except (InvalidRequest, TooLarge) as error:
            self._context.log("warn", "state of another member cannot be read", why=str(error))
            return
        if not isinstance(other, State):
            self._context.log("warn", "state of another member is none")
            return
        clocks = (
            (self._clock, other.lamport_time),
            (self._events.clock, other.event_time),
            (self._query_clock, other.query_time),
        )
        for clock, time in clocks:
            if time > 0:
                clock.witness(time - 1)  # its clock is the time of what it has not sent yet
        left = dict.fromkeys(other.left_members)
        for name in left:
            # One more than its last intent: that may be a join intent that we know, which must not hide that it left.
            self.roster.leave_intent(now_s, other.status_times.get(name, 0) + 1, name, by_table=True)
        for name, time in other.status_times.items():
            if name not in left:
                self.roster.told_by_table(now_s, time, name)
        if join and self._joining.under_way_count:
            self._events.ignore_before(other.event_time)
        self._events.merge(other.events)

    def user_message(self, now_s: float, source: Address, message: bytes) -> None:
        """Take a user message (without the type byte of the lower layer)."""
        try:
            decoded = decode(message)
        except (InvalidRequest, TooLarge) as error:
            self._context.log("debug", "message of another member cannot be read", source=source.host, why=str(error))
            return
        handler = self._handlers.get(type(decoded))
        if handler is not None:
            handler(now_s, decoded, message)
        else:
            self._context.log("debug", "message that never comes alone", source=source.host, kind=message[0])

    def broadcasts(self, now_s: float, *, overhead_bytes: int, bytes_max: int) -> list[bytes]:
        """Return user messages to send along."""
        return self._passing_on.pull(now_s, overhead_bytes=overhead_bytes, bytes_max=bytes_max)

    def joined(self, now_s: float, node: Node) -> None:
        """A node is there that was not known, or was dead."""
        self.roster.joined(now_s, node)
        self._snapshotter.alive(now_s, node.name, node.address)

    def left(self, now_s: float, node: Node) -> None:
        """A node is dead, for whatever reason."""
        self.roster.gone(now_s, node)
        self._snapshotter.gone(now_s, node.name)
        self._asking.gone(now_s, node.name)

    def updated(self, now_s: float, node: Node) -> None:
        """A living node has other meta data."""
        self.roster.updated(node)

    def merge_refused(self, nodes: list[Node]) -> str | None:
        """Return why a join with these nodes must fail, None if it may go on."""
        if self._merge_refused is None:
            return None
        return self._merge_refused([member_of(node) for node in nodes])

    def alive_refused(self, node: Node) -> str | None:
        """Return why an alive message of this node is to be ignored, None if it is not."""
        return None if self._alive_refused is None else self._alive_refused(member_of(node))

    def ack_payload(self) -> bytes:
        """Return what our direct acks carry."""
        return self._ack_payload if self._settings.coordinates else b""

    def probed(self, now_s: float, node: Node, rtt_s: float, payload: bytes) -> None:
        """A direct ack came back after `rtt_s`."""
        if not self._settings.coordinates:
            return
        try:
            other = of_payload(payload)
            complaint = self._coordinates.update(node.name, other, rtt_s) if other is not None else None
        except (InvalidRequest, TooLarge) as error:
            complaint = str(error)
        if complaint is not None:
            self._context.log("debug", "coordinate of another member refused", member=node.name, why=complaint)
            return
        self._ack_payload = payload_of(self._coordinates.coordinate)

    def conflicted(self, now_s: float, known: Node, other: Node) -> None:
        """Somebody else says that he has the name of `known`, which may be ours."""
        self._conflicts.noticed(now_s, known, other)

    # Parts that need each other

    def _times(self) -> tuple[int, int, int]:
        """Return the next time of each clock."""
        return self._clock.time, self._events.clock.time, self._query_clock.time

    def _announce(self, now_s: float) -> None:
        """Tell everybody that we are here to stay, whatever they have heard."""
        intent = JoinIntent(lamport_time=self._clock.time, node=self._settings.name)
        self._clock.witness(intent.lamport_time)
        self.roster.join_intent(now_s, intent.lamport_time, intent.node)
        self._passing_on.put(now_s, Lane.INTENTS, encode(intent))

    def _join_intent(self, now_s: float, intent: JoinIntent, message: bytes) -> None:
        if self.roster.join_intent(now_s, intent.lamport_time, intent.node):
            self._passing_on.put(now_s, Lane.INTENTS, message)

    def _leave_intent(self, now_s: float, intent: LeaveIntent, message: bytes) -> None:
        if self.roster.leave_intent(now_s, intent.lamport_time, intent.node):
            self._passing_on.put(now_s, Lane.INTENTS, message)

    def _deliver(self, now_s: float, response: QueryResponse) -> None:
        self._asking.answered(now_s, response)
