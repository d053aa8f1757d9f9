"""Sans-IO: one probe after the other, and probes for others.

Source: SWIM, section 3.1; Lifeguard, local health aware probe and buddy system; wire format, section 6.

A probe asks its target directly, then through others and by TCP at once, until its time is over. Whoever is asked to
probe for us and hears nothing either says so (nack): then the target is to blame, and not our own slowness.

Foreign members send a nack when a whole probe timeout is over, which is when the asking probe ends: it comes too late,
and each true death makes whoever finds it doubt itself. So ours is sent at four fifths of the time that is left, as
Lifeguard has it; an answer that comes later is still passed on.
"""

from collections.abc import Callable

import msgspec

from base.errors import InvalidRequest, TooLarge
from gossip.awareness import Awareness
from gossip.instructions import Address, OpenStream
from gossip.layers import Node, State
from gossip.messages import Ack, IndirectPing, Nack, Ping, Suspect, decode, encode
from gossip.outbox import Outbox
from gossip.timers import Timers

RELAYS_MAX = 1024
"""Probes for others that run at the same time; each ends within a probe timeout. More is not honest demand."""
NACK_SHARE = 0.8
"""When a nack is sent, of the time that an indirect probe has."""
NACK_PROTOCOL_MIN = 4
STREAM_PING_PROTOCOL_MIN = 3
NO_ANSWER = "a member does not answer"
"""The line in the log when a probe of ours has failed: a suspicion begins."""


class Probe(msgspec.Struct, kw_only=True):
    """The probe that is running."""

    target: Node
    incarnation: int
    """The target's when the probe began: if it has said more since, it is alive and our suspicion is out of date."""
    sequence: int
    started_s: float
    direct_until_s: float
    deadline_s: float
    timed: bool = True
    """Whether the round trip means anything."""
    indirect: bool = False
    nacks_expected_count: int = 0
    nackers: dict[Address, None] = {}
    stream_id: int = 0
    stream_answered: bool = False


class Relay(msgspec.Struct, frozen=True, kw_only=True):
    """A probe for somebody else."""

    source: Address
    sequence: int
    wants_nack: bool


class Prober:
    """Probes one member after the other."""

    def __init__(
        self, outbox: Outbox, timers: Timers, awareness: Awareness, suspect: Callable[[float, Suspect], None]
    ) -> None:
        """`suspect` takes what this member itself has to say of a target that did not answer."""
        self._outbox = outbox
        self._members = outbox.members
        self._timing = outbox.settings.timing
        self._lifeguard = outbox.settings.lifeguard
        self._timers = timers
        self._awareness = awareness
        self._suspect = suspect
        self._probe: Probe | None = None
        self._relays: dict[int, Relay] = {}
        self.probes_total = 0
        self.failures_total = 0

    # Our own probes

    def begin(self, now_s: float) -> None:
        """Probe the next member."""
        timing = self._timing
        target = self._members.next_to_probe(now_s, timing.gossip_to_dead_s)
        if target is None:
            self._timers.set("probe", now_s + timing.probe_interval_s, self.begin)
            return
        self.probes_total += 1
        self._probe = probe = Probe(
            target=target,
            incarnation=target.incarnation,
            sequence=self._outbox.sequence(),
            started_s=now_s,
            direct_until_s=now_s + timing.probe_timeout_s,
            deadline_s=now_s + self._awareness.scaled(timing.probe_interval_s),
            nackers={},
        )
        self._ping(now_s, probe)
        self._timers.set("probe", probe.direct_until_s, self._ask_others)

    def ack(self, now_s: float, source: Address, message: Ack) -> None:
        """Take an answer, to a probe of ours or to one for somebody else."""
        relay = self._relays.pop(message.sequence, None)
        if relay is not None:
            self._timers.cancel(("relay", message.sequence))
            self._outbox.send(now_s, relay.source, Ack(sequence=relay.sequence))
            return
        probe = self._probe
        if probe is None or probe.sequence != message.sequence:
            return
        if probe.timed and not probe.indirect:
            self._outbox.upper.probed(now_s, probe.target, now_s - probe.started_s, message.payload)
        self._finish(now_s, probe, -1)

    def nack(self, now_s: float, source: Address, message: Nack) -> None:
        """Take "I heard nothing either"."""
        probe = self._probe
        if probe is None or probe.sequence != message.sequence or len(probe.nackers) >= probe.nacks_expected_count:
            return
        probe.nackers[source] = None

    def stream_answered(self, stream_id: int, message: bytes) -> bool:
        """Take the answer to a TCP ping; false if it is not one of ours that still matters."""
        probe = self._probe
        if probe is None or probe.stream_id != stream_id:
            return False
        try:
            answer = decode(message)
        except (InvalidRequest, TooLarge):
            return True
        probe.stream_answered = isinstance(answer, Ack) and answer.sequence == probe.sequence
        return True

    def stalled(self, now_s: float, gap_s: float) -> None:
        """Do not hold against the target what this member itself slept through."""
        for sequence in self._relays:
            self._timers.cancel(("relay", sequence))
        self._relays.clear()
        probe = self._probe
        if probe is None:
            return
        probe.timed = False
        probe.direct_until_s += gap_s
        probe.deadline_s += gap_s
        if probe.indirect:
            self._timers.set("probe", probe.deadline_s, self._end)
        else:
            self._ping(now_s, probe)
            self._timers.set("probe", probe.direct_until_s, self._ask_others)

    def _ping(self, now_s: float, probe: Probe) -> None:
        target = probe.target
        ping = Ping(sequence=probe.sequence, node=target.name)
        if target.state is State.SUSPECT and self._lifeguard:
            local = self._members.local.name
            suspect = Suspect(incarnation=target.incarnation, node=target.name, sender=local)
            self._outbox.send_both(target, ping, suspect)
        else:
            self._outbox.send(now_s, target.address, ping)

    def _ask_others(self, now_s: float) -> None:
        """The target did not answer in time: others and TCP may have more luck."""
        probe = self._probe
        assert probe is not None
        target, address = probe.target, probe.target.address
        probe.indirect = True
        helpers = self._members.pick(
            self._timing.indirect_checks_count, lambda node: node.state is State.ALIVE and node is not target
        )
        for helper in helpers:
            wants_nack = self._lifeguard and helper.versions[1] >= NACK_PROTOCOL_MIN
            probe.nacks_expected_count += wants_nack
            message = IndirectPing(
                sequence=probe.sequence, target=address.host, port=address.port, node=target.name, nack=wants_nack
            )
            self._outbox.send(now_s, helper.address, message)
        if target.versions[1] >= STREAM_PING_PROTOCOL_MIN:
            probe.stream_id = self._outbox.stream_id()
            ping = encode(Ping(sequence=probe.sequence, node=target.name))
            self._outbox.put(
                OpenStream(stream_id=probe.stream_id, to=address, message=ping, deadline_s=probe.deadline_s)
            )
        self._timers.set("probe", probe.deadline_s, self._end)

    def _end(self, now_s: float) -> None:
        """The time is over."""
        probe = self._probe
        assert probe is not None
        target = probe.target
        if probe.stream_answered:
            text = "a member answers by TCP only; UDP may be blocked"
            self._outbox.complain(now_s, "udp", text, node=target.name)
            self._finish(now_s, probe, -1)
            return
        self.failures_total += 1
        missing_count = probe.nacks_expected_count - len(probe.nackers)
        self._finish(now_s, probe, missing_count if probe.nacks_expected_count else 1)
        self._outbox.log("info", NO_ANSWER, node=target.name, nacks_count=len(probe.nackers))
        local = self._members.local.name
        self._suspect(now_s, Suspect(incarnation=probe.incarnation, node=target.name, sender=local))

    def _finish(self, now_s: float, probe: Probe, awareness_delta: int) -> None:
        self._probe = None
        self._awareness.add(awareness_delta)
        self._timers.set("probe", max(now_s, probe.started_s + self._timing.probe_interval_s), self.begin)

    # Probes for others

    def indirect_ping(self, now_s: float, source: Address, message: IndirectPing) -> None:
        """Ask the target for `source`, and tell what came of it."""
        if not message.target or len(self._relays) >= RELAYS_MAX:
            self._outbox.complain(now_s, "relay", "an indirect ping is ignored", target=message.target)
            return
        sequence = self._outbox.sequence()
        self._relays[sequence] = Relay(source=source, sequence=message.sequence, wants_nack=message.nack)
        to = Address(message.target, message.port or self._outbox.settings.port)
        self._outbox.send(now_s, to, Ping(sequence=sequence, node=message.node))
        timing = self._timing
        until_s = now_s + timing.probe_timeout_s
        left_s = min(timing.probe_timeout_s, timing.probe_interval_s - timing.probe_timeout_s)
        self._timers.set(
            ("relay", sequence),
            now_s + NACK_SHARE * left_s if message.nack else until_s,
            lambda at_s: self._no_answer_yet(at_s, sequence, until_s),
        )

    def _no_answer_yet(self, now_s: float, sequence: int, until_s: float) -> None:
        relay = self._relays[sequence]
        if relay.wants_nack:
            self._outbox.send(now_s, relay.source, Nack(sequence=relay.sequence))
        self._timers.set(("relay", sequence), until_s, lambda _: self._forget_relay(sequence))

    def _forget_relay(self, sequence: int) -> None:
        del self._relays[sequence]
