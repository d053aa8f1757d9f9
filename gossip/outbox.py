"""Sans-IO: how the membership layer's words leave: alone, with broadcasts on their backs, or as a gossip round.

Source: wire format, section 2.5 (room in a packet) and section 2.4 (who gets a checksum).
"""

import math
import random
from typing import Any

from gossip.broadcast import BroadcastQueue, Sent
from gossip.config import Settings
from gossip.fields import U32_MAX
from gossip.instructions import Address, Instruction, Log, SendPacket
from gossip.layers import Node, State, Upper
from gossip.members import Members
from gossip.messages import Message, Type, encode
from gossip.packets import PART_OVERHEAD_BYTES, PARTS_MAX, compound, room_bytes

USER_BYTES = 1
"""The type byte in front of a message of the upper layer."""
CRC_PROTOCOL_MIN = 5
"""Who speaks less does not know the checksum."""
COMPLAINT_INTERVAL_S = 1.0
"""Of each kind of complaint about others, one line in this time: a flood of garbage must not fill the log."""


class Outbox:
    """The one way out. Knows the queue of broadcasts and asks the upper layer for its own."""

    def __init__(
        self, settings: Settings, members: Members, *, rng: random.Random, upper: Upper, out: list[Instruction]
    ) -> None:
        self.settings = settings
        self.members = members
        self.upper = upper
        self.queue = BroadcastQueue(settings.timing.retransmit_multiplier)
        self._out = out
        self._room_bytes = room_bytes(encrypted=settings.encrypted)
        # Somewhere else after each start: an answer to a question of an earlier life means nothing to this one.
        self._sequence = int(rng.random() * U32_MAX)
        self._stream_id = 0
        self._complaints: dict[str, tuple[float, int]] = {}

    # What is sent

    def sequence(self) -> int:
        """Return a fresh sequence number."""
        self._sequence = (self._sequence + 1) & U32_MAX
        return self._sequence

    def stream_id(self) -> int:
        """Return a fresh number for a stream of ours."""
        self._stream_id += 1
        return self._stream_id

    def put(self, instruction: Instruction) -> None:
        """Ask for anything."""
        self._out.append(instruction)

    def send(self, now_s: float, to: Address, message: Message) -> None:
        """Send one message, and as many broadcasts as fit behind it."""
        data = encode(message)
        parts = self._pull(now_s, self._room_bytes - len(data))
        self.send_alone(to, compound([data, *parts]))

    def send_alone(self, to: Address, payload: bytes, *, with_crc: bool = False) -> None:
        """Send a packet as it is."""
        self._out.append(SendPacket(to=to, payload=payload, with_crc=with_crc))

    def send_both(self, node: Node, first: Message, second: Message) -> None:
        """Send two messages that belong together, and nothing else."""
        self.send_alone(node.address, compound([encode(first), encode(second)]), with_crc=knows_crc(node))

    def gossip(self, now_s: float) -> None:
        """Send what is queued to a few random members; the dead hear it too for a while, lest they are so wrongly."""
        if len(self.members) == 1:
            return
        # Most rounds have nothing to say: that is found out before anybody is picked.
        parts = self._pull(now_s, self._room_bytes)
        if not parts:
            return
        timing = self.settings.timing
        dead_since_s = now_s - timing.gossip_to_dead_s
        for node in self.members.pick(timing.gossip_nodes_count, lambda node: hears_gossip(node, dead_since_s)):
            parts = parts or self._pull(now_s, self._room_bytes)
            if not parts:
                return
            self.send_alone(node.address, compound(parts), with_crc=knows_crc(node))
            parts = []

    def broadcast(self, now_s: float, name: str, message: Message, sent: Sent | None = None) -> None:
        """Tell everybody about the member `name`; `sent` is told when that is done."""
        data = encode(message)
        if len(data) + PART_OVERHEAD_BYTES > self._room_bytes:
            self.complain(now_s, "large", "a message is not passed on: it fits no packet", size_bytes=len(data))
            return
        self.queue.put(now_s, name, data, members_count=len(self.members), sent=sent)

    def _pull(self, now_s: float, free_bytes: int) -> list[bytes]:
        """Return broadcasts for so much room: about members first, then the upper layer's."""
        known_count = len(self.members)
        overhead_bytes = PART_OVERHEAD_BYTES
        parts = self.queue.pull(now_s, overhead_bytes=overhead_bytes, bytes_max=free_bytes, members_count=known_count)
        free_bytes -= sum(len(part) for part in parts) + overhead_bytes * len(parts)
        overhead_bytes += USER_BYTES
        if free_bytes > overhead_bytes:
            user = self.upper.broadcasts(now_s, overhead_bytes=overhead_bytes, bytes_max=free_bytes)
            parts += [user_message(message) for message in user]
        # No message is so short that more of them fit into one packet; a compound of more would be misread.
        return parts[: PARTS_MAX - 1]

    # What is logged

    def log(self, level: str, text: str, **fields: Any) -> None:
        """Write one line."""
        self._out.append(Log(level=level, text=text, fields=fields))

    def complain(self, now_s: float, kind: str, text: str, **fields: Any) -> None:
        """Warn of what another member did, once in a while for each `kind`, of which there are few."""
        last_s, unsaid_count = self._complaints.get(kind, (-math.inf, 0))
        if now_s - last_s < COMPLAINT_INTERVAL_S:
            self._complaints[kind] = (last_s, unsaid_count + 1)
            return
        self._complaints[kind] = (now_s, 0)
        self.log("warn", text, **fields, **({"unsaid_count": unsaid_count} if unsaid_count else {}))


def user_message(message: bytes) -> bytes:
    """Return a message of the upper layer as it travels in this one."""
    return bytes((Type.USER,)) + message


def knows_crc(node: Node) -> bool:
    """Whether packets to it may carry a checksum."""
    return node.versions[1] >= CRC_PROTOCOL_MIN


def hears_gossip(node: Node, dead_since_s: float) -> bool:
    """Whether it takes part in gossip rounds: everybody but those that died before `dead_since_s`."""
    return node.state is not State.DEAD or node.changed_s >= dead_since_s
