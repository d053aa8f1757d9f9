"""Several members' membership layers in one virtual time, over a network that does what a test says."""

import heapq
import random
from collections.abc import Callable
from typing import Any

from gossip.config import LAN, Settings, Timing
from gossip.instructions import (
    Address,
    AnswerStream,
    CloseStream,
    Instruction,
    Log,
    OpenStream,
    SendPacket,
    StreamAnswered,
    StreamFailed,
    StreamRequest,
)
from gossip.layers import Node, State
from gossip.messages import Message, decode
from gossip.packets import split
from gossip.swim import Swim

LATENCY_S = 0.001
START_S = 1000.0
SOCKET_PACKETS = 500
"""What a socket keeps for a member that does not read."""
STRANGER = Address("10.9.9.9", 8301)


class FakeUpper:
    """The layer above: writes down what it is told, answers what the test says."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        self.messages: list[bytes] = []
        self.merged: list[tuple[bytes, bool]] = []
        self.probes: list[tuple[str, float, bytes]] = []
        self.conflicts: list[tuple[str, Address]] = []
        self.queue: list[bytes] = []
        self.state = b""
        self.merge_refusal: str | None = None
        self.alive_refusal: str | None = None

    def local_state(self, now_s: float, *, join: bool) -> bytes:
        return self.state

    def merge_state(self, now_s: float, state: bytes, *, join: bool) -> None:
        self.merged.append((bytes(state), join))

    def user_message(self, now_s: float, source: Address, message: bytes) -> None:
        self.messages.append(bytes(message))

    def broadcasts(self, now_s: float, *, overhead_bytes: int, bytes_max: int) -> list[bytes]:
        fitting = []
        while self.queue and len(self.queue[0]) + overhead_bytes <= bytes_max:
            bytes_max -= len(self.queue[0]) + overhead_bytes
            fitting.append(self.queue.pop(0))
        return fitting

    def joined(self, now_s: float, node: Node) -> None:
        self.events.append(("joined", node.name))

    def left(self, now_s: float, node: Node) -> None:
        self.events.append(("left", node.name))

    def updated(self, now_s: float, node: Node) -> None:
        self.events.append(("updated", node.name))

    def merge_refused(self, nodes: list[Node]) -> str | None:
        return self.merge_refusal

    def alive_refused(self, node: Node) -> str | None:
        return self.alive_refusal

    def ack_payload(self) -> bytes:
        return b"\x01here"

    def probed(self, now_s: float, node: Node, rtt_s: float, payload: bytes) -> None:
        self.probes.append((node.name, rtt_s, payload))

    def conflicted(self, now_s: float, known: Node, other: Node) -> None:
        self.conflicts.append((known.name, other.address))


class Peer:
    """One member."""

    def __init__(self, name: str, address: Address, rng: random.Random, settings: dict[str, Any]) -> None:
        self.name = name
        self.address = address
        self.upper = FakeUpper()
        self.out: list[Instruction] = []
        self.logs: list[Log] = []
        self.sent: list[tuple[Address, Message]] = []
        """What it sent by packet, message by message; user messages are left out."""
        said = Settings(name=name, host=address.host, port=address.port, tags={}, **settings)
        self.swim = Swim(said, rng=rng, upper=self.upper, out=self.out, meta=b"\xff\x80")
        self.up = True
        self.frozen = False
        self.held: list[tuple[Address, bytes]] = []
        self.wake_s = float("inf")

    def state_of(self, name: str) -> State | None:
        node = self.swim.nodes.get(name)
        return None if node is None else node.state


class Group:
    """Members "a", "b", … at 10.0.0.1, 10.0.0.2, …, all started, none joined."""

    def __init__(
        self, count: int, *, seed: int = 0, timing: Timing = LAN, lifeguard: bool = True, looks_first: bool = False
    ) -> None:
        self.now_s = START_S
        self.seed = seed
        self.rng = random.Random(f"{seed}/network")
        self.peers: dict[str, Peer] = {}
        self.passes: Callable[[Peer, Peer, bytes], bool] = lambda sender, receiver, payload: True
        self.streams_pass: Callable[[Peer, Peer], bool] = lambda sender, receiver: True
        self.latency_s: Callable[[Peer, Peer], float] = lambda sender, receiver: LATENCY_S
        self.copies: Callable[[], int] = lambda: 1
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = 0
        self._settings = {"timing": timing, "lifeguard": lifeguard, "looks_first": looks_first}
        for position in range(count):
            self.add(chr(ord("a") + position))

    def __getitem__(self, name: str) -> Peer:
        return self.peers[name]

    def add(self, name: str, host: str = "") -> Peer:
        """Start a member; one of that name that was there before is gone for good."""
        address = Address(host or f"10.0.0.{ord(name[0]) - ord('a') + 1}", 8301)
        rng = random.Random(f"{self.seed}/{name}/{len(self.peers)}")
        peer = self.peers[name] = Peer(name, address, rng, self._settings)
        peer.swim.start(self.now_s)
        self._after(peer)
        return peer

    # What a test may do

    def join(self, name: str, other: str) -> str:
        """Let one join through another, at once; return why it failed."""
        results: list[str] = []
        to = self[other].address
        self[name].swim.push_pull(self.now_s, to, join=True, done=lambda _, text: results.append(text))
        self._after(self[name])
        self.run_until(lambda: bool(results), within_s=20.0)
        return results[0]

    def join_all(self) -> None:
        """Let everybody join through the first, and wait until all know all: at the latest by comparing tables."""
        first, *others = self.peers
        for name in others:
            assert self.join(name, first) == ""
        self.run_until(self.all_alive, within_s=60.0)

    def all_alive(self) -> bool:
        """Whether everybody that is up believes that exactly these are alive."""
        up = {peer.name for peer in self.peers.values() if peer.up}
        return all(
            {node.name for node in peer.swim.nodes.values() if node.state is State.ALIVE} == up
            for peer in self.peers.values()
            if peer.up
        )

    def stop(self, name: str) -> None:
        """Kill it."""
        self[name].up = False

    def freeze(self, name: str, for_s: float, *, reads_first: bool = False) -> None:
        """Let it stand still; what arrives waits in its sockets, and is read before its timers run or after."""
        peer = self[name]
        peer.frozen = True
        self._at(self.now_s + for_s, lambda: self._thaw(peer, reads_first))

    def deliver(self, name: str, payload: bytes, source: Address = STRANGER) -> None:
        """Hand a packet to a member, now."""
        peer = self[name]
        peer.swim.packet(self.now_s, source, payload)
        self._after(peer)

    def run(self, for_s: float) -> None:
        """Let time pass."""
        end_s = self.now_s + for_s
        while self._heap and self._heap[0][0] <= end_s:
            self._step()
        self.now_s = end_s

    def run_until(self, condition: Callable[[], bool], within_s: float) -> float:
        """Let time pass until the condition holds; return how long that took."""
        start_s = self.now_s
        while not condition():
            assert self._heap[0][0] <= start_s + within_s, f"not within {within_s} s, seed {self.seed}"
            self._step()
        return self.now_s - start_s

    # The world

    def _at(self, at_s: float, action: Callable[[], None]) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (at_s, self._serial, action))

    def _step(self) -> None:
        at_s, _, action = heapq.heappop(self._heap)
        self.now_s = max(self.now_s, at_s)
        action()

    def _tick(self, peer: Peer) -> None:
        peer.wake_s = float("inf")
        if peer.up and not peer.frozen:
            peer.swim.tick(self.now_s)
            self._after(peer)

    def _thaw(self, peer: Peer, reads_first: bool) -> None:
        peer.frozen = False
        if not peer.up:
            return
        if not reads_first:
            self._tick(peer)
        held, peer.held = peer.held[-SOCKET_PACKETS:], []
        for source, payload in held:
            peer.swim.packet(self.now_s, source, payload)
        self._after(peer)
        self._tick(peer)

    def _after(self, peer: Peer) -> None:
        """Carry out what a member asks for, and see that it wakes in time."""
        instructions, peer.out[:] = list(peer.out), []
        for instruction in instructions:
            if isinstance(instruction, Log):
                peer.logs.append(instruction)
            elif isinstance(instruction, SendPacket):
                peer.sent += [(instruction.to, decode(part)) for part in split(instruction.payload) if part[0] != 8]
                self._send(peer, instruction)
            elif isinstance(instruction, OpenStream):
                self._open(peer, instruction)
        deadline_s = peer.swim.next_deadline_s()
        if deadline_s < peer.wake_s:
            peer.wake_s = deadline_s
            self._at(deadline_s, lambda: self._tick(peer))

    def _at_address(self, address: Address) -> Peer | None:
        return next((peer for peer in self.peers.values() if peer.address == address and peer.up), None)

    def _send(self, sender: Peer, packet: SendPacket) -> None:
        receiver = self._at_address(packet.to)
        if receiver is None or not self.passes(sender, receiver, packet.payload):
            return
        for _ in range(self.copies()):
            arrival_s = self.now_s + self.latency_s(sender, receiver)
            self._at(arrival_s, lambda: self._receive(receiver, sender.address, packet.payload))

    def _receive(self, receiver: Peer, source: Address, payload: bytes) -> None:
        if receiver.frozen:
            receiver.held.append((source, payload))
        elif receiver.up:
            receiver.swim.packet(self.now_s, source, payload)
            self._after(receiver)

    def _open(self, sender: Peer, stream: OpenStream) -> None:
        receiver = self._at_address(stream.to)
        if receiver is None or receiver.frozen or not self.streams_pass(sender, receiver):
            self._at(stream.deadline_s, lambda: self._fail(sender, stream, "timeout"))
        else:
            self._at(self.now_s + LATENCY_S, lambda: self._serve(sender, receiver, stream))

    def _serve(self, sender: Peer, receiver: Peer, stream: OpenStream) -> None:
        if not receiver.up or receiver.frozen:
            self._fail(sender, stream, "connection reset")
            return
        before = len(receiver.out)
        request = StreamRequest(at_s=self.now_s, stream_id=7, source=sender.address, message=stream.message)
        receiver.swim.stream_request(request)
        answers = [each for each in receiver.out[before:] if isinstance(each, AnswerStream | CloseStream)]
        assert len(answers) == 1
        self._after(receiver)
        if isinstance(answers[0], CloseStream):
            self._fail(sender, stream, "closed")
        else:
            message = answers[0].message
            self._at(self.now_s + LATENCY_S, lambda: self._answered(sender, stream, message))

    def _answered(self, sender: Peer, stream: OpenStream, message: bytes) -> None:
        if sender.up:
            event = StreamAnswered(at_s=self.now_s, stream_id=stream.stream_id, message=message)
            sender.swim.stream_answered(event)
            self._after(sender)

    def _fail(self, sender: Peer, stream: OpenStream, text: str) -> None:
        if sender.up:
            sender.swim.stream_failed(StreamFailed(at_s=self.now_s, stream_id=stream.stream_id, text=text))
            self._after(sender)
