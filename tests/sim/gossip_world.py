"""Clusters of gossip machines under a virtual clock: one heap of deliveries, one generator, no tasks.

Everything is decided by the seed. Packets and streams arrive after `latency_s` (a function of the two ends), or not at
all: `lost` says so for each packet, `cut` for each pair of ends. A stream to nobody is refused, one across a cut ends
at its deadline. Sealing is not done but modelled: what is sent under a key is read by whoever has that key.

    world = GossipWorld(seed=1)
    a, b = world.add("a"), world.add("b")
    joined = world.want(b, JoinWanted, addresses=[a.address])
    world.run(1.0)
    assert b.finished[joined].contacted_count == 1
"""

import heapq
import math
import random
from collections.abc import Callable
from typing import Any

import msgspec

from gossip.config import LAN, Settings, Timing
from gossip.instructions import (
    Address,
    AnswerStream,
    CloseStream,
    Event,
    Finished,
    Instruction,
    OpenStream,
    PacketReceived,
    SendPacket,
    Started,
    StreamAnswered,
    StreamFailed,
    StreamRequest,
    TimerFired,
    WakeAt,
    WriteKeyring,
    WriteSnapshot,
)
from gossip.machine import GossipMachine

PORT = 8301
LATENCY_S = 0.001
SOCKET_PACKETS = 500
"""What a socket keeps for a member that does not read: 400 KiB, of which the kernel counts most for itself."""


class SimMember:
    """One member: its machine, its files, and what its application was told."""

    __slots__ = (
        "address",
        "finished",
        "heard",
        "keys",
        "machine",
        "name",
        "options",
        "packets_count",
        "packets_total_bytes",
        "running",
        "settings",
        "snapshot",
        "stalled_until_s",
        "unread_count",
        "wake_s",
    )

    def __init__(self, settings: Settings, keys: list[bytes], options: dict[str, Any]) -> None:
        self.settings = settings
        self.name = settings.name
        self.address = Address(settings.host, settings.port)
        self.options = options
        self.keys = keys
        self.snapshot = ""
        self.running = False
        self.machine: GossipMachine
        self.wake_s = -1.0
        self.finished: dict[int, Any] = {}
        """Operation -> its result."""
        self.heard: list[Instruction] = []
        """What its application was told, and its log."""
        self.packets_count = 0
        self.packets_total_bytes = 0
        self.stalled_until_s = -math.inf
        self.unread_count = 0
        """Datagrams that wait for the end of its stall."""

    def members(self) -> dict[str, str]:
        """Return name -> status, as this member sees it."""
        return {member.name: member.status.name.lower() for member in self.machine.members()}

    def seen(self, kind: type) -> list[Any]:
        """Return what was heard of one kind."""
        return [instruction for instruction in self.heard if isinstance(instruction, kind)]


class GossipWorld:
    """All members and everything that is on its way. `keeps_heard` False: only results are kept."""

    def __init__(self, *, seed: int, timing: Timing = LAN, keeps_heard: bool = True) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.now_s = 1000.0
        self.timing = timing
        self.members: dict[str, SimMember] = {}
        self.at: dict[Address, SimMember] = {}
        self.events_count = 0
        self.latency_s: Callable[[SimMember, SimMember], float] = lambda sender, receiver: LATENCY_S
        self.lost: Callable[[SimMember, SimMember], bool] | None = None
        self.cut: Callable[[SimMember, SimMember], bool] | None = None
        self.stream_delay_s: Callable[[SimMember, SimMember, int, bool], float] = self._stream_delay_s
        """Sender, receiver, bytes, and whether it has to be opened first -> how long a message on a stream takes."""
        self.captured: list[bytes] | None = None
        """Once a list: every packet and stream message that is sent, for whoever wants to replay or damage them."""
        self._keeps_heard = keeps_heard
        self._heap: list[tuple[float, int, SimMember, Event, list[bytes]]] = []
        self._number = 0
        self._operation = 0
        self._streams: dict[int, tuple[SimMember, OpenStream]] = {}
        self._actions: dict[type[Instruction], Callable[[SimMember, Any], None]] = {
            SendPacket: self._send,
            OpenStream: self.open,
            AnswerStream: self._answer,
            CloseStream: self._close,
            WakeAt: self._wake,
            WriteSnapshot: self._write_snapshot,
            WriteKeyring: self._write_keyring,
            Finished: self._finish,
        }

    # Members

    def add(
        self,
        name: str,
        *,
        host: str = "",
        tags: dict[str, str] | None = None,
        keys: list[bytes] | None = None,
        machine: dict[str, Any] | None = None,
        starts: bool = True,
        **settings: Any,
    ) -> SimMember:
        """Put a member there; `settings` and `machine` are further arguments of Settings and of the machine."""
        number = len(self.members) + 1
        host = host or f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        given = {"timing": self.timing, "encrypted": bool(keys), **settings}
        member = SimMember(
            Settings(name=name, host=host, port=PORT, tags=tags or {"role": "node"}, **given),
            list(keys or []),
            machine or {},
        )
        self.members[f"{name} at {host}" if name in self.members else name] = member
        self.at[member.address] = member
        if starts:
            self.start(member)
        return member

    def start(self, member: SimMember) -> None:
        """Start a member, for the first time or again: with its files, and nothing else of an earlier life."""
        rng = random.Random(self.rng.random())
        member.machine = GossipMachine(member.settings, rng=rng, keys=member.keys, **member.options)
        member.running = True
        member.wake_s = -1.0
        self.tell(member, Started(at_s=self.now_s, snapshot=member.snapshot))

    def kill(self, member: SimMember) -> None:
        """Stop a member at once."""
        member.running = False

    def stall(self, member: SimMember, seconds: float) -> None:
        """Let a member do nothing for so long, from now on."""
        member.stalled_until_s = max(member.stalled_until_s, self.now_s + seconds)
        member.unread_count = 0

    def want(self, member: SimMember, kind: Callable[..., Event], **fields: Any) -> int:
        """Ask a member for an operation; return its number, for `finished`."""
        self._operation += 1
        self.tell(member, kind(at_s=self.now_s, operation=self._operation, **fields))
        return self._operation

    def tell(self, member: SimMember, event: Event) -> None:
        """Hand an event to a member and do what it says."""
        self.events_count += 1
        for instruction in member.machine.handle(event):
            action = self._actions.get(type(instruction))
            if action is not None:
                action(member, instruction)
            elif self._keeps_heard:
                member.heard.append(instruction)

    # Time

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self._run_to(self.now_s + seconds)

    def run_until(self, condition: Callable[[], bool], *, within_s: float, step_s: float = 0.05) -> float:
        """Let time pass until `condition` holds; return how long that took. AssertionError with the seed if never."""
        start_s = self.now_s
        while not condition():
            assert self.now_s - start_s < within_s, f"seed {self.seed}: not within {within_s} s"
            self._run_to(self.now_s + step_s)
        return self.now_s - start_s

    def _run_to(self, end_s: float) -> None:
        heap = self._heap
        while heap and heap[0][0] <= end_s:
            at_s, _, member, event, keys = heapq.heappop(heap)
            if not member.running or (keys and keys[0] not in member.keys):
                continue
            if at_s < member.stalled_until_s:
                self._put_off(member, event, keys)
                continue
            if type(event) is TimerFired:
                if member.wake_s != at_s:
                    continue  # set anew since
                member.wake_s = -1.0
            self.now_s = at_s
            self.tell(member, event)
        self.now_s = end_s

    def _put_off(self, member: SimMember, event: Event, keys: list[bytes]) -> None:
        """Put it off to the end of the stall; nobody knows whether the timer or the socket is seen first then."""
        kind, end_s = type(event), member.stalled_until_s
        if kind is TimerFired:
            if member.wake_s != event.at_s:
                return
            member.wake_s = end_s
            self._number += 1
            number = self._number if self.rng.random() < 0.5 else -self._number
            heapq.heappush(self._heap, (end_s, number, member, TimerFired(at_s=end_s), []))
            return
        if kind is PacketReceived:
            member.unread_count += 1
            if member.unread_count > SOCKET_PACKETS:
                return
        self._later(end_s, member, msgspec.structs.replace(event, at_s=end_s), keys)

    def _later(self, at_s: float, member: SimMember, event: Event, keys: list[bytes]) -> None:
        self._number += 1
        heapq.heappush(self._heap, (at_s, self._number, member, event, keys))

    # What members ask for

    def _send(self, sender: SimMember, packet: SendPacket) -> None:
        sender.packets_count += 1
        sender.packets_total_bytes += len(packet.payload)
        if self.captured is not None:
            self.captured.append(packet.payload)
        receiver = self.at.get(packet.to)
        if receiver is None or (self.cut and self.cut(sender, receiver)) or (self.lost and self.lost(sender, receiver)):
            return
        at_s = self.now_s + self.latency_s(sender, receiver)
        event = PacketReceived(at_s=at_s, source=sender.address, payload=packet.payload)
        self._later(at_s, receiver, event, sender.keys[:1])

    def open(self, sender: SimMember, stream: OpenStream) -> None:
        """Carry a stream's message to its end, or its failure back."""
        if self.captured is not None:
            self.captured.append(stream.message)
        receiver = self.at.get(stream.to)
        if receiver is not None and self.cut and self.cut(sender, receiver):
            self._give_up(sender, stream)
            return
        if receiver is None or not receiver.running:
            at_s = self.now_s + LATENCY_S
            failed = StreamFailed(at_s=at_s, stream_id=stream.stream_id, text="connection refused")
            self._later(at_s, sender, failed, [])
            return
        at_s = self.now_s + self.stream_delay_s(sender, receiver, len(stream.message), True)
        if at_s > stream.deadline_s:
            self._give_up(sender, stream)
            return
        self._number += 1
        self._streams[self._number] = (sender, stream)
        request = StreamRequest(at_s=at_s, stream_id=self._number, source=sender.address, message=stream.message)
        self._later(at_s, receiver, request, sender.keys[:1])

    def _stream_delay_s(self, sender: SimMember, receiver: SimMember, bytes_count: int, opens: bool) -> float:
        return self.latency_s(sender, receiver) * (2 if opens else 1)

    def _give_up(self, opener: SimMember, stream: OpenStream) -> None:
        at_s = max(self.now_s, stream.deadline_s)
        failed = StreamFailed(at_s=at_s, stream_id=stream.stream_id, text="no answer in time")
        self._later(at_s, opener, failed, [])

    def _answer(self, member: SimMember, answer: AnswerStream) -> None:
        opener, stream = self._streams.pop(answer.stream_id)
        at_s = self.now_s + self.stream_delay_s(member, opener, len(answer.message), False)
        if at_s > stream.deadline_s:
            self._give_up(opener, stream)
            return
        event = StreamAnswered(at_s=at_s, stream_id=stream.stream_id, message=answer.message)
        self._later(at_s, opener, event, member.keys[:1])

    def _close(self, member: SimMember, close: CloseStream) -> None:
        opener, stream = self._streams.pop(close.stream_id)
        if not stream.one_way:
            at_s = self.now_s + self.latency_s(member, opener)
            event = StreamFailed(at_s=at_s, stream_id=stream.stream_id, text="closed without an answer")
            self._later(at_s, opener, event, [])

    def _wake(self, member: SimMember, wake: WakeAt) -> None:
        at_s = max(wake.at_s, self.now_s)
        member.wake_s = at_s
        self._later(at_s, member, TimerFired(at_s=at_s), [])

    def _write_snapshot(self, member: SimMember, write: WriteSnapshot) -> None:
        member.snapshot = write.text if write.replace else member.snapshot + write.text

    def _write_keyring(self, member: SimMember, write: WriteKeyring) -> None:
        member.keys = write.keys

    def _finish(self, member: SimMember, finished: Finished) -> None:
        assert finished.operation not in member.finished, f"seed {self.seed}: {finished} twice"
        member.finished[finished.operation] = finished.result
