"""What members send, weighed as it stands on the wire without a key, and what they take of the processor."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from gossip.instructions import AnswerStream, Event, Instruction, OpenStream, SendPacket
from gossip.packets import open_packet, seal_packet
from gossip.streams import seal_stream
from tests.sim.gossip_world import SimMember


class Scale:
    """Sums over all members. Headers of UDP, TCP and IP are not counted."""

    def __init__(self) -> None:
        self.packets_count = self.packets_bytes = self.streams_count = self.streams_bytes = 0
        self.machine_s = 0.0
        """What the machines took of the processor."""
        self.packing_s = 0.0
        """Compression and checksums of datagrams, both ways; the system's share in sending is not known here."""

    @contextmanager
    def under(self, members: Sequence[SimMember]) -> Iterator[None]:
        """Weigh what these do meanwhile."""
        machines = [member.machine for member in members]
        for member, machine in zip(members, machines, strict=True):
            member.machine = _Weighed(machine, self)  # type: ignore[assignment]
        try:
            yield
        finally:
            for member, machine in zip(members, machines, strict=True):
                member.machine = machine

    def take(self, instruction: Instruction) -> None:
        """Weigh one."""
        if isinstance(instruction, SendPacket):
            began_s = time.process_time()
            data = seal_packet(instruction.payload, None, with_crc=instruction.with_crc, nonce=b"")
            open_packet(data, None)
            self.packing_s += time.process_time() - began_s
            self.packets_count += 1
            self.packets_bytes += len(data)
        elif isinstance(instruction, OpenStream | AnswerStream):
            self.streams_count += 1
            self.streams_bytes += len(seal_stream(instruction.message, None, b""))

    def figures(self, node_seconds: float) -> dict[str, float]:
        """Return the averages of a member and second."""
        return {
            "udp packets": self.packets_count / node_seconds,
            "udp bytes": self.packets_bytes / node_seconds,
            "tcp messages": self.streams_count / node_seconds,
            "tcp bytes": self.streams_bytes / node_seconds,
            "machine us": self.machine_s * 1e6 / node_seconds,
            "packing us": self.packing_s * 1e6 / node_seconds,
        }


class _Weighed:
    """A machine on the scale."""

    def __init__(self, machine: Any, scale: Scale) -> None:
        self._machine = machine
        self._scale = scale

    def handle(self, event: Event) -> list[Instruction]:
        """Hand the event to the machine, and weigh what comes of it."""
        began_s = time.process_time()
        instructions: list[Instruction] = self._machine.handle(event)
        self._scale.machine_s += time.process_time() - began_s
        for instruction in instructions:
            self._scale.take(instruction)
        return instructions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)
