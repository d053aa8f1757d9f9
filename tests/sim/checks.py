"""What must hold at every moment of a simulation, whatever breaks. Raises Violation."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from server.raft.core import Core
from server.raft.starting import first_configuration


class Violation(Exception):
    """A promise was broken: the text says which, and the seed brings it back."""


class ReadStart(NamedTuple):
    """What a read that begins now must see at least."""

    position_acked: int
    position_read: int


class Checker:
    """Knows everything that was ever acknowledged, applied, voted and read in one run."""

    def __init__(self) -> None:
        self.leaders: dict[int, str] = {}
        self.votes: dict[tuple[str, int], str] = {}
        self.applied: dict[int, tuple[int, bytes]] = {}
        """Log index -> (term, command), by whoever applied it first."""
        self.positions: dict[int, int] = {}
        """Log index -> how many commands were applied up to it."""
        self.acked: dict[int, int] = {}
        """Token -> log index."""
        self.discarded: set[int] = set()
        self.position_acked = 0
        self.position_read = 0
        self.index_applied_max = 1
        self._seen: dict[str, tuple[object, int, int]] = {}
        self.counts: Counter[str] = Counter()

    # --- consensus

    def leader(self, server_id: str, core: Core, log: Any) -> None:
        """A server has begun to lead: alone in its term, and with everything that was ever decided."""
        known = self.leaders.setdefault(core.term, server_id)
        if known != server_id:
            raise Violation(f"two leaders in term {core.term}: {known} and {server_id}")
        for index in range(max(log.first_index + 1, 2), self.index_applied_max + 1):
            entry = self.applied.get(index)
            if entry is not None and log.term_at(index) != entry[0]:
                raise Violation(f"leader completeness: {server_id} leads term {core.term} without entry {index}")

    def voted(self, server_id: str, term: int, vote: str | None) -> None:
        """Term and vote have become durable."""
        if vote is not None and self.votes.setdefault((server_id, term), vote) != vote:
            raise Violation(f"{server_id} voted for {self.votes[server_id, term]} and {vote} in term {term}")

    def applied_at(self, server_id: str, index: int, term: int, command: bytes, position: int) -> None:
        """A server has applied one entry as its `position`-th command."""
        known = self.applied.setdefault(index, (term, command))
        if known != (term, command):
            raise Violation(f"{server_id} applied {command!r} (term {term}) at {index}, elsewhere it was {known}")
        if self.positions.setdefault(index, position) != position:
            raise Violation(f"{server_id} applied {position} commands up to {index}, elsewhere {self.positions[index]}")
        self.index_applied_max = max(self.index_applied_max, index)

    def progress(self, server_id: str, core: Core) -> None:
        """Commit and applied index never go back while a process lives."""
        known = self._seen.get(server_id)
        if known is not None and known[0] is core and (core.commit_index < known[1] or core.applied_index < known[2]):
            raise Violation(f"{server_id}: commit or applied index went back from {known[1:]}")
        if not core.applied_index <= core.commit_index <= core.last_index:
            raise Violation(
                f"{server_id}: applied {core.applied_index} commit {core.commit_index} last {core.last_index}"
            )
        self._seen[server_id] = (core, core.commit_index, core.applied_index)

    def log_matching(self, logs: Iterable[tuple[str, Any]]) -> None:
        """If two logs hold an entry of the same index and term, they agree in everything before it."""
        known = list(logs)
        for position, (first_id, first) in enumerate(known):
            for second_id, second in known[position + 1 :]:
                lowest = max(first.first_index, second.first_index) + 1
                agree = False
                for index in range(min(first.last_index, second.last_index), lowest - 1, -1):
                    mine, theirs = first[index - first.first_index], second[index - second.first_index]
                    if mine[2] == theirs[2]:
                        agree = True
                        if mine[0] != theirs[0]:
                            raise Violation(
                                f"log matching: {first_id} and {second_id} differ at {index}, term {mine[2]}"
                            )
                    elif agree:
                        raise Violation(
                            f"log matching: {first_id} and {second_id} differ before a common entry at {index}"
                        )

    def configuration(self, server_id: str, core: Core, log: Any) -> None:
        """The configuration in force is what snapshot and log amount to."""
        computed = first_configuration(log, core.snapshot, None).latest
        known = [peer for _, peer in sorted(computed.peers.items())]
        if core.configuration() != known or core.configuration_index != computed.index:
            raise Violation(
                f"{server_id} takes the configuration of {core.configuration_index}, its log {computed.index}"
            )

    # --- clients

    def acknowledged(self, token: int, index: int) -> None:
        """A client was told that its command is done."""
        if token in self.acked:
            raise Violation(f"command {token} was acknowledged twice")
        self.acked[token] = index
        self.position_acked = max(self.position_acked, self.positions[index])
        self.counts["acked"] += 1

    def refused(self, token: int) -> None:
        """A client was told that its command will never be done."""
        self.discarded.add(token)
        self.counts["discarded"] += 1

    def read_starts(self) -> ReadStart:
        """A client begins to read."""
        return ReadStart(self.position_acked, self.position_read)

    def read_ends(self, start: ReadStart, server_id: str, position: int, mode: str) -> None:
        """A client got the state after `position` commands."""
        if position < start.position_acked:
            raise Violation(
                f"stale {mode} read at {server_id}: saw {position}, acknowledged were {start.position_acked}"
            )
        if position < start.position_read:
            raise Violation(f"{mode} read at {server_id} went back: saw {position}, somebody saw {start.position_read}")
        self.position_read = max(self.position_read, position)
        self.counts[f"{mode} reads"] += 1

    def finish(self, states: dict[str, list[bytes]]) -> None:
        """At the end everybody has the same state, with all that was acknowledged, once, and nothing refused."""
        longest = max(states.values(), key=len)
        for server_id, state in sorted(states.items()):
            if state != longest:
                raise Violation(f"did not converge: {server_id} has {len(state)} of {len(longest)} commands")
        times = Counter(longest)
        for token in self.acked:
            if times[b"%d" % token] == 0:
                raise Violation(f"acknowledged command {token} is lost")
        for command, count in times.items():
            if count > 1:
                raise Violation(f"command {command!r} was applied {count} times")
            if int(command) in self.discarded:
                raise Violation(f"command {command!r} was refused for certain, and applied")
