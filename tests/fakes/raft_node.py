"""FakeRaftNode: a group of one that applies at once, behind the same face as the real node."""

import random
from dataclasses import dataclass

import trio

from base.errors import NoLeader, OutcomeUnknown, Refused
from fsm.machine import Machine
from server.consensus import ChunkSink
from structs.cluster import Peer


@dataclass(frozen=True)
class FakeCoreStatistics:
    term: int = 1
    last_index: int = 0
    commit_index: int = 0
    last_term: int = 1


@dataclass(frozen=True)
class FakeStatistics:
    core: FakeCoreStatistics


class FakePending:
    """Proposes when it is awaited: commands that are awaited in order are applied in order."""

    def __init__(self, node: "FakeRaftNode", command: bytes) -> None:
        self._node = node
        self._command = command

    async def wait(self) -> object:
        return await self._node.propose(self._command, timeout_s=1.0)


class FakeRaftNode:
    """Leads as long as `leads` says so; what it proposes is applied at once."""

    def __init__(self, peer: Peer, machine: Machine, *, peers: list[Peer] | None = None) -> None:
        self.peer = peer
        self.machine = machine
        self.leads = True
        self.lease = True
        self.known_leader: Peer | None = peer
        self.peers = peers if peers is not None else [peer]
        self.fail_next: Exception | None = None
        self.confirmed_count = 0
        self.proposed: list[bytes] = []
        self.configuration_index = 1
        self._changed = trio.Event()
        self.rng = random.Random(0)

    def change_leader(self, leader: Peer | None) -> None:
        self.known_leader = leader
        self.leads = leader is not None and leader.server_id == self.peer.server_id
        self.lease = self.leads
        self._changed.set()
        self._changed = trio.Event()

    def submit(self, command: bytes, *, timeout_s: float) -> "FakePending":
        return FakePending(self, command)

    async def propose(self, command: bytes, *, timeout_s: float) -> object:
        await trio.lowlevel.checkpoint()
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        if not self.leads:
            raise NoLeader
        self.proposed.append(command)
        result = self.machine.apply(self.machine.raft_index_applied + 1, 1, command)
        self.machine.commit_batch()
        return result

    def lease_valid(self) -> bool:
        return self.leads and self.lease

    async def confirm_leadership(self, *, timeout_s: float) -> None:
        await trio.lowlevel.checkpoint()
        self.confirmed_count += 1
        if not self.leads:
            raise NoLeader

    def is_leader(self) -> bool:
        return self.leads

    def leader(self) -> Peer | None:
        return self.known_leader

    def last_contact_s(self) -> float:
        return 0.0 if self.leads else 0.25

    def configuration(self) -> list[Peer]:
        return list(self.peers)

    def match_indexes(self) -> dict[str, int]:
        return {self.peer.server_id: self.machine.raft_index_applied}

    def statistics(self) -> FakeStatistics:
        index = self.machine.raft_index_applied
        return FakeStatistics(FakeCoreStatistics(last_index=index, commit_index=index))

    async def add_peer(self, peer: Peer) -> None:
        await trio.lowlevel.checkpoint()
        self.peers = [p for p in self.peers if p.server_id != peer.server_id] + [peer]

    async def remove_peer(self, server_id: str) -> None:
        await trio.lowlevel.checkpoint()
        if all(p.server_id != server_id for p in self.peers):
            raise Refused("not a peer")
        self.peers = [p for p in self.peers if p.server_id != server_id]

    async def transfer_leadership(self, server_id: str | None) -> str:
        await trio.lowlevel.checkpoint()
        others = [p for p in self.peers if p.server_id != self.peer.server_id]
        target = next((p for p in others if server_id in (None, p.server_id)), None)
        if target is None:
            raise Refused("nobody to hand over to")
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        self.change_leader(target)
        return target.server_id

    def bootstrapped(self) -> bool:
        return bool(self.peers)

    async def bootstrap(self, peers: list[Peer]) -> None:
        await trio.lowlevel.checkpoint()
        self.peers = list(peers)

    async def send_snapshot(self, index: int, term: int, stream: ChunkSink) -> None:
        await stream.send_chunk(b"")

    async def wait_leadership_change(self) -> None:
        await self._changed.wait()


UNKNOWN = OutcomeUnknown("the write may or may not have happened")
