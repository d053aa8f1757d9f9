"""A few cores stepped by hand: every message is seen, and any may be held, dropped or written by the test.

Time moves only in `step`. Each server's round is the driver's: receive, tick, entries out, sync, promises out.
"""

import random
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from base import codec
from server.raft import envelope as wire
from server.raft import membership
from server.raft.core import Core, FetchSnapshot, Outcome
from server.raft.timings import Guards, Timings
from structs.cluster import Peer
from tests.fakes.journal import FakeJournal, JournalMemory

Filter = Callable[[str, str, list[Any]], bool]
START_S = 1000.0
STEP_S = 0.01


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a snapshot and the state in it."""

    index: int
    term: int
    configuration: list[Peer]
    configuration_index: int
    state: list[tuple[int, int, bytes]] = []


class ListApplier:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.state: list[tuple[int, int, bytes]] = []

    def apply(self, index: int, term: int, command: bytes) -> object:
        self.state.append((index, term, command))
        return index

    def load(self, meta: Snapshot) -> None:
        self.state = list(meta.state)

    @property
    def commands(self) -> list[bytes]:
        return [command for _, _, command in self.state]


class Member:
    """One server of a group: its core and everything around it."""

    def __init__(self, peer: Peer, memory: JournalMemory) -> None:
        self.peer = peer
        self.memory = memory
        self.journal = FakeJournal(memory)
        self.applier = ListApplier()
        self.snapshot: Snapshot | None = None
        self.core: Core | None = None
        self.inbox: list[tuple[str, int, list[Any]]] = []
        self.results: list[tuple[Any, Outcome]] = []
        self.fetches: list[FetchSnapshot] = []


class Group:
    """Servers `a`, `b`, `c`, ... that start from one bootstrap configuration."""

    def __init__(self, count: int = 3, *, guards: Guards | None = None, spare: int = 0, timings: Timings | None = None):
        self.guards = guards or Guards()
        self.timings = timings or Timings()
        self.now_s = START_S
        self.peers = [
            Peer(server_id="abcdefg"[number], name=f"n{number}", address=f"127.0.0.1:{8300 + number}")
            for number in range(count + spare)
        ]
        founders = self.peers[:count]
        self.members: dict[str, Member] = {}
        self.passes: Filter = lambda sender, receiver, message: True
        self.log: list[tuple[str, str, list[Any]]] = []
        self._epochs: dict[tuple[str, str], int] = {}
        for peer in self.peers:
            entries = membership.bootstrap_entries(founders) if peer in founders else []
            self.members[peer.server_id] = Member(peer, JournalMemory([(b"\x01", 1, 0), *entries]))
            self.start(peer.server_id, fresh=peer in founders)

    def __getitem__(self, server_id: str) -> Core:
        core = self.members[server_id].core
        assert core is not None, f"{server_id} is down"
        return core

    # --- processes and links

    def start(self, server_id: str, *, fresh: bool = False) -> None:
        """Begin a process on what is durable."""
        member = self.members[server_id]
        member.journal = FakeJournal(member.memory)
        member.applier = ListApplier()
        if member.snapshot is not None:
            member.applier.load(member.snapshot)
        member.inbox.clear()
        member.core = Core(
            self_peer=member.peer,
            journal=member.journal,
            snapshot=member.snapshot,
            override=None,
            applier=member.applier,
            rng=random.Random(f"{server_id} {self.now_s}"),
            now=self.now_s,
            timings=self.timings,
            fresh_bootstrap=fresh,
            guards=self.guards,
        )
        for other in sorted(self.members):
            self.connect(server_id, other)

    def crash(self, server_id: str) -> None:
        """The process ends; what was not synced is gone."""
        self.members[server_id].core = None
        for other in sorted(self.members):
            self.disconnect(server_id, other)

    def connect(self, first: str, second: str) -> None:
        """A new connection between two servers that are up."""
        if first == second or self.members[first].core is None or self.members[second].core is None:
            return
        epoch = self._epochs[min(first, second), max(first, second)] = self.epoch(first, second) + 1
        self[first].peer_connected(second, epoch, self.now_s)
        self[second].peer_connected(first, epoch, self.now_s)

    def disconnect(self, first: str, second: str) -> None:
        """The connection breaks, and what is under way is lost."""
        for me, other in ((first, second), (second, first)):
            member = self.members[me]
            member.inbox = [each for each in member.inbox if each[0] != other]
            if member.core is not None and first != second:
                member.core.peer_disconnected(other, self.epoch(first, second), self.now_s)

    def epoch(self, first: str, second: str) -> int:
        """The number of the connection between two servers."""
        return self._epochs.get((min(first, second), max(first, second)), 0)

    def isolate(self, *server_ids: str) -> None:
        """Silently lose everything between these and the others."""
        side = set(server_ids)
        self.passes = lambda sender, receiver, message: (sender in side) == (receiver in side)

    def heal(self) -> None:
        """Lose nothing any more."""
        self.passes = lambda sender, receiver, message: True

    # --- time

    def round(self, server_id: str, *, sync: bool = True) -> None:
        """One round of one server, at the present time; without `sync` it ends where the machine died before it."""
        member = self.members[server_id]
        core = self[server_id]
        inbox, member.inbox = member.inbox, []
        for sender, epoch, message in inbox:
            core.receive(sender, epoch, message, self.now_s)
        outbox = core.tick(self.now_s)
        member.results += outbox.results
        self._send(server_id, outbox.entries)
        if outbox.fetch is not None:
            member.fetches.append(outbox.fetch)
        if sync:
            member.journal.sync()
            self._send(server_id, outbox.promises)

    def step(self, count: int = 1) -> None:
        """Move time on and give everybody a round, `count` times."""
        for _ in range(count):
            self.now_s += STEP_S
            for server_id in sorted(self.members):
                if self.members[server_id].core is not None:
                    self.round(server_id)

    def run(self, duration_s: float) -> None:
        """Let time pass."""
        self.step(round(duration_s / STEP_S))

    def run_until(self, condition: Callable[[], bool], *, within_s: float = 10.0) -> None:
        """Let time pass until `condition` holds; fails if it doesn't."""
        for _ in range(round(within_s / STEP_S)):
            if condition():
                return
            self.step()
        raise AssertionError("it did not come to pass")

    def _send(self, sender: str, messages: Iterable[tuple[str, list[Any]]]) -> None:
        for receiver, message in messages:
            self.log.append((sender, receiver, message))
            if self.members[receiver].core is not None and self.passes(sender, receiver, message):
                self.deliver(sender, receiver, message)

    def deliver(self, sender: str, receiver: str, message: list[Any]) -> None:
        """Put a message into a server's inbox, as it would look behind the wire."""
        self.members[receiver].inbox.append((sender, self.epoch(sender, receiver), codec.unpack(codec.pack(message))))

    # --- what tests ask

    @property
    def leaders(self) -> list[str]:
        """Those that believe that they lead."""
        return [each for each, member in self.members.items() if member.core is not None and member.core.is_leader]

    def elect(self, server_id: str = "a") -> str:
        """Have `server_id` lead, with the others knowing it."""
        self.run_until(lambda: len(self.leaders) == 1 and self[self.leaders[0]].ready)
        if self.leaders != [server_id]:
            self[self.leaders[0]].transfer_leadership(server_id, self.now_s)
            self.run_until(lambda: self.leaders == [server_id] and self[server_id].ready)
        self.run(0.5)
        return server_id

    def propose(self, server_id: str, *commands: bytes) -> None:
        """Propose each command with itself as the token."""
        for command in commands:
            self[server_id].propose(command, command, self.now_s)

    def outcomes(self, server_id: str) -> dict[Any, bool]:
        """Token -> was it discarded."""
        return {token: outcome.discarded for token, outcome in self.members[server_id].results}

    def commands(self, server_id: str) -> list[bytes]:
        """What has been applied there."""
        return self.members[server_id].applier.commands

    def take_snapshot(self, server_id: str, *, trailing: int = 0) -> Snapshot:
        """Take a durable snapshot of what is applied there and trim the log."""
        member, core = self.members[server_id], self[server_id]
        index, term, _ = member.applier.state[-1]
        peers, configuration_index = core.configuration_at(index)
        snapshot = Snapshot(
            index=index,
            term=term,
            configuration=peers,
            configuration_index=configuration_index,
            state=list(member.applier.state),
        )
        member.snapshot = snapshot
        core.snapshot_taken(snapshot, trailing)
        member.journal.sync()
        return snapshot


def append(
    *, term: int, prev: tuple[int, int], entries: list[tuple[bytes, int, int]], commit: int = 0, sent_at_s: float = 0.0
) -> list[Any]:
    """An append as a leader of `term` would write it; `prev` is (index, term)."""
    return [wire.APPEND, term, sent_at_s, 0.0, 0, *prev, commit, [list(entry) for entry in entries]]
