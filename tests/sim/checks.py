"""What must hold at every moment of a simulation, whatever breaks. Raises Violation."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from server.raft.core import Core
from server.raft.starting import first_configuration


class Violation(Exception):
    """A promise was broken: the text says which, and the seed brings it back.

    `kind` is a short word for the promise, the same whoever broke it and when, so that two runs can be compared.
    """

    def __init__(self, text: str, *, kind: str = "broken") -> None:
        super().__init__(text)
        self.kind = kind


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
        self._decided_by: dict[int, int] = {}
        """Log index -> the highest term in which anybody had led when it was first applied: it was decided by then."""
        self.results: dict[int, object] = {}
        """Log index -> what applying it returned, where it was first applied."""
        self.digests: dict[int, str] = {}
        """Log index -> digest of the state, by whoever came there first."""
        self.positions: dict[int, int] = {}
        """Log index -> how many commands were applied up to it."""
        self.proposed: dict[int, bytes] = {}
        """Token -> command."""
        self.acked: dict[int, int] = {}
        """Token -> log index."""
        self.discarded: set[int] = set()
        self.position_acked = 0
        self.position_read = 0
        self.index_applied_max = 1
        self._seen: dict[str, tuple[Core, int, int, int]] = {}
        """Server -> its core, commit index, applied index and term when it was last looked at."""
        self._entries: dict[tuple[int, int], tuple[bytes, int]] = {}
        """Log index and term -> command and the term of the entry before, by whoever was seen to have it first."""
        self._logs: dict[str, tuple[Any, int, int]] = {}
        """Server -> its log, how often something was removed from that, and the last index that was looked at."""
        self._matches: dict[str, dict[str, int]] = {}
        """Leader -> follower -> the highest match index of this leadership."""
        self.counts: Counter[str] = Counter()

    # --- consensus

    def leader(self, server_id: str, core: Core, log: Any) -> None:
        """A server has begun to lead: alone in its term, and with everything that was decided in that or before.

        Late votes may make a leader of an earlier term beside that of a later one; it decides nothing any more.
        """
        known = self.leaders.setdefault(core.term, server_id)
        if known != server_id:
            raise Violation(f"two leaders in term {core.term}: {known} and {server_id}", kind="two leaders")
        self._matches[server_id] = {}
        for index in range(max(log.first_index + 1, 2), self.index_applied_max + 1):
            entry = self.applied.get(index)
            if entry is not None and self._decided_by[index] <= core.term and log.term_at(index) != entry[0]:
                raise Violation(
                    f"leader completeness: {server_id} leads term {core.term} without entry {index}",
                    kind="incomplete leader",
                )

    def voted(self, server_id: str, term: int, vote: str | None) -> None:
        """Term and vote have become durable."""
        if vote is not None and self.votes.setdefault((server_id, term), vote) != vote:
            raise Violation(
                f"{server_id} voted for {self.votes[server_id, term]} and {vote} in term {term}", kind="two votes"
            )

    def applied_at(self, server_id: str, index: int, term: int, command: bytes, position: int, result: object) -> None:
        """A server has applied one entry as its `position`-th command, with this result."""
        known = self.applied.setdefault(index, (term, command))
        self._decided_by.setdefault(index, max(self.leaders, default=0))
        if known != (term, command):
            raise Violation(
                f"{server_id} applied {command!r} (term {term}) at {index}, elsewhere it was {known}", kind="diverged"
            )
        if self.positions.setdefault(index, position) != position:
            raise Violation(
                f"{server_id} applied {position} commands up to {index}, elsewhere {self.positions[index]}",
                kind="diverged",
            )
        if self.results.setdefault(index, result) != result:
            raise Violation(
                f"{server_id}: {command!r} at {index} came to {result}, elsewhere to {self.results[index]}",
                kind="other result",
            )
        self.index_applied_max = max(self.index_applied_max, index)

    def digest_at(self, server_id: str, index: int, digest: str) -> None:
        """A server's state has this digest with everything up to `index` applied."""
        known = self.digests.get(index)
        if known is None:
            self.digests[index] = digest
        elif known != digest:
            raise Violation(f"{server_id} has digest {digest} at {index}, elsewhere it was {known}", kind="digest")
        else:
            self.counts["digests compared"] += 1

    def progress(self, server_id: str, core: Core) -> None:
        """Term, commit and applied index never go back while a process lives, nor a follower's match while it leads.

        What a leader knows of a follower survives any connection, for the follower's disk does; only a server that is
        removed and added again begins anew.
        """
        commit_index, applied_index, term = core.commit_index, core.applied_index, core.term
        known = self._seen.get(server_id)
        if known is not None and known[0] is core:
            _, commit_before, applied_before, term_before = known
            if commit_index < commit_before or applied_index < applied_before or term < term_before:
                raise Violation(
                    f"{server_id}: commit {commit_before}, applied {applied_before} or term {term_before} went back to "
                    f"{commit_index}, {applied_index}, {term}",
                    kind="went back",
                )
        if not applied_index <= commit_index <= core.last_index:
            raise Violation(
                f"{server_id}: applied {applied_index} commit {commit_index} last {core.last_index}", kind="positions"
            )
        self._seen[server_id] = (core, commit_index, applied_index, term)
        if core.is_leader:
            if self.leaders.get(term) != server_id:
                raise Violation(
                    f"{server_id} leads in term {term}, elected was {self.leaders.get(term)}", kind="two leaders"
                )
            self._match(server_id, core)

    def _match(self, server_id: str, core: Core) -> None:
        highest = self._matches[server_id]
        matches = {peer.server_id: core.match_index(peer.server_id) for peer in core.configuration()}
        for follower, match_index in matches.items():
            if match_index < highest.get(follower, 0):
                raise Violation(
                    f"{server_id}: the match index of {follower} went back from {highest[follower]} to {match_index}",
                    kind="match went back",
                )
        self._matches[server_id] = matches

    def log(self, server_id: str, log: Any) -> None:
        """What is new in this log is what anybody ever had at this index with this term, after the same entry.

        By induction that is log matching, over all time. A log from which something was removed is read again whole.
        """
        known, removals_count, last_index = self._logs.get(server_id, (None, 0, 0))
        base = log.first_index
        if known is not log or removals_count != log.removals_count:
            last_index = base
        if last_index == log.last_index:
            return
        self._logs[server_id] = (log, log.removals_count, log.last_index)
        term_before = log[last_index - base][2]
        for index in range(last_index + 1, log.last_index + 1):
            command, _, term = log[index - base]
            entry = (command, term_before)
            if self._entries.setdefault((index, term), entry) != entry:
                raise Violation(
                    f"log matching: {server_id} has {command!r} at {index} with term {term}, after term {term_before}; "
                    f"elsewhere it was {self._entries[index, term]}",
                    kind="log matching",
                )
            term_before = term

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
                                f"log matching: {first_id} and {second_id} differ at {index}, term {mine[2]}",
                                kind="log matching",
                            )
                    elif agree:
                        raise Violation(
                            f"log matching: {first_id} and {second_id} differ before a common entry at {index}",
                            kind="log matching",
                        )

    def configuration(self, server_id: str, core: Core, log: Any) -> None:
        """The configuration in force is what snapshot and log amount to."""
        computed = first_configuration(log, core.snapshot, None).latest
        known = [peer for _, peer in sorted(computed.peers.items())]
        if core.configuration() != known or core.configuration_index != computed.index:
            raise Violation(
                f"{server_id} takes the configuration of {core.configuration_index}, its log {computed.index}",
                kind="configuration",
            )

    # --- clients

    def proposes(self, token: int, command: bytes) -> None:
        """A client asks for a command."""
        self.proposed[token] = command

    def acknowledged(self, token: int, index: int, result: object) -> None:
        """A client was told that its command is done, at `index`, with this result."""
        if token in self.acked:
            raise Violation(f"command {token} was acknowledged twice", kind="acknowledged twice")
        if self.applied[index][1] != self.proposed[token] or self.results[index] != result:
            raise Violation(
                f"command {token}, {self.proposed[token]!r}, was acknowledged with {result}; applied at {index} was "
                f"{self.applied[index][1]!r} with {self.results[index]}",
                kind="other result",
            )
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
                f"stale {mode} read at {server_id}: saw {position}, acknowledged were {start.position_acked}",
                kind="stale read",
            )
        if position < start.position_read:
            raise Violation(
                f"{mode} read at {server_id} went back: saw {position}, somebody saw {start.position_read}",
                kind="stale read",
            )
        self.position_read = max(self.position_read, position)
        self.counts[f"{mode} reads"] += 1

    def finish(self, states: dict[str, list[bytes]]) -> None:
        """At the end everybody has the same state, with all that was acknowledged, once, and nothing refused."""
        longest = max(states.values(), key=len)
        for server_id, state in sorted(states.items()):
            if state != longest:
                raise Violation(
                    f"did not converge: {server_id} has {len(state)} of {len(longest)} commands", kind="not converged"
                )
        times = Counter(longest)
        for token in self.acked:
            if times[self.proposed[token]] == 0:
                raise Violation(f"acknowledged command {token} is lost", kind="lost")
        for command, count in times.items():
            if count > 1:
                raise Violation(f"command {command!r} was applied {count} times", kind="applied twice")
        for token in sorted(self.discarded):
            if times[self.proposed[token]]:
                raise Violation(f"command {token} was refused for certain, and applied", kind="refused and applied")
