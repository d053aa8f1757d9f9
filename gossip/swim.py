"""Sans-IO: the membership layer: SWIM with Lifeguard. Source: gossip specification; wire format, sections 4 to 6.

Put together here; decided in `probe.py` (does it answer), `rumours.py` (what others say, and what follows),
`exchanges.py` (whole tables), `outbox.py` (what rides where), on the table of `members.py`. The layer above is handed
in and asked through `layers.Upper`; what must be done is appended to the list of instructions that both share.

A member that stood still (a stopped process, a suspended machine, a starved loop) finds all its timers overdue at once,
while the answers that would have stopped them wait unread. So when the earliest timer is late by more than a probe
interval, that time counts as not observed: running suspicions and the running probe get it back, the probe is asked
again, probes for others are given up, and the awareness score rises. Each further timer runs once, however often it
was missed.
"""

import ipaddress
import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from base.errors import ConfigInvalid, InvalidRequest, TooLarge
from gossip.awareness import Awareness
from gossip.config import TAGS_BYTES_MAX, Settings
from gossip.exchanges import Exchanges, interval_of
from gossip.instructions import (
    VERSIONS,
    Address,
    AnswerStream,
    CloseStream,
    Instruction,
    StreamAnswered,
    StreamFailed,
    StreamRequest,
)
from gossip.layers import Node, State, Upper
from gossip.members import Members
from gossip.messages import (
    Ack,
    Alive,
    Dead,
    IndirectPing,
    Message,
    Nack,
    Ping,
    Suspect,
    Type,
    decode,
    encode,
)
from gossip.outbox import Outbox, user_message
from gossip.packets import split
from gossip.probe import Prober
from gossip.rumours import Rumours
from gossip.streams import decode_user_message
from gossip.timers import Timers

_DEAD = bytes((Type.DEAD,))


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """How the layer is."""

    members_count: int
    alive_count: int
    suspects_count: int
    health_score: int
    """0 is well; the awareness score."""
    broadcasts_count: int
    """Waiting in the queue."""
    probes_total: int
    probes_failed_total: int
    suspicions_total: int
    refutations_total: int
    stalls_total: int


class Swim:
    """One member's view of who is there. Implements `layers.Lower`."""

    def __init__(
        self,
        settings: Settings,
        *,
        rng: random.Random,
        upper: Upper,
        out: list[Instruction],
        incarnation: int = 1,
        meta: bytes = b"",
    ) -> None:
        """Raises ConfigInvalid if the address is none."""
        try:
            host = str(ipaddress.ip_address(settings.host))
        except ValueError as error:
            raise ConfigInvalid(f"a member must be told as an IP address, not as {settings.host!r}") from error
        local = Node(
            name=settings.name,
            address=Address(host, settings.port),
            meta=meta,
            incarnation=incarnation,
            state=State.ALIVE,
            changed_s=0.0,
            versions=VERSIONS,
        )
        self._settings = settings
        self._rng = rng
        self._members = Members(local, rng)
        self._timers = Timers()
        self._outbox = Outbox(settings, self._members, rng=rng, upper=upper, out=out)
        self._awareness = Awareness(enabled=settings.lifeguard)
        self._rumours = Rumours(self._outbox, self._timers, self._awareness)
        self._prober = Prober(self._outbox, self._timers, self._awareness, self._rumours.suspect)
        self._exchanges = Exchanges(self._outbox, self._timers, self._rumours)
        self._started = False
        self._seen_s = 0.0
        self._stalls_total = 0
        self._gone = False
        self._waiting_to_go: list[Callable[[float], None]] = []
        self._handlers: dict[type[Message], Callable[[float, Address, Any], None]] = {
            Ping: self._ping,
            Ack: self._prober.ack,
            Nack: self._prober.nack,
            IndirectPing: self._prober.indirect_ping,
            Alive: lambda now_s, _, claim: self._rumours.alive(now_s, claim),
            Suspect: lambda now_s, _, claim: self._rumours.suspect(now_s, claim),
            Dead: lambda now_s, _, claim: self._rumours.dead(now_s, claim),
        }
        self._stream_handlers: dict[int, Callable[[StreamRequest], None]] = {
            Type.PING: self._stream_ping,
            Type.PUSH_PULL: self._stream_table,
            Type.USER: self._stream_user_message,
        }

    # What happens: each with the time at which it did

    def start(self, now_s: float) -> None:
        """Begin: we are the first member we know of. Every periodic task starts after a random part of its interval."""
        timing = self._settings.timing
        self._started = True
        self._seen_s = self.local.changed_s = now_s
        self._rumours.announce(now_s)
        self._outbox.upper.joined(now_s, self.local)
        for key, interval_s, action in (
            ("probe", timing.probe_interval_s, self._prober.begin),
            ("gossip", timing.gossip_interval_s, self._gossip),
            ("push_pull", timing.push_pull_interval_s, self._exchange),
        ):
            self._timers.set(key, now_s + self._rng.random() * interval_s, action)

    def next_deadline_s(self) -> float:
        """Return when `tick` is wanted; infinite before the start."""
        return self._timers.next_s()

    def tick(self, now_s: float) -> None:
        """Do what is due."""
        self._observe(now_s)
        self._timers.run(now_s)

    def packet(self, now_s: float, source: Address, payload: bytes) -> None:
        """Take a plain datagram: one message or several."""
        self._observe(now_s)
        try:
            parts = split(payload)
        except (InvalidRequest, TooLarge) as error:
            self._outbox.complain(now_s, "garbage", f"a packet cannot be read: {error}", source=source.host)
            return
        # A leave intent may ride with the death that it explains: without it the member would have failed.
        parts.sort(key=lambda part: part[:1] == _DEAD)
        for part in parts:
            self._take(now_s, source, part)

    def stream_request(self, event: StreamRequest) -> None:
        """Take the message of a stream that another member opened; it is answered or closed."""
        self._observe(event.at_s)
        handler = self._stream_handlers.get(event.message[0]) if event.message else None
        if handler is None:
            self._refuse(event, "a stream brings what is none")
            return
        try:
            handler(event)
        except (InvalidRequest, TooLarge) as error:
            self._refuse(event, f"a stream cannot be read: {error}")

    def stream_answered(self, event: StreamAnswered) -> None:
        """Take the answer to a stream of ours."""
        self._observe(event.at_s)
        if not self._prober.stream_answered(event.stream_id, event.message):
            self._exchanges.answered(event.at_s, event.stream_id, event.message)

    def stream_failed(self, event: StreamFailed) -> None:
        """A stream of ours came to nothing."""
        self._observe(event.at_s)
        self._exchanges.failed(event.at_s, event.stream_id, event.text)

    def statistics(self) -> Statistics:
        """Return how it stands."""
        return Statistics(
            members_count=len(self._members),
            alive_count=self.alive_count,
            suspects_count=self._rumours.suspects_count,
            health_score=self._awareness.score,
            broadcasts_count=len(self._outbox.queue),
            probes_total=self._prober.probes_total,
            probes_failed_total=self._prober.failures_total,
            suspicions_total=self._rumours.suspicions_total,
            refutations_total=self._rumours.refutations_total,
            stalls_total=self._stalls_total,
        )

    # What the layer above may ask: layers.Lower

    @property
    def local(self) -> Node:
        """Ourselves."""
        return self._members.local

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Everybody known, ourselves and the dead included, by name."""
        return self._members.nodes

    @property
    def alive_count(self) -> int:
        """How many are alive or suspected, ourselves included."""
        return self._members.alive_count

    def send_user_message(self, to: Address, message: bytes) -> None:
        """Send a user message (without this layer's type byte) in a packet of its own."""
        self._outbox.send_alone(to, user_message(message))

    def push_pull(self, now_s: float, to: Address, *, join: bool, done: Callable[[float, str], None]) -> None:
        """Exchange tables with whoever is at `to`; then call done(now_s, "" or why it failed)."""
        self._exchanges.begin(now_s, to, join=join, done=done)

    def set_meta(self, now_s: float, meta: bytes) -> None:
        """Tell everybody that our meta data are these from now on; raises InvalidRequest if they are too large."""
        if len(meta) > TAGS_BYTES_MAX:
            raise InvalidRequest(f"{len(meta)} bytes of meta data; at most {TAGS_BYTES_MAX} are allowed")
        if not self._started:
            self._members.describe(self.local, meta)
        elif meta != self.local.meta and not self._rumours.leaving and self._rumours.raise_incarnation():
            self._members.describe(self.local, meta)
            self._rumours.announce(now_s)
            self._outbox.upper.updated(now_s, self.local)

    def leave(self, now_s: float, done: Callable[[float], None]) -> None:
        """Say that we go; then call `done` once everybody was told often enough, nobody is there, or time is up."""
        if self._gone:
            done(now_s)
            return
        self._waiting_to_go.append(done)
        if self._rumours.leaving:
            return
        alone = self.alive_count == 1
        self._rumours.farewell(now_s, self._farewell_over)
        if alone:
            self._farewell_over(now_s)
        else:
            self._timers.set("farewell", now_s + self._settings.timing.broadcast_timeout_s, self._farewell_over)

    def forget(self, name: str) -> None:
        """Drop the record of a dead node; nothing for others."""
        self._members.forget(name)

    def random_nodes(self, count: int, wanted: Callable[[Node], bool]) -> list[Node]:
        """Return up to `count` different nodes for which `wanted` holds, never ourselves."""
        return self._members.pick(count, wanted)

    # Time

    def _observe(self, now_s: float) -> None:
        """Notice that we stood still since the last call, as far as there was something to do."""
        interval_s = self._settings.timing.probe_interval_s
        if now_s - self._seen_s > interval_s and self._started and self._settings.lifeguard:
            gap_s = now_s - max(self._seen_s, self._timers.next_s())
            if gap_s > interval_s:
                self._stalls_total += 1
                self._outbox.log("warn", "this member stood still", gap_s=round(gap_s, 3))
                self._awareness.add(1)
                self._rumours.postpone(gap_s)
                self._prober.stalled(now_s, gap_s)
        self._seen_s = now_s

    def _gossip(self, now_s: float) -> None:
        self._outbox.gossip(now_s)
        self._timers.set("gossip", now_s + self._settings.timing.gossip_interval_s, self._gossip)

    def _exchange(self, now_s: float) -> None:
        """Compare tables with anybody."""
        interval_s = interval_of(self._settings.timing.push_pull_interval_s, len(self._members))
        self._timers.set("push_pull", now_s + interval_s, self._exchange)
        for node in self._members.pick(1, lambda node: node.state is State.ALIVE):
            self._exchanges.begin(now_s, node.address, join=False, done=partial(self._exchanged, node.name))

    def _exchanged(self, name: str, now_s: float, text: str) -> None:
        if text:
            self._outbox.complain(now_s, "exchange", f"tables were not compared: {text}", node=name)

    def _farewell_over(self, now_s: float) -> None:
        self._gone = True
        self._timers.cancel("farewell")
        waiting, self._waiting_to_go = self._waiting_to_go, []
        for done in waiting:
            done(now_s)

    # Packets

    def _take(self, now_s: float, source: Address, part: bytes) -> None:
        if part and part[0] == Type.USER:
            self._outbox.upper.user_message(now_s, source, part[1:])
            return
        try:
            message = decode(part)
        except (InvalidRequest, TooLarge) as error:
            self._outbox.complain(now_s, "garbage", f"a message cannot be read: {error}", source=source.host)
            return
        handler = self._handlers.get(type(message))
        if handler is not None:
            handler(now_s, source, message)

    def _ping(self, now_s: float, source: Address, message: Ping) -> None:
        if self._is_for_us(now_s, source, message):
            ack = Ack(sequence=message.sequence, payload=self._outbox.upper.ack_payload())
            self._outbox.send(now_s, source, ack)

    def _is_for_us(self, now_s: float, source: Address, message: Ping) -> bool:
        if message.node in ("", self.local.name):
            return True
        self._outbox.complain(now_s, "misled", "a ping is for somebody else", source=source.host, node=message.node)
        return False

    # Streams

    def _stream_ping(self, event: StreamRequest) -> None:
        message = decode(event.message)
        if isinstance(message, Ping) and self._is_for_us(event.at_s, event.source, message):
            answer = encode(Ack(sequence=message.sequence))
            self._outbox.put(AnswerStream(stream_id=event.stream_id, message=answer))
        else:
            self._outbox.put(CloseStream(stream_id=event.stream_id))

    def _stream_table(self, event: StreamRequest) -> None:
        self._exchanges.answer(event.at_s, event)

    def _stream_user_message(self, event: StreamRequest) -> None:
        message = decode_user_message(event.message)
        self._outbox.put(CloseStream(stream_id=event.stream_id))
        self._outbox.upper.user_message(event.at_s, event.source, message)

    def _refuse(self, event: StreamRequest, text: str) -> None:
        self._outbox.complain(event.at_s, "stream", text, source=event.source.host)
        self._outbox.put(CloseStream(stream_id=event.stream_id))
